/* last_steps.c - see last_steps.h. */
#include "last_steps.h"

#include "taps.h"

int64_t cc1d_cpu_last_step(const cc1d_problem *p, int64_t b) {
    int64_t step = p->seqlen - 1;
    while (step >= 0 && cc1d_id_of(p, b, step) < 0) step--;
    return step;
}

void cc1d_cpu_final_states(const cc1d_problem *p, const cc1d_segment *s) {
    const cc1d_view *out = &p->view[CC1D_FINAL];
    const size_t item = cc1d_itemsize(out->dtype);
    for (int64_t j = 0; j < p->state_len; j++) {
        /* varlen_states has no initial states, and may ask for more steps than there are. */
        const int64_t step = s->last - p->state_len + 1 + j;
        const cc1d_view *from = &p->view[step >= s->start ? CC1D_X : CC1D_INITIAL];
        const bool kept = from->present && cc1d_is_kept(p, s, step);
        for (int64_t d = s->d0; d < s->d1; d++) {
            char *to = cc1d_element(out, s->n, d, j);
            if (!kept)
                memset(to, 0, item);
            else if (step >= s->start)
                memcpy(to, cc1d_element(from, s->b, d, step), item);
            else
                memcpy(to, cc1d_element(from, s->n, d, step - s->start + p->state_len), item);
        }
    }
}
