/* kernel_cache.c - a hash table of compiled kernels that is read without a lock.
 *
 * Entries are only ever added, at the head of their bucket's list, so a reader needs one acquire
 * load to see a whole list. An entry is added before it is compiled; its function appears later. */
#if !defined(_WIN32) && !defined(_POSIX_C_SOURCE)
#define _POSIX_C_SOURCE 200809L
#endif
#include "kernel_cache.h"

#include "cuda.h"
#include "nvrtc.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 1024 /* a power of two; a process uses some dozens of kernels */

typedef struct entry {
    struct entry *next;
    uint64_t context_id;
    const char *kernel;
    uint8_t key[CC1D_PLAN_KEY];
    pthread_mutex_t build_lock;
    _Atomic(cu_function) function; /* NULL until it is loaded */
} entry;

static _Atomic(entry *) buckets[BUCKETS];
static pthread_mutex_t add_lock = PTHREAD_MUTEX_INITIALIZER;

static size_t bucket_of(uint64_t context_id, const cc1d_launch *launch) {
    uint64_t hash = context_id;
    uint64_t words[CC1D_PLAN_KEY / sizeof(uint64_t)];
    memcpy(words, launch->key, sizeof words);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15u; /* 2^64 / golden ratio */
        hash ^= hash >> 32;
    }
    return (size_t)hash % BUCKETS;
}

static entry *find(entry *list, uint64_t context_id, const cc1d_launch *launch) {
    for (; list; list = list->next) {
        if (list->context_id == context_id && !memcmp(list->key, launch->key, CC1D_PLAN_KEY) &&
            !strcmp(list->kernel, launch->kernel)) {
            return list;
        }
    }
    return NULL;
}

static entry *find_or_add(_Atomic(entry *) *bucket, uint64_t context_id, const cc1d_launch *launch) {
    pthread_mutex_lock(&add_lock);
    entry *head = atomic_load_explicit(bucket, memory_order_relaxed);
    entry *e = find(head, context_id, launch);
    if (!e && (e = calloc(1, sizeof *e))) {
        e->next = head;
        e->context_id = context_id;
        e->kernel = launch->kernel;
        memcpy(e->key, launch->key, sizeof e->key);
        pthread_mutex_init(&e->build_lock, NULL);
        atomic_store_explicit(bucket, e, memory_order_release);
    }
    pthread_mutex_unlock(&add_lock);
    return e;
}

static cc1d_status load_failed(const cc1d_driver *driver, const char *call, cu_result error) {
    char text[256];
    cc1d_driver_describe(driver, call, error, text, sizeof text);
    bool capture = strstr(text, "_STREAM_CAPTURE_") != NULL;
    return cc1d_fail(CC1D_ERROR_DEVICE, "%s%s", text,
                     capture ? "; run the call once before capturing it in a graph" : "");
}

/* Loads code into the current context. A thread that captures a graph may not load code unless it
 * says that the loading is no part of the graph, which holds here: it touches no stream. */
static cc1d_status load(const cc1d_driver *driver, const char *name, const char *code,
                        cu_function *function) {
    int mode = CU_CAPTURE_MODE_RELAXED;
    bool exchanged = driver->exchange_capture_mode && !driver->exchange_capture_mode(&mode);
    cu_module module = NULL;
    const char *call = "cuModuleLoadData";
    cu_result error = driver->module_load(&module, code);
    if (!error) {
        call = "cuModuleGetFunction";
        error = driver->module_function(function, module, name);
    }
    if (exchanged) {
        driver->exchange_capture_mode(&mode);
    }
    return error ? load_failed(driver, call, error) : CC1D_OK;
}

static cc1d_status build(const cc1d_driver *driver, const cc1d_cuda_device *device, const cc1d_launch *launch,
                         cu_function *function) {
    size_t size = cc1d_launch_source(launch, CC1D_LANGUAGE_CUDA, NULL, 0) + 1;
    char *source = malloc(size);
    if (!source) {
        return cc1d_fail(CC1D_ERROR_MEMORY, "no memory for a kernel text of %zu bytes", size);
    }
    cc1d_launch_source(launch, CC1D_LANGUAGE_CUDA, source, size);
    char *code = NULL;
    cc1d_status status = cc1d_nvrtc_compile(launch->kernel, source, device->sm, driver->version, &code);
    free(source);
    if (!status) {
        status = load(driver, launch->kernel, code, function);
        free(code);
    }
    return status;
}

cc1d_status cc1d_cuda_kernel(const cc1d_driver *driver, const cc1d_cuda_device *device, uint64_t context_id,
                             const cc1d_launch *launch, cu_function *function) {
    _Atomic(entry *) *bucket = &buckets[bucket_of(context_id, launch)];
    entry *e = find(atomic_load_explicit(bucket, memory_order_acquire), context_id, launch);
    if (!e && !(e = find_or_add(bucket, context_id, launch))) {
        return cc1d_fail(CC1D_ERROR_MEMORY, "no memory for a kernel");
    }
    *function = atomic_load_explicit(&e->function, memory_order_acquire);
    if (*function) {
        return CC1D_OK;
    }
    pthread_mutex_lock(&e->build_lock);
    cc1d_status status = CC1D_OK;
    *function = atomic_load_explicit(&e->function, memory_order_relaxed);
    if (!*function) {
        status = build(driver, device, launch, function);
        if (!status) {
            atomic_store_explicit(&e->function, *function, memory_order_release);
        }
    }
    pthread_mutex_unlock(&e->build_lock);
    return status;
}

int cc1d_cuda_kernel_count(const char *kernel) {
    int count = 0;
    for (int i = 0; i < BUCKETS; i++)
        for (entry *e = atomic_load_explicit(&buckets[i], memory_order_acquire); e; e = e->next)
            count += atomic_load_explicit(&e->function, memory_order_relaxed) && !strcmp(e->kernel, kernel);
    return count;
}
