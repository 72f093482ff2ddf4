/* index.h - reading index and bool tensors on the host. */
#ifndef CC1D_INDEX_H
#define CC1D_INDEX_H

#include <string.h>

#include "problem.h"

static inline int64_t cc1d_index_at(const cc1d_view *v, int64_t i, int64_t j) {
    const int64_t element = i * v->stride[0] + j * v->stride[1];
    if (v->dtype == CC1D_INT64) {
        int64_t value;
        memcpy(&value, v->data + element * (int64_t)sizeof value, sizeof value);
        return value;
    }
    if (v->dtype == CC1D_BOOL) return v->data[element] != 0;
    int32_t value;
    memcpy(&value, v->data + element * (int64_t)sizeof value, sizeof value);
    return value;
}

/* How many new steps row b of an update has. */
static inline int64_t cc1d_row_steps(const cc1d_problem *p, int64_t b) {
    const cc1d_view *cu = &p->view[CC1D_CU];
    return cu->present ? cc1d_index_at(cu, b + 1, 0) - cc1d_index_at(cu, b, 0) : p->seqlen;
}

/* The state row that is written for batch row, or sequence, b. */
static inline int64_t cc1d_row_written(const cc1d_problem *p, int64_t b) {
    const cc1d_role role = p->view[CC1D_OUT_INDICES].present ? CC1D_OUT_INDICES : CC1D_INDICES;
    return p->view[role].present ? cc1d_index_at(&p->view[role], b, 0) : b;
}

/* The one that is read; -1: that is padding. */
static inline int64_t cc1d_row_read(const cc1d_problem *p, int64_t b) {
    const bool listed = p->view[CC1D_INDICES].present;
    const int64_t row = listed ? cc1d_index_at(&p->view[CC1D_INDICES], b, 0) : b;
    if (listed && (row < 0 || row == p->pad_slot_id)) return -1;
    if (!p->view[CC1D_OUT_INDICES].present) return row;
    const int64_t written = cc1d_row_written(p, b);
    return written < 0 || written == p->pad_slot_id ? -1 : row;
}

/* Whether sequence n of a forward pass begins with what its row of the pool holds. */
static inline bool cc1d_continues(const cc1d_problem *p, int64_t n) {
    const cc1d_view *flags = &p->view[CC1D_HAS_INITIAL];
    return flags->present && cc1d_index_at(flags, n, 0) != 0;
}

#endif
