/* plan_build.c - the parts of a launch that every plan is made of. */
#include "plan_build.h"

#include <string.h>

const cc1d_tuning *cc1d_tuning_for(const cc1d_problem *p) {
    static const cc1d_tuning cuda16 = {
        .plain = {.time = {2, 1, 4},
                  .time_backward = {4, 8, 2},
                  .channel = {2, 12, 8},
                  .channel_backward = {8, 2, 4},
                  .channel_backward_bytes = 8},
        .gated = {.time = {2, 1, 2}, /* by registers, and that no load waits for a result: docs/kernels.md */
                  .time_backward = {4, 4, 2},
                  .channel = {2, 8, 8},
                  .channel_backward = {8, 2, 4},
                  .channel_backward_bytes = 4},
        .time_pool_blocks = 12,
        .time_backward_blocks = 16,
        .channel_bytes = 8,
        .channel_run = 16,
        .channel_group = 2,
        .channel_packed_blocks = 10,
        .channel_backward_run = 64,
        .channel_backward_group = 8,
        .channel_least_run = 16,
        .threads = 128 * 1024,
        .update_bytes = 8,
        .update_rows = 2,
        .update_whole_rows = 4,
        .update_threads = 128 * 1024,
    };
    static const cc1d_tuning cuda32 = {
        .plain = {.time = {2, 1, 2},
                  .time_backward = {4, 4, 4},
                  .channel = {8, 4, 8},
                  .channel_backward = {8, 4, 4},
                  .channel_backward_bytes = 4},
        .gated = {.time = {2, 1, 2},
                  .time_backward = {4, 4, 2},
                  .channel = {8, 2, 8},
                  .channel_backward = {8, 2, 4},
                  .channel_backward_bytes = 4},
        .time_pool_blocks = 12,
        .time_backward_blocks = 16,
        .channel_bytes = 8,
        .channel_run = 16,
        .channel_group = 4,
        .channel_packed_blocks = 3,
        .channel_backward_run = 128,
        .channel_backward_group = 4,
        .channel_least_run = 16,
        .threads = 256 * 1024,
        .update_bytes = 8,
        .update_rows = 2,
        .update_whole_rows = 4,
        .update_threads = 128 * 1024,
    };
    /* By issue slots per element, and threads per core, of the M1's code (tools/apple_gpu; "slots / threads"
     * of bfloat16 below), and by the traffic of tests/metal. Nothing was timed. */
    static const cc1d_tuning metal = {
        .few_texts = true,           /* a text costs tens of milliseconds at its first use */
        .plain = {.time = {8, 1, 4}, /* a team's start is shared by 4 blocks: 1: 34 / 1024, 2: 30 / 1024,
                                        4: 27 / 1024, 8: 26 / 704 */
                  .time_backward = {8, 1, 1},    /* 1: 44 / 1024, 2: 43 / 832 */
                  .channel = {8, 1, 4},          /* 2: 28 / 1024, 4: 26 / 832, 8: 26 / 640 */
                  .channel_backward = {8, 1, 4}, /* 2: 52 / 832, 4: 47 / 704 */
                  .channel_backward_bytes = 4},  /* 8: 44 / 384, 4: 47 / 704 */
        .gated = {.time = {8, 1, 2},             /* half the steps of more tensors: as many loads in flight */
                  .time_backward = {8, 1, 1},
                  .channel = {8, 1, 2},
                  .channel_backward = {8, 1, 2},
                  .channel_backward_bytes = 4},
        .time_backward_blocks = 8, /* a chain of 64 multiply-adds */
        .time_pool_blocks = 1,
        .channel_bytes = 8, /* 4: 29 / 1024, 8: 26 / 832; float32 with 16: 35 / 640, with 8: 38 / 1024 */
        .channel_run = 64,  /* its first 3 steps, read twice, are 5 % of what it reads */
        .channel_group = 8, /* and 1 % in runs that share a cache; 32 packs side by side */
        .channel_packed_blocks = 1,
        .channel_backward_run = 128, /* 3 steps at either end are computed twice */
        .channel_backward_group = 8,
        .channel_least_run = 32,
        .threads = 8 * 1024, /* fill the 8 cores of an M1 once */
        .update_bytes = 8,   /* 4: 61 / 1024, 8: 49 / 704 */
        .update_rows = 4,    /* 2: 62 / 1024, 4: 49 / 704: the weights are read and converted once */
        .update_whole_rows = 4,
        .update_threads = 16 * 1024,
    };
    if (p->device != CC1D_CUDA) return &metal;
    return cc1d_itemsize(p->view[CC1D_X].dtype) == 2 ? &cuda16 : &cuda32;
}

cc1d_long cc1d_long_of(int64_t value) {
    const uint64_t bits = (uint64_t)value;
    const uint32_t half[2] = {(uint32_t)bits, (uint32_t)(bits >> 32)};
    cc1d_long result;
    memcpy(&result, half, sizeof result);
    return result;
}

cc1d_place cc1d_place_of(const cc1d_view *view) {
    cc1d_place place = {{{0, 0}, {0, 0}, {0, 0}}};
    for (int i = 0; i < 3 && view->present; i++)
        place.stride[i] = cc1d_long_of(view->shape[i] > 1 ? view->stride[i] : 0);
    return place;
}

/* With 2^shift >= divisor, multiplier = floor(2^32 (2^shift - divisor) / divisor) + 1 is the classic choice
 * (Granlund and Montgomery, 1994); mulhi(n, multiplier) + n stays below 2^32 for n < 2^31. */
cc1d_divisor cc1d_divisor_of(int64_t divisor) {
    const uint64_t d = divisor > 0 ? (uint64_t)divisor : 1;
    int shift = 0;
    while (((uint64_t)1 << shift) < d) shift++;
    const uint32_t multiplier = (uint32_t)(((((uint64_t)1 << shift) - d) << 32) / d + 1);
    cc1d_divisor result = {.divisor = (int)d, .shift = shift};
    memcpy(&result.multiplier, &multiplier, sizeof multiplier);
    return result;
}

/* Whether an offset into a tensor, or into scratch (bounded by a float per element, or width + 1 sums per 16
 * steps of a channel), may need more than 31 bits. Doubles cannot overflow. */
static bool needs_64_bits(const cc1d_problem *p) {
    const double most = 2147483648.0, rows = (double)p->batch * (double)p->dim;
    if (rows * (double)p->seqlen >= most ||
        rows * ((double)p->seqlen / 16 + 1) * ((double)p->width + 1) >= most)
        return true;
    for (int role = 0; role < CC1D_ROLES; role++) {
        const cc1d_view *v = &p->view[role];
        if (role == CC1D_STATE && p->op == CC1D_OP_FORWARD) continue; /* cc1d_state_at is 64-bit always */
        double reach = 0;                                             /* of the last element */
        for (int i = 0; i < 3 && v->present; i++)
            reach += v->shape[i] > 1 ? (double)(v->shape[i] - 1) * (double)v->stride[i] : 0;
        if (reach >= most) return true;
    }
    return false;
}

/* Words of an aligned load that takes all taps of a channel, or 0. */
static uint8_t weight_words(const cc1d_problem *p) {
    const cc1d_view *w = &p->view[CC1D_WEIGHT];
    const int64_t item = (int64_t)cc1d_itemsize(w->dtype), bytes = p->width * item;
    if (!w->present || item == 8 || (bytes != 4 && bytes != 8 && bytes != 16)) return 0;
    if ((p->width > 1 && w->stride[1] != 1) || cc1d_start_of(w) % (uintptr_t)bytes ||
        (p->dim > 1 && w->stride[0] * item % bytes))
        return 0;
    return (uint8_t)(bytes / 4);
}

cc1d_launch *cc1d_add_launch(cc1d_plan *plan, const cc1d_problem *p, cc1d_kernel kernel, bool unrolled) {
    cc1d_launch *launch = &plan->launch[plan->launch_count++];
    memset(launch, 0, offsetof(cc1d_launch, words));
    launch->kernel = cc1d_kernel_names[kernel];
    uint8_t *key = launch->key;
    const cc1d_role sequences = cc1d_sequences_role(p);
    key[CC1D_KEY_X_DTYPE] = (uint8_t)p->view[CC1D_X].dtype;
    key[CC1D_KEY_WEIGHT_DTYPE] =
        (uint8_t)(cc1d_has(p, CC1D_WEIGHT) ? p->view[CC1D_WEIGHT].dtype : CC1D_FLOAT32);
    key[CC1D_KEY_BIAS_DTYPE] = (uint8_t)(cc1d_has(p, CC1D_BIAS)    ? p->view[CC1D_BIAS].dtype
                                         : cc1d_has(p, CC1D_DBIAS) ? p->view[CC1D_DBIAS].dtype
                                                                   : CC1D_FLOAT32);
    key[CC1D_KEY_WIDTH] = unrolled ? (uint8_t)p->width : 0;
    key[CC1D_KEY_WEIGHT_WORDS] = unrolled ? weight_words(p) : 0;
    key[CC1D_KEY_ACTIVATION] = (uint8_t)p->activation;
    key[CC1D_KEY_SEQ] = cc1d_has(p, sequences) ? cc1d_buffers[sequences].value : 0;
    key[CC1D_KEY_SEQ_DTYPE] = cc1d_has(p, sequences) ? (uint8_t)p->view[sequences].dtype : 0;
    key[CC1D_KEY_OFFSET64] = needs_64_bits(p);
    key[CC1D_KEY_INITIAL_DTYPE] = (uint8_t)p->view[cc1d_has(p, CC1D_INITIAL) ? CC1D_INITIAL : CC1D_X].dtype;
    key[CC1D_KEY_SIMD_GROUPS] = 8;
    key[CC1D_KEY_MIN_BLOCKS] = 1;
    key[CC1D_KEY_VEC] = 1;
    key[CC1D_KEY_UNROLL] = 1;
    key[CC1D_KEY_ROW_LANES] = 32;
    return launch;
}

#define FITS(params_t)                                                     \
    _Static_assert(sizeof(params_t) <= sizeof((cc1d_launch *)NULL)->words, \
                   "a launch holds the whole of " #params_t)
FITS(cc1d_conv_params);
FITS(cc1d_reduce_params);
FITS(cc1d_update_params);

void cc1d_finish_launch(cc1d_launch *launch, const void *params, size_t size) {
    launch->buffer_count = cc1d_key_buffers(launch->kernel, launch->key, launch->buffers);
    memcpy(launch->words, params, size);
    launch->word_count = (int32_t)(size / sizeof launch->words[0]);
}

cc1d_status cc1d_set_grid(cc1d_launch *launch, int64_t rows, int64_t units_per_row, int64_t units_per_group,
                          int *slab, int *units) {
    const int64_t most_units = INT32_MAX - 65536; /* a group's surplus threads do not overflow */
    const int64_t most_slabs = 65535;
    if (units_per_row > most_units)
        return cc1d_fail(CC1D_ERROR_UNSUPPORTED,
                         "x: one batch row needs %lld units of GPU work, at most %lld are possible",
                         (long long)units_per_row, (long long)most_units);
    const int64_t rows_per_slab = cc1d_clamp(most_units / units_per_row, 1, rows);
    const int64_t slabs = cc1d_ceil_div(rows, rows_per_slab);
    if (slabs > most_slabs) return cc1d_fail(CC1D_ERROR_UNSUPPORTED, "x: too large for one GPU launch");
    *slab = (int)rows_per_slab;
    *units = (int)(rows_per_slab * units_per_row);
    launch->groups[0] = (uint32_t)cc1d_ceil_div(*units, units_per_group);
    launch->groups[1] = (uint32_t)slabs;
    launch->groups[2] = 1;
    launch->group_size[0] = 32u * launch->key[CC1D_KEY_SIMD_GROUPS];
    launch->group_size[1] = launch->group_size[2] = 1;
    return CC1D_OK;
}

int cc1d_offset_in_vector(const cc1d_view *view) {
    return (int)(cc1d_start_of(view) % 16 / cc1d_itemsize(view->dtype));
}

bool cc1d_dense(const cc1d_view *view, int dimension) {
    return view->shape[dimension] <= 1 || view->stride[dimension] == 1;
}

int cc1d_pack_size(const cc1d_view *view, int dense_dimension, int most) {
    if (!cc1d_dense(view, dense_dimension)) return 1;
    int size = most;
    while (size > 1 && cc1d_start_of(view) % ((uintptr_t)size * cc1d_itemsize(view->dtype))) size /= 2;
    for (int i = 0; i < 3; i++)
        while (i != dense_dimension && view->shape[i] > 1 && view->stride[i] % size) size /= 2;
    return size;
}

void cc1d_fill_conv(const cc1d_problem *p, cc1d_role target, cc1d_role side, cc1d_role last,
                    cc1d_conv_params *params) {
    *params = (cc1d_conv_params){
        .x = cc1d_place_of(&p->view[CC1D_X]),
        .target = cc1d_place_of(&p->view[target]),
        .side = cc1d_place_of(&p->view[side]),
        .initial = cc1d_place_of(&p->view[cc1d_has(p, CC1D_STATE) ? CC1D_STATE : CC1D_INITIAL]),
        .last = cc1d_place_of(&p->view[last]),
        .weight = cc1d_place_of(&p->view[CC1D_WEIGHT]),
        .bias = cc1d_place_of(&p->view[CC1D_BIAS]),
        .seq = cc1d_place_of(&p->view[cc1d_sequences_role(p)]),
        .batch = (int)p->batch,
        .dim = (int)p->dim,
        .seqlen = (int)p->seqlen,
        .width = (int)p->width,
        .sequences = (int)p->sequences,
        .x_offset = cc1d_offset_in_vector(&p->view[CC1D_X]),
        .target_offset = cc1d_offset_in_vector(&p->view[target]),
        .side_offset = cc1d_offset_in_vector(&p->view[side]),
        .indices = cc1d_place_of(&p->view[CC1D_INDICES]),
        .out_indices = cc1d_place_of(&p->view[CC1D_OUT_INDICES]),
        .has_initial = cc1d_place_of(&p->view[CC1D_HAS_INITIAL]),
        .rows = (int)p->view[CC1D_STATE].shape[0],
        .state_len = (int)p->view[CC1D_STATE].shape[2],
        .pad_slot_id = cc1d_long_of(p->pad_slot_id),
        .pre_gate = cc1d_place_of(&p->view[CC1D_PRE_GATE]),
        .post_gate = cc1d_place_of(&p->view[CC1D_POST_GATE]),
        .dpre_gate = cc1d_place_of(&p->view[CC1D_DPRE_GATE]),
        .dpost_gate = cc1d_place_of(&p->view[CC1D_DPOST_GATE]),
        .pre_gate_offset = cc1d_offset_in_vector(&p->view[CC1D_PRE_GATE]),
        .post_gate_offset = cc1d_offset_in_vector(&p->view[CC1D_POST_GATE]),
        .dpre_gate_offset = cc1d_offset_in_vector(&p->view[CC1D_DPRE_GATE]),
        .dpost_gate_offset = cc1d_offset_in_vector(&p->view[CC1D_DPOST_GATE]),
    };
}

void cc1d_key_taps(const cc1d_problem *p, uint8_t *key) {
    key[CC1D_KEY_HAS_BIAS] = cc1d_has(p, CC1D_BIAS);
    key[CC1D_KEY_HAS_INITIAL] = cc1d_has(p, CC1D_INITIAL) && p->width > 1;
}

void cc1d_key_pool(const cc1d_problem *p, uint8_t *key) {
    key[CC1D_KEY_POOL] = 1;
    key[CC1D_KEY_STATE_DTYPE] = (uint8_t)p->view[CC1D_STATE].dtype;
    key[CC1D_KEY_INDICES_DTYPE] = cc1d_has(p, CC1D_INDICES) ? (uint8_t)p->view[CC1D_INDICES].dtype : 0;
    key[CC1D_KEY_OUT_INDICES_DTYPE] =
        cc1d_has(p, CC1D_OUT_INDICES) ? (uint8_t)p->view[CC1D_OUT_INDICES].dtype : 0;
}

void cc1d_key_gates(const cc1d_problem *p, uint8_t *key) {
    key[CC1D_KEY_HAS_PRE_GATE] = cc1d_has(p, CC1D_PRE_GATE);
    key[CC1D_KEY_HAS_POST_GATE] = cc1d_has(p, CC1D_POST_GATE);
}

void cc1d_finish_conv(cc1d_launch *launch, const cc1d_conv_params *params) {
    const size_t pool = offsetof(cc1d_conv_params, indices), gates = offsetof(cc1d_conv_params, pre_gate);
    cc1d_finish_launch(launch, params, launch->key[CC1D_KEY_POOL] ? gates : pool);
    if (launch->key[CC1D_KEY_HAS_PRE_GATE] || launch->key[CC1D_KEY_HAS_POST_GATE]) {
        memcpy(launch->words + launch->word_count, (const char *)params + gates, sizeof *params - gates);
        launch->word_count += (int32_t)((sizeof *params - gates) / sizeof launch->words[0]);
    }
}
