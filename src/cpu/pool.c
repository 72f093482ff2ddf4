/* pool.c - see pool.h. */
#include "pool.h"

#include "shift.h"

bool cc1d_cpu_writes_pool(const cc1d_problem *p) {
    const cc1d_view *rows = &p->view[cc1d_has(p, CC1D_OUT_INDICES) ? CC1D_OUT_INDICES : CC1D_INDICES];
    return p->state_len > 0 && !(rows->present && rows->shape[0] > 1 && rows->stride[0] == 0);
}

void cc1d_cpu_pool_row(const cc1d_problem *p, const cc1d_segment *s) {
    const cc1d_view *pool = &p->view[CC1D_STATE];
    const int64_t size = p->state_len, steps = s->end - s->start, to = cc1d_row_written(p, s->n);
    const int64_t kept = steps < size ? size - steps : 0;
    const double zero = 0;
    if (s->past) cc1d_move_columns(p, s->past_row, to, s->d0, s->d1, steps, kept);
    for (int64_t i = 0; i < kept && !s->past; i++)
        cc1d_copy(cc1d_element(pool, to, s->d0, i), pool->stride[1], (const char *)&zero, 0, s->d1 - s->d0,
                  (int64_t)cc1d_itemsize(pool->dtype));
    for (int64_t i = kept; i < size; i++)
        cc1d_store_step(p, pool, s->b, to, s->d0, s->d1, i, s->end - size + i);
}
