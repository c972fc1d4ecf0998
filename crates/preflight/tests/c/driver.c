// A driver that is wrong in ways that no switch of the simulator is: -DCRASH: cuInit reads where nothing is;
// -DEXIT: cuInit ends the process; -DPRINT: prints what looks like findings; -DNULL_TABLES: "success" and no table;
// -DNO_DEVICES: none.
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
int cuDriverGetVersion(int *version) {
    *version = 13000;
    return 0;
}

int cuInit(unsigned flags) {
#ifdef CRASH
    return *(volatile int *)(size_t)flags;
#endif
#ifdef EXIT
    _exit(0);
#endif
#ifdef PRINT
    puts("init\tcode:999\t0\tcuInit\nend");
    fflush(stdout);
#endif
    return 0;
}

int cuGetExportTable(const void **table, const void *uuid) {
    *table = NULL;
    return 0;
}

int cuDeviceGetCount(int *count) {
    *count = 0;
    return 0;
}
