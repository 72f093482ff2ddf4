/* openmp.c - see openmp.h.
 *
 * PyTorch's workers spin for a while after each of its operators. A pool of our own would compete with them
 * for the cores just then, and has to be woken; theirs are awake. The runtime's symbol is looked up, not
 * linked: the wheel fits a PyTorch with another runtime too. Two things that runtime does not survive, so the
 * library's own pool takes over: a fork, and a system that refuses a thread. */
#define _GNU_SOURCE /* RTLD_DEFAULT */
#include "openmp.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/threads.h"

/* What gcc compiles `#pragma omp parallel num_threads(n)` to. */
typedef void (*parallel_function)(void (*member)(void *), void *data, unsigned num_threads, unsigned flags);

static parallel_function parallel;

/* ---- Forks
 * --------------------------------------------------------------------------------------------------------
 */

/* A child of fork() has the runtime's memory, but not its threads: it would wait for them for ever. */
static _Atomic bool is_child;

static void after_fork_in_child(void) { atomic_store(&is_child, true); }

/* Whether this process came from a fork without an exec, before this module was loaded (Linux says so).
 * PyTorch may have been loaded, and may have made its threads, before that. */
static bool was_forked(void) {
    enum { PF_FORKNOEXEC = 0x40 };
    char text[512] = "";
    unsigned flags = 0;
    FILE *file = fopen("/proc/self/stat", "r");
    if (!file) return false;
    const size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    const char *name_end = strrchr(text, ')'); /* the name before it may hold anything */
    return name_end && sscanf(name_end, ") %*c %*d %*d %*d %*d %*d %u", &flags) == 1 &&
           (flags & PF_FORKNOEXEC);
}

static void find_runtime(void) {
    void *symbol = dlsym(RTLD_DEFAULT, "GOMP_parallel");
    parallel = (parallel_function)(uintptr_t)symbol;
}

void cc1d_watch_forks(void) {
    atomic_store(&is_child, was_forked() || pthread_atfork(NULL, NULL, after_fork_in_child) != 0);
}

/* ---- Teams
 * --------------------------------------------------------------------------------------------------------
 */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER; /* locked: probes wait at it */

static void *wait_at_gate(void *unused) {
    (void)unused;
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    return NULL;
}

/* Whether the system gives so many threads at once. */
static bool can_start(int count) {
    pthread_t *thread = calloc((size_t)count, sizeof *thread);
    if (!thread) return false;
    int started = 0;
    pthread_mutex_lock(&gate);
    while (started < count && pthread_create(&thread[started], NULL, wait_at_gate, NULL) == 0) started++;
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < started; i++) pthread_join(thread[i], NULL);
    free(thread);
    return started == count;
}

/* The runtime ends the process where it cannot start a thread of a team. A thread's team keeps its threads as
 * long as it keeps its size, and PyTorch's own regions have that size too, so this asks once for each. */
static bool can_have_team(int size) {
    static _Thread_local int known_size;
    static _Thread_local bool known_answer;
    if (size != known_size) {
        known_answer = can_start(size - 1);
        known_size = size;
    }
    return known_answer;
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

/* The team is as large as PyTorch's own, also where fewer have work: the runtime ends the threads that a
 * smaller one leaves out, and starts them again for the next. */
static void parallel_for(void *user, int64_t count, void (*task)(void *context, int64_t index),
                         void *context) {
    const int size = (int)(intptr_t)user;
    team t = {.count = count, .task = task, .context = context};
    if (can_have_team(size)) {
        parallel(member, &t, (unsigned)size, 0);
        return;
    }
    const cc1d_exec own = {.size = sizeof own, .num_threads = size};
    cc1d_parallel(&own, count, task, context);
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
