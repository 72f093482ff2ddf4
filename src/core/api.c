/* api.c - the public entry points: validate, read the values, pick the device's backend, run. */
#include <stdio.h>

#include "backend.h"
#include "sized.h"
#include "validate.h"
#include "values.h"

static const cc1d_backend *backend_of(int32_t device) {
    switch (device) {
    case CC1D_CUDA: return &cc1d_backend_cuda;
    case CC1D_METAL: return &cc1d_backend_metal;
    default: return &cc1d_backend_cpu;
    }
}

/* The sizes of all versions of each struct. A version that appends fields lists the size that it had before:
 * that is offsetof(its struct, the first new field), which never lies in the padding at the old end. */
static const size_t exec_sizes[] = {sizeof(cc1d_exec)};
static const size_t forward_sizes[] = {sizeof(cc1d_forward_args)};
static const size_t backward_sizes[] = {sizeof(cc1d_backward_args)};
static const size_t update_sizes[] = {sizeof(cc1d_update_args)};
static const size_t varlen_states_sizes[] = {sizeof(cc1d_varlen_states_args)};

#define TAKE(name, to, from, sizes) \
    cc1d_take_struct((name), (to), (from), (sizes), sizeof(sizes) / sizeof *(sizes))

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

/* Cheap checks first: the values of index tensors are read when nothing else can be refused. */
static cc1d_status run(cc1d_problem *problem, const cc1d_exec *given, void *scratch, size_t scratch_size) {
    cc1d_exec exec = {.size = sizeof exec};
    cc1d_status status = given ? TAKE("exec", &exec, given, exec_sizes) : CC1D_OK;
    const bool nothing = writes_nothing(problem);
    if (!status && !nothing && problem->op == CC1D_OP_BACKWARD)
        status = check_scratch(problem, scratch, scratch_size);
    if (status) return status;
    cc1d_values values;
    status = cc1d_take_values(problem, &values);
    if (!status && nothing)
        cc1d_ran_nothing();
    else if (!status)
        status = backend_of(problem->device)->run(problem, &exec, scratch);
    cc1d_drop_values(&values);
    return status;
}

cc1d_status cc1d_forward(const cc1d_forward_args *given, const cc1d_exec *exec) {
    cc1d_forward_args args;
    cc1d_problem problem;
    cc1d_status status = TAKE("args", &args, given, forward_sizes);
    if (!status) status = cc1d_validate_forward(&args, &problem);
    return status ? status : run(&problem, exec, NULL, 0);
}

static cc1d_status take_backward(const cc1d_backward_args *given, cc1d_backward_args *args,
                                 cc1d_problem *problem) {
    const cc1d_status status = TAKE("args", args, given, backward_sizes);
    return status ? status : cc1d_validate_backward(args, problem);
}

cc1d_status cc1d_backward_scratch(const cc1d_backward_args *given, size_t *bytes) {
    cc1d_backward_args args;
    cc1d_problem problem;
    if (!bytes) return cc1d_fail(CC1D_ERROR_VALUE, "bytes: expected a pointer, got NULL");
    const cc1d_status status = take_backward(given, &args, &problem);
    return status ? status : backend_of(problem.device)->scratch(&problem, bytes);
}

cc1d_status cc1d_backward(const cc1d_backward_args *given, const cc1d_exec *exec) {
    cc1d_backward_args args;
    cc1d_problem problem;
    const cc1d_status status = take_backward(given, &args, &problem);
    return status ? status : run(&problem, exec, args.scratch, args.scratch_size);
}

cc1d_status cc1d_update(const cc1d_update_args *given, const cc1d_exec *exec) {
    cc1d_update_args args;
    cc1d_problem problem;
    cc1d_status status = TAKE("args", &args, given, update_sizes);
    if (!status) status = cc1d_validate_update(&args, &problem);
    return status ? status : run(&problem, exec, NULL, 0);
}

cc1d_status cc1d_varlen_states(const cc1d_varlen_states_args *given, const cc1d_exec *exec) {
    cc1d_varlen_states_args args;
    cc1d_problem problem;
    cc1d_status status = TAKE("args", &args, given, varlen_states_sizes);
    if (!status) status = cc1d_validate_varlen_states(&args, &problem);
    return status ? status : run(&problem, exec, NULL, 0);
}

int cc1d_device_available(cc1d_device device, char *detail, size_t size) {
    if ((int)device < CC1D_CPU || (int)device > CC1D_METAL) {
        snprintf(detail, size, "unknown device kind %d", (int)device);
        return 0;
    }
    return backend_of(device)->available(detail, size);
}
