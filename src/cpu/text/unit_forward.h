/* unit_forward.h - the translation unit of forward on one instruction set, simd/<set>_forward.c, after its
 * vocabulary. */
#include "kernel_common.h"

#ifdef SIMD_ENTRY /* the vocabulary is one of this processor */

#include "kernel_float.h"

#include "kernel_forward.h"

#include "kernel_double.h"

#include "kernel_forward.h"

cc1d_forward_kernel SIMD_ENTRY(forward);

void SIMD_ENTRY(forward)(const cc1d_problem *p, cc1d_path path, const cc1d_segment *s) {
    if (p->width > CC1D_MAX_WIDTH)
        cc1d_cpu_scalar.forward(p, path, s);
    else if (cc1d_is_in_double(p))
        forward_f64(p, path, s);
    else
        forward_f32(p, path, s);
}

#endif
