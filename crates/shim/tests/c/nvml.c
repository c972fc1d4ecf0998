// An NVML for tests.
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = 3;
    return 0;
}
