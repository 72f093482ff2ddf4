/* scalar.c - the scalar kernels: the specification that the vector kernels must match bit for bit. Any
 * strides, any width, every argument, one element at a time. */
#include "arith.h"
#include "convert.h"
#include "kernels.h"
#include "shift.h"
#include "taps.h"

static bool is_padding(const cc1d_problem *p, const cc1d_segment *s, int64_t step) {
    return cc1d_sequence_id(p, s, step) < 0;
}

/* Whether step t of the update is read from x as a tap of step now. In place, y has been written over earlier
 * steps. */
static bool is_in_x(const cc1d_problem *p, int64_t now, int64_t t) {
    return t == now || (t >= 0 && !p->in_place);
}

/* Where step t of the update's channel d lies as a tap of step now, in a tensor of *dtype. */
static const char *tap_address(const cc1d_problem *p, int64_t b, int64_t row, int64_t d, int64_t now,
                               int64_t t, int32_t *dtype) {
    const bool from_x = is_in_x(p, now, t);
    *dtype = p->view[from_x ? CC1D_X : CC1D_STATE].dtype;
    if (from_x) return cc1d_element(&p->view[CC1D_X], b, d, t);
    if (p->in_place && now > 0) row = cc1d_row_written(p, b);
    const int64_t at = p->in_place ? cc1d_update_position_at(p, b, now, t) : cc1d_update_position(p, b, t);
    return cc1d_element(&p->view[CC1D_STATE], row, d, at);
}

#define REAL float
#define NAME(name) name##_f32
#include "scalar_text.h"
#define REAL double
#define NAME(name) name##_f64
#include "scalar_text.h"

static bool is_double(const cc1d_problem *p) { return cc1d_is_double(p->view[CC1D_X].dtype); }

static void forward(const cc1d_problem *p, cc1d_path path, const cc1d_segment *s) {
    (void)path;
    (is_double(p) ? forward_f64 : forward_f32)(p, s);
}

static void gated_forward(const cc1d_problem *p, cc1d_path path, const cc1d_segment *s, void *workspace) {
    (void)workspace;
    forward(p, path, s);
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
        cc1d_update_after(p, b, row, d, d + 1);
    }
}

void cc1d_cpu_dinitial(const cc1d_problem *p, const cc1d_segment *s) {
    (is_double(p) ? dinitial_f64 : dinitial_f32)(p, s);
}

static int usable(void) { return 1; }

const cc1d_cpu_kernels cc1d_cpu_scalar = {.name = "scalar",
                                          .usable = usable,
                                          .forward = forward,
                                          .backward = backward,
                                          .update = update,
                                          .gated_forward = gated_forward,
                                          .gated_backward = backward};
