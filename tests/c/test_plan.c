/* test_plan.c - GPU plans: every element is computed exactly once, packs are aligned, limits hold, huge sizes
 * do not overflow, and the text of a launch is complete. Pure: no GPU is needed. */
#include <stdlib.h>

#include "check.h"
#include "gpu/params.h"
#include "plan_key.h"

/* ---- Problems ---- */

typedef enum layout { TIME, CHANNEL, TIME_SLICE, CHANNEL_SLICE, EVERY_SECOND, LAYOUTS } layout;

/* Addresses that are never followed. */
static char *address_of(int offset) { return (char *)(uintptr_t)(4096 + offset); }

static cc1d_view view_of(int dtype, int64_t n0, int64_t n1, int64_t n2, int64_t s0, int64_t s1, int64_t s2) {
    return (cc1d_view){.data = address_of(0),
                       .dtype = dtype,
                       .present = true,
                       .shape = {n0, n1, n2},
                       .stride = {s0, s1, s2}};
}

static cc1d_view tensor_of(int dtype, layout how, int64_t b, int64_t d, int64_t t) {
    const int item = (int)cc1d_itemsize(dtype);
    cc1d_view v = view_of(dtype, b, d, t, d * t, t, 1);
    if (how == CHANNEL) v = view_of(dtype, b, d, t, d * t, 1, d);
    if (how == EVERY_SECOND) v = view_of(dtype, b, d, t, 2 * d * t, 2 * t, 2);
    if (how == TIME_SLICE) {
        v = view_of(dtype, b, d, t, d * (t + 7), t + 7, 1);
        v.data = address_of(3 * item);
    }
    if (how == CHANNEL_SLICE) {
        v = view_of(dtype, b, d, t, (d + 12) * t, 1, d + 12);
        v.data = address_of(4 * item);
    }
    return v;
}

static cc1d_problem convolution(cc1d_operation op, int dtype, layout how, int64_t b, int64_t d, int64_t t,
                                int64_t w) {
    cc1d_problem p = {.op = op,
                      .activation = CC1D_ACTIVATION_SILU,
                      .device = CC1D_CUDA,
                      .batch = b,
                      .dim = d,
                      .seqlen = t,
                      .width = w,
                      .sequences = b,
                      .state_len = w - 1};
    p.view[CC1D_X] = tensor_of(dtype, how, b, d, t);
    p.view[CC1D_WEIGHT] = view_of(CC1D_FLOAT32, d, w, 1, w, 1, 1);
    p.view[CC1D_BIAS] = view_of(CC1D_FLOAT32, d, 1, 1, 1, 1, 1);
    if (op == CC1D_OP_FORWARD) {
        p.view[CC1D_OUT] = tensor_of(dtype, how, b, d, t);
    } else {
        p.view[CC1D_DOUT] = tensor_of(dtype, how, b, d, t);
        p.view[CC1D_DX] = tensor_of(dtype, how, b, d, t);
        p.view[CC1D_DWEIGHT] = p.view[CC1D_WEIGHT];
        p.view[CC1D_DBIAS] = p.view[CC1D_BIAS];
    }
    return p;
}

static void add_states(cc1d_problem *p, cc1d_role role, int64_t length) {
    p->view[role] = view_of(p->view[CC1D_X].dtype, p->sequences, p->dim, length, p->dim * length, length, 1);
}

static cc1d_problem decoding(int dtype, layout state, int64_t b, int64_t d, int64_t t, int64_t w, int64_t s) {
    cc1d_problem p = convolution(CC1D_OP_FORWARD, dtype, TIME, b, d, t, w);
    p.op = CC1D_OP_UPDATE;
    p.state_len = s;
    p.pad_slot_id = -1;
    p.view[CC1D_STATE] = tensor_of(dtype, state, b, d, s);
    return p;
}

/* ---- What the kernels do with a grid, in C ---- */

static int64_t long_of(cc1d_long v) {
    return (int64_t)((uint64_t)(uint32_t)v.lo | ((uint64_t)(uint32_t)v.hi << 32));
}

static uint32_t divided(uint32_t n, cc1d_divisor by) {
    const uint32_t high = (uint32_t)(((uint64_t)n * (uint32_t)by.multiplier) >> 32);
    return (high + n) >> by.shift;
}

/* counts[b][d][t] += 1 for every element that the launch computes. */
typedef struct cover {
    const cc1d_problem *p;
    int64_t length; /* of the last dimension */
    uint8_t *counts;
} cover;

static void cover_element(const cover *c, int64_t b, int64_t d, int64_t t) {
    if (d < c->p->dim && t >= 0 && t < c->length) c->counts[(b * c->p->dim + d) * c->length + t]++;
}

static void cover_rows(const cover *c, const cc1d_launch *l, const cc1d_conv_params *q, uint32_t unit,
                       uint32_t slab) {
    const int lanes = l->key[CC1D_KEY_ROW_LANES], vec = l->key[CC1D_KEY_VEC];
    const uint32_t rest = divided(unit, q->inner), row = divided(rest, q->middle);
    const uint32_t segment = unit - rest * (uint32_t)q->inner.divisor;
    const int64_t d = rest - row * (uint32_t)q->middle.divisor, b = row + slab * (uint32_t)q->slab;
    if (b >= q->batch) return;
    const cc1d_view *target = &c->p->view[c->p->op == CC1D_OP_FORWARD ? CC1D_OUT : CC1D_DX];
    const int64_t start = b * target->stride[0] + d * target->stride[1] + q->target_offset;
    const int64_t shift = l->key[CC1D_KEY_TARGET_SHIFTED] ? start % vec : 0;
    const int64_t loads = c->p->op == CC1D_OP_FORWARD ? 1 : q->run;
    const int64_t steps = loads * l->key[CC1D_KEY_UNROLL] * lanes * vec;
    CHECK((start - shift) % vec == 0);
    for (int64_t i = 0; i < steps; i++) cover_element(c, b, d, segment * steps + i - shift);
}

static void cover_columns(const cover *c, const cc1d_launch *l, const cc1d_conv_params *q, uint32_t unit,
                          uint32_t slab) {
    const int64_t vec = l->key[CC1D_KEY_VEC], group = l->key[CC1D_KEY_GROUP_RUNS];
    const int64_t columns = l->group_size[0] / group;
    const uint32_t rest = divided(unit, q->inner), row = divided(rest, q->middle);
    const int64_t first = (int64_t)(unit - rest * (uint32_t)q->inner.divisor) * columns * vec;
    const int64_t run = (int64_t)(rest - row * (uint32_t)q->middle.divisor) * group;
    const int64_t b = row + slab * (uint32_t)q->slab;
    if (b >= q->batch) return;
    for (int64_t d = first; d < first + columns * vec; d++)
        for (int64_t t = run * q->run; t < (run + group) * q->run; t++) cover_element(c, b, d, t);
}

static void cover_elements(const cover *c, const cc1d_launch *l, const cc1d_conv_params *q, uint32_t unit,
                           uint32_t slab) {
    const uint32_t rest = divided(unit, q->inner), row = divided(rest, q->middle);
    const int64_t fast = unit - rest * (uint32_t)q->inner.divisor;
    const int64_t slow = rest - row * (uint32_t)q->middle.divisor;
    const int64_t b = row + slab * (uint32_t)q->slab;
    const bool states = l->kernel == cc1d_kernel_names[CC1D_KERNEL_VARLEN_STATES],
               time = states || l->key[CC1D_KEY_TIME_FASTEST];
    if (b < (states ? q->sequences : q->batch)) cover_element(c, b, time ? slow : fast, time ? fast : slow);
}

static bool is(const cc1d_launch *l, cc1d_kernel kernel) { return l->kernel == cc1d_kernel_names[kernel]; }

static void check_cover(const cc1d_problem *p, const cc1d_launch *l, int64_t rows, int64_t length) {
    cc1d_conv_params q;
    memcpy(&q, l->words, sizeof q);
    const size_t count = (size_t)(rows * p->dim * length);
    cover c = {p, length, calloc(count, 1)};
    const bool channels = is(l, CC1D_KERNEL_FORWARD_CHANNEL) || is(l, CC1D_KERNEL_BACKWARD_CHANNEL);
    const bool time = is(l, CC1D_KERNEL_FORWARD_TIME) || is(l, CC1D_KERNEL_BACKWARD_TIME);
    for (uint32_t slab = 0; slab < l->groups[1]; slab++)
        for (uint32_t unit = 0; unit < (uint32_t)q.units; unit++)
            (time ? cover_rows : channels ? cover_columns : cover_elements)(&c, l, &q, unit, slab);
    size_t wrong = 0;
    for (size_t i = 0; i < count; i++) wrong += c.counts[i] != 1;
    if (wrong) {
        check_failures++;
        printf("  %s: %zu of %zu elements are not computed once: (%lld, %lld, %lld) width %lld dtype %d\n",
               l->kernel, wrong, count, (long long)rows, (long long)p->dim, (long long)length,
               (long long)p->width, p->view[CC1D_X].dtype);
    }
    free(c.counts);
    /* Enough threads for the units: a group takes a team per lanes, a tile, or a unit per thread. */
    const uint64_t per_group = time       ? l->group_size[0] / l->key[CC1D_KEY_ROW_LANES]
                               : channels ? 1
                                          : l->group_size[0];
    CHECK(l->groups[0] * per_group >= (uint64_t)q.units);
    CHECK((l->groups[0] - 1) * per_group < (uint64_t)q.units);
}

static void check_limits(const cc1d_launch *l) {
    const uint32_t threads = l->group_size[0] * l->group_size[1] * l->group_size[2];
    CHECK(threads > 0 && threads <= 1024 && threads % 32 == 0);
    CHECK(l->groups[0] > 0 && l->groups[0] <= INT32_MAX);
    CHECK(l->groups[1] > 0 && l->groups[1] <= 65535 && l->groups[2] == 1);
    CHECK(l->word_count > 0 && l->word_count <= CC1D_PLAN_WORDS);
    CHECK(l->buffer_count > 0 && l->buffer_count <= CC1D_PLAN_BUFFERS);
    for (int i = 0; i < l->buffer_count; i++)
        for (int j = 0; j < i; j++) CHECK(l->buffers[i] != l->buffers[j]);
}

static bool binds(const cc1d_launch *l, int role) {
    for (int i = 0; i < l->buffer_count; i++)
        if (l->buffers[i] == role) return true;
    return false;
}

/* ---- Tests ---- */

static const int dtypes[] = {CC1D_FLOAT32, CC1D_FLOAT16, CC1D_BFLOAT16, CC1D_FLOAT64};
static const int64_t shapes[][3] = {{1, 1, 1},   {2, 3, 5},   {1, 9, 64},   {3, 5, 255}, {2, 33, 256},
                                    {1, 2, 257}, {2, 64, 31}, {1, 1, 5000}, {7, 130, 3}, {1, 257, 1}};

static void test_divisors(void) {
    const uint32_t top = INT32_MAX;
    for (uint32_t d = 1; d < 3000; d++) {
        const cc1d_problem p = convolution(CC1D_OP_FORWARD, CC1D_FLOAT32, CHANNEL, 1, d, 64, 4);
        cc1d_plan plan;
        CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
        cc1d_conv_params q;
        memcpy(&q, plan.launch[0].words, sizeof q);
        const uint32_t by = (uint32_t)q.inner.divisor;
        const uint32_t numbers[] = {0,      1, by - 1, by, by + 1, 12345678, top / by * by - 1, top / by * by,
                                    top - 1};
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
            CHECK(divided(numbers[i], q.inner) == numbers[i] / by);
    }
}

static void cover_all(cc1d_operation op, cc1d_device device) {
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int how = 0; how < LAYOUTS; how++)
            for (int i = 0; i < (device == CC1D_CUDA ? 4 : 3); i++)
                for (int w = 1; w <= 10; w += 3) {
                    cc1d_problem p =
                        convolution(op, dtypes[i], (layout)how, shapes[s][0], shapes[s][1], shapes[s][2], w);
                    cc1d_plan plan;
                    p.device = device;
                    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
                    for (int l = 0; l < plan.launch_count; l++) {
                        const cc1d_launch *launch = &plan.launch[l];
                        check_limits(launch);
                        if (launch->kernel != cc1d_kernel_names[CC1D_KERNEL_BACKWARD_REDUCE] &&
                            launch->kernel != cc1d_kernel_names[CC1D_KERNEL_BACKWARD_WIDE_DWEIGHT])
                            check_cover(&p, launch, p.batch, p.seqlen);
                    }
                }
}

static void test_forward_covers(void) {
    cover_all(CC1D_OP_FORWARD, CC1D_CUDA);
    cover_all(CC1D_OP_FORWARD, CC1D_METAL);
}

static void test_backward_covers(void) {
    cover_all(CC1D_OP_BACKWARD, CC1D_CUDA);
    cover_all(CC1D_OP_BACKWARD, CC1D_METAL);
}

static void test_states_cover(void) {
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        cc1d_problem p =
            convolution(CC1D_OP_FORWARD, CC1D_FLOAT16, TIME, shapes[s][0], shapes[s][1], shapes[s][2], 4);
        add_states(&p, CC1D_INITIAL, 3);
        add_states(&p, CC1D_FINAL, 3);
        cc1d_plan plan;
        CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
        CHECK(plan.launch_count == 2 && is(&plan.launch[1], CC1D_KERNEL_VARLEN_STATES));
        CHECK(binds(&plan.launch[1], CC1D_INITIAL) && binds(&plan.launch[1], CC1D_FINAL));
        check_limits(&plan.launch[1]);
        check_cover(&p, &plan.launch[1], p.sequences, 3);
    }
}

/* The parts that the gradients' first pass writes are the parts that the reduction reads, inside the scratch.
 */
static void test_scratch(void) {
    for (int how = 0; how < LAYOUTS; how++)
        for (int w = 4; w <= 9; w += 5) {
            const cc1d_problem p = convolution(CC1D_OP_BACKWARD, CC1D_BFLOAT16, (layout)how, 3, 40, 1000, w);
            cc1d_plan plan;
            CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
            const cc1d_launch *last = &plan.launch[plan.launch_count - 1], *first = last - 1;
            CHECK(is(last, CC1D_KERNEL_BACKWARD_REDUCE) && binds(first, CC1D_SCRATCH));
            cc1d_reduce_params r;
            cc1d_conv_params q;
            memcpy(&r, last->words, sizeof r);
            memcpy(&q, first->words, sizeof q);
            CHECK(r.parts == q.parts && r.parts > 0);
            CHECK(long_of(r.partials) == long_of(q.partials));
            const int64_t end = long_of(r.partials) + (int64_t)r.parts * (w + 1) * p.dim;
            CHECK((int64_t)plan.scratch_bytes >= end * 4);
            CHECK((int64_t)plan.scratch_bytes <= end * 4 + 64);
        }
}

static void test_gradients_on_request(void) {
    cc1d_problem p = convolution(CC1D_OP_BACKWARD, CC1D_FLOAT32, TIME, 2, 8, 100, 4);
    cc1d_plan plan;
    p.view[CC1D_DWEIGHT].present = p.view[CC1D_DBIAS].present = false;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    CHECK(plan.launch_count == 1 && plan.scratch_bytes == 0 && binds(&plan.launch[0], CC1D_DX));
    p.view[CC1D_DX].present = false;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    CHECK(plan.launch_count == 0);
    p.view[CC1D_DBIAS].present = true;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    CHECK(plan.launch_count == 2 && !binds(&plan.launch[0], CC1D_DX));
    CHECK(binds(&plan.launch[1], CC1D_DBIAS) && !binds(&plan.launch[1], CC1D_DWEIGHT));
    add_states(&p, CC1D_DINITIAL, 3);
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    CHECK(plan.launch_count == 3 && binds(&plan.launch[2], CC1D_DINITIAL));
}

static void test_empty(void) {
    cc1d_plan plan;
    for (int i = 0; i < 3; i++) {
        const int64_t n[3] = {i == 0 ? 0 : 2, i == 1 ? 0 : 8, i == 2 ? 0 : 16};
        cc1d_problem p = convolution(CC1D_OP_FORWARD, CC1D_FLOAT32, TIME, n[0], n[1], n[2], 4);
        CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
        CHECK(plan.launch_count == 0);
        p = convolution(CC1D_OP_BACKWARD, CC1D_FLOAT32, TIME, n[0], n[1], n[2], 4);
        CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
        /* Gradients of weights that nothing used are zeros, which somebody must write. */
        CHECK(plan.launch_count == (n[1] > 0) && (n[1] == 0 || is(plan.launch, CC1D_KERNEL_BACKWARD_REDUCE)));
    }
}

/* Whether every pack of `vec` elements that starts at a multiple of vec of the dense dimension is aligned. */
static bool aligned(const cc1d_view *v, int dense, int64_t vec) {
    const int64_t item = (int64_t)cc1d_itemsize(v->dtype);
    if ((int64_t)((uintptr_t)v->data) % (vec * item)) return false;
    for (int i = 0; i < 3; i++)
        if (i != dense && v->shape[i] > 1 && v->stride[i] % vec) return false;
    return vec == 1 || v->shape[dense] == 1 || v->stride[dense] == 1;
}

static void test_packs_are_aligned(void) {
    for (int how = 0; how < LAYOUTS; how++)
        for (int i = 0; i < 4; i++)
            for (int64_t d = 1; d < 40; d++) {
                const cc1d_problem p = convolution(CC1D_OP_FORWARD, dtypes[i], (layout)how, 2, d, 24, 4);
                cc1d_plan plan;
                CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
                const cc1d_launch *l = &plan.launch[0];
                const int vec = l->key[CC1D_KEY_VEC];
                if (is(l, CC1D_KERNEL_FORWARD_CHANNEL))
                    CHECK(aligned(&p.view[CC1D_X], 1, vec) && aligned(&p.view[CC1D_OUT], 1, vec));
                else if (!l->key[CC1D_KEY_PARTIAL_PACKS])
                    CHECK(aligned(&p.view[CC1D_X], 2, vec) && aligned(&p.view[CC1D_OUT], 2, vec));
            }
}

static void test_skewed_rows(void) {
    cc1d_problem p = convolution(CC1D_OP_FORWARD, CC1D_BFLOAT16, TIME, 2, 8, 1024, 4);
    cc1d_plan plan;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    CHECK(!plan.launch[0].key[CC1D_KEY_X_SKEWED] && !plan.launch[0].key[CC1D_KEY_PARTIAL_PACKS]);
    p.view[CC1D_X] = tensor_of(CC1D_BFLOAT16, TIME_SLICE, 2, 8, 1024);
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    CHECK(plan.launch[0].key[CC1D_KEY_X_SKEWED] && !plan.launch[0].key[CC1D_KEY_TARGET_SHIFTED]);
    p.view[CC1D_OUT] = p.view[CC1D_X];
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    CHECK(!plan.launch[0].key[CC1D_KEY_X_SKEWED] && plan.launch[0].key[CC1D_KEY_TARGET_SHIFTED]);
}

static void test_weights_are_loaded_wide_where_they_may(void) {
    cc1d_problem p = convolution(CC1D_OP_FORWARD, CC1D_BFLOAT16, TIME, 1, 8, 64, 4);
    cc1d_plan plan;
    cc1d_make_plan(&p, &plan);
    CHECK(plan.launch[0].key[CC1D_KEY_WEIGHT_WORDS] == 4);
    p.view[CC1D_WEIGHT].data = address_of(4);
    cc1d_make_plan(&p, &plan);
    CHECK(plan.launch[0].key[CC1D_KEY_WEIGHT_WORDS] == 0);
    p.view[CC1D_WEIGHT] = view_of(CC1D_FLOAT16, 8, 4, 1, 4, 1, 1);
    cc1d_make_plan(&p, &plan);
    CHECK(plan.launch[0].key[CC1D_KEY_WEIGHT_WORDS] == 2);
    p.view[CC1D_WEIGHT] = view_of(CC1D_FLOAT16, 8, 4, 1, 1, 8, 1);
    cc1d_make_plan(&p, &plan);
    CHECK(plan.launch[0].key[CC1D_KEY_WEIGHT_WORDS] == 0);
}

static void test_update(void) {
    for (int how = 0; how < LAYOUTS; how++)
        for (int i = 0; i < 4; i++)
            for (int64_t s = 3; s < 6; s++) {
                const cc1d_problem p = decoding(dtypes[i], (layout)how, 512, 2048, 1, 4, s);
                cc1d_plan plan;
                CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
                const cc1d_launch *l = &plan.launch[0];
                const int64_t vec = l->key[CC1D_KEY_VEC], rows = l->key[CC1D_KEY_UNROLL];
                CHECK(plan.launch_count == 1 && is(l, CC1D_KERNEL_UPDATE_STEP));
                check_limits(l);
                cc1d_update_params q;
                memcpy(&q, l->words, sizeof q);
                const int64_t bundles = l->key[CC1D_KEY_GROUP_RUNS], columns = l->group_size[0] / bundles;
                CHECK(p.dim % vec == 0 && l->groups[0] == (uint32_t)q.units);
                CHECK(q.units % q.slab == 0 && q.units / q.slab * columns * vec >= p.dim);
                CHECK((int64_t)q.slab * l->groups[1] * bundles * rows >= p.batch);
                CHECK(aligned(&p.view[CC1D_X], 1, 1) && aligned(&p.view[CC1D_STATE], how == TIME ? 2 : 1, 1));
                /* A pack of a state in rows is part of vec channels' steps. */
                const bool several = dtypes[i] != CC1D_FLOAT64; /* of which a pack holds one */
                if (how == TIME) CHECK((vec > 1) == several && l->key[CC1D_KEY_STATE_ROWS] == several);
                if (how == CHANNEL) CHECK((vec > 1) == several && !l->key[CC1D_KEY_STATE_ROWS]);
                if (how == EVERY_SECOND) CHECK(vec == 1);
            }
    cc1d_problem p = decoding(CC1D_FLOAT16, TIME, 4, 64, 3, 4, 8);
    cc1d_plan plan;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    CHECK(is(&plan.launch[0], CC1D_KERNEL_UPDATE));
}

static void test_huge(void) {
    const int64_t million = 1 << 20;
    const int64_t sizes[][3] = {{1, 4096, 4 * million},
                                {8 * million, 4096, 1},
                                {2 * million, 2048, 64},
                                {1, 200 * million, 16},
                                {3, 1, 2000 * million}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int how = TIME; how <= CHANNEL; how++)
            for (int op = CC1D_OP_FORWARD; op <= CC1D_OP_BACKWARD; op++) {
                const cc1d_problem p = convolution((cc1d_operation)op, CC1D_BFLOAT16, (layout)how,
                                                   sizes[i][0], sizes[i][1], sizes[i][2], 4);
                cc1d_plan plan;
                CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
                for (int l = 0; l < plan.launch_count; l++) {
                    check_limits(&plan.launch[l]);
                    CHECK(plan.launch[l].key[CC1D_KEY_OFFSET64] == 1);
                }
                cc1d_conv_params q;
                memcpy(&q, plan.launch[0].words, sizeof q);
                CHECK(q.slab > 0 && q.units > 0);
                CHECK((int64_t)q.slab * plan.launch[0].groups[1] >= p.batch);
                CHECK((int64_t)q.slab * (plan.launch[0].groups[1] - 1) < p.batch);
                CHECK(long_of(q.x.stride[0]) == (p.batch > 1 ? p.view[CC1D_X].stride[0] : 0));
            }
    const cc1d_problem p = convolution(CC1D_OP_FORWARD, CC1D_BFLOAT16, TIME, 1, 1, (int64_t)1 << 40, 4);
    cc1d_plan plan;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_ERROR_UNSUPPORTED);
}

static void test_offsets_stay_narrow_below_two_to_the_31(void) {
    const cc1d_problem p = convolution(CC1D_OP_FORWARD, CC1D_BFLOAT16, TIME, 8, 4096, 2048, 4);
    cc1d_plan plan;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    CHECK(plan.launch[0].key[CC1D_KEY_OFFSET64] == 0);
}

static void test_float64_is_refused_on_metal(void) {
    cc1d_problem p = convolution(CC1D_OP_FORWARD, CC1D_FLOAT64, TIME, 1, 8, 64, 4);
    cc1d_plan plan;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    p.device = CC1D_METAL;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_ERROR_UNSUPPORTED);
    CHECK(strstr(cc1d_last_error(), "float64") != NULL);
}

/* A plan is a value: the same twice, and the key and words do not depend on where aligned data lies. */
static void test_plans_are_values(void) {
    for (int how = 0; how < LAYOUTS; how++) {
        cc1d_problem p = convolution(CC1D_OP_BACKWARD, CC1D_FLOAT16, (layout)how, 3, 40, 777, 4);
        static cc1d_plan a, b;
        memset(&a, 0, sizeof a);
        memset(&b, 0, sizeof b);
        cc1d_make_plan(&p, &a);
        for (int role = 0; role < CC1D_ROLES; role++)
            if (p.view[role].present) p.view[role].data += 1 << 16;
        cc1d_make_plan(&p, &b);
        CHECK(memcmp(&a, &b, sizeof a) == 0);
    }
}

static void test_source(void) {
    const cc1d_problem p = convolution(CC1D_OP_FORWARD, CC1D_BFLOAT16, TIME, 2, 8, 300, 4);
    cc1d_plan plan;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    for (int language = CC1D_LANGUAGE_METAL; language <= CC1D_LANGUAGE_CUDA; language++) {
        const size_t length = cc1d_launch_source(plan.launch, (cc1d_language)language, NULL, 0);
        char *text = malloc(length + 1), *cut = malloc(101);
        CHECK(cc1d_launch_source(plan.launch, (cc1d_language)language, text, length + 1) == length);
        CHECK(strlen(text) == length);
        CHECK(cc1d_launch_source(plan.launch, (cc1d_language)language, cut, 101) == length);
        CHECK(strlen(cut) == 100 && memcmp(cut, text, 100) == 0);
        CHECK(strstr(text, "#define CC1D_KERNEL_FORWARD_TIME 1\n") != NULL);
        CHECK(strstr(text, "#define CC1D_X_DTYPE 2\n") != NULL);
        CHECK(strstr(text, "#define CC1D_BUFFERS IN(x_t, x, 0) IN(weight_t, weight, 1) "
                           "IN(bias_t, bias, 2) OUT(x_t, target, 3)\n") != NULL);
        CHECK(strstr(text, "#define CC1D_PARAMS_INDEX 4\n") != NULL);
        CHECK(strstr(text, "ENTRY(cc1d_forward_time, cc1d_conv_params)") != NULL);
        CHECK((strstr(text, "metal_stdlib") != NULL) == (language == CC1D_LANGUAGE_METAL));
        for (size_t i = 0; i < length; i++) CHECK((text[i] >= 32 && text[i] < 127) || text[i] == '\n');
        free(text);
        free(cut);
    }
}

int main(void) {
    static const check_test tests[] = {
        {"divisors divide", test_divisors},
        {"forward computes every element once", test_forward_covers},
        {"backward computes every element once", test_backward_covers},
        {"states: every element once", test_states_cover},
        {"scratch holds what is summed", test_scratch},
        {"only the gradients that are wanted", test_gradients_on_request},
        {"empty tensors", test_empty},
        {"packs are aligned", test_packs_are_aligned},
        {"rows that lie differently", test_skewed_rows},
        {"wide loads of weights", test_weights_are_loaded_wide_where_they_may},
        {"update", test_update},
        {"huge sizes", test_huge},
        {"narrow offsets", test_offsets_stay_narrow_below_two_to_the_31},
        {"float64 on Metal", test_float64_is_refused_on_metal},
        {"plans are values", test_plans_are_values},
        {"source", test_source},
    };
    return check_run(tests, sizeof tests / sizeof *tests);
}
