// Uses the driver named first as a program of the driver API does, and prints what it answered.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define FIND(name) int (*name)() = (int (*)())dlsym(driver, #name)
#define SAY(label, call) printf("%s=%d\n", label, (call))
#define MUST(call) do { int rc = (call); if (rc) { printf("%s=%d\n", #call, rc); return 7; } } while (0)
typedef uint64_t handle;
static int calls;
static void from_host(void *data) { calls += *(int *)data; }

static const char PTX[] = "// two things\n.version 8.0\n.target sm_80\n.address_size 64\n"
                          ".visible .global .align 4 .b8 table[4096];\n.visible .entry add()\n{\nret;\n}\n";

int main(int count, char **words) {
    void *driver = dlopen(words[1], RTLD_NOW);
    if (!driver) return 9;
    FIND(cuInit); FIND(cuDeviceGetCount); FIND(cuDevicePrimaryCtxRetain); FIND(cuDevicePrimaryCtxRelease_v2);
    FIND(cuCtxSetCurrent); FIND(cuCtxGetDevice); FIND(cuMemGetInfo_v2); FIND(cuMemAlloc_v2); FIND(cuMemFree_v2);
    FIND(cuMemcpyHtoD_v2); FIND(cuMemcpyDtoH_v2); FIND(cuMemsetD32_v2); FIND(cuModuleLoadData);
    FIND(cuModuleGetFunction); FIND(cuModuleGetGlobal_v2); FIND(cuModuleUnload); FIND(cuLaunchKernel);
    FIND(cuStreamCreate); FIND(cuStreamDestroy_v2); FIND(cuStreamSynchronize); FIND(cuStreamBeginCapture_v2);
    FIND(cuStreamEndCapture); FIND(cuStreamWaitEvent); FIND(cuStreamIsCapturing); FIND(cuEventCreate);
    FIND(cuEventRecord); FIND(cuEventQuery); FIND(cuEventElapsedTime); FIND(cuEventDestroy_v2);
    FIND(cuGraphInstantiateWithFlags); FIND(cuGraphLaunch); FIND(cuGraphExecUpdate_v2); FIND(cuLaunchHostFunc);
    FIND(cuMemAddressReserve); FIND(cuMemAddressFree); FIND(cuMemCreate); FIND(cuMemMap); FIND(cuMemSetAccess);
    FIND(cuMemUnmap); FIND(cuMemRelease); FIND(cuPointerGetAttribute); FIND(cuGetProcAddress_v2);
    FIND(cuGetErrorName); FIND(cuGetErrorString); FIND(cuGetExportTable); FIND(cuFuncGetAttribute);
    FIND(cuFuncSetAttribute);

    handle context = 0, memory = 0, module = 0, kernel = 0, again = 0, stream = 0, event = 0, late = 0;
    size_t free_before = 0, free_now = 0, total = 0, size = 0;
    int devices = 0, device = -1, value = 0;
    SAY("before init", cuDeviceGetCount(&devices));
    SAY("init with flags", cuInit(1));
    MUST(cuInit(0));
    MUST(cuDeviceGetCount(&devices));
    SAY("no context", cuMemAlloc_v2(&memory, (size_t)4096));
    SAY("device without context", cuCtxGetDevice(&device));
    MUST(cuDevicePrimaryCtxRetain(&context, 0));
    MUST(cuCtxSetCurrent(context));
    MUST(cuMemGetInfo_v2(&free_before, &total));
    SAY("null figures", cuMemGetInfo_v2(NULL, NULL));

    MUST(cuMemAlloc_v2(&memory, (size_t)1 << 20));
    int sent[4] = {1, 2, 3, 4}, back[4] = {0};
    MUST(cuMemcpyHtoD_v2(memory + 64, sent, sizeof sent));
    MUST(cuMemcpyDtoH_v2(back, memory + 64, sizeof back));
    printf("round trip %d\n", memcmp(sent, back, sizeof sent) == 0);
    MUST(cuMemsetD32_v2(memory, 0x01020304, (size_t)2));
    MUST(cuMemcpyDtoH_v2(back, memory, (size_t)8));
    printf("set %x %x\n", back[0], back[1]);
    SAY("copy past the end", cuMemcpyDtoH_v2(back, memory + (1 << 20) - 4, (size_t)8));
    SAY("more than all", cuMemAlloc_v2(&again, total + 1));
    SAY("nothing", cuMemAlloc_v2(&again, (size_t)0));
    SAY("into null", cuMemAlloc_v2(NULL, (size_t)4096));
    SAY("free of another's", cuMemFree_v2((handle)(uintptr_t)sent));
    SAY("free of the middle", cuMemFree_v2(memory + 64));
    MUST(cuPointerGetAttribute(&value, 2, memory + 5));
    printf("memory type %d\n", value);

    SAY("an image that is none", cuModuleLoadData(&module, "\001\002\003\004"));
    SAY("a text that is none", cuModuleLoadData(&module, "word .version 8.0"));
    SAY("a text of tomorrow", cuModuleLoadData(&module, ".version 99.0\n.target sm_80\n"));
    MUST(cuModuleLoadData(&module, PTX));
    MUST(cuModuleGetFunction(&kernel, module, "add"));
    MUST(cuModuleGetFunction(&again, module, "add"));
    SAY("a kernel that is not there", cuModuleGetFunction(&event, module, "subtract"));
    printf("same kernel %d\n", kernel == again);
    MUST(cuModuleGetGlobal_v2(&again, &size, module, "table"));
    MUST(cuFuncGetAttribute(&value, 6, kernel));
    printf("binary version %d\n", value);
    SAY("launch", cuLaunchKernel(kernel, 1, 1, 1, 32, 1, 1, 0, (handle)0, NULL, NULL));
    SAY("launch of an empty grid", cuLaunchKernel(kernel, 0, 1, 1, 32, 1, 1, 0, (handle)0, NULL, NULL));
    SAY("launch of too wide a block", cuLaunchKernel(kernel, 1, 1, 1, 2048, 1, 1, 0, (handle)0, NULL, NULL));
    SAY("launch with too much shared memory", cuLaunchKernel(kernel, 1, 1, 1, 32, 1, 1, 65536, (handle)0, NULL, NULL));
    SAY("allowing it", cuFuncSetAttribute(kernel, 8, 65536));
    SAY("launch with as much, allowed", cuLaunchKernel(kernel, 1, 1, 1, 32, 1, 1, 65536, (handle)0, NULL, NULL));
    SAY("launch of no kernel", cuLaunchKernel((handle)0, 1, 1, 1, 32, 1, 1, 0, (handle)0, NULL, NULL));
    SAY("launch in no stream", cuLaunchKernel(kernel, 1, 1, 1, 32, 1, 1, 0, (handle)0x77, NULL, NULL));

    handle graph = 0, executable = 0;
    int one = 1, status = 0;
    struct { int result; void *node, *from; } update;
    MUST(cuStreamCreate(&stream, 1));
    MUST(cuEventCreate(&event, 0));
    MUST(cuEventCreate(&late, 0));
    SAY("time of an event that was not recorded", cuEventElapsedTime(back, event, late));
    MUST(cuStreamBeginCapture_v2(stream, 0));
    MUST(cuLaunchKernel(kernel, 1, 1, 1, 32, 1, 1, 0, stream, NULL, NULL));
    MUST(cuLaunchHostFunc(stream, from_host, &one));
    MUST(cuStreamIsCapturing(stream, &status));
    printf("capturing %d calls %d\n", status, calls);
    MUST(cuStreamEndCapture(stream, &graph));
    MUST(cuGraphInstantiateWithFlags(&executable, graph, (uint64_t)0));
    MUST(cuGraphLaunch(executable, stream));
    MUST(cuGraphLaunch(executable, stream));
    printf("calls of two launches %d\n", calls);
    MUST(cuStreamBeginCapture_v2(stream, 0));
    SAY("synchronise while capturing", cuStreamSynchronize(stream));
    SAY("end of a capture that was broken", cuStreamEndCapture(stream, &again));
    MUST(cuStreamBeginCapture_v2(stream, 0));
    MUST(cuStreamEndCapture(stream, &graph));
    printf("update with another shape %d", cuGraphExecUpdate_v2(executable, graph, &update));
    printf(" %d\n", update.result);
    MUST(cuEventDestroy_v2(event));
    SAY("event destroyed twice", cuEventDestroy_v2(event));
    MUST(cuStreamDestroy_v2(stream));
    SAY("use of a destroyed stream", cuStreamSynchronize(stream));

    struct { int kind, handles, where, id; uint64_t windows, flags; } properties = {1, 0, 1, 0, 0, 0};
    struct { int where, id, flags; } access = {1, 0, 3};
    const size_t unit = 2 << 20;
    handle place = 0, physical = 0;
    size_t reserved = 0;
    MUST(cuMemGetInfo_v2(&reserved, &total));
    MUST(cuMemAddressReserve(&place, (size_t)32 << 30, (size_t)0, (handle)0, (uint64_t)0));
    MUST(cuMemGetInfo_v2(&free_now, &total));
    printf("addresses cost %zu\n", reserved - free_now);
    MUST(cuMemCreate(&physical, unit, &properties, (uint64_t)0));
    MUST(cuMemMap(place, unit, (size_t)0, physical, (uint64_t)0));
    MUST(cuMemMap(place + unit, unit, (size_t)0, physical, (uint64_t)0));
    MUST(cuMemSetAccess(place, 2 * unit, &access, (size_t)1));
    MUST(cuMemRelease(physical));
    MUST(cuMemcpyHtoD_v2(place, sent, sizeof sent));
    MUST(cuMemcpyDtoH_v2(back, place + unit, sizeof back));
    printf("two addresses of one memory %d\n", memcmp(sent, back, sizeof sent) == 0);
    MUST(cuMemGetInfo_v2(&free_now, &total));
    printf("memory costs %zu\n", reserved - free_now);
    SAY("addresses in use", cuMemAddressFree(place, (size_t)32 << 30));
    MUST(cuMemUnmap(place, 2 * unit));
    MUST(cuMemAddressFree(place, (size_t)32 << 30));
    MUST(cuMemGetInfo_v2(&free_now, &total));
    printf("and is given back %zu\n", reserved - free_now);

    void *entry = (void *)1;
    int why = -1;
    char unknown[16] = "no such table!!";
    SAY("lookup of nonsense", cuGetProcAddress_v2("cuCoffee", &entry, 13000, (uint64_t)0, &why));
    printf("entry %d why %d\n", entry != NULL, why);
    SAY("lookup before its time", cuGetProcAddress_v2("cuLibraryLoadData", &entry, 11000, (uint64_t)0, &why));
    printf("why %d\n", why);
    SAY("table nobody knows", cuGetExportTable(&entry, unknown));
    const char *text = NULL;
    SAY("name of a code", cuGetErrorName(999, &text));
    printf("%s\n", text);
    SAY("name of no code", cuGetErrorName(12345, &text));

    MUST(cuModuleUnload(module));
    MUST(cuMemFree_v2(memory));
    MUST(cuMemGetInfo_v2(&free_now, &total));
    printf("left over %zu\n", free_before - free_now);
    MUST(cuMemAlloc_v2(&memory, (size_t)4096));
    MUST(cuDevicePrimaryCtxRelease_v2(0));
    SAY("use of a released context", cuMemGetInfo_v2(&free_now, &total));
    MUST(cuDevicePrimaryCtxRetain(&context, 0));
    MUST(cuMemGetInfo_v2(&free_now, &total));
    printf("after release %zu\n", free_before - free_now);
    MUST(cuModuleLoadData(&module, PTX));
    MUST(cuModuleGetGlobal_v2(&again, &size, module, "table"));
    MUST(cuDevicePrimaryCtxRelease_v2(0));
    MUST(cuDevicePrimaryCtxRetain(&context, 0));
    MUST(cuMemAlloc_v2(&memory, size));
    MUST(cuModuleGetGlobal_v2(&again, &size, module, "table"));
    printf("a variable after a release is nobody else's %d\n", again != memory);
    return 0;
}
