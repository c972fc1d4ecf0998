/* Says one line, so that a test sees that a dynamically linked musl program still starts. */
#include <stdio.h>

int main(void) { puts("hello from musl"); return 0; }
