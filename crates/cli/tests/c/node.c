// A driver that needs device nodes, or history: cuInit returns INIT (of the environment), and where it returns 0 the
// driver lists a device, makes a context and takes launches.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
static int code(void) { const char *text = getenv("INIT"); return text ? atoi(text) : 0; }
int cuInit(unsigned flags) { return code(); }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 1 << 30; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)8; return 0; }
int cuCtxSetCurrent(void *context) { return 0; }
int cuMemGetInfo_v2(size_t *free_bytes, size_t *total) { *free_bytes = *total = 1 << 30; return 0; }
int cuLaunchKernel() { return 0; }
int cuCtxSynchronize(void) { return 0; }
int cuGetProcAddress_v2(const char *name, void **out, int version, uint64_t flags, int *status) {
    *out = 0;
    if (status) *status = 1;
    return getenv("NULLS") ? 0 : 500;
}
