// A client for tests of the quota: each word of the command line is a step. What a step answers is printed as a line; what
// it makes is kept under the number of the step, and `free:3` and the like refer to it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t made[64];
static void *driver, *nvml;

static int call(const char *name, uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d, uintptr_t e, uintptr_t f) {
    void *library = driver;
    if (!strncmp(name, "nvml", 4)) library = nvml ? nvml : (nvml = dlopen(getenv("CLIENT_NVML"), RTLD_NOW));
    void *function = dlsym(library, name);
    if (!function) return -1;
    return ((int (*)(uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t))function)(a, b, c, d, e, f);
}

// The driver's way for most programs.
static int looked_up(const char *name, uintptr_t a, uintptr_t b) {
    void *function = NULL;
    call("cuGetProcAddress_v2", (uintptr_t)name, (uintptr_t)&function, 12000, 0, 0, 0);
    return function ? ((int (*)(uintptr_t, uintptr_t))function)(a, b) : -1;
}

struct shared { char bytes[64]; };

static int step(const char *word, uint64_t *out) {
    const char *colon = strchr(word, ':');
    size_t number = colon ? strtoul(colon + 1, NULL, 0) : 0;
    size_t length = colon ? (size_t)(colon - word) : strlen(word);
    const char *second = colon ? strchr(colon + 1, ',') : NULL;
    size_t other = second ? strtoul(second + 1, NULL, 0) : 0;
    uint64_t *at = number < 64 ? &made[number] : made;
#define IS(name) (length == strlen(name) && !strncmp(word, name, length))
#define CALL(name, a, b, c, d, e, f) \
    call(name, (uintptr_t)(a), (uintptr_t)(b), (uintptr_t)(c), (uintptr_t)(d), (uintptr_t)(e), (uintptr_t)(f))
    if (IS("init")) return CALL("cuInit", 0, 0, 0, 0, 0, 0);
    if (IS("retain")) return CALL("cuDevicePrimaryCtxRetain", out, number, 0, 0, 0, 0);
    if (IS("release-primary")) return CALL("cuDevicePrimaryCtxRelease_v2", number, 0, 0, 0, 0, 0);
    if (IS("reset")) return CALL("cuDevicePrimaryCtxReset_v2", number, 0, 0, 0, 0, 0);
    if (IS("context")) return CALL("cuCtxCreate_v2", out, 0, number, 0, 0, 0);
    if (IS("destroy")) return CALL("cuCtxDestroy_v2", *at, 0, 0, 0, 0, 0);
    if (IS("set")) return CALL("cuCtxSetCurrent", number < 64 ? *at : number, 0, 0, 0, 0, 0);
    if (IS("limit")) return CALL("cuCtxSetLimit", number, other, 0, 0, 0, 0);
    if (IS("allocate")) return CALL("cuMemAlloc_v2", out, number, 0, 0, 0, 0);
    if (IS("managed")) return CALL("cuMemAllocManaged", out, number, 1, 0, 0, 0);
    if (IS("async")) return CALL("cuMemAllocAsync", out, number, 0, 0, 0, 0);
    if (IS("pool")) return CALL("cuMemAllocFromPoolAsync", out, number, 0, 0, 0, 0);
    if (IS("free")) return CALL("cuMemFree_v2", number < 64 ? *at : number, 0, 0, 0, 0, 0);
    if (IS("free-async")) return CALL("cuMemFreeAsync", *at, 0, 0, 0, 0, 0);
    if (IS("pitch")) {
        size_t pitch = 0;
        return CALL("cuMemAllocPitch_v2", out, &pitch, number, other, 4, 0);
    }
    if (IS("array")) {
        uint64_t descriptor[] = {number, other, 0x20 | 1UL << 32};
        return CALL("cuArrayCreate_v2", out, descriptor, 0, 0, 0, 0);
    }
    if (IS("mipmapped")) {
        uint64_t descriptor[] = {number, number, 0, 0x20 | 1UL << 32, 0};
        return CALL("cuMipmappedArrayCreate", out, descriptor, other, 0, 0, 0);
    }
    if (IS("free-array")) return CALL("cuArrayDestroy", *at, 0, 0, 0, 0, 0);
    if (IS("free-mipmapped")) return CALL("cuMipmappedArrayDestroy", *at, 0, 0, 0, 0, 0);
    if (IS("create")) { // 1: the host's
        int properties[8] = {1, 0, other ? 2 : 1, 0};
        return CALL("cuMemCreate", out, number, properties, 0, 0, 0);
    }
    if (IS("release")) return CALL("cuMemRelease", number < 64 ? *at : number, 0, 0, 0, 0, 0);
    if (IS("retain-handle")) return CALL("cuMemRetainAllocationHandle", out, *at, 0, 0, 0, 0);
    if (IS("import")) return CALL("cuMemImportFromShareableHandle", out, 0, 1, 0, 0, 0);
    if (IS("map")) { // handle, address in pages; one page
        *out = 0x500000000000 + other * 0x200000;
        return CALL("cuMemMap", *out, 0x200000, 0, number < 64 ? *at : number, 0, 0);
    }
    if (IS("unmap")) return CALL("cuMemUnmap", 0x500000000000 + number * 0x200000, other * 0x200000, 0, 0, 0, 0);
    if (IS("open")) {
        struct shared memory = {{0}};
        int (*function)(uint64_t *, struct shared, unsigned) = dlsym(driver, "cuIpcOpenMemHandle_v2");
        memcpy(memory.bytes + 56, &number, 8);
        return function(out, memory, 1);
    }
    if (IS("close")) return CALL("cuIpcCloseMemHandle", *at, 0, 0, 0, 0, 0);
    if (IS("external")) {
        uint64_t descriptor[14] = {1, 0, 0, number};
        return CALL("cuImportExternalMemory", out, descriptor, 0, 0, 0, 0);
    }
    if (IS("free-external")) return CALL("cuDestroyExternalMemory", *at, 0, 0, 0, 0, 0);
    if (IS("global")) return CALL("cuModuleGetGlobal_v2", out, 0, 0x99000, colon + 1, 0, 0);
    if (IS("unload")) return CALL("cuModuleUnload", 0x99000, 0, 0, 0, 0, 0);
    if (IS("graph")) return CALL("cuGraphCreate", out, 0, 0, 0, 0, 0);
    if (IS("node") || IS("special-node")) { // graph, bytes
        uint64_t parameters[40] = {0}, node = 0, special = IS("special-node");
        uint64_t *part = parameters + (special ? 0 : 2);
        if (!special) parameters[0] = 10;
        part[1] = 1;
        part[13] = other;
        int code = special ? CALL("cuGraphAddMemAllocNode", &node, *at, 0, 0, parameters, 0)
                           : CALL("cuGraphAddNode_v2", &node, *at, 0, 0, 0, parameters);
        *out = part[14];
        return code;
    }
    if (IS("instantiate")) return CALL("cuGraphInstantiateWithFlags", out, *at, 0, 0, 0, 0);
    if (IS("free-graph")) return CALL("cuGraphDestroy", *at, 0, 0, 0, 0, 0);
    if (IS("free-executable")) return CALL("cuGraphExecDestroy", *at, 0, 0, 0, 0, 0);
    if (IS("used")) { // what is used of the quota, by what is told to be left of it
        size_t left = 0, total = 0;
        int code = CALL("cuMemGetInfo_v2", &left, &total, 0, 0, 0, 0);
        return code ? -code : (int)(total - left);
    }
    if (IS("figures")) { // of all who are asked: device 0 is current
        size_t left = 0, total = 0, device = 0;
        uint64_t one[3] = {0}, two[5] = {5UL << 24 | 40};
        CALL("cuMemGetInfo_v2", &left, &total, 0, 0, 0, 0);
        CALL("cuDeviceTotalMem_v2", &device, 0, 0, 0, 0, 0);
        CALL("nvmlInit_v2", 0, 0, 0, 0, 0, 0);
        CALL("nvmlDeviceGetMemoryInfo", 1, one, 0, 0, 0, 0);
        CALL("nvmlDeviceGetMemoryInfo_v2", 1, two, 0, 0, 0, 0);
        printf("%zu %zu %zu | %lu %lu %lu | %lu %lu %lu %lu\n", left, total, device, one[0], one[1], one[2], two[1], two[2],
               two[3], two[4]);
        return 0;
    }
    if (IS("lookup")) return looked_up("cuMemAlloc", (uintptr_t)out, number);
    if (IS("kill")) return raise(9);
    if (IS("wait")) return getchar() == EOF;
    if (IS("fork")) { // a child that asks for the same as this process
        pid_t child;
        int status = -1;
        fflush(stdout);
        if (!(child = fork())) _exit(CALL("cuMemAlloc_v2", out, number, 0, 0, 0, 0));
        waitpid(child, &status, 0);
        return WEXITSTATUS(status);
    }
    return -2;
}

int main(int count, char **words) {
    driver = dlopen("libcuda.so.1", RTLD_NOW);
    if (!driver) return 3;
    for (int i = 1; i < count; i++) {
        uint64_t out = 0;
        int answer = step(words[i], &out);
        if (i < 64) made[i] = out;
        printf("%d\n", answer);
        fflush(stdout);
    }
    return 0;
}
