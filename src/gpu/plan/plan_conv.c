/* plan_conv.c - launches of forward and backward: which path, how a tensor is cut into work, what a text is
 * specialised by. */
#include "plan_build.h"

#define LARGEST_PACK 16    /* bytes */
#define GROUP_MEMORY 32768 /* bytes of threadgroup memory on every Apple GPU */

/* The tensors of x's shape that a launch touches: x, the one that it writes, the second input if there is
 * one, and gates with their gradients. */
typedef struct shape_roles {
    cc1d_role target, side;
} shape_roles;

enum { SHAPE_ROLES = 7 };

/* Those that the call has; returns their number. */
static int shaped_views(const cc1d_problem *p, const shape_roles *r, const cc1d_view *views[SHAPE_ROLES]) {
    const cc1d_role roles[SHAPE_ROLES] = {CC1D_X,         r->target,      r->side,        CC1D_PRE_GATE,
                                          CC1D_POST_GATE, CC1D_DPRE_GATE, CC1D_DPOST_GATE};
    int count = 0;
    for (int i = 0; i < SHAPE_ROLES; i++)
        if (cc1d_has(p, roles[i])) views[count++] = &p->view[roles[i]];
    return count;
}

typedef enum path { PATH_TIME, PATH_CHANNEL, PATH_WIDE } path;

static bool all_dense(const cc1d_problem *p, const shape_roles *r, int dimension) {
    const cc1d_view *views[SHAPE_ROLES];
    for (int i = shaped_views(p, r, views); i-- > 0;)
        if (!cc1d_dense(views[i], dimension)) return false;
    return true;
}

/* The channel path also takes every other layout, one channel per pack. */
static path path_of(const cc1d_problem *p, const shape_roles *r) {
    if (p->width > CC1D_UNROLLED_WIDTH) return PATH_WIDE;
    const bool channels = all_dense(p, r, 1) && (p->dim > 1 || p->seqlen == 1);
    return all_dense(p, r, 2) && !(channels && p->seqlen == 1) ? PATH_TIME : PATH_CHANNEL;
}

static int64_t item(const cc1d_problem *p) { return (int64_t)cc1d_itemsize(p->view[CC1D_X].dtype); }

static size_t real_size(const cc1d_problem *p) {
    return p->view[CC1D_X].dtype == CC1D_FLOAT64 ? sizeof(double) : sizeof(float);
}

static bool gated(const cc1d_problem *p) { return cc1d_has(p, CC1D_PRE_GATE) || cc1d_has(p, CC1D_POST_GATE); }

static const struct cc1d_shapes *shapes_of(const cc1d_problem *p) {
    const cc1d_tuning *tuning = cc1d_tuning_for(p);
    return gated(p) ? &tuning->gated : &tuning->plain;
}

/* A path's shape into the key. Registers are bounded only where that was measured: plain calls, no spills. */
static void set_shape(const cc1d_problem *p, const struct cc1d_shape *shape, cc1d_launch *launch) {
    const bool plain = p->width <= 4 && p->view[CC1D_X].dtype != CC1D_FLOAT64 &&
                       !cc1d_has(p, cc1d_sequences_role(p)) && !cc1d_has(p, CC1D_RESIDUAL);
    launch->key[CC1D_KEY_SIMD_GROUPS] = (uint8_t)shape->simd_groups;
    launch->key[CC1D_KEY_MIN_BLOCKS] = (uint8_t)(plain ? shape->min_blocks : 1);
    launch->key[CC1D_KEY_UNROLL] = (uint8_t)shape->unroll;
}

/* ---- Time path ---- */

/* Whether packs of `view` lie differently in their 16 bytes than those of `target`. */
static bool skewed(const cc1d_view *view, const cc1d_view *target, int64_t vec) {
    if ((cc1d_offset_in_vector(view) - cc1d_offset_in_vector(target)) % vec) return true;
    for (int i = 0; i < 2; i++)
        if (view->shape[i] > 1 && (view->stride[i] - target->stride[i]) % vec) return true;
    return false;
}

static bool shifted(const cc1d_view *target, int64_t vec) {
    return cc1d_offset_in_vector(target) % vec || (target->shape[0] > 1 && target->stride[0] % vec) ||
           (target->shape[1] > 1 && target->stride[1] % vec);
}

/* Cuts rows into segments of `most_blocks` blocks at most (0: as many as are loaded at once), and fewer if
 * that gives too few teams. Three texts do for all lengths: long rows, whose teams are SIMD-groups and whose
 * segments are whole turns; aligned ones of any other length, block by block; and rows of partial packs. */
static cc1d_status cut_rows(const cc1d_problem *p, const shape_roles *r, cc1d_launch *launch,
                            const struct cc1d_shape *shape, int64_t most_blocks, cc1d_conv_params *params) {
    /* With ids, they and their comparisons make up most of the text: one block keeps it short. */
    const bool packed =
        cc1d_has(p, cc1d_sequences_role(p)) && !(p->op == CC1D_OP_FORWARD && cc1d_has(p, CC1D_CU));
    const int64_t most_unroll = packed ? 1 : shape->unroll;
    set_shape(p, shape, launch);
    const cc1d_view *target = &p->view[r->target];
    const int64_t vec = LARGEST_PACK / item(p);
    uint8_t *key = launch->key;
    key[CC1D_KEY_VEC] = (uint8_t)vec;
    key[CC1D_KEY_X_SKEWED] = skewed(&p->view[CC1D_X], target, vec);
    key[CC1D_KEY_SIDE_SKEWED] = cc1d_has(p, r->side) && skewed(&p->view[r->side], target, vec);
    static const cc1d_role gates[] = {CC1D_PRE_GATE, CC1D_POST_GATE, CC1D_DPRE_GATE, CC1D_DPOST_GATE};
    for (int i = 0; i < 4; i++)
        if (cc1d_has(p, gates[i]) && skewed(&p->view[gates[i]], target, vec)) key[CC1D_KEY_GATES_SKEWED] = 1;
    const bool is_shifted = shifted(target, vec);
    const bool partial = p->seqlen % vec || is_shifted || key[CC1D_KEY_X_SKEWED] ||
                         key[CC1D_KEY_SIDE_SKEWED] || key[CC1D_KEY_GATES_SKEWED];

    const int64_t packs = cc1d_ceil_div(p->seqlen + (is_shifted ? vec - 1 : 0), vec);
    int lane_bits = 2;
    while (lane_bits < 5 && (1 << lane_bits) < packs) lane_bits++;
    const int64_t lanes = (int64_t)1 << lane_bits, blocks = cc1d_ceil_div(packs, lanes);
    int64_t unroll = most_unroll;
    while (unroll > 1 && cc1d_ceil_div(blocks, unroll) * unroll * 8 > blocks * 9)
        unroll /= 2; /* more than an eighth would be idle */
    const bool whole = lanes == 32 && !partial && unroll == most_unroll;
    const bool general = cc1d_tuning_for(p)->few_texts && !whole;
    const int64_t turn = !general ? unroll : partial && most_unroll > 1 ? 2 : 1;
    if (!most_blocks && unroll > turn) unroll = turn; /* forward's segments are one turn */
    const int64_t loads = cc1d_ceil_div(blocks, unroll);
    const int64_t wanted = cc1d_ceil_div(cc1d_tuning_for(p)->threads / lanes, p->batch * p->dim);
    const int64_t most_run = most_blocks ? cc1d_ceil_div(most_blocks, most_unroll) : 1;
    int64_t segments = cc1d_clamp(wanted, cc1d_ceil_div(loads, most_run), loads);
    const int64_t run = cc1d_ceil_div(loads, segments);
    segments = cc1d_ceil_div(loads, run);

    key[CC1D_KEY_ROW_LANES] = (uint8_t)(general ? 0 : lanes);
    key[CC1D_KEY_UNROLL] = (uint8_t)turn;
    key[CC1D_KEY_PARTIAL_PACKS] = partial;
    key[CC1D_KEY_SEGMENTED] = most_blocks && (general || segments > 1);
    params->lane_bits = lane_bits;
    params->run = (int)(run * unroll);
    params->inner = cc1d_divisor_of(segments);
    params->middle = cc1d_divisor_of(p->dim);
    return cc1d_set_grid(launch, p->batch, p->dim * segments, 32 * key[CC1D_KEY_SIMD_GROUPS] / lanes,
                         &params->slab, &params->units);
}

/* ---- Channel path ---- */

static int pack_of(const cc1d_problem *p, const shape_roles *r, int64_t most_bytes) {
    int vec = (int)(most_bytes / item(p));
    if (vec < 1) vec = 1;
    const cc1d_view *views[SHAPE_ROLES];
    for (int i = shaped_views(p, r, views); i-- > 0;) vec = cc1d_pack_size(views[i], 1, vec);
    while (vec > p->dim) vec /= 2;
    return vec;
}

/* Time steps per thread: at most `most`, fewer if that gives too few threads; a multiple of unroll. */
static int64_t run_of(const cc1d_problem *p, int64_t columns, int64_t unroll, int64_t most) {
    const cc1d_tuning *tuning = cc1d_tuning_for(p);
    const double run = (double)p->seqlen * (double)columns * (double)p->batch / (double)tuning->threads;
    const int64_t steps =
        cc1d_clamp(run < (double)most ? (int64_t)run : most, tuning->channel_least_run, most);
    return cc1d_ceil_div(steps, unroll) * unroll;
}

/* Runs per group: `wanted`, fewer where there are fewer, and more where columns would leave threads idle. */
static int64_t group_of(int64_t threads, int64_t columns, int64_t runs, int64_t wanted) {
    int64_t group = wanted;
    while (group > 1 && group / 2 >= runs) group /= 2;
    while (group < runs && group < threads / 4 && threads / group / 2 >= columns) group *= 2;
    return group;
}

/* How columns are cut: the bytes of a pack, the steps of a run, the runs of a group. */
typedef struct column_cut {
    int bytes, run, group;
} column_cut;

static cc1d_status cut_columns(const cc1d_problem *p, const shape_roles *r, cc1d_launch *launch,
                               const struct cc1d_shape *shape, column_cut cut, cc1d_conv_params *params) {
    set_shape(p, shape, launch);
    uint8_t *key = launch->key;
    int vec = pack_of(p, r, cut.bytes);
    /* Backward's sums, (W + 1) * vec per thread, have to fit into a group's memory. */
    while (vec > 1 && (size_t)vec * (size_t)(p->width + 1) * 32 * key[CC1D_KEY_SIMD_GROUPS] * real_size(p) >
                          GROUP_MEMORY)
        vec /= 2;
    const int64_t columns = cc1d_ceil_div(p->dim, vec);
    const int64_t run = run_of(p, columns, shape->unroll, cut.run);
    const int64_t runs = cc1d_ceil_div(p->seqlen, run), threads = 32 * key[CC1D_KEY_SIMD_GROUPS];
    const int64_t group = group_of(threads, columns, runs, cut.group);
    const int64_t tiles = cc1d_ceil_div(columns, threads / group);
    const int64_t groups = cc1d_ceil_div(runs, group);
    key[CC1D_KEY_VEC] = (uint8_t)vec;
    key[CC1D_KEY_CHANNEL_TAIL] = p->dim % vec != 0;
    params->run = (int)run;
    key[CC1D_KEY_GROUP_RUNS] = (uint8_t)(cc1d_tuning_for(p)->few_texts ? 0 : group);
    params->column_bits = cc1d_log2(threads / group);
    params->inner = cc1d_divisor_of(tiles);
    params->middle = cc1d_divisor_of(groups);
    return cc1d_set_grid(launch, p->batch, tiles * groups, 1, &params->slab, &params->units);
}

/* ---- Wide path ---- */

/* One thread per element; neighbours along the dimension of x that is denser in memory. */
static cc1d_status cut_elements(const cc1d_problem *p, cc1d_launch *launch, cc1d_conv_params *params) {
    const cc1d_view *x = &p->view[CC1D_X];
    const bool time_fastest = cc1d_dense(x, 2) || (x->stride[2] < x->stride[1] && !cc1d_dense(x, 1));
    launch->key[CC1D_KEY_TIME_FASTEST] = time_fastest;
    params->inner = cc1d_divisor_of(time_fastest ? p->seqlen : p->dim);
    params->middle = cc1d_divisor_of(time_fastest ? p->dim : p->seqlen);
    return cc1d_set_grid(launch, p->batch, p->dim * p->seqlen, 32 * launch->key[CC1D_KEY_SIMD_GROUPS],
                         &params->slab, &params->units);
}

/* ---- Forward ---- */

/* With a pool: a call that reads no row and has no padding is as any other. */
static void key_slots(const cc1d_problem *p, uint8_t *key) {
    const bool reads = cc1d_has(p, CC1D_HAS_INITIAL) && p->width > 1;
    if (reads || cc1d_has(p, CC1D_INDICES) || cc1d_has(p, CC1D_OUT_INDICES)) cc1d_key_pool(p, key);
    if (reads) key[CC1D_KEY_HAS_INITIAL] = 2;
}

cc1d_status cc1d_plan_forward(const cc1d_problem *p, cc1d_plan *plan) {
    if (p->batch == 0 || p->dim == 0 || p->seqlen == 0) return CC1D_OK;
    static const cc1d_kernel kernels[] = {[PATH_TIME] = CC1D_KERNEL_FORWARD_TIME,
                                          [PATH_CHANNEL] = CC1D_KERNEL_FORWARD_CHANNEL,
                                          [PATH_WIDE] = CC1D_KERNEL_FORWARD_WIDE};
    const shape_roles r = {CC1D_OUT, CC1D_RESIDUAL};
    const path way = path_of(p, &r);
    cc1d_launch *launch = cc1d_add_launch(plan, p, kernels[way], way != PATH_WIDE);
    cc1d_conv_params params;
    cc1d_fill_conv(p, r.target, r.side, CC1D_DFINAL, &params);
    launch->key[CC1D_KEY_HAS_RESIDUAL] = cc1d_has(p, CC1D_RESIDUAL);
    cc1d_key_taps(p, launch->key);
    cc1d_key_gates(p, launch->key);
    if (cc1d_has(p, CC1D_STATE)) key_slots(p, launch->key);
    const cc1d_tuning *t = cc1d_tuning_for(p);
    const struct cc1d_shapes *shapes = shapes_of(p);
    cc1d_status status;
    if (way == PATH_TIME) {
        status = cut_rows(p, &r, launch, &shapes->time, 0, &params);
        if (launch->key[CC1D_KEY_POOL] && !gated(p))
            launch->key[CC1D_KEY_MIN_BLOCKS] = (uint8_t)t->time_pool_blocks;
    } else if (way == PATH_CHANNEL) {
        const column_cut cut = {t->channel_bytes, t->channel_run, t->channel_group};
        status = cut_columns(p, &r, launch, &shapes->channel, cut, &params);
        if (cc1d_has(p, CC1D_CU) && !gated(p) && p->width <= 4 && item(p) <= 4)
            launch->key[CC1D_KEY_MIN_BLOCKS] = (uint8_t)t->channel_packed_blocks;
    } else {
        status = cut_elements(p, launch, &params);
    }
    cc1d_finish_conv(launch, &params);
    return status;
}

/* ---- Backward ---- */

static bool wants_weights(const cc1d_problem *p) {
    return cc1d_has(p, CC1D_DWEIGHT) || cc1d_has(p, CC1D_DBIAS);
}

/* The flags of what every backward kernel reads. */
static void key_backward(const cc1d_problem *p, uint8_t *key) {
    key[CC1D_KEY_HAS_DOUT] = 1;
    key[CC1D_KEY_HAS_DX] = cc1d_has(p, CC1D_DX);
    key[CC1D_KEY_HAS_DPRE_GATE] = cc1d_has(p, CC1D_DPRE_GATE);
    key[CC1D_KEY_HAS_DPOST_GATE] = cc1d_has(p, CC1D_DPOST_GATE);
    cc1d_key_gates(p, key);
    key[CC1D_KEY_HAS_DWEIGHT] = wants_weights(p);
    key[CC1D_KEY_HAS_LAST_GRADIENT] = cc1d_has(p, CC1D_DFINAL) && p->width > 1;
    cc1d_key_taps(p, key);
}

/* Kernels count the partial sums of a channel and tap in 32 bits. */
static cc1d_status set_parts(int64_t parts, cc1d_conv_params *params) {
    if (parts > INT32_MAX - 65536)
        return cc1d_fail(CC1D_ERROR_UNSUPPORTED, "x: too large for the partial sums of one GPU launch");
    params->parts = (int)parts;
    return CC1D_OK;
}

/* dx and partial sums in one pass; *parts sums per channel and tap. */
static cc1d_status plan_one_pass(const cc1d_problem *p, cc1d_plan *plan, path way, const shape_roles *r,
                                 int64_t *parts) {
    cc1d_conv_params params;
    cc1d_fill_conv(p, r->target, r->side, CC1D_DFINAL, &params);
    cc1d_launch *launch = cc1d_add_launch(
        plan, p, way == PATH_TIME ? CC1D_KERNEL_BACKWARD_TIME : CC1D_KERNEL_BACKWARD_CHANNEL, true);
    key_backward(p, launch->key);
    const cc1d_tuning *t = cc1d_tuning_for(p);
    const struct cc1d_shapes *shapes = shapes_of(p);
    const column_cut cut = {shapes->channel_backward_bytes, t->channel_backward_run,
                            t->channel_backward_group};
    cc1d_status status =
        way == PATH_TIME ? cut_rows(p, r, launch, &shapes->time_backward, t->time_backward_blocks, &params)
                         : cut_columns(p, r, launch, &shapes->channel_backward, cut, &params);
    *parts = p->batch * (way == PATH_TIME ? params.inner.divisor : params.middle.divisor);
    if (!status && wants_weights(p)) status = set_parts(*parts, &params);
    cc1d_finish_conv(launch, &params);
    return status;
}

/* dpre into scratch, then dx and partial sums from it; *parts and *partials: how many sums, and where they
 * start. */
static cc1d_status plan_wide(const cc1d_problem *p, cc1d_plan *plan, const shape_roles *r, int64_t *parts,
                             int64_t *partials) {
    cc1d_conv_params params;
    cc1d_fill_conv(p, r->target, r->side, CC1D_DFINAL, &params);
    *partials = p->batch * p->dim * p->seqlen;
    cc1d_launch *launch = cc1d_add_launch(plan, p, CC1D_KERNEL_BACKWARD_WIDE_DPRE, false);
    key_backward(p, launch->key);
    cc1d_status status = cut_elements(p, launch, &params);
    cc1d_finish_conv(launch, &params);
    if (!status && (cc1d_has(p, CC1D_DX) || cc1d_has(p, CC1D_DPRE_GATE))) {
        launch = cc1d_add_launch(plan, p, CC1D_KERNEL_BACKWARD_WIDE_DX, false);
        key_backward(p, launch->key);
        status = cut_elements(p, launch, &params);
        cc1d_finish_conv(launch, &params);
    }
    if (!status && wants_weights(p)) {
        launch = cc1d_add_launch(plan, p, CC1D_KERNEL_BACKWARD_WIDE_DWEIGHT, false);
        key_backward(p, launch->key);
        params.run = (int)cc1d_clamp(p->seqlen / 16, 32, 512);
        *parts = p->batch * cc1d_ceil_div(p->seqlen, params.run);
        params.partials = cc1d_long_of(*partials);
        params.inner = cc1d_divisor_of(p->width + 1);
        params.middle = cc1d_divisor_of(p->dim);
        status = set_parts(*parts, &params);
        if (!status)
            status = cc1d_set_grid(launch, *parts, (p->width + 1) * p->dim,
                                   32 * launch->key[CC1D_KEY_SIMD_GROUPS], &params.slab, &params.units);
        cc1d_finish_conv(launch, &params);
    }
    return status;
}

static cc1d_status plan_reduce(const cc1d_problem *p, cc1d_plan *plan, bool taps_together, int64_t parts,
                               int64_t partials) {
    const int64_t columns = p->dim * (p->width + 1);
    if (columns > INT32_MAX - 65536)
        return cc1d_fail(CC1D_ERROR_UNSUPPORTED, "weight: too many gradients for one GPU launch");
    const cc1d_reduce_params params = {
        .dweight = cc1d_place_of(&p->view[CC1D_DWEIGHT]),
        .dbias = cc1d_place_of(&p->view[CC1D_DBIAS]),
        .columns = (int)columns,
        .width = (int)p->width,
        .parts = (int)parts,
        .taps_together = taps_together,
        .partials = cc1d_long_of(partials),
    };
    cc1d_launch *launch = cc1d_add_launch(plan, p, CC1D_KERNEL_BACKWARD_REDUCE, false);
    launch->key[CC1D_KEY_HAS_DWEIGHT] = cc1d_has(p, CC1D_DWEIGHT);
    launch->key[CC1D_KEY_HAS_DBIAS] = cc1d_has(p, CC1D_DBIAS);
    launch->key[CC1D_KEY_SEQ] = launch->key[CC1D_KEY_SEQ_DTYPE] = 0;
    launch->key[CC1D_KEY_ACTIVATION] = CC1D_ACTIVATION_NONE;
    launch->waits_itself = true;
    int slab, units;
    const cc1d_status status = cc1d_set_grid(launch, 1, cc1d_ceil_div(columns, 32), 1, &slab, &units);
    cc1d_finish_launch(launch, &params, sizeof params);
    return status;
}

cc1d_status cc1d_plan_backward(const cc1d_problem *p, cc1d_plan *plan) {
    if (p->dim == 0) return CC1D_OK;
    /* Without dx, packs are cut as dout lies. */
    const shape_roles r = {cc1d_has(p, CC1D_DX) ? CC1D_DX : CC1D_DOUT, CC1D_DOUT};
    int64_t parts = 0, partials = 0;
    bool taps_together = false;
    cc1d_status status = CC1D_OK;
    if (p->batch > 0 && p->seqlen > 0 &&
        (cc1d_has(p, CC1D_DX) || cc1d_has(p, CC1D_DPRE_GATE) || cc1d_has(p, CC1D_DPOST_GATE) ||
         wants_weights(p))) {
        const path way = path_of(p, &r);
        taps_together = way == PATH_TIME;
        status = way == PATH_WIDE ? plan_wide(p, plan, &r, &parts, &partials)
                                  : plan_one_pass(p, plan, way, &r, &parts);
    }
    if (status) return status;
    if (wants_weights(p) || partials > 0) {
        const int64_t sums = parts * (p->width + 1);
        if ((double)partials + (double)sums * (double)p->dim > 1e15)
            return cc1d_fail(CC1D_ERROR_UNSUPPORTED, "x: too large for the scratch of one call");
        /* Never 0, so that there is a buffer to bind. */
        plan->scratch_bytes = real_size(p) * (size_t)(partials + sums * p->dim) + 16;
    }
    return wants_weights(p) ? plan_reduce(p, plan, taps_together, parts, partials) : CC1D_OK;
}
