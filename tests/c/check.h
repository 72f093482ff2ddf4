/* check.h - the C tests' few helpers: CHECK, tensors over arrays, and a run of the tests by name. */
#ifndef CC1D_TESTS_CHECK_H
#define CC1D_TESTS_CHECK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "causal_conv1d.h"

static int check_failures;

#define CHECK(condition)                                                     \
    do {                                                                     \
        if (!(condition)) {                                                  \
            check_failures++;                                                \
            printf("  %s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
        }                                                                    \
    } while (0)

/* A status, with the library's own line where it is another one. */
#define CHECK_STATUS(call, expected)                                                               \
    do {                                                                                           \
        const cc1d_status got_ = (call);                                                           \
        if (got_ != (expected)) {                                                                  \
            check_failures++;                                                                      \
            printf("  %s:%d: %s gave %s: %s\n", __FILE__, __LINE__, #call, cc1d_status_name(got_), \
                   cc1d_last_error());                                                             \
        }                                                                                          \
    } while (0)

typedef struct check_test {
    const char *name;
    void (*run)(void);
} check_test;

/* Runs the tests; the exit code for main. */
static inline int check_run(const check_test *tests, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const int before = check_failures;
        tests[i].run();
        printf("%s %s\n", check_failures == before ? "ok  " : "FAIL", tests[i].name);
    }
    printf("%zu tests, %d failed checks\n", count, check_failures);
    return check_failures != 0;
}

/* A contiguous CPU tensor over data; unused sizes are 0. */
static inline cc1d_tensor check_tensor(void *data, int32_t dtype, int32_t ndim, int64_t n0, int64_t n1,
                                       int64_t n2) {
    cc1d_tensor t = {.data = data, .dtype = dtype, .device = CC1D_CPU, .ndim = ndim, .shape = {n0, n1, n2}};
    int64_t stride = 1;
    for (int32_t i = ndim - 1; i >= 0; i--) {
        t.strides[i] = stride;
        stride *= t.shape[i];
    }
    return t;
}

/* Small values with period 251, so that blocks which change places are seen. */
static inline void check_fill(float *values, size_t count, unsigned seed) {
    for (size_t i = 0; i < count; i++) values[i] = (float)((i * 37 + seed * 101) % 251) / 125.0f - 1.0f;
}

#endif
