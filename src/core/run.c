/* run.c - see run.h. */
#include "run.h"

#include "validate.h"
#include "validate_tensor.h"
#include "values.h"

const cc1d_backend *cc1d_backend_of(cc1d_device device) {
    switch (device) {
    case CC1D_CPU: return &cc1d_backend_cpu;
    case CC1D_CUDA: return &cc1d_backend_cuda;
    case CC1D_METAL: return &cc1d_backend_metal;
    }
    return NULL;
}

static bool is_empty(const cc1d_view *v) { return v->shape[0] == 0 || v->shape[1] == 0 || v->shape[2] == 0; }

/* Whether the call has no element to write. (An update without new steps leaves its states as they are; a
 * forward pass may start them with zeros, or copy them.) */
static bool writes_nothing(const cc1d_problem *problem) {
    const cc1d_table *table = &cc1d_tables[problem->op];
    const cc1d_view *pool = &problem->view[CC1D_STATE];
    if (problem->op == CC1D_OP_FORWARD && pool->present && problem->sequences > 0 && !is_empty(pool))
        return false;
    for (int i = table->inputs; i < table->count; i++) {
        const cc1d_view *v = &problem->view[table->argument[i].role];
        if (v->present && !is_empty(v)) return false;
    }
    return true;
}

cc1d_status cc1d_prepare(const cc1d_arguments *arguments, cc1d_prepared *prepared) {
    CC1D_CHECK(cc1d_validate(arguments, &prepared->problem));
    prepared->backend = cc1d_backend_of(prepared->problem.device);
    prepared->scratch_bytes = 0;
    prepared->writes_nothing = writes_nothing(&prepared->problem);
    if (prepared->writes_nothing) return CC1D_OK;
    return prepared->backend->prepare(&prepared->problem, &prepared->how, &prepared->scratch_bytes);
}

static cc1d_status check_scratch(size_t needed, const void *scratch, size_t size) {
    if (needed > 0 && (!scratch || size < needed))
        return cc1d_fail(CC1D_ERROR_VALUE, "scratch: expected at least %zu bytes, got %zu", needed,
                         scratch ? size : 0);
    if ((uintptr_t)scratch % 16)
        return cc1d_fail(CC1D_ERROR_VALUE, "scratch: expected 16-byte alignment, got address %p", scratch);
    return CC1D_OK;
}

/* Cheap checks first: the values of index tensors are read when nothing else can be refused. */
cc1d_status cc1d_run(cc1d_prepared *prepared, const cc1d_exec *exec, void *scratch, size_t scratch_size) {
    cc1d_problem *problem = &prepared->problem;
    if (!prepared->writes_nothing) CC1D_CHECK(check_scratch(prepared->scratch_bytes, scratch, scratch_size));
    cc1d_values values;
    cc1d_status status = cc1d_take_values(problem, &values);
    if (!status && prepared->writes_nothing)
        cc1d_ran_nothing();
    else if (!status)
        status = prepared->backend->run(problem, &prepared->how, exec, scratch);
    cc1d_drop_values(&values);
    return status;
}
