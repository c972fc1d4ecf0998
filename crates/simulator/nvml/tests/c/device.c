// Everything that a device is asked.
#include "check.h"

void who_it_is(unsigned index, nvmlDevice_t device) {
    char text[128], uuid[96];
    unsigned n = 99;
    int major = 0, minor = 0;
    nvmlDevice_t other = NULL;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetName(device, text, sizeof text));
    CHECK(!strncmp(text, "SIM-", 4));
    ANSWERS(NVML_ERROR_INSUFFICIENT_SIZE, nvmlDeviceGetName(device, text, 3));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetName(device, NULL, 96));
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetUUID(device, uuid, sizeof uuid));
    CHECK(!strncmp(uuid, "GPU-", 4) && strlen(uuid) == 40);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetUUID(device, uuid, 41));
    ANSWERS(NVML_ERROR_INSUFFICIENT_SIZE, nvmlDeviceGetUUID(device, text, 40));
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetHandleByUUID(uuid, &other));
    CHECK(other == device);
    nvmlUUID_t by = {nvmlUUID_v1, NVML_UUID_TYPE_ASCII, {""}};
    memcpy(by.value.str, uuid, 41);
    other = NULL;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetHandleByUUIDV(&by, &other));
    CHECK(other == device);
    by.version = 1;
    ANSWERS(NVML_ERROR_ARGUMENT_VERSION_MISMATCH, nvmlDeviceGetHandleByUUIDV(&by, &other));
    by.version = nvmlUUID_v1;
    by.type = NVML_UUID_TYPE_BINARY;
    memset(&by.value, 0, sizeof by.value);
    for (int at = 0, to = 0; uuid[4 + at]; at++) {
        unsigned value;
        if (uuid[4 + at] == '-') continue;
        sscanf(uuid + 4 + at++, "%2x", &value);
        by.value.bytes[to++] = (unsigned char)value;
    }
    other = NULL;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetHandleByUUIDV(&by, &other));
    CHECK(other == device);
    by.type = NVML_UUID_TYPE_NONE;
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetHandleByUUIDV(&by, &other));
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetIndex(device, &n));
    CHECK(n == index);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetMinorNumber(device, &n));
    CHECK(n == index);

    GUARDED(nvmlPciInfo_t, pci);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetPciInfo_v3(device, &pci.it));
    UNHURT(pci);
    snprintf(text, sizeof text, "%08X:%02X:%02X.0", pci.it.domain, pci.it.bus, pci.it.device);
    CHECK(!strcmp(pci.it.busId, text));
    CHECK(!strcmp(pci.it.busIdLegacy, text + 4));
    CHECK(pci.it.pciDeviceId == 0 && pci.it.pciSubSystemId == 0);
    for (int form = 0; form < 3; form++) {
        other = NULL;
        ANSWERS(NVML_SUCCESS, nvmlDeviceGetHandleByPciBusId_v2(text + (int[]){0, 4, 9}[form], &other));
        CHECK(other == device);
    }
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetHandleByPciBusId(text, &other));
    GUARDED(nvmlPciInfoExt_t, ext);
    ANSWERS(NVML_ERROR_ARGUMENT_VERSION_MISMATCH, nvmlDeviceGetPciInfoExt(device, &ext.it));
    ext.it.version = nvmlPciInfoExt_v1;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetPciInfoExt(device, &ext.it));
    UNHURT(ext);
    CHECK(ext.it.bus == pci.it.bus && !strcmp(ext.it.busId, pci.it.busId));
    // What clients of NVML 2 and 5 have room for.
    struct { char busId[16]; unsigned domain, bus, device, id; } old;
    GUARDED(struct { char busId[32]; }, first);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetPciInfo(device, (nvmlPciInfo_t *)&first.it));
    UNHURT(first);
    memcpy(&old, &first.it, sizeof old);
    CHECK(old.bus == pci.it.bus && !strcmp(old.busId, pci.it.busIdLegacy));
    GUARDED(struct { char busId[56]; }, second);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetPciInfo_v2(device, (nvmlPciInfo_t *)&second.it));
    UNHURT(second);
    memcpy(&old, &second.it, sizeof old);
    CHECK(old.bus == pci.it.bus);

    ANSWERS(NVML_SUCCESS, nvmlDeviceGetCudaComputeCapability(device, &major, &minor));
    CHECK(major >= 7 && major <= 12 && minor >= 0 && minor <= 9);
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetCudaComputeCapability(device, &major, NULL));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetCudaComputeCapability(device, NULL, &minor));
    nvmlDeviceArchitecture_t architecture = 0;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetArchitecture(device, &architecture));
    CHECK(architecture >= NVML_DEVICE_ARCH_TURING && architecture <= NVML_DEVICE_ARCH_BLACKWELL);
    CHECK((architecture == NVML_DEVICE_ARCH_AMPERE) == (major == 8 && minor < 9));
    nvmlBrandType_t brand = 1;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetBrand(device, &brand));
    CHECK(brand == NVML_BRAND_UNKNOWN);
}

void what_it_has(nvmlDevice_t device) {
    unsigned n = 9;
    GUARDED(nvmlMemory_t, memory);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetMemoryInfo(device, &memory.it));
    UNHURT(memory);
    CHECK(memory.it.total >> 30 >= 1 && memory.it.used == 0 && memory.it.free == memory.it.total);
    GUARDED(nvmlMemory_v2_t, second);
    // So a real one says of a version that it does not know, here and only here.
    ANSWERS(NVML_ERROR_FUNCTION_NOT_FOUND, nvmlDeviceGetMemoryInfo_v2(device, &second.it));
    second.it.version = nvmlMemory_v2;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetMemoryInfo_v2(device, &second.it));
    UNHURT(second);
    CHECK(second.it.total == memory.it.total && second.it.free + second.it.used + second.it.reserved == second.it.total);
    GUARDED(nvmlBAR1Memory_t, bar);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetBAR1MemoryInfo(device, &bar.it));
    UNHURT(bar);
    CHECK(bar.it.bar1Total >= memory.it.total && bar.it.bar1Free + bar.it.bar1Used == bar.it.bar1Total);
    GUARDED(nvmlDeviceAttributes_t, attributes);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetAttributes_v2(device, &attributes.it));
    UNHURT(attributes);
    CHECK(attributes.it.memorySizeMB == memory.it.total >> 20);
    CHECK(attributes.it.gpuInstanceSliceCount == 0);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetNumGpuCores(device, &n));
    CHECK(n == attributes.it.multiprocessorCount * 64 || n == attributes.it.multiprocessorCount * 128);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetMemoryBusWidth(device, &n));
    CHECK(n >= 128);
    nvmlComputeMode_t mode = 9;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetComputeMode(device, &mode));
    CHECK(mode == NVML_COMPUTEMODE_DEFAULT);
    nvmlEnableState_t state = 9;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetPersistenceMode(device, &state));
    CHECK(state == NVML_FEATURE_DISABLED);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetDisplayActive(device, &state));
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetDisplayMode(device, &state));
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetMultiGpuBoard(device, &n));
    GUARDED(nvmlFieldValue_t, field);
    field.it.fieldId = NVML_FI_DEV_ECC_CURRENT;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetFieldValues(device, 1, &field.it));
    UNHURT(field);
    CHECK(field.it.nvmlReturn == NVML_ERROR_NOT_SUPPORTED && field.it.fieldId == NVML_FI_DEV_ECC_CURRENT);
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetFieldValues(device, 0, &field.it));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetFieldValues(device, -1, &field.it));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetFieldValues(device, 1, NULL));
}

void what_only_a_card_has(nvmlDevice_t device) {
    unsigned n;
    unsigned long long big;
    char text[128];
    nvmlUtilization_t utilization;
    nvmlEnableState_t state;
    nvmlPstates_t pstate;
    nvmlGpuVirtualizationMode_t virtualization;
    ANSWERS(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetTemperature(device, NVML_TEMPERATURE_GPU, &n));
    ANSWERS(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetPowerUsage(device, &n));
    ANSWERS(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetEnforcedPowerLimit(device, &n));
    ANSWERS(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetTotalEnergyConsumption(device, &big));
    ANSWERS(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetClockInfo(device, NVML_CLOCK_SM, &n));
    ANSWERS(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetMaxClockInfo(device, NVML_CLOCK_SM, &n));
    ANSWERS(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetUtilizationRates(device, &utilization));
    ANSWERS(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetFanSpeed(device, &n));
    ANSWERS(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetPerformanceState(device, &pstate));
    ANSWERS(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetSerial(device, text, sizeof text));
    ANSWERS(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetVbiosVersion(device, text, sizeof text));
    ANSWERS(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetEccMode(device, &state, &state));
    ANSWERS(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetCurrPcieLinkWidth(device, &n));
    ANSWERS(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetVirtualizationMode(device, &virtualization));
    ANSWERS(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceSetPersistenceMode(device, NVML_FEATURE_ENABLED));
    ANSWERS(NVML_ERROR_NOT_SUPPORTED, nvmlSystemGetTopologyGpuSet(0, &n, NULL));
}
