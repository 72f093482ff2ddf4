/* unit_gates.h - the translation unit of calls with gates on one instruction set, simd/<set>_gates.c, after
 * its vocabulary. */
#include "kernel_common.h"

#ifdef SIMD_ENTRY /* the vocabulary is one of this processor */

#include "cpu/split.h"
#include "cpu/window.h"

cc1d_forward_kernel SIMD_ENTRY(forward);
cc1d_backward_kernel SIMD_ENTRY(backward);
cc1d_gated_forward_kernel SIMD_ENTRY(gated_forward);
cc1d_backward_kernel SIMD_ENTRY(gated_backward);

#include "kernel_float.h"

#include "kernel_gates.h"

#include "kernel_double.h"

#include "kernel_gates.h"

void SIMD_ENTRY(gated_forward)(const cc1d_problem *p, cc1d_path path, const cc1d_segment *s,
                               void *workspace) {
    if (p->width > CC1D_MAX_WIDTH)
        cc1d_cpu_scalar.gated_forward(p, path, s, workspace);
    else if (cc1d_is_in_double(p))
        gated_forward_f64(p, path, s, workspace);
    else
        gated_forward_f32(p, path, s, workspace);
}

void SIMD_ENTRY(gated_backward)(const cc1d_problem *p, cc1d_path path, const cc1d_segment *s, double *partial,
                                void *workspace) {
    if (p->width > CC1D_MAX_WIDTH)
        cc1d_cpu_scalar.gated_backward(p, path, s, partial, workspace);
    else if (cc1d_is_in_double(p))
        gated_backward_f64(p, path, s, partial, workspace);
    else
        gated_backward_f32(p, path, s, partial, workspace);
}

#endif
