/* kernel_common.h - what the kernel text needs once, whatever is computed in.
 *
 * The text (kernel_*.h) is included twice by each unit_*.h: after kernel_float.h and after kernel_double.h,
 * which define its parameters. */
#ifndef CC1D_CPU_KERNEL_COMMON_H
#define CC1D_CPU_KERNEL_COMMON_H

#include "core/activations.h"
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

/* DO(width, of) for the same, and for 0: any width. */
#define CC1D_EACH_WIDTH_OF(DO, of) DO(2, of) DO(3, of) DO(4, of)
#define CC1D_EACH_WIDTH_OR_ANY(DO, of) CC1D_EACH_WIDTH_OF(DO, of) DO(0, of)

static inline bool cc1d_is_kernel(const cc1d_problem *p, int32_t dtype, int width) {
    return p->view[CC1D_X].dtype == dtype && (width == 0 || p->width == width);
}

/* Whether a call is computed in double. In vectors a dtype is not looked at so closely: what is no float has
 * 16 bits there, so one that is neither ends the program here. States and results have x's (core/validate.c).
 */
static inline bool cc1d_is_in_double(const cc1d_problem *p) {
    const cc1d_view *weight = &p->view[CC1D_WEIGHT], *bias = &p->view[CC1D_BIAS];
    if (cc1d_is_double(p->view[CC1D_X].dtype)) return true;
    if (cc1d_is_double(weight->dtype) || (bias->present && cc1d_is_double(bias->dtype))) abort();
    return false;
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

/* The vocabulary's operations (docs/cpu.md), of what is computed in at the place of use. */
#define VEC NAME(vec)
#define LANES NAME(LANES)
#define SET NAME(set)
#define ADD NAME(add)
#define SUB NAME(sub)
#define MUL NAME(mul)
#define DIV NAME(div)
#define FMA NAME(fma)
#define MIN NAME(min)
#define SELECT_LESS NAME(select_less)
#define SCALE NAME(scale)
#define FARTHER NAME(farther)
#define IS_NEAR NAME(is_near)
#define LOAD NAME(load)
#define LOAD_N NAME(load_n)
#define STORE NAME(store)
#define STORE_N NAME(store_n)
#define STORE_NUMBER NAME(store_number)
#define IS_PAIRS NAME(is_pairs)
#define LOAD_ANY NAME(load_any)
#define STORE_ANY NAME(store_any)
#define SUM NAME(sum)
#define ACCUMULATE NAME(accumulate)

/* Calls DO(..., at, count) for the vectors of 0..n-1, several at a time while there are enough. */
#define EACH_VECTORS(n, least, DO, ...)                                    \
    {                                                                      \
        int64_t at = 0;                                                    \
        for (; (n)-at >= SIMD_VECTORS * LANES; at += SIMD_VECTORS * LANES) \
            DO(__VA_ARGS__, at, SIMD_VECTORS);                             \
        for (; at < (n); at += (least)*LANES) DO(__VA_ARGS__, at, least);  \
    }

#endif
