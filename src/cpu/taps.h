/* taps.h - where the taps of a step lie: the one statement of which steps count. */
#ifndef CC1D_CPU_TAPS_H
#define CC1D_CPU_TAPS_H

#include "core/index.h"
#include "kernels.h"

static inline char *cc1d_element(const cc1d_view *v, int64_t i, int64_t j, int64_t k) {
    const int64_t offset = i * v->stride[0] + j * v->stride[1] + k * v->stride[2];
    return v->data + offset * (int64_t)cc1d_itemsize(v->dtype);
}

static inline bool cc1d_has_gates(const cc1d_problem *p) {
    return cc1d_has(p, CC1D_PRE_GATE) || cc1d_has(p, CC1D_POST_GATE);
}

/* Whether steps have ids, which a tap and its step must share; a negative one is padding. */
static inline bool cc1d_has_ids(const cc1d_problem *p) { return cc1d_has(p, CC1D_SEQ_IDX); }

/* The id of a step >= 0 of batch row b; 0 where there are none. */
static inline int64_t cc1d_id_of(const cc1d_problem *p, int64_t b, int64_t step) {
    return cc1d_has_ids(p) ? cc1d_index_at(&p->view[CC1D_SEQ_IDX], b, step) : 0;
}

/* The id of a step; steps before the sequence count as its first one, as the initial states do. */
static inline int64_t cc1d_sequence_id(const cc1d_problem *p, const cc1d_segment *s, int64_t step) {
    return cc1d_id_of(p, s->b, step > s->start ? step : s->start);
}

/* The element of s->past that is step `step` < start of channel d. */
static inline int64_t cc1d_past_element(const cc1d_problem *p, const cc1d_segment *s, int64_t d,
                                        int64_t step) {
    const int64_t *stride = s->past->stride, column = s->past_column + step - s->start + p->width - 1;
    return s->past_row * stride[0] + d * stride[1] + column * stride[2];
}

/* Where step `step` lies as a tap of step `now`, for channel d; NULL: it counts as 0. */
static inline const char *cc1d_tap(const cc1d_problem *p, const cc1d_segment *s, int64_t d, int64_t now,
                                   int64_t step) {
    if (cc1d_has_ids(p)) {
        const int64_t id = cc1d_sequence_id(p, s, now);
        if (id < 0 || cc1d_sequence_id(p, s, step) != id) return NULL;
    }
    if (step >= s->start) return cc1d_element(&p->view[CC1D_X], s->b, d, step);
    if (!s->past) return NULL;
    return s->past->data + cc1d_past_element(p, s, d, step) * (int64_t)cc1d_itemsize(s->past->dtype);
}

/* Whether the final state takes step `step` <= last. A sequence of padding alone keeps its initial state. */
static inline bool cc1d_is_kept(const cc1d_problem *p, const cc1d_segment *s, int64_t step) {
    return s->last < s->start || cc1d_sequence_id(p, s, step) == cc1d_sequence_id(p, s, s->last);
}

/* The element of the final state that step `step` is copied to; -1: none. */
static inline int64_t cc1d_state_column(const cc1d_problem *p, const cc1d_segment *s, int64_t step) {
    const int64_t j = step - s->last + p->state_len - 1;
    return j >= 0 && step <= s->last && cc1d_is_kept(p, s, step) ? j : -1;
}

/* The gradient of the final state element that step `step` was copied to; NULL: none. */
static inline const char *cc1d_dfinal(const cc1d_problem *p, const cc1d_segment *s, int64_t d, int64_t step) {
    const int64_t j = cc1d_state_column(p, s, step);
    if (!cc1d_has(p, CC1D_DFINAL) || j < 0) return NULL;
    return cc1d_element(&p->view[CC1D_DFINAL], s->n, d, j);
}

#endif
