// Holds bytes of device 0 in slot 0 of the ledger named first, as the shim does: the slot's lock by a mapping alone. Says
// "held" and ends with its standard input.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
int main(int count, char **words) {
    enum { TAKEN = 128, SLOT = 4096, WORD = SLOT + 64, UNIT = 256 };
    int file = open(words[1], O_RDWR);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = SLOT, .l_len = 1};
    if (file < 0 || fcntl(file, F_OFD_SETLK, &lock)) return 1;
    char *map = mmap(0, SLOT + 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (map == MAP_FAILED) return 2;
    close(file);
    *(uint32_t *)(map + TAKEN) = 1;
    *(uint64_t *)(map + WORD) = strtoull(words[2], 0, 10) / UNIT;
    puts("held");
    fflush(stdout);
    return getchar() != EOF;
}
