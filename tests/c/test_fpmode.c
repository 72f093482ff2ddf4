/* test_fpmode.c - the floating-point mode of the calling thread, and of every other one, changes no bit and
 * is what it was afterwards. */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "calls.h"
#include "cpu/fpmode.h"

#if defined(__x86_64__)
static const cc1d_fpmode modes[] = {
    0x1f80 | 0x8040, /* flush to zero, denormals are zero */
    0x1f80 | 0x2000, /* down */
    0x1f80 | 0x4000, /* up */
    0x1f80 | 0x6000, /* to zero */
};
#elif defined(__aarch64__)
static const cc1d_fpmode modes[] = {
    1u << 24 | 1u << 19,           /* flush to zero, in half precision too */
    1u << 22,                      /* up */
    2u << 22,                      /* down */
    3u << 22,                      /* to zero */
    1u << 25 | 1u << 26 | 1u << 24 /* default NaN, alternative half precision */
};
#else
static const cc1d_fpmode modes[] = {FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
#endif
enum { MODES = sizeof modes / sizeof *modes };

static cc1d_fpmode settings(cc1d_fpmode mode) { return mode & (cc1d_fpmode)CC1D_FPMODE_BITS; }

/* ---- A parallel-for whose threads are each in another mode ------------------------------------------- */

typedef struct shared_loop {
    void (*task)(void *context, int64_t index);
    void *context;
    int64_t count;
    _Atomic int64_t next;
    atomic_int changed, started;
} shared_loop;

static void *loop_thread(void *argument) {
    shared_loop *loop = argument;
    const cc1d_fpmode mode = modes[atomic_fetch_add(&loop->started, 1) % MODES];
    cc1d_fpmode_write(mode);
    for (int64_t i; (i = atomic_fetch_add(&loop->next, 1)) < loop->count;) {
        loop->task(loop->context, i);
        if (settings(cc1d_fpmode_read()) != settings(mode)) atomic_fetch_add(&loop->changed, 1);
    }
    cc1d_fpmode_write(CC1D_FPMODE_WANTED);
    return NULL;
}

static void in_every_mode(void *user, int64_t count, void (*task)(void *context, int64_t index),
                          void *context) {
    shared_loop loop = {.task = task, .context = context, .count = count};
    pthread_t threads[MODES];
    for (int i = 0; i < MODES; i++) pthread_create(&threads[i], NULL, loop_thread, &loop);
    for (int i = 0; i < MODES; i++) pthread_join(threads[i], NULL);
    *(int *)user += atomic_load(&loop.changed);
}

/* ---- The tests ---------------------------------------------------------------------------------------- */

static const calls_kind kinds[] = {
    {CC1D_FLOAT32, 4, 0, true, 1e-40, 40, 600}, {CC1D_FLOAT32, 3, 1, false, 1e-39, 40, 600},
    {CC1D_FLOAT32, 5, 2, true, 1e-38, 40, 600}, {CC1D_BFLOAT16, 4, 0, false, 1e-39, 40, 600},
    {CC1D_FLOAT16, 4, 1, true, 1e-7, 40, 600},  {CC1D_FLOAT64, 4, 1, false, 1e-309, 40, 600},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static calls *expected[KINDS];

/* The same calls with the caller in `mode`. */
static void compare(int kind, const cc1d_exec *exec, cc1d_fpmode mode) {
    calls *c = calls_make(&kinds[kind]);
    cc1d_fpmode_write(mode);
    const cc1d_status status = calls_run(c, exec);
    const cc1d_fpmode after = cc1d_fpmode_read();
    cc1d_fpmode_write(CC1D_FPMODE_WANTED);
    CHECK_STATUS(status, CC1D_OK);
    CHECK(settings(after) == settings(mode));
    CHECK(memcmp(c->results, expected[kind]->results, c->bytes) == 0);
    calls_free(c);
}

static void compare_all(const cc1d_exec *exec) {
    for (int kind = 0; kind < KINDS; kind++) {
        compare(kind, exec, CC1D_FPMODE_WANTED);
        for (int mode = 0; mode < MODES; mode++) compare(kind, exec, modes[mode]);
    }
}

/* The modes do change what is computed in them here. */
static void test_modes_matter(void) {
    for (int mode = 0; mode < MODES; mode++) {
        volatile float tiny = 0x1p-140f, third = 3, one = -1;
        const float small = tiny * 0.5f, quotient = one / third, negative = one / -third;
        cc1d_fpmode_write(modes[mode]);
        const volatile float small_then = tiny * 0.5f, quotient_then = one / third,
                             negative_then = one / -third;
        cc1d_fpmode_write(CC1D_FPMODE_WANTED);
        CHECK(small != small_then || quotient != quotient_then || negative != negative_then);
    }
}

static void test_every_mode(void) {
    const char *name;
    for (int i = 0; (name = cc1d_cpu_implementation(i)); i++) {
        cc1d_set_cpu_implementation(name);
        for (int kind = 0; kind < KINDS; kind++) {
            expected[kind] = calls_make(&kinds[kind]);
            const cc1d_exec one = {.size = sizeof one, .num_threads = 1};
            CHECK_STATUS(calls_run(expected[kind], &one), CC1D_OK);
        }
        for (int threads = 1; threads <= 4; threads *= 2)
            compare_all(&(cc1d_exec){.size = sizeof(cc1d_exec), .num_threads = threads});
        int changed = 0;
        compare_all(&(cc1d_exec){
            .size = sizeof(cc1d_exec), .parallel_for = in_every_mode, .parallel_for_user = &changed});
        CHECK(changed == 0);
        for (int kind = 0; kind < KINDS; kind++) calls_free(expected[kind]);
    }
    cc1d_set_cpu_implementation(NULL);
}

static void test_cost(void) {
    enum { TIMES = 1000000 };
    struct timespec begin, end;
    const cc1d_fpmode callers[] = {CC1D_FPMODE_WANTED, modes[0]};
    for (int i = 0; i < 2; i++) {
        cc1d_fpmode_write(callers[i]);
        timespec_get(&begin, TIME_UTC);
        for (int j = 0; j < TIMES; j++) cc1d_fpmode_leave(cc1d_fpmode_enter());
        timespec_get(&end, TIME_UTC);
        CHECK(settings(cc1d_fpmode_read()) == settings(callers[i]));
        cc1d_fpmode_write(CC1D_FPMODE_WANTED);
        printf("  %s: %.1f ns\n", i ? "another mode" : "the kernels' mode",
               ((double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec)) / TIMES);
    }
}

int main(void) {
    const check_test tests[] = {{"the modes matter", test_modes_matter},
                                {"every operation in every mode", test_every_mode},
                                {"cost of a change", test_cost}};
    return check_run(tests, sizeof tests / sizeof *tests);
}
