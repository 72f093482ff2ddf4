/* test_memory.c - every allocation and every start of a thread fails once, in every operation: the call gives
 * the same values with fewer threads, or CC1D_ERROR_MEMORY with nothing written. Needs a linker that can put
 * other functions in the place of malloc (CMakeLists.txt). */
#include <errno.h>
#include <pthread.h>

#include "operations.h"

#ifdef CC1D_TEST_WRAPPED

static int calls;        /* since a failure was asked for; 0 < fail_first <= this: it fails */
static int fail_first;   /* 0: none fails */
static bool fail_others; /* the later ones as well */

static bool fails(void) {
    if (fail_first == 0) return false;
    calls++;
    return calls == fail_first || (fail_others && calls > fail_first);
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size) { return fails() ? NULL : __real_malloc(size); }

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size) { return fails() ? NULL : __real_calloc(count, size); }

void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size) { return fails() ? NULL : __real_realloc(memory, size); }

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                          void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                          void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                          void *argument) {
    return fails() ? EAGAIN : __real_pthread_create(thread, attributes, start, argument);
}

/* Calls of a working run that could have failed, or did. */
static int run_failing(const operation *o, int first, bool others, const snapshot *before,
                       const snapshot *right) {
    restore(before);
    calls = 0, fail_first = first, fail_others = others;
    const cc1d_status status = o->run();
    fail_first = 0;
    if (status == CC1D_OK) {
        CHECK(is_snapshot(right));
    } else {
        CHECK_STATUS(status, CC1D_ERROR_MEMORY);
        CHECK(strstr(cc1d_last_error(), ": out of memory for ") != NULL);
        CHECK(is_snapshot(before));
    }
    return calls;
}

static void fail_everywhere(bool others, int most) {
    int failures = 0;
    for (int i = 0; i < OPERATIONS; i++) {
        const operation *o = &operations[i];
        snapshot before = take_snapshot();
        threads = 1;
        CHECK_STATUS(o->run(), CC1D_OK);
        snapshot right = take_snapshot();
        threads = most;
        for (int first = 1; run_failing(o, first, others, &before, &right) >= first; first++) failures++;
        restore(&before);
        free_snapshot(&before), free_snapshot(&right);
    }
    CHECK(failures >= 7); /* forward, backward, varlen_states: a copy each; update, a pool of states: two */
}

/* No thread exists yet, and none can be started; then one at a time. */
static void test_every_failure(void) {
    fail_everywhere(true, 4);
    fail_everywhere(false, 5);
    fail_everywhere(true, 1);
}

static void test_messages(void) {
    fail_first = 1, fail_others = true, calls = 0;
    CHECK_STATUS(update_circular(), CC1D_ERROR_MEMORY);
    fail_first = 0;
    CHECK(strcmp(cc1d_last_error(), "cache_seqlens: out of memory for a copy of 300 values") == 0);
    fail_first = 2, fail_others = true, calls = 0;
    CHECK_STATUS(update_circular(), CC1D_ERROR_MEMORY);
    fail_first = 0;
    CHECK(strcmp(cc1d_last_error(), "conv_state_indices: out of memory for 600 pool rows") == 0);
}

int main(void) {
    const check_test tests[] = {{"every failure", test_every_failure}, {"messages", test_messages}};
    make_arrays();
    fill_indices();
    return check_run(tests, sizeof tests / sizeof *tests);
}

#else

int main(void) {
    (void)operations, (void)take_snapshot, (void)restore, (void)is_snapshot, (void)free_snapshot;
    (void)make_arrays, (void)fill_indices;
    puts("left out: this linker cannot put other functions in the place of malloc (--wrap)");
    return 77; /* ctest shows it as skipped */
}

#endif
