/* device.c - the CUDA devices of the process and their contexts. */
#if !defined(_WIN32) && !defined(_POSIX_C_SOURCE)
#define _POSIX_C_SOURCE 200809L
#endif
#include "device.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

typedef struct slot {
    atomic_bool ready;
    cc1d_cuda_device device;
} slot;

static slot slots[CC1D_CUDA_DEVICES];
static pthread_mutex_t setup_lock = PTHREAD_MUTEX_INITIALIZER;

static cc1d_status set_up(const cc1d_driver *driver, int ordinal, cc1d_cuda_device *device) {
    int count = 0, major = 0, minor = 0;
    cu_result error = driver->device_count(&count);
    if (error) {
        return cc1d_driver_fail(driver, "cuDeviceGetCount", error);
    }
    if (ordinal >= count) {
        return cc1d_fail(CC1D_ERROR_DEVICE, "cuda:%d: this process sees %d CUDA devices", ordinal, count);
    }
    error = driver->device_get(&device->handle, ordinal);
    if (error) {
        return cc1d_driver_fail(driver, "cuDeviceGet", error);
    }
    error = driver->device_attribute(&major, CU_ATTRIBUTE_CAPABILITY_MAJOR, device->handle);
    if (!error) {
        error = driver->device_attribute(&minor, CU_ATTRIBUTE_CAPABILITY_MINOR, device->handle);
    }
    if (error) {
        return cc1d_driver_fail(driver, "cuDeviceGetAttribute", error);
    }
    device->sm = 10 * major + minor;
    snprintf(device->architecture, sizeof device->architecture, "sm_%d", device->sm);
    error = driver->primary_retain(&device->primary, device->handle);
    return error ? cc1d_driver_fail(driver, "cuDevicePrimaryCtxRetain", error) : CC1D_OK;
}

cc1d_status cc1d_cuda_device_get(const cc1d_driver *driver, int ordinal, const cc1d_cuda_device **device) {
    if (ordinal < 0 || ordinal >= CC1D_CUDA_DEVICES) {
        return cc1d_fail(CC1D_ERROR_DEVICE, "cuda:%d: expected a device from 0 to %d", ordinal,
                         CC1D_CUDA_DEVICES - 1);
    }
    slot *s = &slots[ordinal];
    cc1d_status status = CC1D_OK;
    if (!atomic_load_explicit(&s->ready, memory_order_acquire)) {
        pthread_mutex_lock(&setup_lock);
        if (!atomic_load_explicit(&s->ready, memory_order_relaxed)) {
            status = set_up(driver, ordinal, &s->device);
            atomic_store_explicit(&s->ready, status == CC1D_OK, memory_order_release);
        }
        pthread_mutex_unlock(&setup_lock);
    }
    *device = &s->device;
    return status;
}

/* A number for a context: the driver's, or before CUDA 12 the handle, which may come again. */
static uint64_t identify(const cc1d_driver *driver, cu_context context) {
    unsigned long long id = 0;
    if (driver->context_id && !driver->context_id(context, &id)) {
        return id;
    }
    return (uint64_t)(uintptr_t)context;
}

cc1d_status cc1d_cuda_enter(const cc1d_driver *driver, const cc1d_cuda_device *device,
                            cc1d_cuda_scope *scope) {
    cu_context current = NULL;
    cu_result error = driver->context_current(&current);
    if (error) {
        return cc1d_driver_fail(driver, "cuCtxGetCurrent", error);
    }
    scope->pushed = false;
    scope->context_id = (uint64_t)(uintptr_t)device->primary;
    if (current == device->primary) {
        return CC1D_OK;
    }
    cu_device here = 0;
    if (current && !driver->context_device(&here) && here == device->handle) {
        scope->context_id = identify(driver, current);
        return CC1D_OK;
    }
    error = driver->context_push(device->primary);
    scope->pushed = !error;
    return error ? cc1d_driver_fail(driver, "cuCtxPushCurrent", error) : CC1D_OK;
}

void cc1d_cuda_leave(const cc1d_driver *driver, const cc1d_cuda_scope *scope) {
    if (scope->pushed) {
        cu_context popped;
        driver->context_pop(&popped); /* nothing to do about a failure: the work is enqueued */
    }
}
