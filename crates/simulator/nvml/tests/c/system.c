// Before and after nvmlInit; what is asked of no device.
#include "check.h"
#include <dlfcn.h>

void before_init(void) {
    unsigned n;
    nvmlDevice_t device;
    char text[96];
    ANSWERS(NVML_ERROR_UNINITIALIZED, nvmlDeviceGetCount_v2(&n));
    ANSWERS(NVML_ERROR_UNINITIALIZED, nvmlDeviceGetCount_v2(NULL));
    ANSWERS(NVML_ERROR_UNINITIALIZED, nvmlDeviceGetHandleByIndex_v2(0, &device));
    ANSWERS(NVML_ERROR_UNINITIALIZED, nvmlSystemGetDriverVersion(text, 96));
    ANSWERS(NVML_ERROR_UNINITIALIZED, nvmlDeviceGetTemperature(NULL, 0, &n));
    ANSWERS(NVML_ERROR_UNINITIALIZED, nvmlShutdown());
    for (int code = 0; code < 40; code++) CHECK(strlen(nvmlErrorString(code)) > 4);
    CHECK(strlen(nvmlErrorString(999)) > 4 && strlen(nvmlErrorString(-1)) > 4);
    CHECK(strcmp(nvmlErrorString(1), nvmlErrorString(2)));
}

void init_is_counted(void) {
    unsigned n;
    ANSWERS(NVML_SUCCESS, nvmlInit());
    ANSWERS(NVML_SUCCESS, nvmlInit_v2());
    ANSWERS(NVML_SUCCESS, nvmlInitWithFlags(NVML_INIT_FLAG_NO_GPUS | NVML_INIT_FLAG_NO_ATTACH));
    // A real one takes flags that it does not know.
    ANSWERS(NVML_SUCCESS, nvmlInitWithFlags(64));
    ANSWERS(NVML_SUCCESS, nvmlShutdown());
    ANSWERS(NVML_SUCCESS, nvmlShutdown());
    ANSWERS(NVML_SUCCESS, nvmlShutdown());
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetCount_v2(&n));
    ANSWERS(NVML_SUCCESS, nvmlShutdown());
    ANSWERS(NVML_ERROR_UNINITIALIZED, nvmlDeviceGetCount_v2(&n));
    ANSWERS(NVML_ERROR_UNINITIALIZED, nvmlShutdown());
}

void the_system(void) {
    char text[128];
    int version = 0;
    unsigned n = 7;
    ANSWERS(NVML_SUCCESS, nvmlSystemGetDriverVersion(text, sizeof text));
    CHECK(atoi(text) >= 570);
    ANSWERS(NVML_ERROR_INSUFFICIENT_SIZE, nvmlSystemGetDriverVersion(text, (unsigned)strlen(text)));
    ANSWERS(NVML_SUCCESS, nvmlSystemGetDriverVersion(text, (unsigned)strlen(text) + 1));
    ANSWERS(NVML_ERROR_INSUFFICIENT_SIZE, nvmlSystemGetDriverVersion(text, 0));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlSystemGetDriverVersion(NULL, 80));
    ANSWERS(NVML_SUCCESS, nvmlSystemGetNVMLVersion(text, sizeof text));
    CHECK(!strncmp(text, "13.", 3));
    ANSWERS(NVML_SUCCESS, nvmlSystemGetCudaDriverVersion(&version));
    CHECK(version == (getenv("CLIENT_VERSION") ? atoi(getenv("CLIENT_VERSION")) : 13000));
    ANSWERS(NVML_SUCCESS, nvmlSystemGetCudaDriverVersion_v2(&version));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlSystemGetCudaDriverVersion_v2(NULL));
    ANSWERS(NVML_SUCCESS, nvmlSystemGetProcessName(getpid(), text, sizeof text));
    CHECK(strstr(text, "client"));
    ANSWERS(NVML_SUCCESS, nvmlSystemGetProcessName(getpid(), text, 5));
    CHECK(strlen(text) == 4);
    ANSWERS(NVML_ERROR_NOT_FOUND, nvmlSystemGetProcessName(0x7fffffff, text, sizeof text));
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlSystemGetProcessName(getpid(), text, 0));
    ANSWERS(NVML_SUCCESS, nvmlUnitGetCount(&n));
    CHECK(n == 0);
    nvmlUnit_t unit;
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlUnitGetHandleByIndex(0, &unit));
    n = 7;
    ANSWERS(NVML_SUCCESS, nvmlGetExcludedDeviceCount(&n));
    CHECK(n == 0);
    GUARDED(nvmlExcludedDeviceInfo_t, excluded);
    ANSWERS(NVML_ERROR_INVALID_ARGUMENT, nvmlGetExcludedDeviceInfoByIndex(0, &excluded.it));
}

// FIRSTLIGHT_SIMULATE=no-function=nvmlDeviceGetFanSpeed: every version of it, and nothing else.
void some_are_missing(void) {
    void *self = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_NOLOAD);
    CHECK(self);
    CHECK(!dlsym(self, "nvmlDeviceGetFanSpeed"));
    CHECK(!dlsym(self, "nvmlDeviceGetFanSpeed_v2"));
    CHECK(dlsym(self, "nvmlDeviceGetFanSpeedRPM"));
    CHECK(dlsym(self, "nvmlDeviceGetTargetFanSpeed"));
}
