/* unit_backward.h - the translation unit of backward on one instruction set, simd/<set>_backward.c, after its
 * vocabulary. */
#include "kernel_common.h"

#ifdef SIMD_ENTRY /* the vocabulary is one of this processor */

#include "kernel_float.h"

#include "kernel_backward.h"

#include "kernel_double.h"

#include "kernel_backward.h"

cc1d_backward_kernel SIMD_ENTRY(backward);

void SIMD_ENTRY(backward)(const cc1d_problem *p, cc1d_path path, const cc1d_segment *s, double *partial,
                          void *workspace) {
    if (p->width > CC1D_MAX_WIDTH)
        cc1d_cpu_scalar.backward(p, path, s, partial, workspace);
    else if (cc1d_is_in_double(p))
        backward_f64(p, path, s, partial, workspace);
    else
        backward_f32(p, path, s, partial, workspace);
}

#endif
