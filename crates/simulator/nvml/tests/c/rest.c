// Wrong arguments, processes, topology, events.
#include "check.h"
#include <time.h>

void wrong_arguments(unsigned count, nvmlDevice_t device) {
    unsigned n;
    char text[96];
    nvmlMemory_t memory;
    nvmlDevice_t other, wrong[] = {NULL, (nvmlDevice_t)1, (nvmlDevice_t)((char *)device + 1), (nvmlDevice_t)(uintptr_t)-1, (nvmlDevice_t)&n};
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetCount_v2(NULL));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetHandleByIndex_v2(count, &other));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetHandleByIndex_v2(-1, &other));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetHandleByIndex_v2(0, NULL));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetHandleByUUID(NULL, &other));
    ANSWERS(NVML_ERROR_NOT_FOUND, nvmlDeviceGetHandleByUUID("GPU-coffee", &other));
    ANSWERS(NVML_ERROR_NOT_FOUND, nvmlDeviceGetHandleByUUID("GPU-ffffffff-0000-5000-8000-000000000000", &other));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetHandleByUUIDV(NULL, &other));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetHandleByPciBusId_v2(NULL, &other));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetHandleByPciBusId_v2("coffee", &other));
    ANSWERS(NVML_ERROR_NOT_FOUND, nvmlDeviceGetHandleByPciBusId_v2("0000:01:00.0", &other));
    for (unsigned at = 0; at < sizeof wrong / sizeof *wrong; at++) {
        ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetName(wrong[at], text, 96));
        ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetMemoryInfo(wrong[at], &memory));
        ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetComputeMode(wrong[at], (nvmlComputeMode_t *)&n));
        ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceOnSameBoard(device, wrong[at], (int *)&n));
    }
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetUUID(device, NULL, 96));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetIndex(device, NULL));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetMinorNumber(device, NULL));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetBrand(device, NULL));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetArchitecture(device, NULL));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetPciInfo_v3(device, NULL));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetPciInfoExt(device, NULL));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetMemoryInfo(device, NULL));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetMemoryInfo_v2(device, NULL));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetBAR1MemoryInfo(device, NULL));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetAttributes_v2(device, NULL));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetNumGpuCores(device, NULL));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetPersistenceMode(device, NULL));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetComputeRunningProcesses_v3(device, NULL, NULL));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetSupportedEventTypes(device, NULL));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlUnitGetCount(NULL));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlGetExcludedDeviceCount(NULL));
}

void processes(nvmlDevice_t device, unsigned expected, unsigned long long used) {
    GUARDED(nvmlProcessInfo_t, one);
    GUARDED(nvmlProcessInfo_v1_t, old);
    unsigned n = 0;
    ANSWERS(expected ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS, nvmlDeviceGetComputeRunningProcesses_v3(device, &n, NULL));
    CHECK(n == expected);
    n = 1;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetComputeRunningProcesses_v3(device, &n, &one.it));
    UNHURT(one);
    CHECK(n == expected);
    if (expected) {
        CHECK(one.it.pid == (unsigned)getpid() && one.it.usedGpuMemory == used);
        CHECK(one.it.gpuInstanceId == 0xFFFFFFFF && one.it.computeInstanceId == 0xFFFFFFFF);
        ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetComputeRunningProcesses_v3(device, &n, NULL));
    }
    n = 1;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetComputeRunningProcesses_v2(device, &n, (nvmlProcessInfo_v2_t *)&one.it));
    CHECK(n == expected);
    n = 1;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetComputeRunningProcesses(device, &n, &old.it));
    UNHURT(old);
    CHECK(n == expected && (!expected || old.it.usedGpuMemory == used));
    n = 1;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetGraphicsRunningProcesses_v3(device, &n, &one.it));
    CHECK(n == 0);
    n = 0;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetMPSComputeRunningProcesses_v3(device, &n, NULL));
}

void topology(unsigned count, nvmlDevice_t *devices) {
    nvmlGpuTopologyLevel_t level = 9;
    nvmlGpuP2PStatus_t status = 9;
    nvmlDevice_t near[16];
    int same = 9;
    unsigned n = 16;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetTopologyCommonAncestor(devices[0], devices[0], &level));
    CHECK(level == NVML_TOPOLOGY_INTERNAL);
    ANSWERS(NVML_SUCCESS, nvmlDeviceOnSameBoard(devices[0], devices[0], &same));
    CHECK(same == 1);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetTopologyNearestGpus(devices[0], NVML_TOPOLOGY_SYSTEM, &n, near));
    CHECK(n == count - 1);
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetTopologyNearestGpus(devices[0], 7, &n, near));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetP2PStatus(devices[0], devices[0], 0, &status));
    if (count < 2) return;
    n = count - 2;
    ANSWERS(NVML_ERROR_INSUFFICIENT_SIZE, nvmlDeviceGetTopologyNearestGpus(devices[0], NVML_TOPOLOGY_SYSTEM, &n, near));
    CHECK(n == count - 1 && near[0] == devices[1]);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetTopologyCommonAncestor(devices[0], devices[1], &level));
    CHECK(level == NVML_TOPOLOGY_SYSTEM);
    ANSWERS(NVML_SUCCESS, nvmlDeviceOnSameBoard(devices[0], devices[1], &same));
    CHECK(same == 0);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetP2PStatus(devices[0], devices[1], NVML_P2P_CAPS_INDEX_READ, &status));
    CHECK(status == NVML_P2P_STATUS_OK);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetP2PStatus(devices[0], devices[1], NVML_P2P_CAPS_INDEX_NVLINK, &status));
    CHECK(status == NVML_P2P_STATUS_NOT_SUPPORTED);
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetP2PStatus(devices[0], devices[1], 5, &status));
}

static long elapsed_ms(struct timespec since) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - since.tv_sec) * 1000 + (now.tv_nsec - since.tv_nsec) / 1000000;
}

void events(nvmlDevice_t device) {
    nvmlEventSet_t set = NULL;
    unsigned long long kinds = 0;
    GUARDED(nvmlEventData_t, event);
    struct timespec begin;
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlEventSetCreate(NULL));
    ANSWERS(NVML_SUCCESS, nvmlEventSetCreate(&set));
    CHECK(set != NULL);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetSupportedEventTypes(device, &kinds));
    CHECK(kinds == nvmlEventTypeXidCriticalError);
    ANSWERS(NVML_SUCCESS, nvmlDeviceRegisterEvents(device, kinds, set));
    ANSWERS(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceRegisterEvents(device, nvmlEventTypeClock, set));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceRegisterEvents(device, kinds, NULL));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlEventSetWait_v2(set, NULL, 0));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlEventSetWait_v2(NULL, &event.it, 0));
    clock_gettime(CLOCK_MONOTONIC, &begin);
    ANSWERS(NVML_ERROR_TIMEOUT, nvmlEventSetWait_v2(set, &event.it, 60));
    CHECK(elapsed_ms(begin) >= 59);
    ANSWERS(NVML_ERROR_TIMEOUT, nvmlEventSetWait(set, &event.it, 0));
    ANSWERS(NVML_SUCCESS, nvmlEventSetFree(set));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlEventSetFree(set));
}
