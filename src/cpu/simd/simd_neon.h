/* simd_neon.h - the vector vocabulary (docs/cpu.md) on AArch64 Advanced SIMD: 4 floats or 2 doubles. */
#ifndef CC1D_CPU_SIMD_NEON_H
#define CC1D_CPU_SIMD_NEON_H

#include "cpu/convert.h"
#include "simd_each.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#define SIMD_ENTRY(name) cc1d_cpu_##name##_neon

#define SIMD_TARGET SIMD_UNCHECKED /* part of every AArch64 processor */
#define SIMD_INLINE SIMD_TARGET static inline __attribute__((always_inline))

typedef float32x4_t vec_f32;
typedef float64x2_t vec_f64;
typedef uint16x4_t half_f32; /* as many 16-bit elements */
enum { LANES_f32 = 4, LANES_f64 = 2 };
#define SIMD_PAIRS 0

/* ---- float -------------------------------------------------------------------------------- */

SIMD_INLINE vec_f32 set_f32(float v) { return vdupq_n_f32(v); }
SIMD_INLINE vec_f32 fma_f32(vec_f32 a, vec_f32 b, vec_f32 c) { return vfmaq_f32(c, a, b); }
/* c - a b, rounded once */
SIMD_INLINE vec_f32 fnma_f32(vec_f32 a, vec_f32 b, vec_f32 c) { return vfmsq_f32(c, a, b); }
SIMD_INLINE vec_f32 min_f32(vec_f32 a, vec_f32 b) { return vminq_f32(a, b); }
SIMD_INLINE vec_f32 select_less_f32(vec_f32 a, vec_f32 b, vec_f32 yes, vec_f32 no) {
    return vbslq_f32(vcltq_f32(a, b), yes, no);
}
SIMD_INLINE vec_f32 scale_f32(vec_f32 n, vec_f32 one) {
    const uint32x4_t exponent = vshlq_n_u32(vreinterpretq_u32_f32(n), 23);
    return vreinterpretq_f32_u32(vaddq_u32(exponent, vreinterpretq_u32_f32(one)));
}

SIMD_INLINE vec_f32 seed_f32(vec_f32 d) {
    return vreinterpretq_f32_u32(vsubq_u32(vdupq_n_u32(CC1D_RECIPROCAL_SEED), vreinterpretq_u32_f32(d)));
}

/* Lane by lane the larger of far >= 0 and v's magnitude; NaN is larger than any number. */
SIMD_INLINE vec_f32 farther_f32(vec_f32 far, vec_f32 v) {
    return vreinterpretq_f32_u32(vmaxq_u32(vreinterpretq_u32_f32(far), vreinterpretq_u32_f32(vabsq_f32(v))));
}
/* Every lane is below limit; NaN is not. */
SIMD_INLINE int is_near_f32(vec_f32 far, float limit) {
    return vminvq_u32(vcltq_f32(far, vdupq_n_f32(limit))) != 0;
}

SIMD_INLINE vec_f32 widen_f32(half_f32 half, int dtype) {
    if (dtype == CC1D_FLOAT16) return vcvt_f32_f16(vreinterpret_f16_u16(half));
    return vreinterpretq_f32_u32(vshll_n_u16(half, 16));
}
/* number: v is no NaN. */
SIMD_INLINE half_f32 narrow_f32(vec_f32 v, int dtype, int number) {
    if (dtype == CC1D_FLOAT16) return vreinterpret_u16_f16(vcvt_f16_f32(v));
    const uint32x4_t u = vreinterpretq_u32_f32(v);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
    const uint32x4_t sum = vaddq_u32(vaddq_u32(u, vdupq_n_u32(0x7fff)), odd);
    if (number) return vshrn_n_u32(sum, 16);
    return vbsl_u16(vmovn_u32(vceqq_f32(v, v)), vshrn_n_u32(sum, 16), vdup_n_u16(0x7fc0));
}

#include "simd_common.h"

/* Partial vectors go through memory: there are no masked accesses. */
SIMD_INLINE vec_f32 load_n_f32(const void *from, int dtype, int n) {
    float whole[4] = {0};
    if (n == LANES_f32) return load_f32(from, dtype);
    memcpy(whole, from, (size_t)n * cc1d_itemsize(dtype));
    return load_f32(whole, dtype);
}
SIMD_INLINE void store_n_f32(void *to, int dtype, vec_f32 v, int n) {
    float whole[4];
    store_f32(whole, dtype, v);
    memcpy(to, whole, (size_t)n * cc1d_itemsize(dtype));
}

SIMD_INLINE float sum_f32(vec_f32 v) {
    const float32x2_t v2 = vadd_f32(vget_low_f32(v), vget_high_f32(v));
    return vget_lane_f32(v2, 0) + vget_lane_f32(v2, 1);
}
SIMD_INLINE void accumulate_f32(double *to, vec_f32 v) {
    vst1q_f64(to, vaddq_f64(vld1q_f64(to), vcvt_f64_f32(vget_low_f32(v))));
    vst1q_f64(to + 2, vaddq_f64(vld1q_f64(to + 2), vcvt_high_f64_f32(v)));
}

/* ---- double ------------------------------------------------------------------------------- */

SIMD_INLINE vec_f64 set_f64(double v) { return vdupq_n_f64(v); }
SIMD_INLINE vec_f64 fma_f64(vec_f64 a, vec_f64 b, vec_f64 c) { return vfmaq_f64(c, a, b); }
SIMD_INLINE vec_f64 min_f64(vec_f64 a, vec_f64 b) { return vminq_f64(a, b); }
SIMD_INLINE vec_f64 select_less_f64(vec_f64 a, vec_f64 b, vec_f64 yes, vec_f64 no) {
    return vbslq_f64(vcltq_f64(a, b), yes, no);
}
SIMD_INLINE vec_f64 scale_f64(vec_f64 n, vec_f64 one) {
    const uint64x2_t exponent = vshlq_n_u64(vreinterpretq_u64_f64(n), 52);
    return vreinterpretq_f64_u64(vaddq_u64(exponent, vreinterpretq_u64_f64(one)));
}

SIMD_INLINE vec_f64 farther_f64(vec_f64 far, vec_f64 v) {
    const uint64x2_t a = vreinterpretq_u64_f64(far), b = vreinterpretq_u64_f64(vabsq_f64(v));
    return vreinterpretq_f64_u64(vbslq_u64(vcgtq_u64(b, a), b, a));
}
SIMD_INLINE int is_near_f64(vec_f64 far, double limit) {
    const uint64x2_t below = vcltq_f64(far, vdupq_n_f64(limit));
    return (vgetq_lane_u64(below, 0) & vgetq_lane_u64(below, 1)) != 0;
}

SIMD_INLINE vec_f64 load_n_f64(const void *from, int dtype, int n) {
    double whole[2] = {0};
    memcpy(whole, from, (size_t)n * sizeof(double));
    return load_f64(whole, dtype);
}
SIMD_INLINE void store_n_f64(void *to, int dtype, vec_f64 v, int n) {
    double whole[2];
    store_f64(whole, dtype, v);
    memcpy(to, whole, (size_t)n * sizeof(double));
}

SIMD_INLINE double sum_f64(vec_f64 v) { return vgetq_lane_f64(v, 0) + vgetq_lane_f64(v, 1); }

#endif
#endif
