// A CUDA client for tests: each word of the command line is a step. Prints what came back, one line a step.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void *driver, *nvml;
static FILE *out;

static void *find(const char *name) {
    if (!driver) driver = dlopen("libcuda.so.1", RTLD_NOW);
    return driver ? dlsym(driver, name) : NULL;
}

static void *find_nvml(const char *name) {
    if (!nvml) nvml = dlopen(getenv("CLIENT_NVML"), RTLD_NOW);
    return nvml ? dlsym(nvml, name) : NULL;
}

static int call(void *function, uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d, uintptr_t e) {
    if (!function) return -1;
    return ((int (*)(uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t))function)(a, b, c, d, e);
}

static int launch(int graph) {
    typedef int (*kernel)(uintptr_t, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, uintptr_t,
                          uintptr_t, uintptr_t);
    if (graph) return call(find("cuGraphLaunch"), 1, 2, 0, 0, 0);
    return ((kernel)find("cuLaunchKernel"))(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
}

// The driver answers with the function's address where it is no argument of launch().
static int launch_that_fails(int code) {
    typedef int (*kernel)(uintptr_t, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, uintptr_t,
                          uintptr_t, uintptr_t);
    return ((kernel)find("cuLaunchKernel"))(code, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
}

static int wide(void) {
    typedef int (*function)(long, long, long, long, long, long, double, double, double, double, double, double, long,
                            long, double);
    return ((function)find("cuWaitExternalSemaphoresAsync"))(1, 2, 3, 4, 5, 6, .7, .8, .9, 1.0, 1.1, 1.2, 13, 14, 1.5);
}

static pthread_barrier_t together;

static void *racer(void *unused) {
    int count = 0;
    pthread_barrier_wait(&together);
    if (call(find("cuInit"), 0, 0, 0, 0, 0) || wide() != 534) return "wrong";
    if (call(find("cuDeviceGetCount"), (uintptr_t)&count, 0, 0, 0, 0) || count != 2) return "wrong";
    for (int i = 0; i < 1000; i++)
        if (launch(0)) return "wrong";
    return unused;
}

static int race(void) {
    pthread_t threads[8];
    void *answer;
    int wrong = 0;
    find("cuInit");
    pthread_barrier_init(&together, NULL, 8);
    for (int i = 0; i < 8; i++) pthread_create(&threads[i], NULL, racer, NULL);
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], &answer);
        wrong += answer != NULL;
    }
    return wrong;
}

static int step(const char *word) {
    int number = -1, rc;
    size_t free_bytes = 0, total = 0;
    uint64_t pointer = 0;
    void *found = NULL;
    const char *name = strchr(word, ':');
    if (!strcmp(word, "init")) return call(find("cuInit"), 0, 0, 0, 0, 0);
    if (!strcmp(word, "version")) {
        rc = call(find("cuDriverGetVersion"), (uintptr_t)&number, 0, 0, 0, 0);
        return rc ? -rc : number;
    }
    if (!strcmp(word, "count")) {
        rc = call(find("cuDeviceGetCount"), (uintptr_t)&number, 0, 0, 0, 0);
        return rc ? -rc : number;
    }
    if (!strcmp(word, "context")) return call(find("cuDevicePrimaryCtxRetain"), (uintptr_t)&found, 1, 0, 0, 0);
    if (!strcmp(word, "memory")) {
        rc = call(find("cuMemGetInfo_v2"), (uintptr_t)&free_bytes, (uintptr_t)&total, 0, 0, 0);
        return rc ? rc : (int)(free_bytes + total);
    }
    if (!strncmp(word, "allocate:", 9)) return call(find("cuMemAlloc_v2"), (uintptr_t)&pointer, atoi(name + 1), 0, 0, 0);
    if (!strcmp(word, "launch")) return launch(0);
    if (!strncmp(word, "launch-fails:", 13)) return launch_that_fails(atoi(word + 13));
    if (!strcmp(word, "launch1000")) {
        for (int i = 0; i < 1000; i++)
            if (launch(0)) return 1;
        return 0;
    }
    if (!strcmp(word, "graph")) return launch(1);
    if (!strcmp(word, "synchronise")) return call(find("cuCtxSynchronize"), 0, 0, 0, 0, 0);
    if (!strcmp(word, "wide")) return wide();
    if (!strcmp(word, "race")) return race();
    if (!strcmp(word, "table")) {
        unsigned char uuid[16] = {0x6b, 0xd5, 0xfb, 0x6c, 0x5b, 0xf4, 0xe7, 0x4a, 0x89, 0x87, 0xd9, 0x39, 0x12, 0xfd, 0x9d, 0xf9};
        rc = call(find("cuGetExportTable"), (uintptr_t)&found, (uintptr_t)uuid, 0, 0, 0);
        return rc ? rc : (int)*(size_t *)found;
    }
    if (!strncmp(word, "own:", 4)) { // does the lookup hand out our own entry of this symbol?
        rc = call(find("cuGetProcAddress_v2"), (uintptr_t) "cuInit", (uintptr_t)&found, 12000, 0, 0);
        if (strcmp(name + 1, "cuInit")) {
            char base[64];
            strcpy(base, name + 1);
            if (strstr(base, "_v2")) *strstr(base, "_v2") = 0;
            rc = call(find("cuGetProcAddress_v2"), (uintptr_t)base, (uintptr_t)&found, 12000, 0, 0);
        }
        return rc ? rc : found == find(name + 1);
    }
    if (!strcmp(word, "future")) {
        rc = call(find("cuGetProcAddress_v2"), (uintptr_t) "cuMemAlloc", (uintptr_t)&found, 99000, 0, 0);
        return rc ? rc : call(found, (uintptr_t)&pointer, 10, 0, 0, 0);
    }
    if (!strncmp(word, "call:", 5)) return call(find(name + 1), 0, 0, 0, 0, 0);
    if (!strcmp(word, "nvml-text")) {
        const char *(*text)(int) = find_nvml("nvmlErrorString");
        return text ? (int)strlen(text(1)) > 0 : -1;
    }
    if (!strncmp(word, "nvml:", 5)) return call(find_nvml(name + 1), (uintptr_t)&number, 0, 0, 0, 0);
    if (!strcmp(word, "close-stdio")) return close(0) | close(1) | close(2);
    if (!strcmp(word, "close-all")) return (int)syscall(436, 3, ~0U, 0);
    if (!strncmp(word, "limit:", 6)) {
        struct rlimit limit = {(rlim_t)atoi(name + 1), (rlim_t)atoi(name + 1)};
        return setrlimit(RLIMIT_FSIZE, &limit);
    }
    if (!strcmp(word, "sleep")) return (int)sleep(1);
    if (!strcmp(word, "hold")) { // a file that nobody else must write to, on the lowest free descriptor
        char path[4096];
        snprintf(path, sizeof path, "%s/held", getenv("CLIENT_DIR"));
        return open(path, O_RDWR | O_CREAT, 0644) < 0;
    }
    if (!strcmp(word, "forget")) { // late open and close
        for (int i = 0; i < 200; i++) {
            void *handle = dlopen(getenv("CLIENT_SHIM"), RTLD_NOW | RTLD_LOCAL);
            if (!handle || call(dlsym(handle, "cuInit"), 0, 0, 0, 0, 0)) return 1;
            dlclose(handle);
        }
        return 0;
    }
    return -2;
}

int main(int count, char **words) {
    const char *path = getenv("CLIENT_OUT");
    out = path ? fopen(path, "w") : stdout;
    if (!out) return 9;
    for (int i = 1; i < count; i++) {
        if (!strcmp(words[i], "fork")) { // the child goes on with the rest, the parent waits for it and goes on, too
            pid_t child = fork();
            int status = 0;
            if (child && (waitpid(child, &status, 0) < 0 || status)) return 8;
            continue;
        }
        fprintf(out, "%s=%d\n", words[i], step(words[i]));
        fflush(out);
    }
    return 0;
}
