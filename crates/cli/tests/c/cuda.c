// Does with NVIDIA's runtime (the library named first) what its further words say, one after the other, and goes on
// whatever comes. Words: count memory malloc=BYTES load launch=COUNT sync sleep=SECONDS child (does the rest in a fork)
// ordered=FAULTS (changes FIRSTLIGHT_SIMULATE and starts this program anew with the rest). Further words are ignored,
// so that it can stand in for Ollama's programs by their command lines.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>
typedef struct { unsigned x, y, z; } dim3;
static const char PTX[] = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry add()\n{\nret;\n}\n";
static void *runtime;
#define CALL(name, ...) ({ int (*f)() = (int (*)())dlsym(runtime, #name); int rc = f ? f(__VA_ARGS__) : -1; \
                           printf("%s=%d\n", #name, rc); rc; })
static size_t number(const char *word) { return strtoull(strchr(word, '=') + 1, 0, 0); }
int main(int count, char **words) {
    const char *path = getenv("CUDART");
    void *memory = 0, *library = 0, *kernel = 0;
    int devices = -1;
    size_t free_bytes = 0, total = 0;
    for (int index = 1; index < count; index++) {
        const char *word = words[index];
        if (!runtime && strncmp(word, "sleep=", 6) && !(runtime = dlopen(path ? path : "libcudart.so.13", RTLD_NOW))) {
            fprintf(stderr, "%s\n", dlerror());
            return 9;
        }
        if (!strcmp(word, "count")) CALL(cudaGetDeviceCount, &devices);
        if (!strcmp(word, "memory")) CALL(cudaMemGetInfo, &free_bytes, &total);
        if (!strncmp(word, "malloc=", 7)) CALL(cudaMalloc, &memory, number(word));
        if (!strcmp(word, "load")) CALL(cudaLibraryLoadData, &library, PTX, NULL, NULL, 0, NULL, NULL, 0);
        if (!strncmp(word, "launch=", 7)) {
            if (!kernel) CALL(cudaLibraryGetKernel, &kernel, library, "add");
            int (*launch)(void *, dim3, dim3, void **, size_t, void *) =
                (int (*)(void *, dim3, dim3, void **, size_t, void *))dlsym(runtime, "cudaLaunchKernel");
            dim3 one = {1, 1, 1};
            for (size_t times = number(word); times > 0; times--)
                printf("cudaLaunchKernel=%d\n", launch(kernel, one, one, 0, 0, 0));
        }
        if (!strcmp(word, "sync")) CALL(cudaDeviceSynchronize);
        if (!strncmp(word, "sleep=", 6)) sleep(number(word));
    }
    fflush(stdout);
    return 0;
}
