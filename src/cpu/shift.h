/* shift.h - the state of the update operation: where its steps lie, and how it moves on, for whole ranges of
 * channels. */
#ifndef CC1D_CPU_SHIFT_H
#define CC1D_CPU_SHIFT_H

#include "pack.h"
#include "taps.h"

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

/* Moves channel d of a state row past step t alone, where y is about to take its place. */
static inline void cc1d_update_state_step(const cc1d_problem *p, int64_t b, int64_t row, int64_t d,
                                          int64_t t) {
    const cc1d_view *state = &p->view[CC1D_STATE], *x = &p->view[CC1D_X];
    const int64_t item = (int64_t)cc1d_itemsize(x->dtype);
    int64_t first = 0, shift = 1, to = p->state_len - 1; /* columns first..to-1 move down by shift */
    if (cc1d_has(p, CC1D_CACHE) && p->state_len > 0) {
        first = to = (cc1d_index_at(&p->view[CC1D_CACHE], b, 0) % p->state_len + t) % p->state_len;
    } else if (cc1d_has(p, CC1D_ACCEPTED)) {
        to = p->width - 2 + t;
        first = t > 0 ? to : 0, shift = cc1d_index_at(&p->view[CC1D_ACCEPTED], b, 0);
        if (p->width == 1) return;
    }
    for (int64_t i = first; i < to; i++)
        cc1d_copy(cc1d_element(state, row, d, i), 1, cc1d_element(state, row, d, i + shift), 1, 1, item);
    if (to >= 0) cc1d_copy(cc1d_element(state, row, d, to), 1, cc1d_element(x, b, d, t), 1, 1, item);
}

/* Moves channels d0..d1-1 of a state row past the call's steps. */
static inline void cc1d_update_state(const cc1d_problem *p, int64_t b, int64_t row, int64_t d0, int64_t d1) {
    const cc1d_view *state = &p->view[CC1D_STATE], *x = &p->view[CC1D_X];
    const int64_t item = (int64_t)cc1d_itemsize(x->dtype), size = p->state_len, steps = p->seqlen;
    const int64_t channels = d1 - d0;
    if (cc1d_has(p, CC1D_CACHE)) {
        const int64_t position = cc1d_index_at(&p->view[CC1D_CACHE], b, 0) % size;
        for (int64_t t = steps > size ? steps - size : 0; t < steps; t++)
            cc1d_copy(cc1d_element(state, row, d0, (position + t) % size), state->stride[1],
                      cc1d_element(x, b, d0, t), x->stride[1], channels, item);
        return;
    }
    int64_t end = size, shift = steps;
    if (cc1d_has(p, CC1D_ACCEPTED)) { /* what lies behind the new steps stays */
        end = p->width > 1 ? p->width - 2 + steps : 0;
        shift = cc1d_index_at(&p->view[CC1D_ACCEPTED], b, 0);
    }
    const int64_t kept = end - steps > 0 ? end - steps : 0; /* old steps that stay, moved down by shift */
    for (int64_t i = 0; i < kept; i++)
        cc1d_copy(cc1d_element(state, row, d0, i), state->stride[1], cc1d_element(state, row, d0, i + shift),
                  state->stride[1], channels, item);
    for (int64_t i = kept; i < end; i++)
        cc1d_copy(cc1d_element(state, row, d0, i), state->stride[1], cc1d_element(x, b, d0, steps - end + i),
                  x->stride[1], channels, item);
}

#endif
