// A client of NVML, compiled against NVIDIA's own nvml.h: structures that differ in size or order fail here.
// Usage: client PART COUNT [LIBCUDA [INDEX]]. Prints each check that failed; the last line is the number of checks.
#include "check.h"

int checks, failures;

int main(int argc, char **argv) {
    const char *part = argv[1];
    unsigned count = (unsigned)atoi(argv[2]), n = 99;
    nvmlDevice_t devices[16];
    if (!strcmp(part, "ask")) {
        before_init();
        init_is_counted();
    }
    ANSWERS(NVML_SUCCESS, nvmlInit_v2());
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetCount_v2(&n));
    CHECK(n == count);
    ANSWERS(NVML_SUCCESS, nvmlDeviceGetCount(&n));
    for (unsigned at = 0; at < count; at++) {
        ANSWERS(NVML_SUCCESS, nvmlDeviceGetHandleByIndex_v2(at, &devices[at]));
        for (unsigned before = 0; before < at; before++) CHECK(devices[before] != devices[at]);
    }
    if (!strcmp(part, "ask")) {
        the_system();
        for (unsigned at = 0; at < count; at++) {
            who_it_is(at, devices[at]);
            what_it_has(devices[at]);
            what_only_a_card_has(devices[at]);
            undivided(devices[at]);
            processes(devices[at], 0, 0);
        }
        wrong_arguments(count, devices[0]);
        topology(count, devices);
        events(devices[0]);
    } else if (!strcmp(part, "divided")) {
        divided(devices[0]);
        undivided(devices[1]);
    } else if (!strcmp(part, "system")) {
        the_system();
    } else if (!strcmp(part, "missing")) {
        some_are_missing();
    } else {
        open_driver(argv[3]);
        if (!strcmp(part, "memory")) memory_agrees(devices[argc > 4 ? atoi(argv[4]) : 0]);
        if (!strcmp(part, "instance")) is_in_the_instance(devices[0], (unsigned)atoi(argv[4]));
        if (!strcmp(part, "loss")) loss_is_told(devices[0]);
    }
    ANSWERS(NVML_SUCCESS, nvmlShutdown());
    printf("%d checks, %d failed\n", checks, failures);
    return failures != 0;
}
