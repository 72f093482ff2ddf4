/* scalar.c - the scalar kernels: the specification that the vector kernels must match bit for bit. Any
 * strides, any width, every argument, one element at a time. */
#include "../index.h"
#include "arith.h"
#include "convert.h"
#include "kernels.h"

static const char *address(const cc1d_view *v, int64_t i, int64_t j, int64_t k) {
    return v->data +
           (i * v->stride[0] + j * v->stride[1] + k * v->stride[2]) * (int64_t)cc1d_itemsize(v->dtype);
}

/* The seq_idx of a step; steps before the sequence count as its first one, as the initial states do. 0 where
 * there is none. */
static int64_t sequence_id(const cc1d_problem *p, const cc1d_segment *s, int64_t step) {
    if (!cc1d_has(p, CC1D_SEQ_IDX)) return 0;
    return cc1d_index_at(&p->view[CC1D_SEQ_IDX], s->b, step > s->start ? step : s->start);
}

static bool is_padding(const cc1d_problem *p, const cc1d_segment *s, int64_t step) {
    return sequence_id(p, s, step) < 0;
}

/* Where step `step` lies as a tap of step `now`; NULL: it counts as 0. */
static const char *tap_address(const cc1d_problem *p, const cc1d_segment *s, int64_t d, int64_t now,
                               int64_t step) {
    const int64_t id = sequence_id(p, s, now);
    if (id < 0 || sequence_id(p, s, step) != id) return NULL;
    if (step >= s->start) return address(&p->view[CC1D_X], s->b, d, step);
    if (!cc1d_has(p, CC1D_INITIAL)) return NULL;
    return address(&p->view[CC1D_INITIAL], s->n, d, step - s->start + p->width - 1);
}

/* The gradient of final state element that step `step` was copied to; NULL: none. */
static const char *dfinal_address(const cc1d_problem *p, const cc1d_segment *s, int64_t d, int64_t step) {
    const int64_t j = step - s->end + p->width - 1;
    if (!cc1d_has(p, CC1D_DFINAL) || j < 0) return NULL;
    if (s->end > s->start) {
        const int64_t id = sequence_id(p, s, s->end - 1);
        if (id < 0 || sequence_id(p, s, step) != id) return NULL;
    }
    return address(&p->view[CC1D_DFINAL], s->n, d, j);
}

/* Step t of the update's channel d as it was before the call; t < 0. */
static const char *history_address(const cc1d_problem *p, int64_t b, int64_t row, int64_t d, int64_t t) {
    const int64_t size = p->state_len;
    int64_t position;
    if (cc1d_has(p, CC1D_CACHE)) { /* size >= W-1 >= -t, so one turn is enough */
        position = cc1d_index_at(&p->view[CC1D_CACHE], b, 0) % size + t;
        if (position < 0) position += size;
    } else {
        position = size + t;
        if (cc1d_has(p, CC1D_ACCEPTED)) position -= p->seqlen - cc1d_index_at(&p->view[CC1D_ACCEPTED], b, 0);
    }
    return address(&p->view[CC1D_STATE], row, d, position);
}

/* Moves channel d of a state row past the call's steps. */
static void advance_state(const cc1d_problem *p, int64_t b, int64_t row, int64_t d) {
    const cc1d_view *state = &p->view[CC1D_STATE], *x = &p->view[CC1D_X];
    const size_t item = cc1d_itemsize(x->dtype);
    const int64_t size = p->state_len, steps = p->seqlen;
    if (cc1d_has(p, CC1D_CACHE)) {
        const int64_t position = cc1d_index_at(&p->view[CC1D_CACHE], b, 0) % size;
        for (int64_t t = steps > size ? steps - size : 0; t < steps; t++)
            memcpy((char *)address(state, row, d, (position + t) % size), address(x, b, d, t), item);
        return;
    }
    const int64_t shift = cc1d_has(p, CC1D_ACCEPTED) ? cc1d_index_at(&p->view[CC1D_ACCEPTED], b, 0) : steps;
    const int64_t kept =
        size - steps > 0 ? size - steps : 0; /* old elements that stay, moved left by shift */
    for (int64_t i = 0; i < kept; i++)
        memmove((char *)address(state, row, d, i), address(state, row, d, i + shift), item);
    for (int64_t i = kept; i < size; i++)
        memcpy((char *)address(state, row, d, i), address(x, b, d, steps - size + i), item);
}

#define REAL float
#define NAME(name) name##_f32
#include "scalar_text.h"
#define REAL double
#define NAME(name) name##_f64
#include "scalar_text.h"

static bool is_double(const cc1d_problem *p) { return p->view[CC1D_X].dtype == CC1D_FLOAT64; }

static void forward(const cc1d_problem *p, cc1d_path path, const cc1d_segment *s) {
    (void)path;
    (is_double(p) ? forward_f64 : forward_f32)(p, s);
}

static void backward(const cc1d_problem *p, cc1d_path path, const cc1d_segment *s, double *partial,
                     void *workspace) {
    if (is_double(p))
        backward_f64(p, path, s, partial, workspace);
    else
        backward_f32(p, path, s, partial, workspace);
}

static void update(const cc1d_problem *p, int64_t b, int64_t row, int64_t d0, int64_t d1) {
    for (int64_t d = d0; d < d1; d++) {
        (is_double(p) ? update_f64 : update_f32)(p, b, row, d);
        if (row >= 0) advance_state(p, b, row, d);
    }
}

void cc1d_cpu_dinitial(const cc1d_problem *p, const cc1d_segment *s) {
    (is_double(p) ? dinitial_f64 : dinitial_f32)(p, s);
}

static int usable(void) { return 1; }

const cc1d_cpu_kernels cc1d_cpu_scalar = {
    .name = "scalar", .usable = usable, .forward = forward, .backward = backward, .update = update};
