/* kernel_table.h - included by an instruction set's file after its vocabulary: the kernel text for
 * float and double, and the table's functions forward, backward and update. */
#include "kernel_common.h"

#define REAL float
#define DTYPE CC1D_FLOAT32
#define NAME(name) name##_f32
#define CONSTANT(name) CC1D_##name##_F32
#define IS_FLOAT 1
#define EACH_KERNEL CC1D_EACH_F32
#define EACH_DTYPE(DO) DO(FLOAT32) DO(FLOAT16) DO(BFLOAT16)
#include "kernel_text.h"

#define REAL double
#define DTYPE CC1D_FLOAT64
#define NAME(name) name##_f64
#define CONSTANT(name) CC1D_##name##_F64
#define IS_FLOAT 0
#define EACH_KERNEL CC1D_EACH_F64
#define EACH_DTYPE(DO) DO(FLOAT64)
#include "kernel_text.h"

static void forward(const cc1d_problem *p, cc1d_path path, const cc1d_segment *s) {
    if (p->width > CC1D_MAX_WIDTH)
        cc1d_cpu_scalar.forward(p, path, s);
    else if (p->view[CC1D_X].dtype == CC1D_FLOAT64)
        forward_f64(p, path, s);
    else
        forward_f32(p, path, s);
}

static void backward(const cc1d_problem *p, cc1d_path path, const cc1d_segment *s, double *partial,
                     void *workspace) {
    if (p->width > CC1D_MAX_WIDTH)
        cc1d_cpu_scalar.backward(p, path, s, partial, workspace);
    else if (p->view[CC1D_X].dtype == CC1D_FLOAT64)
        backward_f64(p, path, s, partial, workspace);
    else
        backward_f32(p, path, s, partial, workspace);
}

static void update(const cc1d_problem *p, int64_t b, int64_t row, int64_t d0, int64_t d1) {
    if (p->width > CC1D_MAX_WIDTH || p->seqlen > CC1D_UPDATE_STEPS)
        cc1d_cpu_scalar.update(p, b, row, d0, d1);
    else if (p->view[CC1D_X].dtype == CC1D_FLOAT64)
        update_f64(p, b, row, d0, d1);
    else
        update_f32(p, b, row, d0, d1);
}
