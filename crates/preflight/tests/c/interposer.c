// Replaces functions of the C library, as GPU sharing layers do; -DHARMLESS: one, and does what that does.
#ifdef HARMLESS
#include <sys/syscall.h>
#include <unistd.h>
ssize_t read(int file, void *to, size_t size) { return syscall(SYS_read, file, to, size); }
#else
int open(const char *path, int flags, ...) { return -1; }
void *dlsym(void *handle, const char *name) { return 0; }
#endif
