/* api.c - the public entry points: validate, pick the device's backend, run. */
#include <stdio.h>
#include <string.h>

#include "backend.h"
#include "validate.h"
#include "validate_values.h"

static const cc1d_backend *backend_of(int32_t device) {
    switch (device) {
    case CC1D_CUDA: return &cc1d_backend_cuda;
    case CC1D_METAL: return &cc1d_backend_metal;
    default: return &cc1d_backend_cpu;
    }
}

/* A caller's exec completed, so that backends read every field without asking. */
static cc1d_status complete_exec(const cc1d_exec *given, cc1d_exec *exec) {
    static const size_t sizes[] = {sizeof *exec};
    memset(exec, 0, sizeof *exec);
    exec->size = sizeof *exec;
    return given ? cc1d_take_struct("exec", given, exec, sizes, 1) : CC1D_OK;
}

/* Whether the call has no element to write. (An update without new steps leaves its states as they are.) */
static bool writes_nothing(const cc1d_problem *problem) {
    static const cc1d_role written[] = {CC1D_OUT,     CC1D_FINAL, CC1D_DX,
                                        CC1D_DWEIGHT, CC1D_DBIAS, CC1D_DINITIAL};
    for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
        const cc1d_view *v = &problem->view[written[i]];
        if (v->present && v->shape[0] > 0 && v->shape[1] > 0 && v->shape[2] > 0) return false;
    }
    return true;
}

/* Enough scratch memory, aligned, or a status. */
static cc1d_status check_scratch(const cc1d_problem *problem, const void *scratch, size_t size) {
    size_t needed = 0;
    const cc1d_status status = backend_of(problem->device)->scratch(problem, &needed);
    if (status) return status;
    if (needed > 0 && (!scratch || size < needed))
        return cc1d_fail(CC1D_ERROR_VALUE, "scratch: expected at least %zu bytes, got %zu", needed,
                         scratch ? size : 0);
    if ((uintptr_t)scratch % 16)
        return cc1d_fail(CC1D_ERROR_VALUE, "scratch: expected 16-byte alignment, got address %p", scratch);
    return CC1D_OK;
}

/* What is cheap to check comes first; the values of index tensors may be many. */
static cc1d_status run(cc1d_problem *problem, const cc1d_exec *given, void *scratch, size_t scratch_size) {
    const bool idle = writes_nothing(problem);
    cc1d_exec exec;
    cc1d_values values;
    cc1d_status status = complete_exec(given, &exec);
    if (!status && !idle && problem->op == CC1D_OP_BACKWARD)
        status = check_scratch(problem, scratch, scratch_size);
    if (status) return status;
    status = cc1d_take_values(problem, &values);
    if (!status && idle)
        cc1d_ran_nothing();
    else if (!status)
        status = backend_of(problem->device)->run(problem, &exec, scratch);
    cc1d_free_values(&values);
    return status;
}

cc1d_status cc1d_forward(const cc1d_forward_args *args, const cc1d_exec *exec) {
    cc1d_problem problem;
    cc1d_status status = cc1d_validate_forward(args, &problem);
    return status ? status : run(&problem, exec, NULL, 0);
}

cc1d_status cc1d_backward_scratch(const cc1d_backward_args *args, size_t *bytes) {
    cc1d_problem problem;
    cc1d_status status = cc1d_validate_backward(args, &problem);
    return status ? status : backend_of(problem.device)->scratch(&problem, bytes);
}

cc1d_status cc1d_backward(const cc1d_backward_args *args, const cc1d_exec *exec) {
    cc1d_problem problem;
    cc1d_status status = cc1d_validate_backward(args, &problem);
    return status ? status : run(&problem, exec, args->scratch, args->scratch_size);
}

cc1d_status cc1d_update(const cc1d_update_args *args, const cc1d_exec *exec) {
    cc1d_problem problem;
    cc1d_status status = cc1d_validate_update(args, &problem);
    return status ? status : run(&problem, exec, NULL, 0);
}

cc1d_status cc1d_varlen_states(const cc1d_varlen_states_args *args, const cc1d_exec *exec) {
    cc1d_problem problem;
    cc1d_status status = cc1d_validate_varlen_states(args, &problem);
    return status ? status : run(&problem, exec, NULL, 0);
}

int cc1d_device_available(cc1d_device device, char *detail, size_t size) {
    if ((int)device < CC1D_CPU || (int)device > CC1D_METAL) {
        snprintf(detail, size, "unknown device kind %d", (int)device);
        return 0;
    }
    return backend_of(device)->available(detail, size);
}
