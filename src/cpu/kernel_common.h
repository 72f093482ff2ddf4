/* kernel_common.h - what the kernel text needs once, whatever is computed in. */
#ifndef CC1D_CPU_KERNEL_COMMON_H
#define CC1D_CPU_KERNEL_COMMON_H

#include "convert.h"
#include "kernels.h"
#include "spans.h"
#include "taps.h"

/* Most coefficients that the vector kernels take; longer filters run on the scalar ones. */
enum { CC1D_MAX_WIDTH = 256 };

/* Steps that are packed at a time where no dimension is contiguous. */
enum { CC1D_PACK_STEPS = 256 };

/* Where channels are contiguous: the steps that a vector of channels walks before the next one (few,
 * so that memory is read in long stretches; more than one, so that weights and taps are loaded once
 * for several steps), the most channels whose weights are kept at hand, and the room for these. */
enum { CC1D_TILE_STEPS = 8, CC1D_TILE_CHANNELS = 512, CC1D_TILE_WEIGHTS = 16 * 257 };

/* Unrolls the next loop, whose count is a small constant after inlining. */
#if defined(__clang__)
#define SIMD_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SIMD_UNROLL _Pragma("GCC unroll 4")
#endif

/* DO(dtype, width, silu) for every kernel that is compiled for itself; width 0: any. */
#define CC1D_EACH_WIDTH(DO, dtype, silu) \
    DO(dtype, 2, silu) DO(dtype, 3, silu) DO(dtype, 4, silu) DO(dtype, 0, silu)
#define CC1D_EACH_ACTIVATION(DO, dtype) CC1D_EACH_WIDTH(DO, dtype, 0) CC1D_EACH_WIDTH(DO, dtype, 1)
#define CC1D_EACH_F32(DO)             \
    CC1D_EACH_ACTIVATION(DO, FLOAT32) \
    CC1D_EACH_ACTIVATION(DO, FLOAT16) CC1D_EACH_ACTIVATION(DO, BFLOAT16)
#define CC1D_EACH_F64(DO) CC1D_EACH_ACTIVATION(DO, FLOAT64)

static inline bool cc1d_is_silu(const cc1d_problem *p) {
    return p->activation == CC1D_ACTIVATION_SILU;
}

static inline bool cc1d_is_kernel(const cc1d_problem *p, int dtype, int width, bool silu) {
    return p->view[CC1D_X].dtype == dtype && (width == 0 || p->width == width) &&
           cc1d_is_silu(p) == silu;
}

/* Steps of one channel, contiguous in memory: base is step origin. */
typedef struct cc1d_line {
    char *base;
    int64_t origin;
} cc1d_line;

static inline char *cc1d_at(cc1d_line line, int64_t step, int64_t item) {
    return line.base + (step - line.origin) * item;
}

static inline cc1d_line cc1d_line_of(const cc1d_view *v, int64_t b, int64_t d) {
    return (cc1d_line){v->present ? cc1d_element(v, b, d, 0) : NULL, 0};
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

#define CC1D_COPY(type)                                                \
    for (int64_t i = 0; i < count; i++)                                \
        memcpy(to + i * to_stride * (int64_t)sizeof(type),             \
               from + i * from_stride * (int64_t)sizeof(type), sizeof(type));

/* Copies elements of any dtype, bit for bit. Strides are in elements. */
static inline void cc1d_copy(char *to, int64_t to_stride, const char *from, int64_t from_stride,
                             int64_t count, int64_t item) {
    switch (item) {
    case 2:
        CC1D_COPY(uint16_t)
        break;
    case 4:
        CC1D_COPY(uint32_t)
        break;
    default:
        CC1D_COPY(uint64_t)
        break;
    }
}

#undef CC1D_COPY

/* The taps of n steps from t on of channel d, for steps that are not direct (spans.h). x: the
 * channel's steps. Tap k of step t + i goes to buffer + (k * step + i) elements, zero where it does
 * not count; returns step. The buffer holds width * n elements, and width + n. */
static inline int64_t cc1d_collect_taps(const cc1d_problem *p, const cc1d_segment *s, cc1d_line x,
                                        int64_t d, int64_t t, int n, char *buffer) {
    const int64_t item = (int64_t)cc1d_itemsize(p->view[CC1D_X].dtype), back = p->width - 1;
    if (cc1d_has(p, CC1D_SEQ_IDX)) {
        for (int64_t k = 0; k <= back; k++) {
            for (int64_t i = 0; i < n; i++, buffer += item) {
                const char *tap = cc1d_tap(p, s, d, t + i, t + i - back + k);
                if (tap)
                    cc1d_copy(buffer, 1, tap, 1, 1, item);
                else
                    memset(buffer, 0, (size_t)item);
            }
        }
        return n;
    }
    int64_t before = s->start - (t - back); /* taps that come from the initial states */
    before = before < 0 ? 0 : before > back + n ? back + n : before;
    if (cc1d_has(p, CC1D_INITIAL)) {
        const cc1d_view *initial = &p->view[CC1D_INITIAL];
        const char *from = cc1d_element(initial, s->n, d, t - s->start);
        cc1d_copy(buffer, 1, from, initial->stride[2], before, item);
    } else {
        memset(buffer, 0, (size_t)(before * item));
    }
    const char *from = cc1d_at(x, t - back + before, item);
    memcpy(buffer + before * item, from, (size_t)((back + n - before) * item));
    return 1;
}

#endif
