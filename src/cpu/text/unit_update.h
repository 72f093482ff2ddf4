/* unit_update.h - the translation unit of update on one instruction set, simd/<set>_update.c, after its
 * vocabulary. */
#include "kernel_common.h"

#ifdef SIMD_ENTRY /* the vocabulary is one of this processor */

#include "kernel_float.h"

#include "kernel_update.h"

#include "kernel_double.h"

#include "kernel_update.h"

cc1d_update_kernel SIMD_ENTRY(update);

void SIMD_ENTRY(update)(const cc1d_problem *p, int64_t b, int64_t row, int64_t d0, int64_t d1) {
    if (p->width > CC1D_MAX_WIDTH || p->seqlen > CC1D_UPDATE_STEPS)
        cc1d_cpu_scalar.update(p, b, row, d0, d1);
    else if (cc1d_is_in_double(p))
        update_f64(p, b, row, d0, d1);
    else
        update_f32(p, b, row, d0, d1);
}

#endif
