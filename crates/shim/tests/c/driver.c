// A driver for tests. -DVERSION=12080; -DGLOBAL: looks its own names up in the global scope, as a driver does that
// was not linked -Bsymbolic; -DDIES: ends the process when it is loaded. Environment: DRIVER_INIT=<code>, DRIVER_HANG=1
// (cuInit never returns).
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifndef VERSION
#define VERSION 13050
#endif
#define API __attribute__((visibility("default")))

static int depth;

#ifdef DIES
__attribute__((constructor)) static void die(void) { raise(SIGKILL); }
#endif

API int cuDeviceGetCount(int *count) {
    *count = 2;
    return 0;
}

API int cuInit(unsigned flags) {
    const char *code = getenv("DRIVER_INIT");
    if (getenv("DRIVER_HANG")) for (;;) pause();
#ifdef GLOBAL
    int count = 0;
    if (++depth > 3) abort();
    cuDeviceGetCount(&count);
    depth--;
    if (count != 2) return 999;
#endif
    return flags ? 1 : code ? atoi(code) : 0;
}

API int cuDriverGetVersion(int *version) {
    *version = VERSION;
    return 0;
}

API int cuDevicePrimaryCtxRetain(void **context, int device) {
    *context = (void *)(uintptr_t)(0x1000 + device);
    return 0;
}

API int cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    *free_bytes = 1000;
    *total = 2000;
    return 0;
}

API int cuMemAlloc_v2(uint64_t *pointer, size_t bytes) {
    *pointer = 0x7000;
    return bytes > 1000 ? 2 : 0;
}

// An ABI of the future, which only the lookup of a future version hands out.
API int cuMemAlloc_v9(uint64_t *pointer, size_t bytes, int more) { return 77; }

API int cuCtxSynchronize(void) { return 0; }

API int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                       unsigned shared, void *stream, void **params, void **extra) {
    if ((uintptr_t)function > 11) return (int)(uintptr_t)function;
    uintptr_t all = (uintptr_t)function + 2 * gx + 3 * gy + 4 * gz + 5 * bx + 6 * by + 7 * bz + 8 * shared +
                    9 * (uintptr_t)stream + 10 * (uintptr_t)params + 11 * (uintptr_t)extra;
    return all == 506 ? 0 : 1;
}

API int cuGraphLaunch(void *graph, void *stream) { return graph == stream; }

// Any forwarded name will do: what matters is that six integers, eight doubles and four words on the stack arrive.
API int cuWaitExternalSemaphoresAsync(long a, long b, long c, long d, long e, long f, double s, double t, double u,
                                      double v, double w, double x, long g, long h, double y) {
    double sum = 1. * a + 2. * b + 3. * c + 4. * d + 5. * e + 6. * f + 7 * s + 8 * t + 9 * u + 10 * v + 11 * w + 12 * x +
                 13. * g + 14. * h + 15 * y;
    return (int)sum;
}

API int cuGetExportTable(const void **table, const void *uuid) {
    static const size_t words[2] = {16, 1};
    if (((const unsigned char *)uuid)[0] != 0x6b) return 1;
    *table = words;
    return 0;
}

API int cuGetProcAddress_v2(const char *name, void **pointer, int version, uint64_t flags, int *status) {
    char versioned[128];
    void *scope = RTLD_DEFAULT;
#ifndef GLOBAL
    Dl_info own;
    if (!dladdr(&depth, &own)) return 999;
    scope = dlopen(own.dli_fname, RTLD_NOW | RTLD_NOLOAD);
#endif
    *pointer = NULL;
    if (version >= 99000) {
        strcpy(versioned, name);
        *pointer = dlsym(scope, strcat(versioned, "_v9"));
    }
    strcpy(versioned, name);
    strcat(versioned, "_v2");
    if (!*pointer && version >= 3020) *pointer = dlsym(scope, versioned);
    if (!*pointer) *pointer = dlsym(scope, name);
    if (status) *status = *pointer ? 0 : 1;
    return *pointer ? 0 : 500;
}
