// Another preloaded library: dies when it is loaded (CRASH), or does nothing.
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
int a_function_of_its_own(void) { return 1; }
#ifdef CRASH
__attribute__((constructor)) static void begin(void) { raise(SIGSEGV); }
#endif
