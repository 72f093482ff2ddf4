/* kernel_common.h - what the kernel text needs once, whatever is computed in. */
#ifndef CC1D_CPU_KERNEL_COMMON_H
#define CC1D_CPU_KERNEL_COMMON_H

#include "cpu/convert.h"
#include "cpu/kernels.h"
#include "cpu/pack.h"
#include "cpu/shift.h"
#include "cpu/simd/simd_each.h"
#include "cpu/spans.h"
#include "cpu/taps.h"

/* Steps that are packed at a time where no dimension is contiguous. */
enum { CC1D_PACK_STEPS = 256 };

/* Most steps of an update that the vector kernels take, and most coefficients that it keeps for all steps. */
enum { CC1D_UPDATE_STEPS = 64, CC1D_UPDATE_KEPT = 32 };

/* Where channels are contiguous: how many steps ahead memory is asked for; processors do not foresee such
 * steps. */
enum { CC1D_PREFETCH_STEPS = 12 };

/* Elements that are worked on at a time in stages (kernel_block.h); where channels are contiguous, so many
 * steps of so many channels. */
enum { CC1D_BLOCK = 256, CC1D_BLOCK_STEPS = 4, CC1D_BLOCK_CHANNELS = CC1D_BLOCK / CC1D_BLOCK_STEPS };

/* DO(width) for every width that has code of its own, and W-1 of the largest. */
#define CC1D_EACH_WIDTH(DO) DO(2) DO(3) DO(4)
enum { CC1D_MOST_BACK = 3 };

/* DO(dtype, width, silu) for every kernel that is compiled for itself; width 0: any. */
#define CC1D_EACH_KERNEL(DO, dtype, silu) \
    DO(dtype, 2, silu) DO(dtype, 3, silu) DO(dtype, 4, silu) DO(dtype, 0, silu)
#define CC1D_EACH_F32(DO, silu)         \
    CC1D_EACH_KERNEL(DO, FLOAT32, silu) \
    CC1D_EACH_KERNEL(DO, FLOAT16, silu) CC1D_EACH_KERNEL(DO, BFLOAT16, silu)
#define CC1D_EACH_F64(DO, silu) CC1D_EACH_KERNEL(DO, FLOAT64, silu)

/* DO(...) unless the width is 0. */
#define CC1D_IF_0(DO, dtype, width, silu)
#define CC1D_IF_2(DO, dtype, width, silu) DO(dtype, width, silu)
#define CC1D_IF_3(DO, dtype, width, silu) DO(dtype, width, silu)
#define CC1D_IF_4(DO, dtype, width, silu) DO(dtype, width, silu)

static inline bool cc1d_is_silu(const cc1d_problem *p) { return p->activation == CC1D_ACTIVATION_SILU; }

static inline bool cc1d_is_kernel(const cc1d_problem *p, int dtype, int width) {
    return p->view[CC1D_X].dtype == dtype && (width == 0 || p->width == width);
}

/* Successive steps of a vector of channels: base is the first one, pitch the distance in bytes. */
typedef struct cc1d_column {
    char *base;
    int64_t pitch;
} cc1d_column;

static inline cc1d_column cc1d_column_of(const cc1d_view *v, int64_t b, int64_t d, int64_t t) {
    return (cc1d_column){v->present ? cc1d_element(v, b, d, t) : NULL,
                         v->stride[2] * (int64_t)cc1d_itemsize(v->dtype)};
}

static inline cc1d_column cc1d_beside(cc1d_column c, int64_t bytes) {
    return (cc1d_column){c.base ? c.base + bytes : NULL, c.pitch};
}

static inline cc1d_column cc1d_later(cc1d_column c, int64_t steps) {
    return (cc1d_column){c.base ? c.base + steps * c.pitch : NULL, c.pitch};
}

#endif
