/* plan_states.c - launches for the states of sequences: small, one thread per element. */
#include "plan_build.h"

static cc1d_status set_grid(const cc1d_problem *p, cc1d_launch *launch, int64_t rows, int64_t length,
                            cc1d_conv_params *params) {
    params->batch = (int)rows;
    params->inner = cc1d_divisor_of(length);
    params->middle = cc1d_divisor_of(p->dim);
    return cc1d_set_grid(launch, rows, length * p->dim, 32 * launch->key[CC1D_KEY_SIMD_GROUPS], &params->slab,
                         &params->units);
}

/* Copies only: one text for all activations and weights. */
static void key_copy(uint8_t *key) {
    key[CC1D_KEY_ACTIVATION] = CC1D_ACTIVATION_NONE;
    key[CC1D_KEY_WEIGHT_DTYPE] = key[CC1D_KEY_BIAS_DTYPE] = CC1D_FLOAT32;
}

cc1d_status cc1d_plan_states(const cc1d_problem *p, cc1d_plan *plan) {
    const cc1d_view *target = &p->view[CC1D_FINAL], *initial = &p->view[CC1D_INITIAL];
    const int64_t length = target->shape[2];
    if (p->entries == 0 || p->dim == 0 || length == 0) return CC1D_OK;
    cc1d_conv_params params;
    cc1d_fill_conv(p, CC1D_FINAL, CC1D_POSITIONS, CC1D_OUT_INDICES, &params);
    params.width = (int)length + 1;
    params.run = (int)target->shape[0];
    params.parts = (int)initial->shape[2];
    cc1d_launch *launch = cc1d_add_launch(plan, p, CC1D_KERNEL_VARLEN_STATES, false);
    launch->key[CC1D_KEY_HAS_INITIAL] = initial->present;
    launch->key[CC1D_KEY_HAS_PRE_GATE] = cc1d_has(p, CC1D_PRE_GATE);
    launch->key[CC1D_KEY_STATE_DTYPE] = (uint8_t)target->dtype;
    launch->key[CC1D_KEY_POSITIONS_DTYPE] = (uint8_t)p->view[CC1D_POSITIONS].dtype;
    launch->key[CC1D_KEY_OUT_INDICES_DTYPE] = (uint8_t)p->view[CC1D_OUT_INDICES].dtype;
    key_copy(launch->key);
    const cc1d_status status = set_grid(p, launch, p->entries, length, &params);
    cc1d_finish_conv(launch, &params);
    return status;
}

/* After forward's launch, which reads the rows that this one writes. */
cc1d_status cc1d_plan_pool_states(const cc1d_problem *p, cc1d_plan *plan) {
    if (p->sequences == 0 || p->dim == 0 || p->view[CC1D_STATE].shape[2] == 0) return CC1D_OK;
    cc1d_conv_params params;
    cc1d_fill_conv(p, CC1D_OUT, CC1D_RESIDUAL, CC1D_DFINAL, &params);
    cc1d_launch *launch = cc1d_add_launch(plan, p, CC1D_KERNEL_POOL_STATES, false);
    cc1d_key_pool(p, launch->key);
    launch->key[CC1D_KEY_HAS_INITIAL] = cc1d_has(p, CC1D_HAS_INITIAL) ? 2 : 0;
    launch->key[CC1D_KEY_HAS_PRE_GATE] = cc1d_has(p, CC1D_PRE_GATE);
    key_copy(launch->key);
    launch->waits_itself = plan->launch_count > 1; /* for forward's, not for what others launched */
    params.inner = cc1d_divisor_of(p->dim);
    const cc1d_status status = cc1d_set_grid(
        launch, p->sequences, p->dim, 32 * launch->key[CC1D_KEY_SIMD_GROUPS], &params.slab, &params.units);
    cc1d_finish_conv(launch, &params);
    return status;
}

cc1d_status cc1d_plan_initial_gradient(const cc1d_problem *p, cc1d_plan *plan) {
    if (p->sequences == 0 || p->dim == 0 || p->width == 1) return CC1D_OK;
    cc1d_conv_params params;
    cc1d_fill_conv(p, CC1D_DINITIAL, CC1D_DOUT, CC1D_DFINAL, &params);
    cc1d_launch *launch = cc1d_add_launch(plan, p, CC1D_KERNEL_BACKWARD_INITIAL, false);
    launch->key[CC1D_KEY_HAS_DOUT] = 1;
    launch->key[CC1D_KEY_HAS_LAST_GRADIENT] = cc1d_has(p, CC1D_DFINAL);
    cc1d_key_taps(p, launch->key);
    cc1d_key_gates(p, launch->key);
    const cc1d_status status = set_grid(p, launch, p->sequences, p->width - 1, &params);
    cc1d_finish_conv(launch, &params);
    return status;
}
