/* arith.h - the activation's arithmetic, in scalar form: it defines the bits that every vector
 * kernel must produce.
 *
 * Nothing here leaves a compiler a choice: an addition that is fed by a product is an explicit fma.
 * (gcc contracts by default.) All constants are shared with the vector form in kernel_arith.h.
 *
 * v * sigmoid(a) = v / (1 + exp(-a)), for every a, within 2.05 ulp
 * ------------------------------------------------------------------
 * With n = round(-a / ln 2) and r = a + n ln 2, |r| <= 0.347, exp(-a) = 2^n exp(-r).
 *   - n comes from adding 1.5 * 2^23 (double: 2^52) to -a * log2(e): the sum's low bits are n.
 *   - r: fma(n, LN2_HIGH, a) is exact. Where n != 0, a and n * LN2_HIGH are multiples of 2^-25 (2^-54) and
 * the sum is below 1/2, so it fits. Adding n * LN2_LOW rounds once, by at most 2^-26 (double: everything
 * 2^-29 times that).
 *   - exp(-r) = 1 + r w(r), w in fma Horner. float: degree 6, minimax of the relative error with the first
 * two coefficients fixed, 2^-27.8 with the coefficients rounded. double: Taylor to degree 13, 2^-57.2.
 *   - 1 + e = (1 + 2^n r w) + 2^n in this order (r * 2^n is exact), because rounding exp(-r) first would cost
 * more. Errors of 1 + e relative to 2^n for n >= 0, r > 0, the worst sign: r 0.7 * 2^-26, w 0.35 * 2^-25, the
 * fma 2^-26, the last sum 2^-25: 2.2 * 2^-25 in all, of a number >= 0.7, so 1.55 * 2^-24 relative; the
 * quotient's rounding adds 2^-24 relative to a mantissa near 1, half of that near 2. For n < 0 and near a = 0
 * the two sums round 1 + e itself, 2^-24 each of a number >= 1. tests/c/test_simd_arith.c measures < 2 on a
 * dense sweep.
 *
 * 1 / d without a division, in float, for d = 1 + e where |a| < 64: faster where vectors are long
 * -------------------------------------------------------------------------------------------------
 * y = SEED - bits of d, as bits, is 1 / d within 5.06 %: it negates the exponent and runs straight through
 * the mantissa. With u = 1 - d y, 1 / d = y (1 + u) (1 + u^2) within u^4, 2^-17.2. One Newton step of that is
 * within 2^-34 and its rounding. Gradients take this sigmoid; silu in float divides, because that is exact
 * and its loop has no other use for the divider.
 *
 * Below a = -88 (-709) e would overflow although the quotient is still representable.
 * There everything is scaled by `one` = 2^-64 (2^-512): v * sigmoid(a) = (v * one) / (one + e * one), v * one
 * exact. Where even the scaled e is out of range (a < -132.7) a is replaced by a value whose 2^n * one is
 * +inf, so that the quotient is -0, and NaN for a = -inf: just what a / (1 + exp(-a)) is. r < 0 there keeps
 * inf - inf away.
 *
 * brief: the same for silu that is rounded to 16 bits, within 2^-16.5
 * ------------------------------------------------------------------------
 * f = -a log2(e) - n comes from one fma, |f| <= 0.5; the constant's own error, 2^-26.1 relative to an
 * exponent of at most 92.4, moves 2^f by 2^-20.1. 2^f: degree 4, minimax of the relative error, 2^-18.5 with
 * the coefficients rounded. Together 2^-18.1, of which the quotient sees e / (1 + e) times; the quotient is v
 * y (1 + u) (1 + u^2): 2^-17.2 more. Where |a| >= 64 the long form is used. Gradients always take the long
 * form: they become sums.
 *
 * silu'(a) = s (1 + a (1 - s)), s = sigmoid(a), within 10 u of s (1 + |a| (1 - s)), u = 2^-24 (2^-53)
 * ------------------------------------------------------------------------------------------------
 * 1 - s from a rounded s would lose what e is against 1: near a = 16 all but a few bits. So where |a| < 64
 * (512) e = exp(-a) itself is rounded, in one fma (2^n r) w + 2^n, and 1 - s is e s.
 *   - e: the fma rounds by u, r and w together by less than another u: 2u.
 *   - s = 1 / (1 + e): the sum rounds by u, the quotient by u, and e counts (1 - s) times: 4u.
 *   - e s: 2u of e count s times (what e adds is taken back by s), the sum's, the quotient's and the
 * product's u: 5u. Of 1 + a (1 - s), one fma, the second term has 5u and the sum one more; times s, 4u, and
 * the product's own: at most 4 + 5 + 1 = 10u. Beyond 64 (512) 1 - s is 0 or 1 in every bit that matters: s is
 * taken as above and 1 - s from it, so that infinities are what torch makes of them. */
#ifndef CC1D_CPU_ARITH_H
#define CC1D_CPU_ARITH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "core/activations.h"

/* a <= LOWER counts as FAR, whose n = 192 (1536) makes the scale's exponent field all ones. Above
 * UPPER e is negligible. */
#define CC1D_EXP_LOWER_F32 -132.7f
#define CC1D_EXP_FAR_F32 -133.2f
#define CC1D_EXP_UPPER_F32 87.0f
#define CC1D_EXP_LOWER_F64 -1064.2
#define CC1D_EXP_FAR_F64 -1064.8
#define CC1D_EXP_UPPER_F64 708.0

/* Below SCALED `one` is SMALL. */
#define CC1D_EXP_SCALED_F32 -64.0f
#define CC1D_EXP_SCALED_F64 -512.0
#define CC1D_EXP_SMALL_F32 0x1p-64f
#define CC1D_EXP_SMALL_F64 0x1p-512

#define CC1D_EXP_MAGIC_F32 0x1.8p23f
#define CC1D_EXP_MAGIC_F64 0x1.8p52
#define CC1D_EXP_LOG2E_F32 0x1.715476p+0f
#define CC1D_EXP_LOG2E_F64 0x1.71547652b82fep+0
#define CC1D_EXP_LN2_HIGH_F32 0x1.62e43p-1f
#define CC1D_EXP_LN2_HIGH_F64 0x1.62e42fefa39efp-1
#define CC1D_EXP_LN2_LOW_F32 -0x1.05c61p-29f
#define CC1D_EXP_LN2_LOW_F64 0x1.abc9e3b39803fp-56

/* w(r), highest coefficient first; STEP is one fma of Horner's scheme. */
/* clang-format off */ /* it does not settle on one form of these */
#define CC1D_EXP_FIRST_F32 0x1.6a2256p-10f
#define CC1D_EXP_STEPS_F32(STEP) \
    STEP(-0x1.123b02p-7f)        \
    STEP(0x1.5558f8p-5f) STEP(-0x1.55549p-3f) STEP(0x1.fffffcp-2f) STEP(-1.0f)
#define CC1D_EXP_BRIEF_4 0x1.3997d6p-7f
#define CC1D_EXP_BRIEF_3 0x1.ca144p-5f
#define CC1D_EXP_BRIEF_2 0x1.ec06dap-3f
#define CC1D_EXP_BRIEF_1 0x1.62e0dcp-1f
#define CC1D_EXP_BRIEF_0 0x1.ffffe8p-1f
#define CC1D_RECIPROCAL_SEED 0x7ef31000u
#define CC1D_EXP_FIRST_F64 (-1.0 / 6227020800.0)
#define CC1D_EXP_STEPS_F64(STEP)                                                                  \
    STEP(1.0 / 479001600.0)                                                                       \
    STEP(-1.0 / 39916800.0)                                                                       \
    STEP(1.0 / 3628800.0)                                                                         \
    STEP(-1.0 / 362880.0)                                                                         \
    STEP(1.0 / 40320.0) STEP(-1.0 / 5040.0) STEP(1.0 / 720.0) STEP(-1.0 / 120.0) STEP(1.0 / 24.0) \
        STEP(-1.0 / 6.0) STEP(0.5) STEP(-1.0)
/* clang-format on */

static inline uint32_t cc1d_bits_f32(float v) {
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    return u;
}

static inline float cc1d_from_bits_f32(uint32_t u) {
    float v;
    memcpy(&v, &u, sizeof v);
    return v;
}

static inline uint64_t cc1d_bits_f64(double v) {
    uint64_t u;
    memcpy(&u, &v, sizeof u);
    return u;
}

static inline double cc1d_from_bits_f64(uint64_t u) {
    double v;
    memcpy(&v, &u, sizeof v);
    return v;
}

/* one * exp(-c) = scale (1 + r w), where that is in range. */
typedef struct cc1d_exponential_f32 {
    float scale, r, w;
} cc1d_exponential_f32;

static inline cc1d_exponential_f32 cc1d_exponential_of_f32(float c, float one) {
    const float t = fmaf(c, -CC1D_EXP_LOG2E_F32, CC1D_EXP_MAGIC_F32);
    const float n = t - CC1D_EXP_MAGIC_F32;
    const float r = fmaf(n, CC1D_EXP_LN2_LOW_F32, fmaf(n, CC1D_EXP_LN2_HIGH_F32, c));
    float w = CC1D_EXP_FIRST_F32;
#define CC1D_STEP(coefficient) w = fmaf(w, r, coefficient);
    CC1D_EXP_STEPS_F32(CC1D_STEP)
#undef CC1D_STEP
    return (cc1d_exponential_f32){cc1d_from_bits_f32((cc1d_bits_f32(t) << 23) + cc1d_bits_f32(one)), r, w};
}

/* v * sigmoid(a) for v = a or v = 1. A NaN in a reaches the result only through v. */
static inline float cc1d_times_sigmoid_f32(float v, float a) {
    float c = a > CC1D_EXP_LOWER_F32 ? a : CC1D_EXP_FAR_F32;
    c = c < CC1D_EXP_UPPER_F32 ? c : CC1D_EXP_UPPER_F32;
    const float one = a < CC1D_EXP_SCALED_F32 ? CC1D_EXP_SMALL_F32 : 1.0f;
    const cc1d_exponential_f32 e = cc1d_exponential_of_f32(c, one);
    return v * one / (fmaf(e.r * e.scale, e.w, one) + e.scale);
}

/* Whether the forms below are their own, |a| being less than the magnitude of SCALED. */
static inline int cc1d_is_near_f32(float a) { return fabsf(a) < -CC1D_EXP_SCALED_F32; }

/* sigmoid(a), near without a division, and *rest = 1 - sigmoid(a). */
static inline float cc1d_sigmoid_f32(float a, float *rest) {
    if (!cc1d_is_near_f32(a)) {
        const float s = cc1d_times_sigmoid_f32(1.0f, a);
        *rest = 1.0f - s;
        return s;
    }
    const cc1d_exponential_f32 x = cc1d_exponential_of_f32(a, 1.0f);
    const float e = fmaf(x.r * x.scale, x.w, x.scale), d = 1.0f + e;
    const float y = cc1d_from_bits_f32(CC1D_RECIPROCAL_SEED - cc1d_bits_f32(d));
    const float u = fmaf(-d, y, 1.0f), yu = fmaf(y, u, y), near = fmaf(yu, u * u, yu);
    const float s = fmaf(near, fmaf(-d, near, 1.0f), near);
    *rest = e * s;
    return s;
}

/* v * sigmoid(a), brief. */
static inline float cc1d_times_sigmoid_brief_f32(float v, float a) {
    if (!cc1d_is_near_f32(a)) return cc1d_times_sigmoid_f32(v, a);
    const float t = fmaf(a, -CC1D_EXP_LOG2E_F32, CC1D_EXP_MAGIC_F32);
    const float f = fmaf(a, -CC1D_EXP_LOG2E_F32, CC1D_EXP_MAGIC_F32 - t), ff = f * f;
    const float high = fmaf(CC1D_EXP_BRIEF_3, f, CC1D_EXP_BRIEF_2),
                low = fmaf(CC1D_EXP_BRIEF_1, f, CC1D_EXP_BRIEF_0);
    const float w = fmaf(fmaf(CC1D_EXP_BRIEF_4, ff, high), ff, low);
    const float d = 1.0f + cc1d_from_bits_f32((cc1d_bits_f32(t) << 23) + cc1d_bits_f32(w));
    const float y = cc1d_from_bits_f32(CC1D_RECIPROCAL_SEED - cc1d_bits_f32(d));
    const float u = fmaf(-d, y, 1.0f), vy = v * y, vyu = fmaf(vy, u, vy);
    return fmaf(vyu, u * u, vyu);
}

/* The same in double. */
typedef struct cc1d_exponential_f64 {
    double scale, r, w;
} cc1d_exponential_f64;

static inline cc1d_exponential_f64 cc1d_exponential_of_f64(double c, double one) {
    const double t = fma(c, -CC1D_EXP_LOG2E_F64, CC1D_EXP_MAGIC_F64);
    const double n = t - CC1D_EXP_MAGIC_F64;
    const double r = fma(n, CC1D_EXP_LN2_LOW_F64, fma(n, CC1D_EXP_LN2_HIGH_F64, c));
    double w = CC1D_EXP_FIRST_F64;
#define CC1D_STEP(coefficient) w = fma(w, r, coefficient);
    CC1D_EXP_STEPS_F64(CC1D_STEP)
#undef CC1D_STEP
    return (cc1d_exponential_f64){cc1d_from_bits_f64((cc1d_bits_f64(t) << 52) + cc1d_bits_f64(one)), r, w};
}

static inline double cc1d_times_sigmoid_f64(double v, double a) {
    double c = a > CC1D_EXP_LOWER_F64 ? a : CC1D_EXP_FAR_F64;
    c = c < CC1D_EXP_UPPER_F64 ? c : CC1D_EXP_UPPER_F64;
    const double one = a < CC1D_EXP_SCALED_F64 ? CC1D_EXP_SMALL_F64 : 1.0;
    const cc1d_exponential_f64 e = cc1d_exponential_of_f64(c, one);
    return v * one / (fma(e.r * e.scale, e.w, one) + e.scale);
}

static inline double cc1d_sigmoid_f64(double a, double *rest) {
    if (!(fabs(a) < -CC1D_EXP_SCALED_F64)) {
        const double s = cc1d_times_sigmoid_f64(1.0, a);
        *rest = 1.0 - s;
        return s;
    }
    const cc1d_exponential_f64 x = cc1d_exponential_of_f64(a, 1.0);
    const double e = fma(x.r * x.scale, x.w, x.scale), s = 1.0 / (1.0 + e);
    *rest = e * s;
    return s;
}

/* acc / (1 + exp(-acc)) */
static inline float cc1d_silu_f32(float acc) { return cc1d_times_sigmoid_f32(acc, acc); }
static inline float cc1d_silu_brief_f32(float acc) { return cc1d_times_sigmoid_brief_f32(acc, acc); }
static inline double cc1d_silu_f64(double acc) { return cc1d_times_sigmoid_f64(acc, acc); }

/* dout * silu'(acc) = (dout * s) * (1 + acc * (1 - s)), s = sigmoid(acc) */
static inline float cc1d_dsilu_f32(float dout, float acc) {
    float rest;
    const float s = cc1d_sigmoid_f32(acc, &rest);
    return dout * s * fmaf(acc, rest, 1.0f);
}
static inline double cc1d_dsilu_f64(double dout, double acc) {
    double rest;
    const double s = cc1d_sigmoid_f64(acc, &rest);
    return dout * s * fma(acc, rest, 1.0);
}

/* ---- Whatever the activation is ----------------------------------------------------------------------- */

/* y of the pre-activation acc. brief: for a result that is rounded to 16 bits. */
static inline float cc1d_activate_f32(cc1d_activation activation, float acc, int brief) {
    switch (activation) {
    case CC1D_ACTIVATION_NONE: break;
    case CC1D_ACTIVATION_SILU: return brief ? cc1d_silu_brief_f32(acc) : cc1d_silu_f32(acc);
    }
    return acc;
}

static inline double cc1d_activate_f64(cc1d_activation activation, double acc, int brief) {
    (void)brief;
    switch (activation) {
    case CC1D_ACTIVATION_NONE: break;
    case CC1D_ACTIVATION_SILU: return cc1d_silu_f64(acc);
    }
    return acc;
}

/* The gradient of the pre-activation, from y's. */
static inline float cc1d_deactivate_f32(cc1d_activation activation, float dout, float acc) {
    switch (activation) {
    case CC1D_ACTIVATION_NONE: break;
    case CC1D_ACTIVATION_SILU: return cc1d_dsilu_f32(dout, acc);
    }
    return dout;
}

static inline double cc1d_deactivate_f64(cc1d_activation activation, double dout, double acc) {
    switch (activation) {
    case CC1D_ACTIVATION_NONE: break;
    case CC1D_ACTIVATION_SILU: return cc1d_dsilu_f64(dout, acc);
    }
    return dout;
}

#endif
