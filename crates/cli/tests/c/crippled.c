// A driver as people write their first one: it answers what cudaGetDeviceCount asks, and is wrong in one way, chosen
// when it is built.
//   NO_TABLES   it has no cuGetExportTable
//   NULLS       it says success of what it does not have and hands out no function; it has no cuGetExportTable either
//   CONSTANTS   whatever is asked for is a function that does nothing and says success
//   (none)      it has cuGetExportTable and knows no table
#include <stdint.h>
#include <string.h>
int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int *version) {
    *version = 13000;
    return 0;
}
int cuDeviceGetCount(int *count) {
    *count = 1;
    return 0;
}
int cuDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return 0;
}
static int nothing(void) { return 0; }
int cuGetProcAddress_v2(const char *name, void **out, int version, uint64_t flags, int *status);
#ifndef NO_TABLES
int cuGetExportTable(const void **table, const void *uuid) {
#ifdef CONSTANTS
    static void *functions[64];
    for (int index = 0; index < 64; index++) functions[index] = (void *)nothing;
    *table = functions;
    return 0;
#else
    *table = 0;
    return 500;
#endif
}
#endif
#define HAS(function)                                                                                                  \
    if (!strcmp(name, #function)) return (void *)function
static void *find(const char *name) {
    HAS(cuInit);
    HAS(cuDriverGetVersion);
    HAS(cuDeviceGetCount);
    HAS(cuDeviceGet);
    if (!strcmp(name, "cuGetProcAddress")) return (void *)cuGetProcAddress_v2;
#ifndef NO_TABLES
    HAS(cuGetExportTable);
#endif
#ifdef CONSTANTS
    return (void *)nothing;
#endif
    return 0;
}
int cuGetProcAddress_v2(const char *name, void **out, int version, uint64_t flags, int *status) {
    *out = *name ? find(name) : 0;
    if (status) *status = *out ? 0 : 1;
#ifdef NULLS
    return 0;
#else
    return *out ? 0 : 500;
#endif
}
