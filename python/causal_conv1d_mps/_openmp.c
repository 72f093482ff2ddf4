/* _openmp.c - see _openmp.h.
 *
 * PyTorch's workers spin for a while after each of its operators. A pool of our own would compete with them
 * for the cores just then, and has to be woken; theirs are awake. The runtime's symbol is looked up, not
 * linked: the wheel fits a PyTorch with another runtime too. */
#define _GNU_SOURCE /* RTLD_DEFAULT */
#include "_openmp.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* What gcc compiles `#pragma omp parallel num_threads(n)` to. */
typedef void (*parallel_function)(void (*member)(void *), void *data, unsigned num_threads, unsigned flags);

static parallel_function parallel;
/* A child of fork() has the runtime's memory, but not its threads: it would wait for them for ever. */
static _Atomic bool is_child;

static void after_fork_in_child(void) { atomic_store(&is_child, true); }

static void find_runtime(void) {
    void *symbol = dlsym(RTLD_DEFAULT, "GOMP_parallel");
    if (symbol && pthread_atfork(NULL, NULL, after_fork_in_child) == 0)
        parallel = (parallel_function)(uintptr_t)symbol;
}

typedef struct team {
    _Atomic int64_t next;
    int64_t count;
    void (*task)(void *context, int64_t index);
    void *context;
} team;

static void member(void *data) {
    team *t = data;
    for (int64_t i; (i = atomic_fetch_add_explicit(&t->next, 1, memory_order_relaxed)) < t->count;)
        t->task(t->context, i);
}

static void parallel_for(void *user, int64_t count, void (*task)(void *context, int64_t index),
                         void *context) {
    const int64_t most = (int64_t)(intptr_t)user;
    team t = {.count = count, .task = task, .context = context};
    parallel(member, &t, (unsigned)(count < most ? count : most), 0);
}

cc1d_exec cc1d_exec_on(int32_t num_threads) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find_runtime);
    cc1d_exec exec = {.size = sizeof exec, .num_threads = num_threads};
    if (num_threads > 1 && parallel && !atomic_load(&is_child)) {
        exec.parallel_for = parallel_for;
        exec.parallel_for_user = (void *)(intptr_t)num_threads;
    }
    return exec;
}
