// MIG: a card that is not divided, and one that is.
#include "check.h"

void undivided(nvmlDevice_t device) {
    unsigned now = 9, pending = 9, n = 9;
    nvmlDevice_t other = NULL;
    char name[96];
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetName(device, name, sizeof name));
    int able = !strcmp(name, "SIM-H100");
    ANSWERS(able ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetMigMode(device, &now, &pending));
    CHECK(!able || (now == NVML_DEVICE_MIG_DISABLE && pending == NVML_DEVICE_MIG_DISABLE));
    ANSWERS(able ? NVML_ERROR_NOT_FOUND : NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetMigDeviceHandleByIndex(device, 0, &other));
    int none = able ? NVML_ERROR_INVALID_ARGUMENT : NVML_ERROR_NOT_SUPPORTED;
    ANSWERS(none, nvmlDeviceGetGpuInstanceId(device, &n));
    ANSWERS(none, nvmlDeviceGetComputeInstanceId(device, &n));
    ANSWERS(none, nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device, &other));
    ANSWERS(NVML_SUCCESS, nvmlDeviceIsMigDeviceHandle(device, &n));
    CHECK(n == 0);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetMaxMigDeviceCount(device, &n));
    CHECK(n == 0);
}

struct wanted {
    const char *profile;
    unsigned gi, ci, multiprocessors, slices, computing, gigabytes;
};

static void instance(nvmlDevice_t card, unsigned number, struct wanted wanted) {
    nvmlDevice_t device = NULL, other = NULL;
    char text[96], uuid[96], of_card[96];
    unsigned n = 99;
    int major = 0, minor = 0;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetMigDeviceHandleByIndex(card, number, &device));
    CHECK(device != NULL && device != card);
    ANSWERS(NVML_SUCCESS, nvmlDeviceIsMigDeviceHandle(device, &n));
    CHECK(n == 1);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetIndex(device, &n));
    CHECK(n == number);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetGpuInstanceId(device, &n));
    CHECK(n == wanted.gi);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetComputeInstanceId(device, &n));
    CHECK(n == wanted.ci);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device, &other));
    CHECK(other == card);

    snprintf(of_card, sizeof of_card, "SIM-H100 MIG %s", wanted.profile);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetName(device, text, sizeof text));
    CHECK(!strcmp(text, of_card));
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetUUID(device, uuid, sizeof uuid));
    CHECK(!strncmp(uuid, "MIG-", 4) && strlen(uuid) == 40);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetHandleByUUID(uuid, &other));
    CHECK(other == device);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetUUID(card, of_card, sizeof of_card));
    snprintf(text, sizeof text, "MIG-%s/%u/%u", of_card, wanted.gi, wanted.ci);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetHandleByUUID(text, &other));
    CHECK(other == device);
    nvmlUUID_t by = {nvmlUUID_v1, NVML_UUID_TYPE_ASCII, {""}};
    memcpy(by.value.str, uuid, 41);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetHandleByUUIDV(&by, &other));
    CHECK(other == device);
    // Not by a name like a card's.
    memcpy(uuid, "GPU-", 4);
    ANSWERS(NVML_ERROR_NOT_FOUND, nvmlDeviceGetHandleByUUID(uuid, &other));

    GUARDED(nvmlDeviceAttributes_t, attributes);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetAttributes_v2(device, &attributes.it));
    UNHURT(attributes);
    CHECK(attributes.it.multiprocessorCount == wanted.multiprocessors);
    CHECK(attributes.it.gpuInstanceSliceCount == wanted.slices && attributes.it.computeInstanceSliceCount == wanted.computing);
    CHECK(attributes.it.memorySizeMB == wanted.gigabytes * 1024ull);
    nvmlMemory_t memory;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetMemoryInfo(device, &memory));
    CHECK(memory.total >> 30 == wanted.gigabytes && memory.used == 0);
    GUARDED(nvmlMemory_v2_t, second);
    second.it.version = nvmlMemory_v2;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetMemoryInfo_v2(device, &second.it));
    CHECK(second.it.total == memory.total);
    nvmlComputeMode_t mode = 9;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetComputeMode(device, &mode));
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetCudaComputeCapability(device, &major, &minor));
    CHECK(major == 9);
    // What is a card's alone.
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetMigMode(device, &n, &n));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetMaxMigDeviceCount(device, &n));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetMigDeviceHandleByIndex(device, 0, &other));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetMinorNumber(device, &n));
    ANSWERS(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetNumGpuCores(device, &n));
    ANSWERS(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetTemperature(device, NVML_TEMPERATURE_GPU, &n));
}

void divided(nvmlDevice_t card) {
    unsigned now = 9, pending = 9, n = 9;
    nvmlDevice_t other = NULL;
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetMigMode(card, &now, &pending));
    CHECK(now == NVML_DEVICE_MIG_ENABLE && pending == NVML_DEVICE_MIG_ENABLE);
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetMigMode(card, &now, NULL));
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetMaxMigDeviceCount(card, &n));
    CHECK(n == 7);
    ANSWERS(NVML_SUCCESS, nvmlDeviceIsMigDeviceHandle(card, &n));
    CHECK(n == 0);
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetGpuInstanceId(card, &n));
    instance(card, 0, (struct wanted){"1g.10gb", 7, 0, 16, 1, 1, 10});
    instance(card, 1, (struct wanted){"1c.3g.40gb", 1, 0, 16, 3, 1, 40});
    instance(card, 2, (struct wanted){"2c.3g.40gb", 1, 1, 32, 3, 2, 40});
    ANSWERS(NVML_ERROR_NOT_FOUND, nvmlDeviceGetMigDeviceHandleByIndex(card, 3, &other));
    ANSWERS(NVML_ERROR_NOT_FOUND, nvmlDeviceGetMigDeviceHandleByIndex(card, -1, &other));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetMigDeviceHandleByIndex(card, 0, NULL));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetMigDeviceHandleByIndex(NULL, 0, &other));
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetMinorNumber(card, &n));
    ANSWERS(NVML_ERROR_NOT_FOUND, nvmlDeviceGetHandleByUUID("MIG-00000000-0000-5000-8000-00000000abcd", &other));
    ANSWERS(NVML_ERROR_NOT_FOUND, nvmlDeviceGetHandleByUUID("MIG-GPU-00000000-0000-5000-8000-00000000abcd/8/0", &other));
}
