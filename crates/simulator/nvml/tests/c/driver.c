// A program that uses the driver, too: figures agree, and a loss is told.
#include "check.h"
#include <dlfcn.h>

// The driver, as a program that uses both has it.
static int (*cu_init)(unsigned), (*cu_context)(void **, unsigned, int), (*cu_alloc)(uint64_t *, size_t), (*cu_free)(uint64_t),
    (*cu_info)(size_t *, size_t *), (*cu_module)(void **, const char *), (*cu_function)(void **, void *, const char *),
    (*cu_launch)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **),
    (*cu_attribute)(int *, int, int);

void open_driver(const char *path) {
    void *cuda = dlopen(path, RTLD_NOW | RTLD_LOCAL), *context = NULL;
    if (!cuda) {
        puts(dlerror());
        exit(1);
    }
    *(void **)&cu_init = dlsym(cuda, "cuInit");
    *(void **)&cu_context = dlsym(cuda, "cuCtxCreate_v2");
    *(void **)&cu_alloc = dlsym(cuda, "cuMemAlloc_v2");
    *(void **)&cu_free = dlsym(cuda, "cuMemFree_v2");
    *(void **)&cu_info = dlsym(cuda, "cuMemGetInfo_v2");
    *(void **)&cu_module = dlsym(cuda, "cuModuleLoadData");
    *(void **)&cu_function = dlsym(cuda, "cuModuleGetFunction");
    *(void **)&cu_launch = dlsym(cuda, "cuLaunchKernel");
    *(void **)&cu_attribute = dlsym(cuda, "cuDeviceGetAttribute");
    ANSWERS(0, cu_init(0));
    ANSWERS(0, cu_context(&context, 0, 0));
}

// `device` is the one that CUDA numbers 0.
void memory_agrees(nvmlDevice_t device) {
    uint64_t pointer = 0;
    size_t free_bytes = 0, total = 0;
    nvmlMemory_t memory;
    unsigned width = 0;
    int attribute = 0;
    for (int step = 0; step < 3; step++) {
        if (step == 1) ANSWERS(0, cu_alloc(&pointer, 3u << 30));
        if (step == 2) ANSWERS(0, cu_free(pointer));
        ANSWERS(0, cu_info(&free_bytes, &total));
        ANSWERS(NVML_SUCCESS, nvmlDeviceGetMemoryInfo(device, &memory));
        CHECK(memory.total == total && memory.free == free_bytes && memory.used == total - free_bytes);
        CHECK(step != 1 || memory.used >= 3u << 30);
        processes(device, memory.used > 0, memory.used);
    }
    ANSWERS(0, cu_attribute(&attribute, 37, 0));
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetMemoryBusWidth(device, &width));
    CHECK((unsigned)attribute == width);
    nvmlDeviceAttributes_t attributes;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetAttributes_v2(device, &attributes));
    ANSWERS(0, cu_attribute(&attribute, 40, 0));
    CHECK((unsigned)attribute == attributes.sharedCopyEngineCount);
    ANSWERS(0, cu_attribute(&attribute, 16, 0));
    CHECK((unsigned)attribute == attributes.multiprocessorCount);
}

void loss_is_told(nvmlDevice_t device) {
    void *module = NULL, *function = NULL;
    nvmlEventSet_t set;
    GUARDED(nvmlEventData_t, event);
    unsigned n = 0;
    char text[96];
    nvmlDevice_t other;
    ANSWERS(NVML_SUCCESS, nvmlEventSetCreate(&set));
    ANSWERS(NVML_SUCCESS, nvmlDeviceRegisterEvents(device, nvmlEventTypeXidCriticalError, set));
    ANSWERS(NVML_ERROR_TIMEOUT, nvmlEventSetWait_v2(set, &event.it, 0));
    ANSWERS(0, cu_module(&module, ".version 8.0\n.target sm_75\n.entry kernel()\n{\nret;\n}\n"));
    ANSWERS(0, cu_function(&function, module, "kernel"));
    ANSWERS(0, cu_launch(function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetName(device, text, 96));
    ANSWERS(999, cu_launch(function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    ANSWERS(NVML_SUCCESS, nvmlEventSetWait_v2(set, &event.it, 5000));
    UNHURT(event);
    CHECK(event.it.device == device && event.it.eventType == nvmlEventTypeXidCriticalError && event.it.eventData == 79);
    ANSWERS(NVML_ERROR_TIMEOUT, nvmlEventSetWait_v2(set, &event.it, 0));
    ANSWERS(NVML_ERROR_GPU_IS_LOST, nvmlDeviceGetName(device, text, 96));
    ANSWERS(NVML_ERROR_GPU_IS_LOST, nvmlDeviceGetTemperature(device, NVML_TEMPERATURE_GPU, &n));
    ANSWERS(NVML_ERROR_GPU_IS_LOST, nvmlDeviceGetHandleByIndex_v2(0, &other));
    ANSWERS(NVML_ERROR_GPU_IS_LOST, nvmlDeviceGetComputeRunningProcesses_v3(device, &n, NULL));
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetCount_v2(&n));
    ANSWERS(NVML_SUCCESS, nvmlSystemGetDriverVersion(text, 96));
    ANSWERS(NVML_SUCCESS, nvmlEventSetFree(set));
}
