/* test_memory.c - allocation failures: an error status with nothing written, or fewer threads, never a crash.
 *
 * The program brings its own calloc and pthread_create, which fail on request. */
#define _GNU_SOURCE /* RTLD_NEXT */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "check.h"

static int calloc_left = -1; /* calls that succeed before one fails; -1: all */
static int threads_left;     /* threads that may start */
static int failed;

/* Volatile: otherwise gcc sees malloc and memset and makes them a call of calloc. */
static void *(*const volatile plain_malloc)(size_t) = malloc;

void *calloc(size_t count, size_t size) {
    if (calloc_left == 0) {
        calloc_left = -1;
        failed++;
        return NULL;
    }
    if (calloc_left > 0) calloc_left--;
    void *memory = plain_malloc(count * size);
    return memory ? memset(memory, 0, count * size) : NULL;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *argument) {
    int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    *(void **)&next = dlsym(RTLD_NEXT, "pthread_create");
    if (threads_left-- > 0) return next(thread, attributes, start, argument);
    threads_left = 0;
    failed++;
    return EAGAIN;
}

enum { B = 4, D = 64, T = 1000, W = 3 };

/* So many rows that the copy of their indices is allocated. */
enum { ROWS = 200 };

static void test_update_without_memory(void) {
    static float x_data[ROWS * D], out_data[ROWS * D], state_data[ROWS * D * 2], weight_data[D * W],
        before[ROWS * D * 2];
    static int32_t rows[ROWS];
    check_fill(state_data, ROWS * D * 2, 2), check_fill(x_data, ROWS * D, 1),
        check_fill(weight_data, D * W, 3);
    for (int i = 0; i < ROWS * D; i++) out_data[i] = 42;
    for (int i = 0; i < ROWS; i++) rows[i] = ROWS - 1 - i;
    const cc1d_tensor x = check_tensor(x_data, CC1D_FLOAT32, 2, ROWS, D, 0),
                      out = check_tensor(out_data, CC1D_FLOAT32, 2, ROWS, D, 0),
                      state = check_tensor(state_data, CC1D_FLOAT32, 3, ROWS, D, 2),
                      weight = check_tensor(weight_data, CC1D_FLOAT32, 2, D, W, 0),
                      indices = check_tensor(rows, CC1D_INT32, 1, ROWS, 0, 0);
    const cc1d_update_args args = {.size = sizeof args,
                                   .x = &x,
                                   .conv_state = &state,
                                   .weight = &weight,
                                   .out = &out,
                                   .conv_state_indices = &indices,
                                   .pad_slot_id = -1};
    static const char *const lines[] = {"conv_state_indices: out of memory for a copy of 200 values",
                                        "conv_state_indices: out of memory for 200 pool rows"};
    memcpy(before, state_data, sizeof before);
    for (int i = 0; i < 2; i++) {
        failed = 0;
        calloc_left = i;
        const cc1d_status status = cc1d_update(&args, NULL);
        CHECK(failed == 1 && calloc_left == -1);
        CHECK(status == CC1D_ERROR_MEMORY);
        CHECK(strcmp(cc1d_last_error(), lines[i]) == 0);
        CHECK(memcmp(before, state_data, sizeof before) == 0);
        for (int j = 0; j < ROWS * D; j++) CHECK(out_data[j] == 42);
    }
    calloc_left = 2;
    CHECK_STATUS(cc1d_update(&args, NULL), CC1D_OK);
    CHECK(calloc_left == 0); /* and there is no third */
    calloc_left = -1;
    CHECK(memcmp(before, state_data, sizeof before) != 0);
}

static void test_forward_without_threads(void) {
    static float x_data[B * D * T], one[B * D * T], many[B * D * T], weight_data[D * W];
    check_fill(x_data, B * D * T, 1), check_fill(weight_data, D * W, 3);
    cc1d_tensor x = check_tensor(x_data, CC1D_FLOAT32, 3, B, D, T),
                weight = check_tensor(weight_data, CC1D_FLOAT32, 2, D, W, 0);
    cc1d_tensor out = check_tensor(one, CC1D_FLOAT32, 3, B, D, T);
    cc1d_forward_args args = {.size = sizeof args, .x = &x, .weight = &weight, .out = &out};
    cc1d_exec exec = {.size = sizeof exec, .num_threads = 1};
    failed = 0;
    CHECK_STATUS(cc1d_forward(&args, &exec), CC1D_OK);
    CHECK(failed == 0);
    out.data = many;
    for (int started = 0; started < 4; started++) { /* each call meets one thread more */
        memset(many, 0, sizeof many);
        exec.num_threads = 5;
        threads_left = started ? 1 : 0;
        failed = 0;
        CHECK_STATUS(cc1d_forward(&args, &exec), CC1D_OK);
        CHECK(failed > 0);
        CHECK(memcmp(one, many, sizeof one) == 0);
    }
}

int main(void) {
    const check_test tests[] = {{"update without memory", test_update_without_memory},
                                {"forward without threads", test_forward_without_threads}};
    return check_run(tests, sizeof tests / sizeof *tests);
}
