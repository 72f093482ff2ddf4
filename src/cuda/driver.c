/* driver.c - opens libcuda and initialises it. */
#if !defined(_WIN32) && !defined(_POSIX_C_SOURCE)
#define _POSIX_C_SOURCE 200809L
#endif
#include "driver.h"

#include "library.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>

/* The second is where the Windows Subsystem for Linux keeps it, on no search path by default. */
static const char *const driver_paths[] = {"libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"};

#define ENTRY(field, name, required) \
    { name, offsetof(cc1d_driver, field), required }

/* A name with a version suffix is the current binary interface of its function. */
static const cc1d_symbol symbols[] = {
    ENTRY(init, "cuInit", true),
    ENTRY(driver_version, "cuDriverGetVersion", true),
    ENTRY(error_name, "cuGetErrorName", true),
    ENTRY(error_string, "cuGetErrorString", true),
    ENTRY(device_count, "cuDeviceGetCount", true),
    ENTRY(device_get, "cuDeviceGet", true),
    ENTRY(device_name, "cuDeviceGetName", true),
    ENTRY(device_attribute, "cuDeviceGetAttribute", true),
    ENTRY(primary_retain, "cuDevicePrimaryCtxRetain", true),
    ENTRY(context_current, "cuCtxGetCurrent", true),
    ENTRY(context_device, "cuCtxGetDevice", true),
    ENTRY(context_push, "cuCtxPushCurrent_v2", true),
    ENTRY(context_pop, "cuCtxPopCurrent_v2", true),
    ENTRY(module_load, "cuModuleLoadData", true),
    ENTRY(module_function, "cuModuleGetFunction", true),
    ENTRY(launch, "cuLaunchKernel", true),
    ENTRY(launch_config, "cuLaunchKernelEx", false),
    ENTRY(context_id, "cuCtxGetId", false),
    ENTRY(exchange_capture_mode, "cuThreadExchangeStreamCaptureMode", false),
};

static pthread_mutex_t load_lock = PTHREAD_MUTEX_INITIALIZER;
static cc1d_driver table;
static _Atomic(const cc1d_driver *) ready; /* &table, once it is usable */
static atomic_bool initialised;            /* cuInit has been called and did not fail */
static atomic_bool forked;                 /* this is the child of a process that had done so */

static void in_child(void) { atomic_store(&forked, atomic_load(&initialised)); }

void cc1d_driver_describe(const cc1d_driver *driver, const char *call, cu_result error, char *text,
                          size_t size) {
    const char *name = NULL, *meaning = NULL;
    if (driver->error_name(error, &name) || !name) {
        name = "unknown error";
    }
    if (driver->error_string(error, &meaning) || !meaning) {
        meaning = "no description";
    }
    snprintf(text, size, "%s: %s (%d): %s", call, name, error, meaning);
}

cc1d_status cc1d_driver_fail(const cc1d_driver *driver, const char *call, cu_result error) {
    char text[256];
    cc1d_driver_describe(driver, call, error, text, sizeof text);
    return cc1d_fail(CC1D_ERROR_DEVICE, "%s", text);
}

static void *open_driver(char *why, size_t size) {
    char reason[256];
    for (size_t i = 0; i < sizeof driver_paths / sizeof *driver_paths; i++) {
        void *library = cc1d_library_open(driver_paths[i], reason, sizeof reason);
        if (library) {
            return library;
        }
        if (i == 0) {
            snprintf(why, size, "no CUDA driver: %s", reason);
        }
    }
    return NULL;
}

static bool load(char *why, size_t size) {
    static bool watching_forks;
    void *library = open_driver(why, size);
    if (!library) {
        return false;
    }
    const char *missing =
        cc1d_library_resolve(library, symbols, (int)(sizeof symbols / sizeof *symbols), &table);
    if (missing) {
        snprintf(why, size, "the CUDA driver is too old: libcuda.so.1 has no %s", missing);
        return false;
    }
    if (!watching_forks) {
        pthread_atfork(NULL, NULL, in_child);
        watching_forks = true;
    }
    atomic_store(&initialised, true);
    cu_result error = table.init(0);
    if (error) {
        atomic_store(&initialised, false);
        cc1d_driver_describe(&table, "cuInit", error, why, size);
        return false;
    }
    error = table.driver_version(&table.version);
    if (error) {
        cc1d_driver_describe(&table, "cuDriverGetVersion", error, why, size);
        return false;
    }
    return true;
}

const cc1d_driver *cc1d_driver_get(char *why, size_t size) {
    if (atomic_load_explicit(&forked, memory_order_relaxed)) {
        snprintf(why, size,
                 "CUDA was initialised before this process was forked; start the process with the "
                 "'spawn' or 'forkserver' method instead");
        return NULL;
    }
    const cc1d_driver *driver = atomic_load_explicit(&ready, memory_order_acquire);
    if (driver) {
        return driver;
    }
    pthread_mutex_lock(&load_lock);
    driver = atomic_load_explicit(&ready, memory_order_relaxed);
    if (!driver && load(why, size)) {
        driver = &table;
        atomic_store_explicit(&ready, driver, memory_order_release);
    }
    pthread_mutex_unlock(&load_lock);
    return driver;
}
