// Asks NVIDIA's runtime (the library named first) for the devices and for the driver's version.
#include <dlfcn.h>
#include <stdio.h>
int main(int count, char **words) {
    void *runtime = dlopen(words[1], RTLD_NOW);
    int devices = -1, version = -1;
    if (!runtime) return 9;
    int (*get_count)(int *) = dlsym(runtime, "cudaGetDeviceCount");
    int (*get_version)(int *) = dlsym(runtime, "cudaDriverGetVersion");
    printf("count=%d ", get_count(&devices));
    printf("devices=%d ", devices);
    printf("version=%d ", get_version(&version));
    printf("%d\n", version);
    return 0;
}
