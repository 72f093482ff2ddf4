/* plan.c - arguments and device kind -> GPU launches. The launches themselves: plan_conv.c, plan_states.c,
 * plan_update.c. */
#include "core/arguments.h"
#include "plan_build.h"

/* Kernels count steps, channels and rows in 32 bits, with room for a block beyond the end. */
static cc1d_status check_limits(const cc1d_problem *p) {
    const int64_t most = INT32_MAX - 65536;
    const struct {
        const char *name;
        int64_t size;
    } sizes[] = {{"batch", p->batch},         {"dim", p->dim},
                 {"seqlen", p->seqlen},       {"total", p->view[CC1D_X].shape[2]}, /* of packed steps */
                 {"width", p->width},         {"sequences", p->sequences},
                 {"state_len", p->state_len}, {"rows of the pool", p->pool_rows},
                 {"positions", p->entries},   {"steps of initial_states", p->initial_len}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i].size > most)
            return cc1d_fail(CC1D_ERROR_UNSUPPORTED, "%s: expected at most %lld on a GPU, got %lld",
                             sizes[i].name, (long long)most, (long long)sizes[i].size);
    if (p->seqlen + p->width > most)
        return cc1d_fail(CC1D_ERROR_UNSUPPORTED, "weight: expected T + W of at most %lld on a GPU, got %lld",
                         (long long)most, (long long)(p->seqlen + p->width));
    if (cc1d_has(p, CC1D_STATE) && p->seqlen + p->state_len > most)
        return cc1d_fail(CC1D_ERROR_UNSUPPORTED, "%s: expected T + S of at most %lld on a GPU, got %lld",
                         cc1d_role_name(p->op, CC1D_STATE), (long long)most,
                         (long long)(p->seqlen + p->state_len));
    if ((double)p->batch * (double)p->dim * (double)p->seqlen > 1e18) /* the host counts in 64 bits */
        return cc1d_fail(CC1D_ERROR_UNSUPPORTED, "x: too large for a GPU");
    return CC1D_OK;
}

cc1d_status cc1d_make_plan(const cc1d_problem *p, cc1d_plan *plan) {
    plan->launch_count = 0;
    plan->scratch_bytes = 0;
    if (p->device == CC1D_METAL)
        for (int role = 0; role < CC1D_ROLES; role++)
            if (p->view[role].present && p->view[role].dtype == CC1D_FLOAT64)
                return cc1d_fail(CC1D_ERROR_UNSUPPORTED,
                                 "x: expected float32, float16 or bfloat16 on an mps device, got float64");
    cc1d_status status = check_limits(p);
    if (status) return status;
    switch (p->op) {
    case CC1D_OP_FORWARD:
        status = cc1d_plan_forward(p, plan);
        if (!status && cc1d_has(p, CC1D_STATE)) return cc1d_plan_pool_states(p, plan);
        return status || !cc1d_has(p, CC1D_FINAL) ? status : cc1d_plan_states(p, plan);
    case CC1D_OP_BACKWARD:
        status = cc1d_plan_backward(p, plan);
        return status || !cc1d_has(p, CC1D_DINITIAL) ? status : cc1d_plan_initial_gradient(p, plan);
    case CC1D_OP_UPDATE: return cc1d_plan_update(p, plan);
    case CC1D_OP_VARLEN_STATES: return cc1d_plan_states(p, plan);
    }
    return cc1d_fail(CC1D_ERROR_UNSUPPORTED, "operation %d has no GPU kernel", (int)p->op);
}
