/* plan_update.c - the launch of one decoding step, or a few. */
#include "plan_build.h"

/* One new step and a short state that shifts: the kernel that keeps all of it in registers. */
static bool is_single_step(const cc1d_problem *p) {
    return p->seqlen == 1 && p->width <= CC1D_UNROLLED_WIDTH && p->state_len <= CC1D_UNROLLED_WIDTH &&
           !cc1d_has(p, CC1D_CACHE) && !cc1d_has(p, CC1D_ACCEPTED) && !cc1d_has(p, CC1D_CU) &&
           !cc1d_has(p, CC1D_PARENTS) && p->view[CC1D_STATE].dtype == p->view[CC1D_X].dtype;
}

static bool state_in_rows(const cc1d_problem *p) {
    const cc1d_view *s = &p->view[CC1D_STATE];
    return p->state_len > 1 && s->stride[2] == 1 && (p->dim == 1 || s->stride[1] == p->state_len);
}

/* Whether `channels` neighbouring channels' states lie where they can be one access of 4, 8 or 16 bytes. */
static bool is_one_access(const cc1d_problem *p, int64_t channels) {
    const cc1d_view *state = &p->view[CC1D_STATE];
    const int64_t bytes = channels * p->state_len * (int64_t)cc1d_itemsize(state->dtype);
    return state_in_rows(p) && (bytes == 4 || bytes == 8 || bytes == 16) &&
           cc1d_start_of(state) % (uintptr_t)bytes == 0 &&
           (state->shape[0] == 1 || state->stride[0] % (channels * p->state_len) == 0);
}

/* Channels per pack: as many as lie together, aligned, in every tensor. */
static int pack_of(const cc1d_problem *p, const cc1d_tuning *tuning) {
    const cc1d_view *state = &p->view[CC1D_STATE];
    int vec = (int)(tuning->update_bytes / (int)cc1d_itemsize(p->view[CC1D_X].dtype));
    while (is_one_access(p, 1) && vec > 1 && !is_one_access(p, vec)) vec /= 2;
    vec = cc1d_pack_size(&p->view[CC1D_X], 1, vec < 1 ? 1 : vec);
    vec = cc1d_pack_size(&p->view[CC1D_OUT], 1, vec);
    static const cc1d_role others[] = {CC1D_RESIDUAL, CC1D_PRE_GATE, CC1D_POST_GATE};
    for (int i = 0; i < 3; i++)
        if (cc1d_has(p, others[i])) vec = cc1d_pack_size(&p->view[others[i]], 1, vec);
    if (p->state_len > 0 && state_in_rows(p)) { /* a pack of channels is state_len packs of its steps */
        while (vec > 1 && (cc1d_start_of(state) % ((uintptr_t)vec * cc1d_itemsize(state->dtype)) ||
                           (state->shape[0] > 1 && state->stride[0] % vec)))
            vec /= 2;
    } else if (p->state_len > 0) {
        vec = cc1d_pack_size(state, 1, vec);
    }
    while (vec > 1 && p->dim % vec) vec /= 2;
    return vec;
}

cc1d_status cc1d_plan_update(const cc1d_problem *p, cc1d_plan *plan) {
    const bool ragged = cc1d_has(p, CC1D_CU);
    const int64_t total = p->view[CC1D_X].shape[2];
    if (p->dim == 0 || total == 0 || (p->batch == 0 && !ragged)) return CC1D_OK;
    const int64_t batch = p->batch > 0 ? p->batch : 1; /* of no rows one sets y to 0 */
    const cc1d_tuning *tuning = cc1d_tuning_for(p);
    const bool single = is_single_step(p);
    cc1d_update_params params = {
        .x = cc1d_place_of(&p->view[CC1D_X]),
        .out = cc1d_place_of(&p->view[CC1D_OUT]),
        .state = cc1d_place_of(&p->view[CC1D_STATE]),
        .weight = cc1d_place_of(&p->view[CC1D_WEIGHT]),
        .bias = cc1d_place_of(&p->view[CC1D_BIAS]),
        .cache = cc1d_place_of(&p->view[CC1D_CACHE]),
        .indices = cc1d_place_of(&p->view[CC1D_INDICES]),
        .accepted = cc1d_place_of(&p->view[CC1D_ACCEPTED]),
        .out_indices = cc1d_place_of(&p->view[CC1D_OUT_INDICES]),
        .seq = cc1d_place_of(&p->view[CC1D_CU]),
        .parents = cc1d_place_of(&p->view[CC1D_PARENTS]),
        .side = cc1d_place_of(&p->view[CC1D_RESIDUAL]),
        .nodes = cc1d_place_of(&p->view[CC1D_NODE_STATES]),
        .batch = (int)batch,
        .dim = (int)p->dim,
        .seqlen = (int)p->seqlen,
        .width = (int)p->width,
        .state_len = (int)p->state_len,
        .sequences = (int)p->batch,
        .total = (int)total,
        .rows = (int)p->view[CC1D_STATE].shape[0],
        .pad_slot_id = cc1d_long_of(p->pad_slot_id),
        .pre_gate = cc1d_place_of(&p->view[CC1D_PRE_GATE]),
        .post_gate = cc1d_place_of(&p->view[CC1D_POST_GATE]),
    };
    const bool gated = cc1d_has(p, CC1D_PRE_GATE) || cc1d_has(p, CC1D_POST_GATE);
    const size_t size = gated ? sizeof params : offsetof(cc1d_update_params, pre_gate);
    cc1d_launch *launch =
        cc1d_add_launch(plan, p, single ? CC1D_KERNEL_UPDATE_STEP : CC1D_KERNEL_UPDATE, single);
    uint8_t *key = launch->key;
    key[CC1D_KEY_HAS_BIAS] = cc1d_has(p, CC1D_BIAS);
    key[CC1D_KEY_CACHE_DTYPE] = cc1d_has(p, CC1D_CACHE) ? (uint8_t)p->view[CC1D_CACHE].dtype : 0;
    key[CC1D_KEY_ACCEPTED_DTYPE] = cc1d_has(p, CC1D_ACCEPTED) ? (uint8_t)p->view[CC1D_ACCEPTED].dtype : 0;
    cc1d_key_pool(p, key);
    key[CC1D_KEY_IN_PLACE] = p->in_place;
    key[CC1D_KEY_PARENTS_DTYPE] = cc1d_has(p, CC1D_PARENTS) ? (uint8_t)p->view[CC1D_PARENTS].dtype : 0;
    key[CC1D_KEY_HAS_NODES] = cc1d_has(p, CC1D_NODE_STATES);
    key[CC1D_KEY_HAS_RESIDUAL] = cc1d_has(p, CC1D_RESIDUAL);
    cc1d_key_gates(p, key);
    if (!single) {
        params.inner = cc1d_divisor_of(p->dim);
        const cc1d_status status =
            cc1d_set_grid(launch, batch, p->dim, 32 * key[CC1D_KEY_SIMD_GROUPS], &params.slab, &params.units);
        cc1d_finish_launch(launch, &params, size);
        return status;
    }
    /* Packs of several rows, packs of one, or single channels, as there are threads; where few texts matter
     * nothing between. */
    const int64_t largest = pack_of(p, tuning), elements = p->batch * p->dim;
    const bool whole = is_one_access(p, largest);
    int64_t vec = largest, rows = whole ? tuning->update_whole_rows : tuning->update_rows;
    while (vec > 1 && elements / vec < tuning->update_threads) vec = tuning->few_texts ? 1 : vec / 2;
    while (rows > 1 &&
           (elements / vec / rows < tuning->update_threads || (tuning->few_texts && vec < largest)))
        rows = tuning->few_texts ? 1 : rows / 2;
    const int64_t packs = p->dim / vec;
    /* A group's threads: `bundles` of rows, as many as there are up to 8, by packs. */
    const int64_t threads = 32 * key[CC1D_KEY_SIMD_GROUPS];
    int64_t bundles = 1;
    while (bundles < threads / 32 && bundles * rows < p->batch) bundles *= 2;
    const int64_t tiles = cc1d_ceil_div(packs, threads / bundles);
    key[CC1D_KEY_VEC] = (uint8_t)vec;
    key[CC1D_KEY_UNROLL] = (uint8_t)rows;
    key[CC1D_KEY_STATE_LEN] = (uint8_t)p->state_len;
    key[CC1D_KEY_STATE_ROWS] = whole ? 2 : vec > 1 && state_in_rows(p);
    params.column_bits = cc1d_log2(threads / bundles);
    params.inner = cc1d_divisor_of(tiles);
    const cc1d_status status =
        cc1d_set_grid(launch, cc1d_ceil_div(p->batch, rows * bundles), tiles, 1, &params.slab, &params.units);
    cc1d_finish_launch(launch, &params, size);
    return status;
}
