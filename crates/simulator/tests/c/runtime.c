// Walks through NVIDIA's runtime (the library named first) and prints what it answered, a line for each step.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define FIND(type, name) type (*name)() = (type(*)())dlsym(runtime, #name)
#define MUST(...) do { int rc = (__VA_ARGS__); if (rc) { printf("%s=%d\n", #__VA_ARGS__, rc); return 0; } } while (0)
#define STEP(...) do { int rc = (__VA_ARGS__); if (rc) printf("%s=%d\n", #__VA_ARGS__, rc); } while (0)
enum { TO_DEVICE = 1, TO_HOST = 2, ON_DEVICE = 3 };

int main(int count, char **words) {
    void *runtime = dlopen(words[1], RTLD_NOW);
    if (!runtime) return 9;
    FIND(int, cudaGetDeviceCount); FIND(int, cudaDriverGetVersion); FIND(int, cudaSetDevice); FIND(int, cudaGetDevice);
    FIND(int, cudaMemGetInfo); FIND(int, cudaMalloc); FIND(int, cudaFree); FIND(int, cudaMemcpy);
    FIND(int, cudaMemcpyAsync); FIND(int, cudaMemset); FIND(int, cudaMemcpy2D); FIND(int, cudaMallocHost);
    FIND(int, cudaFreeHost); FIND(int, cudaMallocManaged); FIND(int, cudaMallocPitch); FIND(int, cudaMallocAsync);
    FIND(int, cudaFreeAsync); FIND(int, cudaStreamCreateWithFlags); FIND(int, cudaStreamSynchronize);
    FIND(int, cudaStreamDestroy); FIND(int, cudaStreamBeginCapture); FIND(int, cudaStreamEndCapture);
    FIND(int, cudaGraphInstantiate); FIND(int, cudaGraphLaunch); FIND(int, cudaGraphDestroy);
    FIND(int, cudaGraphExecDestroy); FIND(int, cudaEventCreateWithFlags); FIND(int, cudaEventRecord);
    FIND(int, cudaEventSynchronize); FIND(int, cudaEventElapsedTime); FIND(int, cudaEventDestroy);
    FIND(int, cudaDeviceSynchronize); FIND(int, cudaDeviceReset); FIND(int, cudaHostRegister);
    FIND(int, cudaHostUnregister); FIND(int, cudaDeviceGetAttribute); FIND(int, cudaDeviceGetPCIBusId);
    FIND(int, cudaDeviceGetStreamPriorityRange); FIND(int, cudaDeviceCanAccessPeer);
    FIND(const char *, cudaGetErrorString);

    int devices = -1, version = -1;
    int rc = cudaGetDeviceCount(&devices);
    printf("count=%d devices=%d (%s)\n", rc, devices, cudaGetErrorString(rc));
    if (rc || count > 2) return 0;
    STEP(cudaDriverGetVersion(&version));
    printf("version=%d\n", version);
    for (int device = 0; device < devices; device++) {
        int major = 0, minor = 0;
        char id[32] = "";
        STEP(cudaDeviceGetAttribute(&major, 75, device));
        STEP(cudaDeviceGetAttribute(&minor, 76, device));
        STEP(cudaDeviceGetPCIBusId(id, 32, device));
        printf("device %d capability %d.%d at %s\n", device, major, minor, id);
    }
    MUST(cudaSetDevice(0));
    size_t before = 0, total = 0, during = 0, after = 0;
    MUST(cudaMemGetInfo(&before, &total));
    printf("total=%zu used=%zu\n", total, total - before);

    enum { BYTES = 1 << 20 };
    char *sent = malloc(BYTES), *back = malloc(BYTES), *one, *two, *pinned, *managed, *pitched, *pooled;
    for (int at = 0; at < BYTES; at++) sent[at] = at * 31;
    MUST(cudaMalloc(&one, BYTES));
    STEP(cudaMalloc(&two, BYTES));
    STEP(cudaMemGetInfo(&during, &total));
    printf("two allocations took %zu\n", before - during);
    STEP(cudaMemcpy(one, sent, BYTES, TO_DEVICE));
    STEP(cudaMemcpy(two, one, BYTES, ON_DEVICE));
    STEP(cudaMemcpy(back, two, BYTES, TO_HOST));
    printf("round trip %s\n", memcmp(sent, back, BYTES) ? "differs" : "same");
    STEP(cudaMemset(one, 7, BYTES));
    STEP(cudaMemcpy(back, one, BYTES, TO_HOST));
    printf("set %d %d\n", back[0], back[BYTES - 1]);
    printf("too much=%d\n", cudaMalloc(&pooled, total + 1));
    printf("not ours=%d\n", cudaMemcpy(sent, back, BYTES, TO_DEVICE));

    void *stream, *start, *stop, *graph, *executable;
    STEP(cudaStreamCreateWithFlags(&stream, 1));
    STEP(cudaMallocHost(&pinned, BYTES));
    STEP(cudaMallocManaged(&managed, BYTES, 1));
    managed[0] = 1;
    size_t pitch = 0;
    STEP(cudaMallocPitch(&pitched, &pitch, 100, 10));
    STEP(cudaMallocAsync(&pooled, BYTES, stream));
    STEP(cudaMemcpy2D(pitched, pitch, sent, 100, 100, 10, TO_DEVICE));
    STEP(cudaMemcpy2D(back, 100, pitched, pitch, 100, 10, TO_HOST));
    printf("rows %s\n", memcmp(sent, back, 1000) ? "differ" : "same");
    STEP(cudaHostRegister(back, BYTES, 0));
    STEP(cudaHostUnregister(back));
    float time = -1;
    STEP(cudaEventCreateWithFlags(&start, 0));
    STEP(cudaEventCreateWithFlags(&stop, 0));
    STEP(cudaEventRecord(start, stream));
    STEP(cudaEventRecord(stop, stream));
    STEP(cudaEventSynchronize(stop));
    STEP(cudaEventElapsedTime(&time, start, stop));
    printf("time passes %s\n", time >= 0 ? "forward" : "backward");

    STEP(cudaStreamBeginCapture(stream, 0));
    STEP(cudaMemcpyAsync(two, one, BYTES, ON_DEVICE, stream));
    STEP(cudaStreamEndCapture(stream, &graph));
    STEP(cudaMemcpy(back, two, BYTES, TO_HOST));
    printf("captured work %s\n", memcmp(sent, back, BYTES) ? "was done" : "waits");
    STEP(cudaGraphInstantiate(&executable, graph, 0ull, 0, 0));
    STEP(cudaGraphLaunch(executable, stream));
    STEP(cudaStreamSynchronize(stream));
    STEP(cudaMemcpy(back, two, BYTES, TO_HOST));
    printf("launched graph copied %d\n", back[0]);
    STEP(cudaGraphExecDestroy(executable));
    STEP(cudaGraphDestroy(graph));

    int least = 0, greatest = 0, peers = -1;
    STEP(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    if (devices > 1) STEP(cudaDeviceCanAccessPeer(&peers, 0, 1));
    STEP(cudaFreeAsync(pooled, stream));
    STEP(cudaFree(pitched));
    STEP(cudaFree(managed));
    STEP(cudaFreeHost(pinned));
    STEP(cudaEventDestroy(start));
    STEP(cudaEventDestroy(stop));
    STEP(cudaStreamDestroy(stream));
    STEP(cudaFree(one));
    STEP(cudaFree(two));
    STEP(cudaDeviceSynchronize());
    STEP(cudaMemGetInfo(&after, &total));
    printf("left over %zu\n", before - after);
    STEP(cudaMalloc(&one, BYTES));
    STEP(cudaDeviceReset());
    STEP(cudaMemGetInfo(&after, &total));
    printf("after a reset %zu\n", before - after);
    return 0;
}
