// A driver for tests with every way to device memory. It gives whatever it is asked for, and answers 304 where the size
// is 666: then nothing was taken. Frees of 0xbad fail.
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#define API __attribute__((visibility("default")))
#define REFUSED(bytes) if ((bytes) == 666) return 304

static __thread uintptr_t current;
static uint64_t next = 0x700000000000;
static uintptr_t next_handle = 0x10000;
static size_t exported;

static uint64_t place(size_t bytes) {
    return __atomic_fetch_add(&next, (bytes + 511) / 512 * 512 + 512, __ATOMIC_SEQ_CST);
}
static uintptr_t handle(void) { return __atomic_fetch_add(&next_handle, 64, __ATOMIC_SEQ_CST); }

API int cuInit(unsigned flags) { return 0; }
API int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
API int cuDeviceGetCount(int *count) { *count = 2; return 0; }
API int cuDeviceGetUuid_v2(unsigned char *uuid, int device) {
    memset(uuid, 0, 16);
    uuid[15] = 0xa + device;
    return 0;
}
API int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = attribute == 16 ? 10 : 100; return 0; }
API int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 1UL << 40; return 0; }
API int cuMemGetInfo_v2(size_t *left, size_t *total) { *left = *total = 1UL << 40; return current ? 0 : 201; }

// Contexts: the primary ones of two devices, and others, whose device is in the lowest bit.
API int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)(0x1000UL + 0x100 * device); return 0; }
API int cuDevicePrimaryCtxRelease_v2(int device) { return 0; }
API int cuDevicePrimaryCtxReset_v2(int device) { return 0; }
API int cuCtxCreate_v2(void **context, unsigned flags, int device) {
    current = handle() | device << 4;
    *context = (void *)current;
    return 0;
}
API int cuCtxDestroy_v2(void *context) { if (current == (uintptr_t)context) current = 0; return 0; }
API int cuCtxSetCurrent(void *context) { current = (uintptr_t)context; return 0; }
API int cuCtxGetCurrent(void **context) { *context = (void *)current; return 0; }
API int cuCtxGetDevice(int *device) {
    *device = current == 0x1000 ? 0 : current == 0x1100 ? 1 : current >> 4 & 1;
    return current ? 0 : 201;
}
API int cuCtxSetLimit(int limit, size_t value) { REFUSED(value); return 0; }

API int cuMemAlloc_v2(uint64_t *out, size_t bytes) { REFUSED(bytes); *out = place(bytes); return 0; }
API int cuMemAllocManaged(uint64_t *out, size_t bytes, unsigned flags) { REFUSED(bytes); *out = place(bytes); return 0; }
API int cuMemAllocAsync(uint64_t *out, size_t bytes, void *stream) { REFUSED(bytes); *out = place(bytes); return 0; }
API int cuMemAllocFromPoolAsync(uint64_t *out, size_t bytes, void *pool, void *stream) { REFUSED(bytes); *out = place(bytes); return 0; }
API int cuMemAllocPitch_v2(uint64_t *out, size_t *pitch, size_t width, size_t height, unsigned element) {
    REFUSED(width);
    // Rows of 1000 are as long as those of another driver: longer than is thought at first.
    *pitch = width == 1000 ? 4096 : (width + 255) / 256 * 256;
    *out = place(*pitch * height);
    return 0;
}
API int cuMemFree_v2(uint64_t address) { return address == 0xbad; }
API int cuMemFreeAsync(uint64_t address, void *stream) { return address == 0xbad; }

API int cuArrayCreate_v2(void **out, const size_t *descriptor) { REFUSED(descriptor[0]); *out = (void *)handle(); return 0; }
API int cuArray3DCreate_v2(void **out, const size_t *descriptor) { *out = (void *)handle(); return 0; }
API int cuMipmappedArrayCreate(void **out, const size_t *descriptor, unsigned levels) { *out = (void *)handle(); return 0; }
API int cuArrayDestroy(void *array) { return 0; }
API int cuMipmappedArrayDestroy(void *array) { return 0; }

API int cuMemCreate(uint64_t *out, size_t bytes, const void *properties, unsigned long flags) { REFUSED(bytes); *out = handle(); return 0; }
API int cuMemRelease(uint64_t memory) { return memory == 0xbad; }
API int cuMemMap(uint64_t address, size_t bytes, size_t offset, uint64_t memory, unsigned long flags) { return memory == 0xbad; }
API int cuMemUnmap(uint64_t address, size_t bytes) { return 0; }
API int cuMemRetainAllocationHandle(uint64_t *out, void *address) { *out = (uint64_t)address; return 0; }
API int cuMemImportFromShareableHandle(uint64_t *out, void *shared, int kind) { *out = handle(); return 0; }
API int cuMemGetAllocationPropertiesFromHandle(int *properties, uint64_t memory) {
    memset(properties, 0, 32);
    properties[2] = 1;
    return 0;
}

struct shared { char bytes[64]; };
API int cuIpcOpenMemHandle_v2(uint64_t *out, struct shared memory, unsigned flags) {
    memcpy(&exported, memory.bytes + 56, 8);
    *out = flags == 1 ? place(exported) : 0;
    return flags != 1;
}
API int cuIpcCloseMemHandle(uint64_t address) { return 0; }
API int cuMemGetAddressRange_v2(uint64_t *base, size_t *bytes, uint64_t address) {
    if (base) *base = address;
    if (bytes) *bytes = exported;
    return 0;
}
API int cuImportExternalMemory(void **out, const void *descriptor) { *out = (void *)handle(); return 0; }
API int cuDestroyExternalMemory(void *memory) { return 0; }

API int cuModuleGetGlobal_v2(uint64_t *address, size_t *bytes, void *module, const char *name) {
    if (address) *address = 0x600000000000 + name[0] * 4096;
    if (bytes) *bytes = 4096;
    return 0;
}
API int cuModuleUnload(void *module) { return 0; }

API int cuGraphCreate(void **out, unsigned flags) { *out = (void *)handle(); return 0; }
API int cuGraphAddMemAllocNode(void **node, void *graph, const void *before, size_t count, char *parameters) {
    uint64_t bytes, address;
    memcpy(&bytes, parameters + 104, 8);
    address = place(bytes);
    memcpy(parameters + 112, &address, 8);
    *node = (void *)handle();
    return 0;
}
API int cuGraphAddNode_v2(void **node, void *graph, const void *before, const void *edges, size_t count, char *parameters) {
    return *(int *)parameters == 10 ? cuGraphAddMemAllocNode(node, graph, before, count, parameters + 16) : 0;
}
API int cuGraphInstantiateWithFlags(void **out, void *graph, unsigned long flags) { *out = (void *)handle(); return 0; }
API int cuGraphDestroy(void *graph) { return 0; }
API int cuGraphExecDestroy(void *executable) { return 0; }

// NVML: two devices, whose handles are 1 and 2.
API int nvmlInit_v2(void) { return 0; }
API int nvmlDeviceGetUUID(void *device, char *text, unsigned length) {
    static const char uuid[] = "GPU-00000000-0000-0000-0000-00000000000a";
    if (length < sizeof uuid) return 7;
    memcpy(text, uuid, sizeof uuid);
    text[sizeof uuid - 2] = 'a' + (uintptr_t)device - 1;
    return 0;
}
API int nvmlDeviceGetMemoryInfo(void *device, uint64_t *out) {
    out[0] = 1UL << 40, out[1] = 1UL << 39, out[2] = 1UL << 39;
    return 0;
}
API int nvmlDeviceGetMemoryInfo_v2(void *device, uint64_t *out) {
    out[1] = 1UL << 40, out[2] = 1 << 20, out[3] = 1UL << 39, out[4] = 1UL << 39;
    return 0;
}
