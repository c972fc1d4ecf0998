// A layer in front of a whole driver (-DDRIVER="path"), as GPU sharing projects write them: it hands everything on and
// tells another driver version than the driver does (unless -DHONEST).
#include <dlfcn.h>
#include <stdint.h>
#include <string.h>
#define HANDED_ON(F)                                                                                                   \
    F(cuInit) F(cuGetExportTable) F(cuDeviceGet) F(cuDeviceGetCount) F(cuDeviceGetName) F(cuDeviceTotalMem_v2)         \
    F(cuDeviceGetAttribute) F(cuDeviceGetUuid) F(cuDeviceGetUuid_v2) F(cuDeviceGetPCIBusId)                            \
    F(cuDevicePrimaryCtxRetain) F(cuDevicePrimaryCtxRelease_v2) F(cuCtxSetCurrent) F(cuCtxGetCurrent)                  \
    F(cuCtxSynchronize) F(cuMemGetInfo_v2) F(cuMemAlloc_v2) F(cuMemFree_v2) F(cuModuleLoadData) F(cuModuleUnload)      \
    F(cuModuleGetFunction) F(cuLaunchKernel) F(cuGetErrorName) F(cuGetErrorString)
#define TRAMPOLINE(name)                                                                                               \
    __attribute__((visibility("hidden"), used)) void *real_##name;                                                     \
    __attribute__((naked)) void name(void) { __asm__("jmp *real_" #name "(%rip)"); }
HANDED_ON(TRAMPOLINE)
static int (*real_version)(int *);
static int (*real_lookup)(const char *, void **, int, uint64_t, int *);
__attribute__((constructor)) static void load(void) {
    void *driver = dlopen(DRIVER, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
#define FIND(name) real_##name = dlsym(driver, #name);
    HANDED_ON(FIND)
    real_version = (int (*)(int *))dlsym(driver, "cuDriverGetVersion");
    real_lookup = (int (*)(const char *, void **, int, uint64_t, int *))dlsym(driver, "cuGetProcAddress_v2");
}
int cuDriverGetVersion(int *version) {
    int code = real_version(version);
#ifndef HONEST
    *version += 10;
#endif
    return code;
}
int cuGetProcAddress_v2(const char *name, void **out, int version, uint64_t flags, int *status) {
    int code = real_lookup(name, out, version, flags, status);
    if (!strcmp(name, "cuDriverGetVersion")) *out = (void *)cuDriverGetVersion;
    if (!strcmp(name, "cuGetProcAddress")) *out = (void *)cuGetProcAddress_v2;
    return code;
}
