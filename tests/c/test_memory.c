/* test_memory.c - allocation failures: an error status with nothing written, or fewer threads, never a crash.
 *
 * The program brings its own calloc and pthread_create, which fail on request. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "check.h"

static bool fail_calloc;
static int failed;

/* Volatile: otherwise gcc sees malloc and memset and makes them a call of calloc. */
static void *(*const volatile plain_malloc)(size_t) = malloc;

void *calloc(size_t count, size_t size) {
    if (fail_calloc) {
        failed++;
        return NULL;
    }
    void *memory = plain_malloc(count * size);
    return memory ? memset(memory, 0, count * size) : NULL;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *argument) {
    (void)thread, (void)attributes, (void)start, (void)argument;
    failed++;
    return EAGAIN;
}

enum { B = 4, D = 64, T = 1000, W = 3, POOL = 9 };

static void test_update_without_memory(void) {
    float x_data[2 * D], out_data[2 * D], state_data[POOL * D * 2], weight_data[D * W];
    check_fill(x_data, 2 * D, 1), check_fill(state_data, POOL * D * 2, 2), check_fill(weight_data, D * W, 3);
    for (int i = 0; i < 2 * D; i++) out_data[i] = 42;
    int32_t rows[2] = {7, 3};
    cc1d_tensor x = check_tensor(x_data, CC1D_FLOAT32, 2, 2, D, 0),
                out = check_tensor(out_data, CC1D_FLOAT32, 2, 2, D, 0);
    cc1d_tensor state = check_tensor(state_data, CC1D_FLOAT32, 3, POOL, D, 2),
                weight = check_tensor(weight_data, CC1D_FLOAT32, 2, D, W, 0);
    cc1d_tensor indices = check_tensor(rows, CC1D_INT32, 1, 2, 0, 0);
    cc1d_update_args args = {.size = sizeof args,
                             .x = &x,
                             .conv_state = &state,
                             .weight = &weight,
                             .out = &out,
                             .conv_state_indices = &indices,
                             .pad_slot_id = -1};
    float before[POOL * D * 2];
    memcpy(before, state_data, sizeof before);
    failed = 0;
    fail_calloc = true;
    const cc1d_status status = cc1d_update(&args, NULL);
    fail_calloc = false;
    CHECK(failed == 1);
    CHECK(status == CC1D_ERROR_MEMORY);
    CHECK(strcmp(cc1d_last_error(), "conv_state_indices: out of memory for 9 pool rows") == 0);
    CHECK(memcmp(before, state_data, sizeof before) == 0);
    for (int i = 0; i < 2 * D; i++) CHECK(out_data[i] == 42);
    CHECK_STATUS(cc1d_update(&args, NULL), CC1D_OK);
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
    exec.num_threads = 4;
    CHECK_STATUS(cc1d_forward(&args, &exec), CC1D_OK);
    CHECK(failed > 0);
    CHECK(memcmp(one, many, sizeof one) == 0);
}

int main(void) {
    const check_test tests[] = {{"update without memory", test_update_without_memory},
                                {"forward without threads", test_forward_without_threads}};
    return check_run(tests, sizeof tests / sizeof *tests);
}
