// What Ollama loads as its GPU backend; -DLACKS: it needs a function that no library has.
void *ggml_backend_init(void) {
#ifdef LACKS
    extern void *a_function_that_no_library_has(void);
    return a_function_that_no_library_has();
#else
    return 0;
#endif
}
