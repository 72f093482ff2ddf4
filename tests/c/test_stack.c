/* test_stack.c - every operation on a thread with a stack of 64 KiB, and how much of it is used. */
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "calls.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
enum { STACK = 1 << 20, LIMIT = STACK }; /* frames are larger then */
#elif defined(__aarch64__) && defined(__linux__)
enum { STACK = 128 << 10, LIMIT = 32 << 10 }; /* glibc takes no smaller one there */
#else
enum { STACK = 64 << 10, LIMIT = 32 << 10 };
#endif

static void *do_nothing(void *argument) { return argument; }

static void *run_calls(void *argument) {
    const cc1d_exec exec = {.size = sizeof exec, .num_threads = 1};
    CHECK_STATUS(calls_run(argument, &exec), CC1D_OK);
    return argument;
}

/* Bytes of its stack that a thread touches. */
static size_t used(void *(*function)(void *), void *argument) {
    static unsigned char *stack;
    const long least = sysconf(_SC_THREAD_STACK_MIN); /* more than that on arm64 */
    const size_t size = least > STACK ? (size_t)least : STACK;
    if (!stack) stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    memset(stack, 0xa5, size);
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstack(&attributes, stack, size) == 0);
    const int status = pthread_create(&thread, &attributes, function, argument);
    CHECK(status == 0);
    if (status == 0) CHECK(pthread_join(thread, NULL) == 0);
    pthread_attr_destroy(&attributes);
    size_t untouched = 0;
    while (untouched < size && stack[untouched] == 0xa5) untouched++;
    return size - untouched;
}

static void test_every_operation(void) {
    static const int32_t dtypes[] = {CC1D_FLOAT32, CC1D_BFLOAT16, CC1D_FLOAT64};
    static const int widths[] = {1, 4, 64, 256};
    const size_t before = used(do_nothing, NULL);
    const char *name;
    for (int i = 0; (name = cc1d_cpu_implementation(i)); i++) {
        cc1d_set_cpu_implementation(name);
        size_t most = 0;
        for (int j = 0; j < 4 * 3 * 3 * 2; j++) {
            if (strcmp(name, "scalar") == 0 && j % 7) continue; /* slow, and its frames do not vary */
            const calls_kind kind = {dtypes[j % 3],
                                     widths[j / 3 % 4],
                                     j / 12 % 3,
                                     j / 36 == 1,
                                     1e-3,
                                     17,
                                     j / 3 % 4 < 3 ? 100 : 300};
            calls *c = calls_make(&kind);
            const size_t now = used(run_calls, c) - before;
            calls_free(c);
            if (now > most) most = now;
            if (now < LIMIT) continue;
            CHECK(!"within the limit");
            printf("  %zu bytes: dtype %d, width %d, layout %d, %s\n", now, (int)kind.dtype, kind.width,
                   kind.layout, kind.ids ? "seq_idx" : "cu_seqlens");
        }
        printf("  %s: %zu bytes at most\n", name, most);
    }
    cc1d_set_cpu_implementation(NULL);
}

int main(void) {
    const check_test tests[] = {{"every operation on a small stack", test_every_operation}};
    return check_run(tests, sizeof tests / sizeof *tests);
}
