/* plan_cover.h - problems for plans, and what the kernels do with a launch's grid, in C. Used by test_plan.c.
 */
#ifndef CC1D_TESTS_PLAN_COVER_H
#define CC1D_TESTS_PLAN_COVER_H

#include <stdlib.h>

#include "check.h"
#include "gpu/plan/plan_key.h"
#include "gpu/text/params.h"

/* ---- Problems ---- */

typedef enum layout { TIME, CHANNEL, TIME_SLICE, CHANNEL_SLICE, EVERY_SECOND, LAYOUTS } layout;

/* Addresses that are never followed. */
static inline char *address_of(int offset) { return (char *)(uintptr_t)(4096 + offset); }

static inline cc1d_view view_of(int dtype, int64_t n0, int64_t n1, int64_t n2, int64_t s0, int64_t s1,
                                int64_t s2) {
    return (cc1d_view){.data = address_of(0),
                       .dtype = dtype,
                       .present = true,
                       .shape = {n0, n1, n2},
                       .stride = {s0, s1, s2}};
}

static inline cc1d_view tensor_of(int dtype, layout how, int64_t b, int64_t d, int64_t t) {
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

static inline cc1d_problem convolution(cc1d_operation op, int dtype, layout how, int64_t b, int64_t d,
                                       int64_t t, int64_t w) {
    cc1d_problem p = {.op = op,
                      .activation = CC1D_ACTIVATION_SILU,
                      .device = CC1D_CUDA,
                      .batch = b,
                      .dim = d,
                      .seqlen = t,
                      .width = w,
                      .sequences = b,
                      .entries = b,
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

static inline void add_states(cc1d_problem *p, cc1d_role role, int64_t length) {
    p->view[role] = view_of(p->view[CC1D_X].dtype, p->sequences, p->dim, length, p->dim * length, length, 1);
}

/* Forward from and into a pool of `rows` rows of `length` steps. */
static inline void add_pool(cc1d_problem *p, int dtype, int64_t rows, int64_t length, int64_t row_stride) {
    p->view[CC1D_STATE] = view_of(dtype, rows, p->dim, length, row_stride, length, 1);
    p->view[CC1D_INDICES] = view_of(CC1D_INT32, p->sequences, 1, 1, 1, 1, 1);
    p->view[CC1D_HAS_INITIAL] = view_of(CC1D_BOOL, p->sequences, 1, 1, 1, 1, 1);
    p->state_len = length;
    p->pad_slot_id = -1;
}

static inline cc1d_problem decoding(int dtype, layout state, int64_t b, int64_t d, int64_t t, int64_t w,
                                    int64_t s) {
    cc1d_problem p = convolution(CC1D_OP_FORWARD, dtype, TIME, b, d, t, w);
    p.op = CC1D_OP_UPDATE;
    p.state_len = s;
    p.pad_slot_id = -1;
    p.view[CC1D_STATE] = tensor_of(dtype, state, b, d, s);
    return p;
}

/* ---- What the kernels do with a grid, in C ---- */

static inline int64_t long_of(cc1d_long v) {
    return (int64_t)((uint64_t)(uint32_t)v.lo | ((uint64_t)(uint32_t)v.hi << 32));
}

static inline uint32_t divided(uint32_t n, cc1d_divisor by) {
    const uint32_t high = (uint32_t)(((uint64_t)n * (uint32_t)by.multiplier) >> 32);
    return (high + n) >> by.shift;
}

/* counts[b][d][t] += 1 for every element that the launch computes. */
typedef struct cover {
    const cc1d_problem *p;
    int64_t length; /* of the last dimension */
    uint8_t *counts;
} cover;

static inline void cover_element(const cover *c, int64_t b, int64_t d, int64_t t) {
    if (d < c->p->dim && t >= 0 && t < c->length) c->counts[(b * c->p->dim + d) * c->length + t]++;
}

static inline void cover_rows(const cover *c, const cc1d_launch *l, const cc1d_conv_params *q, uint32_t unit,
                              uint32_t slab) {
    const int lanes = 1 << q->lane_bits, vec = l->key[CC1D_KEY_VEC];
    const uint32_t rest = divided(unit, q->inner), row = divided(rest, q->middle);
    const uint32_t segment = unit - rest * (uint32_t)q->inner.divisor;
    const int64_t d = rest - row * (uint32_t)q->middle.divisor, b = row + slab * (uint32_t)q->slab;
    if (b >= q->batch) return;
    const cc1d_view *target = &c->p->view[c->p->op == CC1D_OP_FORWARD ? CC1D_OUT : CC1D_DX];
    const int64_t start = b * target->stride[0] + d * target->stride[1] + q->target_offset;
    const int64_t shift = l->key[CC1D_KEY_PARTIAL_PACKS] ? start % vec : 0;
    const int64_t steps = (int64_t)q->run * lanes * vec;
    /* A text of 32 lanes has no other team, and only that of partial packs stops within a turn. */
    CHECK(!l->key[CC1D_KEY_ROW_LANES] || lanes == l->key[CC1D_KEY_ROW_LANES]);
    CHECK(l->key[CC1D_KEY_PARTIAL_PACKS] || q->run % l->key[CC1D_KEY_UNROLL] == 0);
    CHECK(c->p->op != CC1D_OP_FORWARD || q->run <= l->key[CC1D_KEY_UNROLL]);
    CHECK(c->p->op == CC1D_OP_FORWARD || l->key[CC1D_KEY_SEGMENTED] || q->inner.divisor == 1);
    CHECK((start - shift) % vec == 0);
    for (int64_t i = 0; i < steps; i++) cover_element(c, b, d, segment * steps + i - shift);
}

static inline void cover_columns(const cover *c, const cc1d_launch *l, const cc1d_conv_params *q,
                                 uint32_t unit, uint32_t slab) {
    const int64_t vec = l->key[CC1D_KEY_VEC], columns = (int64_t)1 << q->column_bits;
    const int64_t group = l->group_size[0] / columns;
    const uint32_t rest = divided(unit, q->inner), row = divided(rest, q->middle);
    const int64_t first = (int64_t)(unit - rest * (uint32_t)q->inner.divisor) * columns * vec;
    const int64_t run = (int64_t)(rest - row * (uint32_t)q->middle.divisor) * group;
    const int64_t b = row + slab * (uint32_t)q->slab;
    if (b >= q->batch) return;
    for (int64_t d = first; d < first + columns * vec; d++)
        for (int64_t t = run * q->run; t < (run + group) * q->run; t++) cover_element(c, b, d, t);
}

static inline void cover_elements(const cover *c, const cc1d_launch *l, const cc1d_conv_params *q,
                                  uint32_t unit, uint32_t slab) {
    const uint32_t rest = divided(unit, q->inner), row = divided(rest, q->middle);
    const int64_t fast = unit - rest * (uint32_t)q->inner.divisor;
    const int64_t slow = rest - row * (uint32_t)q->middle.divisor;
    const int64_t b = row + slab * (uint32_t)q->slab;
    const bool states = l->kernel == cc1d_kernel_names[CC1D_KERNEL_VARLEN_STATES],
               time = states || l->key[CC1D_KEY_TIME_FASTEST];
    if (b < q->batch) cover_element(c, b, time ? slow : fast, time ? fast : slow);
}

static inline bool is(const cc1d_launch *l, cc1d_kernel kernel) {
    return l->kernel == cc1d_kernel_names[kernel];
}

static inline void check_cover(const cc1d_problem *p, const cc1d_launch *l, int64_t rows, int64_t length) {
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
    const uint64_t per_group = time ? l->group_size[0] >> q.lane_bits : channels ? 1 : l->group_size[0];
    CHECK(l->groups[0] * per_group >= (uint64_t)q.units);
    CHECK((l->groups[0] - 1) * per_group < (uint64_t)q.units);
}

static inline void check_limits(const cc1d_launch *l) {
    const uint32_t threads = l->group_size[0] * l->group_size[1] * l->group_size[2];
    CHECK(threads > 0 && threads <= 1024 && threads % 32 == 0);
    CHECK(l->groups[0] > 0 && l->groups[0] <= INT32_MAX);
    CHECK(l->groups[1] > 0 && l->groups[1] <= 65535 && l->groups[2] == 1);
    CHECK(l->word_count > 0 && l->word_count <= CC1D_PLAN_WORDS);
    CHECK(l->buffer_count > 0 && l->buffer_count <= CC1D_PLAN_BUFFERS);
    for (int i = 0; i < l->buffer_count; i++)
        for (int j = 0; j < i; j++) CHECK(l->buffers[i] != l->buffers[j]);
}

static inline bool binds(const cc1d_launch *l, int role) {
    for (int i = 0; i < l->buffer_count; i++)
        if (l->buffers[i] == role) return true;
    return false;
}

#endif
