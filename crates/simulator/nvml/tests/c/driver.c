// A program that uses the driver, too: figures agree, and a loss is told.
#include "check.h"
#include <dlfcn.h>

// The driver, as a program that uses both has it.
static int (*cu_count)(int *), (*cu_name)(char *, int, int), (*cu_uuid)(unsigned char *, int), (*cu_init)(unsigned),
    (*cu_context)(void **, unsigned, int), (*cu_alloc)(uint64_t *, size_t), (*cu_free)(uint64_t),
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
    *(void **)&cu_count = dlsym(cuda, "cuDeviceGetCount");
    *(void **)&cu_name = dlsym(cuda, "cuDeviceGetName");
    *(void **)&cu_uuid = dlsym(cuda, "cuDeviceGetUuid_v2");
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
    figures_agree(device);
}

void figures_agree(nvmlDevice_t device) {
    int attribute = 0;
    nvmlDeviceAttributes_t attributes;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetAttributes_v2(device, &attributes));
    ANSWERS(0, cu_attribute(&attribute, 40, 0));
    CHECK((unsigned)attribute == attributes.sharedCopyEngineCount);
    ANSWERS(0, cu_attribute(&attribute, 16, 0));
    CHECK((unsigned)attribute == attributes.multiprocessorCount);
}

// The process is in this instance of the card: CUDA and NVML say the same of it, and nothing of the others is in use.
void is_in_the_instance(nvmlDevice_t card, unsigned number) {
    nvmlDevice_t instance = NULL, other = NULL;
    char name[96], uuid[96], ours[96];
    unsigned char bytes[16];
    int count = 0;
    uint64_t pointer = 0;
    size_t free_bytes = 0, total = 0;
    nvmlMemory_t memory, of_card, of_other;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetMigDeviceHandleByIndex(card, number, &instance));
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetMigDeviceHandleByIndex(card, !number, &other));
    ANSWERS(0, cu_count(&count));
    CHECK(count == 1);
    ANSWERS(0, cu_name(ours, sizeof ours, 0));
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetName(instance, name, sizeof name));
    CHECK(!strcmp(name, ours));
    ANSWERS(0, cu_uuid(bytes, 0));
    int length = sprintf(ours, "MIG-");
    for (int at = 0; at < 16; at++) length += sprintf(ours + length, at == 4 || at == 6 || at == 8 || at == 10 ? "-%02x" : "%02x", bytes[at]);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetUUID(instance, uuid, sizeof uuid));
    CHECK(!strcmp(uuid, ours));
    figures_agree(instance);

    ANSWERS(0, cu_alloc(&pointer, 1u << 30));
    ANSWERS(0, cu_info(&free_bytes, &total));
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetMemoryInfo(instance, &memory));
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetMemoryInfo(card, &of_card));
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetMemoryInfo(other, &of_other));
    CHECK(memory.total == total && memory.free == free_bytes && memory.used >= 1u << 30);
    CHECK(of_card.used == memory.used && of_card.total > total && of_other.used == 0);
    nvmlProcessInfo_t process;
    unsigned n = 1, gi = 99, ci = 99;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetGpuInstanceId(instance, &gi));
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetComputeInstanceId(instance, &ci));
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetComputeRunningProcesses_v3(card, &n, &process));
    CHECK(n == 1 && process.gpuInstanceId == gi && process.computeInstanceId == ci);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetComputeRunningProcesses_v3(other, &n, &process));
    CHECK(n == 0);
    // More than the instance has, and less than the card.
    ANSWERS(2, cu_alloc(&pointer, total));
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
