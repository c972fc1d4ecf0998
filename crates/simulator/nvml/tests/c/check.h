// What the parts of the client share: checks that go on after a failure, and guards behind structures.
#define NVML_NO_UNVERSIONED_FUNC_DEFS
#include <nvml.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern int checks, failures;

#define CHECK(condition)                                               \
    do {                                                               \
        checks++;                                                      \
        if (!(condition)) {                                            \
            failures++;                                                \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
        }                                                              \
    } while (0)
#define ANSWERS(code, call)                                            \
    do {                                                               \
        int answer = (int)(call);                                      \
        checks++;                                                      \
        if (answer != (int)(code)) {                                   \
            failures++;                                                \
            printf("%d: %s = %d, not %s\n", __LINE__, #call, answer, #code); \
        }                                                              \
    } while (0)

// A structure with a guard behind it: a library that writes more than the header says is found out.
#define GUARDED(type, name)                                            \
    struct { type it; uint64_t guard; } name;                          \
    memset(&name, 0, sizeof name);                                     \
    name.guard = 0x5AFE5AFE5AFE5AFEull
#define UNHURT(name) CHECK(name.guard == 0x5AFE5AFE5AFE5AFEull)


void before_init(void);
void init_is_counted(void);
void the_system(void);
void some_are_missing(void);
void who_it_is(unsigned index, nvmlDevice_t device);
void what_it_has(nvmlDevice_t device);
void what_only_a_card_has(nvmlDevice_t device);
void undivided(nvmlDevice_t device);
void divided(nvmlDevice_t card);
void is_in_the_instance(nvmlDevice_t card, unsigned number);
void wrong_arguments(unsigned count, nvmlDevice_t device);
void processes(nvmlDevice_t device, unsigned expected, unsigned long long used);
void topology(unsigned count, nvmlDevice_t *devices);
void events(nvmlDevice_t device);
void open_driver(const char *path);
void memory_agrees(nvmlDevice_t device);
void figures_agree(nvmlDevice_t device);
void loss_is_told(nvmlDevice_t device);
