/* shift.h - the state of the update operation: where its steps lie, and how it moves on, for whole ranges of
 * channels. */
#ifndef CC1D_CPU_SHIFT_H
#define CC1D_CPU_SHIFT_H

#include "convert.h"
#include "pack.h"
#include "taps.h"

/* The step that is `back` taps before step t: of the new ones, or < 0 of the state, whose last is -1. */
static inline int64_t cc1d_update_tap(const cc1d_problem *p, int64_t b, int64_t t, int64_t back) {
    if (!cc1d_has(p, CC1D_PARENTS)) return t - back;
    for (; back > 0 && t >= 0; back--) t = cc1d_index_at(&p->view[CC1D_PARENTS], b, t);
    return t - back;
}

/* Stores step t of channel d as a state of that dtype keeps it. float64 never meets another one. */
static inline void cc1d_store_tap(const cc1d_problem *p, char *to, int32_t dtype, int64_t b, int64_t d,
                                  int64_t t) {
    const cc1d_view *x = &p->view[CC1D_X], *gate = &p->view[CC1D_PRE_GATE];
    const char *from = cc1d_element(x, b, d, t);
    if (!gate->present && dtype == x->dtype) {
        memcpy(to, from, cc1d_itemsize(dtype));
    } else if (cc1d_is_double(x->dtype)) {
        cc1d_store_f64(to, dtype,
                       cc1d_load_f64(from, x->dtype) *
                           cc1d_load_f64(cc1d_element(gate, b, d, t), gate->dtype));
    } else {
        float v = cc1d_load_f32(from, x->dtype);
        if (gate->present)
            v = cc1d_rounded_f32(v * cc1d_load_f32(cc1d_element(gate, b, d, t), gate->dtype), x->dtype);
        cc1d_store_f32(to, dtype, v);
    }
}

/* The same of `count` channels with a gate. An element type that is a constant is worth it: a decoding step
 * has little else to do. Strides are in elements. */
static inline void cc1d_store_gated(char *to, int64_t to_stride, int32_t to_dtype, const char *from,
                                    int64_t from_stride, const char *gate, int64_t gate_stride, int64_t count,
                                    int32_t dtype) {
    const int64_t to_step = to_stride * (int64_t)cc1d_itemsize(to_dtype);
    const int64_t item = (int64_t)cc1d_itemsize(dtype);
    for (int64_t i = 0; i < count; i++) {
        const float v = cc1d_load_f32(from + i * from_stride * item, dtype) *
                        cc1d_load_f32(gate + i * gate_stride * item, dtype);
        cc1d_store_f32(to + i * to_step, to_dtype, cc1d_rounded_f32(v, dtype));
    }
}

/* Stores step t of channels d0..d1-1 in a column of a row of states, rounded to their dtype. */
static inline void cc1d_store_step(const cc1d_problem *p, const cc1d_view *state, int64_t b, int64_t row,
                                   int64_t d0, int64_t d1, int64_t column, int64_t t) {
    const cc1d_view *x = &p->view[CC1D_X];
    if (state->dtype == x->dtype && !cc1d_has(p, CC1D_PRE_GATE)) {
        cc1d_copy(cc1d_element(state, row, d0, column), state->stride[1], cc1d_element(x, b, d0, t),
                  x->stride[1], d1 - d0, (int64_t)cc1d_itemsize(x->dtype));
        return;
    }
    const cc1d_view *gate = &p->view[CC1D_PRE_GATE];
#define STORE_AS(as)                                                                                       \
    if (gate->present && x->dtype == CC1D_##as) {                                                          \
        cc1d_store_gated(cc1d_element(state, row, d0, column), state->stride[1],                           \
                         state->dtype == CC1D_##as ? CC1D_##as : state->dtype, cc1d_element(x, b, d0, t),  \
                         x->stride[1], cc1d_element(gate, b, d0, t), gate->stride[1], d1 - d0, CC1D_##as); \
        return;                                                                                            \
    }
    CC1D_EACH_DTYPE_IN_FLOAT(STORE_AS)
#undef STORE_AS
    for (int64_t d = d0; d < d1; d++)
        cc1d_store_tap(p, cc1d_element(state, row, d, column), state->dtype, b, d, t);
}

/* Where the state of batch row b holds step t, t < 0 being before the call. */
static inline int64_t cc1d_update_position(const cc1d_problem *p, int64_t b, int64_t t) {
    const int64_t size = p->state_len;
    if (cc1d_has(p, CC1D_CACHE)) { /* size >= W-1 >= -t, so one turn is enough */
        const int64_t position = cc1d_index_at(&p->view[CC1D_CACHE], b, 0) % size + t;
        return position < 0 ? position + size : position;
    }
    if (!cc1d_has(p, CC1D_ACCEPTED)) return size + t;
    return p->width - 2 + cc1d_index_at(&p->view[CC1D_ACCEPTED], b, 0) + t;
}

/* Where it holds step t < now while the call works in place: the steps before now have been moved there. */
static inline int64_t cc1d_update_position_at(const cc1d_problem *p, int64_t b, int64_t now, int64_t t) {
    if (now == 0) return cc1d_update_position(p, b, t);
    if (cc1d_has(p, CC1D_CACHE)) {
        const int64_t slot = cc1d_index_at(&p->view[CC1D_CACHE], b, 0) % p->state_len + t % p->state_len;
        return slot < 0 ? slot + p->state_len : slot % p->state_len;
    }
    return (cc1d_has(p, CC1D_ACCEPTED) ? p->width - 2 : p->state_len - now) + t;
}

/* Columns 0..count-1 of state row `to` become columns shift.. of row `from`, channels d0..d1-1. */
static inline void cc1d_move_columns(const cc1d_problem *p, int64_t from, int64_t to, int64_t d0, int64_t d1,
                                     int64_t shift, int64_t count) {
    const cc1d_view *state = &p->view[CC1D_STATE];
    if (from == to && shift == 0) return;
    for (int64_t i = 0; i < count; i++) /* upwards: reads are ahead of writes */
        cc1d_copy(cc1d_element(state, to, d0, i), state->stride[1], cc1d_element(state, from, d0, i + shift),
                  state->stride[1], d1 - d0, (int64_t)cc1d_itemsize(state->dtype));
}

/* Moves channel d of the state of row `row` past step t alone, where y is about to take its place. Later
 * steps find it in the row that is written. */
static inline void cc1d_update_state_step(const cc1d_problem *p, int64_t b, int64_t row, int64_t d,
                                          int64_t t) {
    const int64_t to = cc1d_row_written(p, b), from = t > 0 ? to : row;
    int64_t column = p->state_len - 1, moved = column, shift = 1;
    if (cc1d_has(p, CC1D_CACHE)) {
        column = (cc1d_index_at(&p->view[CC1D_CACHE], b, 0) % p->state_len + t) % p->state_len;
        moved = p->state_len, shift = 0;
    } else if (cc1d_has(p, CC1D_ACCEPTED)) {
        if (p->width == 1) return;
        column = p->width - 2 + t;
        moved = t > 0 ? 0 : column, shift = cc1d_index_at(&p->view[CC1D_ACCEPTED], b, 0);
    }
    cc1d_move_columns(p, from, to, d, d + 1, shift, moved);
    if (column >= 0) cc1d_store_step(p, &p->view[CC1D_STATE], b, to, d, d + 1, column, t);
}

/* Moves channels d0..d1-1 of the state of row `row` past the call's steps, into the row that is written. */
static inline void cc1d_update_state(const cc1d_problem *p, int64_t b, int64_t row, int64_t d0, int64_t d1) {
    const int64_t size = p->state_len, steps = p->seqlen, to = cc1d_row_written(p, b);
    const cc1d_view *state = &p->view[CC1D_STATE];
    if (cc1d_has(p, CC1D_CACHE)) {
        const int64_t position = cc1d_index_at(&p->view[CC1D_CACHE], b, 0) % size;
        cc1d_move_columns(p, row, to, d0, d1, 0, size);
        for (int64_t t = steps > size ? steps - size : 0; t < steps; t++)
            cc1d_store_step(p, state, b, to, d0, d1, (position + t) % size, t);
        return;
    }
    int64_t end = size, shift = steps;
    if (cc1d_has(p, CC1D_ACCEPTED)) { /* what lies behind the new steps stays */
        end = p->width > 1 ? p->width - 2 + steps : 0;
        shift = cc1d_index_at(&p->view[CC1D_ACCEPTED], b, 0);
    }
    const int64_t kept = end - steps > 0 ? end - steps : 0; /* old steps that stay */
    cc1d_move_columns(p, row, to, d0, d1, shift, kept);
    for (int64_t i = kept; i < end; i++) cc1d_store_step(p, state, b, to, d0, d1, i, steps - end + i);
}

/* The state after each node of a tree, zeros of a row of padding. */
static inline void cc1d_node_states(const cc1d_problem *p, int64_t b, int64_t row, int64_t d0, int64_t d1) {
    static const char zero[sizeof(double)];
    const cc1d_view *state = &p->view[CC1D_STATE], *nodes = &p->view[CC1D_NODE_STATES];
    const int64_t columns = p->width - 1, item = (int64_t)cc1d_itemsize(nodes->dtype);
    for (int64_t t = 0; t < p->seqlen; t++)
        for (int64_t i = 0; i < columns; i++) {
            const int64_t to = b * p->seqlen + t;
            const int64_t step = row < 0 ? 0 : cc1d_update_tap(p, b, t, columns - 1 - i);
            if (row >= 0 && step >= 0)
                cc1d_store_step(p, nodes, b, to, d0, d1, i, step);
            else
                cc1d_copy(cc1d_element(nodes, to, d0, i), nodes->stride[1],
                          row < 0 ? zero : cc1d_element(state, row, d0, cc1d_update_position(p, b, step)),
                          row < 0 ? 0 : state->stride[1], d1 - d0, item);
        }
}

/* What a call leaves besides y: its rows' states moved on, or those of a tree's nodes. */
static inline void cc1d_update_after(const cc1d_problem *p, int64_t b, int64_t row, int64_t d0, int64_t d1) {
    if (cc1d_has(p, CC1D_NODE_STATES)) cc1d_node_states(p, b, row, d0, d1);
    if (!cc1d_has(p, CC1D_PARENTS) && row >= 0 && !p->in_place) cc1d_update_state(p, b, row, d0, d1);
}

#endif
