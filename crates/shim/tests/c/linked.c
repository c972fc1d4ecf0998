// A program that is linked with NVML.
#include <stdio.h>
int nvmlInit_v2(void);
int nvmlDeviceGetCount_v2(unsigned *);
int main(void) {
    unsigned count = 0;
    int init = nvmlInit_v2();
    int rc = nvmlDeviceGetCount_v2(&count);
    printf("%d %d %u\n", init, rc, count);
    return 0;
}
