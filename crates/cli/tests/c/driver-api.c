// A program of the driver API. Words: init, work (context, memory, three launches, a wait), null (asks for cuDeviceGet
// by cuGetProcAddress and calls what it gets).
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
int main(int count, char **words) {
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    if (!driver) return 9;
#define FIND(name) int (*name)() = (int (*)())dlsym(driver, #name)
    FIND(cuInit); FIND(cuDeviceGetCount); FIND(cuDeviceGet); FIND(cuDeviceTotalMem_v2); FIND(cuDevicePrimaryCtxRetain);
    FIND(cuCtxSetCurrent); FIND(cuMemGetInfo_v2); FIND(cuLaunchKernel); FIND(cuCtxSynchronize); FIND(cuGetProcAddress_v2);
    for (int index = 1; index < count; index++) {
        int devices = 0, device = 0;
        size_t free_bytes = 0, total = 0;
        void *context = 0, *found = 0;
        if (!strcmp(words[index], "init")) printf("cuInit=%d\n", cuInit(0));
        if (!strcmp(words[index], "work")) {
            cuDeviceGetCount(&devices);
            cuDeviceGet(&device, 0);
            cuDeviceTotalMem_v2(&total, 0);
            cuDevicePrimaryCtxRetain(&context, 0);
            cuCtxSetCurrent(context);
            cuMemGetInfo_v2(&free_bytes, &total);
            for (int times = 0; times < 3; times++)
                printf("cuLaunchKernel=%d\n", cuLaunchKernel((void *)8, 1, 1, 1, 1, 1, 1, 0, (void *)0, (void *)0, (void *)0));
            cuCtxSynchronize();
        }
        if (!strcmp(words[index], "null")) {
            cuGetProcAddress_v2("cuDeviceGet", &found, 12000, (uint64_t)0, (void *)0);
            ((int (*)(int *, int))found)(&device, 0);
        }
    }
    return 0;
}
