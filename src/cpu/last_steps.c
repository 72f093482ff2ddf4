/* last_steps.c - see last_steps.h. */
#include "last_steps.h"

#include "shift.h"

int64_t cc1d_cpu_last_step(const cc1d_problem *p, int64_t b) {
    int64_t step = p->seqlen - 1;
    while (step >= 0 && cc1d_id_of(p, b, step) < 0) step--;
    return step;
}

/* As it is, or rounded to a state's own dtype; float64 never meets another one. */
static void copy_element(char *to, int32_t to_dtype, const char *from, int32_t from_dtype) {
    if (to_dtype == from_dtype)
        memcpy(to, from, cc1d_itemsize(to_dtype));
    else
        cc1d_store_f32(to, to_dtype, cc1d_load_f32(from, from_dtype));
}

void cc1d_cpu_final_states(const cc1d_problem *p, const cc1d_segment *s, int64_t row) {
    const cc1d_view *out = &p->view[CC1D_FINAL];
    const int64_t before = p->view[CC1D_INITIAL].shape[2];
    for (int64_t j = 0; j < p->state_len; j++) {
        const int64_t step = s->last - p->state_len + 1 + j;
        const cc1d_view *from = &p->view[step >= s->start ? CC1D_X : CC1D_INITIAL];
        const bool kept = from->present && cc1d_is_kept(p, s, step);
        for (int64_t d = s->d0; d < s->d1; d++) {
            char *to = cc1d_element(out, row, d, j);
            if (!kept)
                memset(to, 0, cc1d_itemsize(out->dtype));
            else if (step >= s->start)
                cc1d_store_tap(p, to, out->dtype, s->b, d, step);
            else
                copy_element(to, out->dtype, cc1d_element(from, s->n, d, step - s->start + before),
                             from->dtype);
        }
    }
}
