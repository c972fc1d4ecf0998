// Loads the driver named first, initialises it, makes a context, and calls each function named after it without
// arguments that matter: prints NAME=RESULT, or NAME=missing.
#include <dlfcn.h>
#include <stdio.h>
int main(int count, char **words) {
    void *driver = dlopen(words[1], RTLD_NOW);
    if (!driver) return 9;
    int (*init)(unsigned) = (int (*)(unsigned))dlsym(driver, "cuInit");
    int (*retain)(void **, int) = (int (*)(void **, int))dlsym(driver, "cuDevicePrimaryCtxRetain");
    int (*set)(void *) = (int (*)(void *))dlsym(driver, "cuCtxSetCurrent");
    void *context = 0;
    if (!init || init(0) || retain(&context, 0) || set(context)) return 8;
    for (int at = 2; at < count; at++) {
        int (*function)(long, long, long, long, long, long) = (int (*)(long, long, long, long, long, long))dlsym(driver, words[at]);
        if (function) printf("%s=%d\n", words[at], function(0, 0, 0, 0, 0, 0));
        else printf("%s=missing\n", words[at]);
    }
    return 0;
}
