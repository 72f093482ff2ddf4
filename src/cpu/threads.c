/* threads.c - a small persistent pool of POSIX threads.
 *
 * One job at a time: a caller that finds the pool busy runs its job alone, which keeps concurrent callers
 * independent. Threads are started when first needed, sleep between jobs and are never joined. After fork()
 * the child starts with an empty pool of its own. */
#include "threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#include "fpmode.h"

enum { MAX_WORKERS = 255 };

/* Everything but next is guarded by lock. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t work; /* workers wait here for a job */
    pthread_cond_t done; /* the job's owner waits here for its workers */
    bool owned;          /* a caller is using the pool */
    bool open;           /* workers may join the job */
    int workers;         /* threads that exist */
    int seats;           /* workers that may still join the job */
    int inside;          /* workers in the job */
    void (*task)(void *context, int64_t index);
    void *context;
    int64_t count;
    _Atomic int64_t next;
} pool = {
    .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

static void run_tasks(void (*task)(void *context, int64_t index), void *context, int64_t count) {
    const cc1d_fpmode own = cc1d_fpmode_enter();
    for (;;) {
        const int64_t i = atomic_fetch_add_explicit(&pool.next, 1, memory_order_relaxed);
        if (i >= count) break;
        task(context, i);
    }
    cc1d_fpmode_leave(own);
}

typedef struct plain_task {
    void (*task)(void *context, int64_t index);
    void *context;
} plain_task;

/* A task on a thread of the caller's, whatever that thread's mode is. */
static void run_alone(void *context, int64_t index) {
    const plain_task *t = context;
    const cc1d_fpmode own = cc1d_fpmode_enter();
    t->task(t->context, index);
    cc1d_fpmode_leave(own);
}

static void *worker(void *unused) {
    (void)unused;
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        while (!pool.open || pool.seats == 0) pthread_cond_wait(&pool.work, &pool.lock);
        pool.seats--;
        pool.inside++;
        void (*const task)(void *, int64_t) = pool.task;
        void *const context = pool.context;
        const int64_t count = pool.count;
        pthread_mutex_unlock(&pool.lock);
        run_tasks(task, context, count);
        pthread_mutex_lock(&pool.lock);
        pool.open = false; /* nothing is left to claim */
        if (--pool.inside == 0) pthread_cond_signal(&pool.done);
    }
    return NULL; /* never: for compilers that cannot tell */
}

static void before_fork(void) { pthread_mutex_lock(&pool.lock); }

static void after_fork_in_parent(void) { pthread_mutex_unlock(&pool.lock); }

/* The child has one thread: the pool's threads, and a job that another thread was running, stayed behind. */
static void after_fork_in_child(void) {
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.work, NULL);
    pthread_cond_init(&pool.done, NULL);
    pool.owned = pool.open = false;
    pool.workers = pool.seats = pool.inside = 0;
}

static void register_fork_handlers(void) {
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* Starts threads until there are `wanted`; fewer where the system refuses. Called with the lock held. */
static void grow(int wanted) {
    pthread_attr_t attributes;
    if (pool.workers >= wanted || pthread_attr_init(&attributes)) return;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (pthread_t thread; pool.workers < wanted; pool.workers++)
        if (pthread_create(&thread, &attributes, worker, NULL)) break;
    pthread_attr_destroy(&attributes);
}

static int online_cores(void) {
    static _Atomic int cached;
    int cores = atomic_load_explicit(&cached, memory_order_relaxed);
    if (cores == 0) {
        const long online = sysconf(_SC_NPROCESSORS_ONLN);
        cores = online < 1 ? 1 : online > MAX_WORKERS + 1 ? MAX_WORKERS + 1 : (int)online;
        atomic_store_explicit(&cached, cores, memory_order_relaxed);
    }
    return cores;
}

static bool claim_pool(int helpers, int64_t count, void (*task)(void *context, int64_t index),
                       void *context) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_fork_handlers);
    pthread_mutex_lock(&pool.lock);
    const bool free = !pool.owned;
    if (free) {
        grow(helpers);
        pool.owned = pool.open = true;
        pool.seats = helpers;
        pool.task = task;
        pool.context = context;
        pool.count = count;
        atomic_store_explicit(&pool.next, 0, memory_order_relaxed);
        for (int i = 0; i < helpers; i++) pthread_cond_signal(&pool.work);
    }
    pthread_mutex_unlock(&pool.lock);
    return free;
}

static void release_pool(void) {
    pthread_mutex_lock(&pool.lock);
    pool.open = false;
    while (pool.inside > 0) pthread_cond_wait(&pool.done, &pool.lock);
    pool.owned = false;
    pthread_mutex_unlock(&pool.lock);
}

void cc1d_parallel(const cc1d_exec *exec, int64_t count, void (*task)(void *context, int64_t index),
                   void *context) {
    if (count > 1 && exec->parallel_for) {
        plain_task plain = {task, context};
        exec->parallel_for(exec->parallel_for_user, count, run_alone, &plain);
        return;
    }
    int64_t threads = exec->num_threads > 0 ? exec->num_threads : online_cores();
    if (threads > count) threads = count;
    if (threads > MAX_WORKERS + 1) threads = MAX_WORKERS + 1;
    if (threads > 1 && claim_pool((int)threads - 1, count, task, context)) {
        run_tasks(task, context, count);
        release_pool();
        return;
    }
    const cc1d_fpmode own = cc1d_fpmode_enter();
    for (int64_t i = 0; i < count; i++) task(context, i);
    cc1d_fpmode_leave(own);
}
