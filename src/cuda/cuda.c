/* cuda.c - the CUDA backend: plans a problem and launches its kernels on the caller's stream. */
#include "core/backend.h"

#include "device.h"
#include "gpu/plan/plan.h"
#include "kernel_cache.h"
#include "nvrtc.h"

#include <stdio.h>
#include <string.h>

/* Appends "1 device: NAME (sm_90)" or its plural; false, with the reason instead, on an error. */
static bool describe_devices(const cc1d_driver *driver, char *text, size_t size) {
    int count = 0;
    cu_result error = driver->device_count(&count);
    if (error) {
        cc1d_driver_describe(driver, "cuDeviceGetCount", error, text, size);
        return false;
    }
    if (count == 0) {
        snprintf(text, size, "the driver sees no CUDA device (CUDA_VISIBLE_DEVICES may hide them)");
        return false;
    }
    size_t length = (size_t)snprintf(text, size, "%d device%s:", count, count == 1 ? "" : "s");
    for (int i = 0; i < count && length < size; i++) {
        char name[128] = "unnamed";
        int major = 0, minor = 0;
        cu_device device = 0;
        if (!driver->device_get(&device, i)) {
            driver->device_name(name, sizeof name, device);
            driver->device_attribute(&major, CU_ATTRIBUTE_CAPABILITY_MAJOR, device);
            driver->device_attribute(&minor, CU_ATTRIBUTE_CAPABILITY_MINOR, device);
        }
        length += (size_t)snprintf(text + length, size - length, "%s %s (sm_%d%d)", i ? "," : "", name, major,
                                   minor);
    }
    return true;
}

static int available(char *detail, size_t size) {
    char devices[512], compiler[1200], why[512];
    const cc1d_driver *driver = cc1d_driver_get(why, sizeof why);
    if (!driver) {
        snprintf(detail, size, "%s", why);
        return 0;
    }
    if (!describe_devices(driver, devices, sizeof devices)) {
        snprintf(detail, size, "%s", devices);
        return 0;
    }
    int usable = cc1d_nvrtc_describe(driver->version, compiler, sizeof compiler);
    snprintf(detail, size, "driver for CUDA %d.%d, %s; %s", driver->version / 1000,
             driver->version % 1000 / 10, compiler, devices);
    return usable;
}

static cc1d_status launch_one(const cc1d_driver *driver, const cc1d_cuda_device *device,
                              const cc1d_problem *problem, const cc1d_launch *launch, cu_function function,
                              cu_stream stream, void *scratch) {
    void *pointers[CC1D_PLAN_BUFFERS]; /* the driver reads what arguments point to */
    void *arguments[CC1D_PLAN_BUFFERS + 1];
    for (int i = 0; i < launch->buffer_count; i++) {
        int role = launch->buffers[i];
        pointers[i] = role == CC1D_SCRATCH ? scratch : problem->view[role].data;
        arguments[i] = &pointers[i];
    }
    arguments[launch->buffer_count] = (void *)launch->words;
    const uint32_t *grid = launch->groups, *block = launch->group_size;
    cu_result error;
    if (launch->waits_itself && driver->launch_config &&
        cc1d_nvrtc_target(device->sm, driver->version) >= 90) {
        /* Started while the launch before it ends; the kernel waits for that one's results itself. */
        cu_launch_attribute early = {.id = CU_LAUNCH_PROGRAMMATIC_SERIALIZATION, .value = {.allowed = 1}};
        const cu_launch_config config = {.grid = {grid[0], grid[1], grid[2]},
                                         .block = {block[0], block[1], block[2]},
                                         .stream = stream,
                                         .attributes = &early,
                                         .attribute_count = 1};
        error = driver->launch_config(&config, function, arguments, NULL);
    } else {
        error = driver->launch(function, grid[0], grid[1], grid[2], block[0], block[1], block[2], 0, stream,
                               arguments, NULL);
    }
    if (error) {
        char call[96];
        snprintf(call, sizeof call, "cuLaunchKernel of %s", launch->kernel);
        return cc1d_driver_fail(driver, call, error);
    }
    return CC1D_OK;
}

/* Every kernel is found before the first is launched, so that a failed compilation changes
 * nothing. */
static cc1d_status launch_all(const cc1d_driver *driver, const cc1d_cuda_device *device,
                              const cc1d_problem *problem, const cc1d_plan *plan, cu_stream stream,
                              void *scratch) {
    cc1d_cuda_scope scope;
    cc1d_status status = cc1d_cuda_enter(driver, device, &scope);
    if (status) {
        return status;
    }
    cu_function functions[CC1D_PLAN_LAUNCHES];
    for (int i = 0; i < plan->launch_count && !status; i++) {
        status = cc1d_cuda_kernel(driver, device, scope.context_id, &plan->launch[i], &functions[i]);
    }
    for (int i = 0; i < plan->launch_count && !status; i++) {
        status = launch_one(driver, device, problem, &plan->launch[i], functions[i], stream, scratch);
    }
    cc1d_cuda_leave(driver, &scope);
    return status;
}

static cc1d_status run(const cc1d_problem *problem, const cc1d_how *how, const cc1d_exec *exec,
                       void *scratch) {
    const cc1d_plan *plan = &how->gpu;
    if (plan->launch_count == 0) {
        cc1d_ran_nothing();
        return CC1D_OK;
    }
    char why[512];
    const cc1d_driver *driver = cc1d_driver_get(why, sizeof why);
    if (!driver) {
        return cc1d_fail(CC1D_ERROR_DEVICE, "%s", why);
    }
    const cc1d_cuda_device *device;
    cc1d_status status = cc1d_cuda_device_get(driver, problem->device_index, &device);
    if (!status) {
        status = launch_all(driver, device, problem, plan, exec->stream, scratch);
    }
    if (!status) {
        cc1d_ran("cuda", device->architecture, plan->launch[0].kernel);
    }
    return status;
}

const cc1d_backend cc1d_backend_cuda = {"cuda", available, cc1d_prepare_launches, run};
