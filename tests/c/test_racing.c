/* test_racing.c - another thread writes to the index tensors of a call while it runs: the call works or is
 * refused, and no memory but its outputs is touched. Bounded in time; best under AddressSanitizer. */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "operations.h"

#if defined(__SANITIZE_THREAD__)
enum { IS_TSAN = 1 };
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
enum { IS_TSAN = 1 };
#else
enum { IS_TSAN = 0 };
#endif
#else
enum { IS_TSAN = 0 };
#endif

static atomic_bool stop;

/* One element after the other to a value that steers far away, and back. */
static void flip(int64_t *values, int count, int64_t other) {
    volatile int64_t *each = values;
    for (int i = 0; i < count; i++) {
        const int64_t good = each[i];
        each[i] = other;
        each[i] = good;
    }
}

static void *flip_all(void *unused) {
    (void)unused;
    for (int64_t round = 0; !atomic_load_explicit(&stop, memory_order_relaxed); round++) {
        const int64_t other = round % 3 == 0 ? (int64_t)1 << 40 : round % 3 == 1 ? -((int64_t)1 << 40) : 3;
        flip(i_cu, N + 1, other), flip(i_seq, T, other), flip(i_rows, ROWS, other);
        flip(i_cache, ROWS, other), flip(i_accepted, ROWS, other);
    }
    return NULL;
}

static double seconds(void) {
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void race(const operation *o, double most) {
    snapshot before = take_snapshot();
    CHECK_STATUS(o->run(), CC1D_OK);
    snapshot right = take_snapshot();
    pthread_t thread;
    atomic_store(&stop, false);
    CHECK(pthread_create(&thread, NULL, flip_all, NULL) == 0);
    for (const double start = seconds(); seconds() - start < most;) {
        const cc1d_status status = o->run();
        if (status != CC1D_OK && status != CC1D_ERROR_VALUE) CHECK_STATUS(status, CC1D_OK);
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    restore(&before);
    CHECK_STATUS(o->run(), CC1D_OK);
    CHECK(is_snapshot(&right));
    restore(&before);
    free_snapshot(&before), free_snapshot(&right);
}

static void test_racing(void) {
    const char *name;
    for (int i = 0; i < 2 && (name = i ? "scalar" : cc1d_cpu_implementation(0)); i++) {
        CHECK_STATUS(cc1d_set_cpu_implementation(name), CC1D_OK);
        for (int o = 0; o < OPERATIONS; o++) race(&operations[o], 0.12);
    }
}

int main(void) {
    if (IS_TSAN) {
        puts("left out: the races are meant");
        return 77; /* ctest shows it as skipped */
    }
    const check_test tests[] = {{"racing", test_racing}};
    threads = 2;
    make_arrays();
    fill_indices();
    return check_run(tests, sizeof tests / sizeof *tests);
}
