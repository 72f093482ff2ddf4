/* states.c - see states.h. */
#include "states.h"

#include <string.h>

#include "../index.h"

static char *address(const cc1d_view *v, int64_t i, int64_t j, int64_t k) {
    return v->data +
           (i * v->stride[0] + j * v->stride[1] + k * v->stride[2]) * (int64_t)cc1d_itemsize(v->dtype);
}

/* Where state element `step` of the sequence comes from: a step of x, a step of the initial states, or NULL
 * for zero. */
static const cc1d_view *source(const cc1d_problem *p, int64_t b, int64_t start, int64_t end, int64_t step) {
    const cc1d_view *view = &p->view[step >= start ? CC1D_X : CC1D_INITIAL];
    if (!view->present) return NULL;
    if (cc1d_has(p, CC1D_SEQ_IDX) && end > start) {
        const cc1d_view *idx = &p->view[CC1D_SEQ_IDX];
        const int64_t last = cc1d_index_at(idx, b, end - 1);
        if (last < 0 || cc1d_index_at(idx, b, step >= start ? step : start) != last) return NULL;
    }
    return view;
}

void cc1d_cpu_final_states(const cc1d_problem *p, int64_t b, int64_t n, int64_t d0, int64_t d1, int64_t start,
                           int64_t end) {
    const cc1d_view *out = &p->view[CC1D_FINAL];
    const size_t item = cc1d_itemsize(out->dtype);
    for (int64_t j = 0; j < p->state_len; j++) {
        const int64_t step = end - p->state_len + j;
        /* varlen_states has no initial states, and may ask for more steps than there are. */
        const cc1d_view *from = source(p, b, start, end, step);
        for (int64_t d = d0; d < d1; d++) {
            char *to = address(out, n, d, j);
            if (!from)
                memset(to, 0, item);
            else if (step >= start)
                memcpy(to, address(from, b, d, step), item);
            else
                memcpy(to, address(from, n, d, step - start + p->state_len), item);
        }
    }
}
