/* sequences.c - see sequences.h. */
#include "sequences.h"

#include "core/index.h"

static bool is_packed(const cc1d_problem *p) { return cc1d_has(p, CC1D_CU); }

int64_t cc1d_cpu_sequence_stop(const cc1d_problem *p, int64_t n) {
    return is_packed(p) && n < p->sequences ? cc1d_index_at(&p->view[CC1D_CU], n + 1, 0) : p->seqlen;
}

int64_t cc1d_cpu_sequence_at(const cc1d_problem *p, int64_t t) {
    int64_t low = 0, high = p->sequences;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (cc1d_cpu_sequence_stop(p, middle) > t)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

bool cc1d_cpu_sequence(const cc1d_problem *p, int64_t n, cc1d_segment *s) {
    const bool pooled = p->op == CC1D_OP_FORWARD && cc1d_has(p, CC1D_STATE);
    const int64_t row = pooled ? cc1d_row_read(p, n) : n;
    s->n = n;
    s->b = is_packed(p) ? 0 : n;
    s->start = is_packed(p) ? cc1d_index_at(&p->view[CC1D_CU], n, 0) : 0;
    s->end = row < 0                     ? s->start
             : cc1d_has(p, CC1D_LENGTHS) ? cc1d_index_at(&p->view[CC1D_LENGTHS], n, 0)
                                         : cc1d_cpu_sequence_stop(p, n);
    s->last = s->end - 1;
    s->past = cc1d_has(p, CC1D_INITIAL) ? &p->view[CC1D_INITIAL] : NULL;
    if (pooled && row >= 0 && cc1d_continues(p, n)) s->past = &p->view[CC1D_STATE];
    s->past_row = row;
    s->past_column = pooled ? p->state_len - (p->width - 1) : 0;
    return row >= 0;
}
