/* An NVML of two cards whose second one is whatever the variable SECOND says; layouts as in nvml.h. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { char old_id[16]; unsigned domain, bus, device, id, subsystem; char id_text[32]; } pci_info;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_info;
typedef struct { unsigned field, scope; long long time, latency; unsigned kind, result; unsigned long long value; } field;
typedef struct { uintptr_t device; unsigned long long kind, data; unsigned instance, compute; } event;

typedef struct { unsigned processors, copy, decoders, encoders, jpeg, ofa, gpu_slices, compute_slices; unsigned long long mebibytes; } attributes;

/* The instance 3/0 of the second card, and one that goes while it is asked about. */
enum { INSTANCE = 30 };
enum { NOT_FOUND = 6, NOT_SUPPORTED = 3, NO_PERMISSION = 4, TIMEOUT = 10, LOST = 15, RESET = 16, UNKNOWN = 999 };

static int second(uintptr_t device, const char *what) {
    const char *said = getenv("SECOND");
    return device == 2 && said && strcmp(said, what) == 0;
}

int nvmlInit_v2(void) {
    const char *said = getenv("INIT");
    if (said && strcmp(said, "hang") == 0) sleep(600);
    puts("NVML talks to itself");
    fflush(stdout);
    return said ? atoi(said) : 0;
}
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { (void)code; return "words"; }
int nvmlSystemGetDriverVersion(char *out, unsigned length) { snprintf(out, length, "580.1"); return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, uintptr_t *device) {
    *device = index + 1;
    return second(*device, "nameless") ? LOST : 0;
}
int nvmlDeviceGetHandleByUUID(const char *name, uintptr_t *device) {
    const char *private = getenv("PRIVATE");
    if (private && strcmp(private, "all") == 0) return NO_PERMISSION;
    *device = INSTANCE;
    return strcmp(name, "MIG-GPU-00000002-0000-0000-0000-000000000000/3/0") == 0 ? 0 : NOT_FOUND;
}
int nvmlDeviceGetUUID(uintptr_t device, char *out, unsigned length) {
    if (device == INSTANCE) {
        snprintf(out, length, "MIG-0000003A-0000-5000-8000-000000000000");
        return 0;
    }
    snprintf(out, length, "GPU-0000000%u-0000-0000-0000-000000000000", (unsigned)device);
    return 0;
}
int nvmlDeviceGetPciInfo_v3(uintptr_t device, pci_info *out) {
    memset(out, 0, sizeof *out);
    snprintf(out->id_text, sizeof out->id_text, "00000000:4%u:00.0", (unsigned)device);
    return 0;
}
int nvmlDeviceGetMinorNumber(uintptr_t device, unsigned *minor) { *minor = (unsigned)device - 1; return 0; }
int nvmlDeviceGetName(uintptr_t device, char *out, unsigned length) {
    snprintf(out, length, device == INSTANCE && !getenv("SHORT_NAME") ? "NVIDIA H100 80GB HBM3 MIG 3g.4gb" : "NVIDIA H100");
    return 0;
}
int nvmlDeviceGetAttributes_v2(uintptr_t device, attributes *out) {
    memset(out, 0, sizeof *out);
    *out = (attributes){ .gpu_slices = 3, .compute_slices = device == INSTANCE ? 3 : 7, .mebibytes = 4000 };
    return 0;
}
int nvmlDeviceGetComputeMode(uintptr_t device, unsigned *mode) {
    *mode = second(device, "exclusive") ? 3 : second(device, "prohibited") ? 2 : second(device, "odd") ? 9 : 0;
    return device == 1 ? NOT_SUPPORTED : 0;
}
int nvmlDeviceGetMemoryInfo_v2(uintptr_t device, memory_info *out) {
    if (second(device, "hang")) sleep(600);
    if (second(device, "lost")) return LOST;
    if (second(device, "reset")) return RESET;
    if (second(device, "unknown")) return UNKNOWN;
    if (second(device, "mig") && getenv("PRIVATE")) return NO_PERMISSION;
    out->total = 8ull << 30; out->reserved = 1ull << 30; out->used = 5; out->free = out->total - 5;
    return 0;
}
int nvmlDeviceGetCudaComputeCapability(uintptr_t device, int *major, int *minor) { (void)device; *major = 8; *minor = 6; return 0; }
int nvmlDeviceGetMigMode(uintptr_t device, unsigned *now, unsigned *later) {
    *now = *later = second(device, "mig");
    return device == 1 ? NOT_SUPPORTED : 0;
}
int nvmlDeviceGetEccMode(uintptr_t device, unsigned *now, unsigned *later) { *now = *later = 1; return device == 1 ? NOT_SUPPORTED : 0; }
int nvmlDeviceGetTotalEccErrors(uintptr_t device, int kind, int counter, unsigned long long *out) {
    *out = kind == 1 && counter == 0 && second(device, "ecc") ? 3 : 0;
    return 0;
}
int nvmlDeviceGetFieldValues(uintptr_t device, int count, field *values) {
    for (int at = 0; at < count; at++) {
        values[at].kind = 1;
        values[at].result = device == 1 ? NOT_SUPPORTED : 0;
        values[at].value = values[at].field == 144 && second(device, "rows");
    }
    return 0;
}
int nvmlDeviceGetSupportedEventTypes(uintptr_t device, unsigned long long *out) { (void)device; *out = 8; return 0; }
/* The set is told from others by the card that was registered last. */
static uintptr_t cards[64];
static unsigned sets;
int nvmlEventSetCreate(uintptr_t *out) { *out = ++sets; return 0; }
int nvmlEventSetFree(uintptr_t set) { (void)set; return 0; }
int nvmlDeviceRegisterEvents(uintptr_t device, unsigned long long kinds, uintptr_t set) { (void)kinds; cards[set % 64] = device; return 0; }
int nvmlEventSetWait_v2(uintptr_t set, event *out, unsigned milliseconds) {
    static int told;
    if (second(cards[set % 64], "xid") && told < 2) {
        *out = (event){ cards[set % 64], 8, told++ ? 79 : 31, 0, 0 };
        return 0;
    }
    usleep(milliseconds * 1000);
    return TIMEOUT;
}
