/* test_threads.c - the pool: every index once, the same bits for every thread count, concurrent callers, a
 * caller's own parallel-for, and use after fork. Run under ThreadSanitizer as well. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "cpu/threads.h"

enum { COUNT = 1000, CALLERS = 8 };

/* Read by ThreadSanitizer's runtime; starting threads in a forked child is what is tested here. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "die_after_fork=0"; }

static void count_up(void *context, int64_t index) { atomic_fetch_add(&((atomic_int *)context)[index], 1); }

static void test_every_index_once(void) {
    for (int threads = 0; threads <= 5; threads++) {
        static atomic_int hits[COUNT];
        memset(hits, 0, sizeof hits);
        const cc1d_exec exec = {.size = sizeof exec, .num_threads = threads};
        cc1d_parallel(&exec, COUNT, count_up, hits);
        for (int i = 0; i < COUNT; i++) CHECK(atomic_load(&hits[i]) == 1);
    }
    const cc1d_exec exec = {.size = sizeof exec};
    cc1d_parallel(&exec, 0, count_up, NULL);
}

/* A backward problem large enough for several items and tasks. */
enum { B = 3, D = 40, T = 2500, W = 4 };

typedef struct gradients {
    float dx[B * D * T], dweight[D * W], dbias[D];
} gradients;

static float x_data[B * D * T], dout_data[B * D * T], weight_data[D * W];

static void run_backward(const cc1d_exec *exec, gradients *g) {
    cc1d_tensor x = check_tensor(x_data, CC1D_FLOAT32, 3, B, D, T),
                dout = check_tensor(dout_data, CC1D_FLOAT32, 3, B, D, T);
    cc1d_tensor weight = check_tensor(weight_data, CC1D_FLOAT32, 2, D, W, 0);
    cc1d_tensor dx = check_tensor(g->dx, CC1D_FLOAT32, 3, B, D, T),
                dweight = check_tensor(g->dweight, CC1D_FLOAT32, 2, D, W, 0);
    cc1d_tensor dbias = check_tensor(g->dbias, CC1D_FLOAT32, 1, D, 0, 0);
    cc1d_backward_args args = {.size = sizeof args,
                               .dout = &dout,
                               .x = &x,
                               .weight = &weight,
                               .dx = &dx,
                               .dweight = &dweight,
                               .dbias = &dbias,
                               .activation = CC1D_ACTIVATION_SILU};
    CHECK_STATUS(cc1d_backward_scratch(&args, &args.scratch_size), CC1D_OK);
    args.scratch = malloc(args.scratch_size);
    CHECK_STATUS(cc1d_backward(&args, exec), CC1D_OK);
    free(args.scratch);
}

static gradients expected;

static void test_same_bits(void) {
    check_fill(x_data, B * D * T, 1), check_fill(dout_data, B * D * T, 2), check_fill(weight_data, D * W, 3);
    gradients *g = malloc(sizeof *g);
    for (int threads = 1; threads <= 7; threads++) {
        const cc1d_exec exec = {.size = sizeof exec, .num_threads = threads};
        memset(g, 0xff, sizeof *g);
        run_backward(&exec, threads == 1 ? &expected : g);
        if (threads > 1) CHECK(memcmp(g, &expected, sizeof *g) == 0);
    }
    free(g);
}

static void *caller(void *result) {
    const cc1d_exec exec = {.size = sizeof exec, .num_threads = 3};
    for (int i = 0; i < 3; i++) run_backward(&exec, result);
    return NULL;
}

static void test_concurrent_callers(void) {
    pthread_t threads[CALLERS];
    gradients *g = calloc(CALLERS, sizeof *g);
    for (int i = 0; i < CALLERS; i++) CHECK(pthread_create(&threads[i], NULL, caller, &g[i]) == 0);
    for (int i = 0; i < CALLERS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < CALLERS; i++) CHECK(memcmp(&g[i], &expected, sizeof *g) == 0);
    free(g);
}

static int own_calls;

static void backwards_for(void *user, int64_t count, void (*task)(void *context, int64_t index),
                          void *context) {
    CHECK(user == &own_calls);
    own_calls++;
    while (count-- > 0) task(context, count);
}

static void test_own_parallel_for(void) {
    const cc1d_exec exec = {
        .size = sizeof exec, .parallel_for = backwards_for, .parallel_for_user = &own_calls};
    gradients *g = calloc(1, sizeof *g);
    run_backward(&exec, g);
    CHECK(own_calls > 0);
    CHECK(memcmp(g, &expected, sizeof *g) == 0);
    free(g);
}

static void test_fork(void) {
    if (getenv("CC1D_TEST_EMULATED")) {
        puts("skip: qemu-user cannot run threads in the child of a threaded process");
        return;
    }
    const cc1d_exec exec = {.size = sizeof exec, .num_threads = 4};
    gradients *g = calloc(1, sizeof *g);
    run_backward(&exec, g); /* the pool has threads now */
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        alarm(60);
        memset(g, 0, sizeof *g);
        run_backward(&exec, g);
        _exit(memcmp(g, &expected, sizeof *g) != 0 || check_failures != 0);
    }
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    run_backward(&exec, g); /* and the parent's pool still works */
    CHECK(memcmp(g, &expected, sizeof *g) == 0);
    free(g);
}

int main(void) {
    const check_test tests[] = {{"every index once", test_every_index_once},
                                {"same bits", test_same_bits},
                                {"concurrent callers", test_concurrent_callers},
                                {"own parallel-for", test_own_parallel_for},
                                {"fork", test_fork}};
    return check_run(tests, sizeof tests / sizeof *tests);
}
