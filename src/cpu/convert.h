/* convert.h - loading and storing one element of any dtype, in scalar form: it defines the bits.
 *
 * float32 -> 16 bits rounds to nearest even, subnormals included. NaN stays NaN: float16 keeps the
 * sign and the payload's top bits, made quiet, as F16C and AArch64 do; bfloat16 becomes 0x7fc0.
 * double -> 16 bits rounds once. */
#ifndef CC1D_CPU_CONVERT_H
#define CC1D_CPU_CONVERT_H

#include <stdlib.h>

#include "arith.h"
#include "core/problem.h"

/* Elements that are computed with in float, as they lie in memory in 16 bits or as they are, and in double. A
 * dtype that is in none of the lists was refused (core/dtype.h): should one arrive nevertheless, it ends the
 * program rather than being read as another. */
#define CC1D_EACH_HALF(DO) DO(FLOAT16) DO(BFLOAT16)
#define CC1D_EACH_DTYPE_IN_FLOAT(DO) DO(FLOAT32) CC1D_EACH_HALF(DO)
#define CC1D_EACH_DTYPE_IN_DOUBLE(DO) DO(FLOAT64)

static inline bool cc1d_is_double(int32_t dtype) {
    switch (dtype) {
#define CC1D_CASE(as) case CC1D_##as:
        CC1D_EACH_DTYPE_IN_DOUBLE(CC1D_CASE) return true;
        CC1D_EACH_DTYPE_IN_FLOAT(CC1D_CASE) return false;
#undef CC1D_CASE
    default: abort();
    }
}

/* Whether an activation takes its brief form, unless there are gates or a residual: results that are rounded
 * to 16 bits. */
static inline bool cc1d_is_brief(int32_t dtype) { return dtype == CC1D_FLOAT16 || dtype == CC1D_BFLOAT16; }

static inline float cc1d_bf16_to_f32(uint16_t h) { return cc1d_from_bits_f32((uint32_t)h << 16); }

static inline uint16_t cc1d_f32_to_bf16(float v) {
    const uint32_t u = cc1d_bits_f32(v);
    if (v != v) return 0x7fc0;
    return (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

static inline float cc1d_f16_to_f32(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    const uint32_t magnitude = h & 0x7fff;
    if (magnitude > 0x7c00) return cc1d_from_bits_f32(sign | 0x7fc00000 | magnitude << 13);
    if (magnitude == 0x7c00) return cc1d_from_bits_f32(sign | 0x7f800000);
    if (magnitude < 0x0400) { /* zero or subnormal: an exact product */
        const float v = (float)magnitude * 0x1p-24f;
        return sign ? -v : v;
    }
    return cc1d_from_bits_f32(sign | ((magnitude << 13) + (112u << 23)));
}

static inline uint16_t cc1d_f32_to_f16(float v) {
    const uint32_t u = cc1d_bits_f32(v);
    const uint32_t sign = (u >> 16) & 0x8000;
    const uint32_t magnitude = u & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00 | ((magnitude >> 13) & 0x3ff));
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 and above */
    if (magnitude < 0x38800000) { /* below 2^-14: adding 1/2 puts a unit of 2^-24 in the last place */
        return (uint16_t)(sign | (cc1d_bits_f32(cc1d_from_bits_f32(magnitude) + 0.5f) - 0x3f000000));
    }
    return (uint16_t)(sign | ((magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13));
}

/* To odd: what lies between two floats becomes the one with the odd last bit, so that a second
 * rounding, to a format at least two bits shorter, gives what a single one would. */
static inline float cc1d_f64_to_f32_odd(double v) {
    const float f = (float)v;
    uint32_t u = cc1d_bits_f32(f);
    if ((double)f == v || v != v || u & 1) return f;
    return cc1d_from_bits_f32(fabs((double)f) < fabs(v) ? u + 1 : u - 1);
}

/* One element as float32. Not for float64. */
static inline float cc1d_load_f32(const void *element, int32_t dtype) {
    uint16_t h;
    float v;
    switch (dtype) {
    case CC1D_FLOAT16: memcpy(&h, element, sizeof h); return cc1d_f16_to_f32(h);
    case CC1D_BFLOAT16: memcpy(&h, element, sizeof h); return cc1d_bf16_to_f32(h);
    case CC1D_FLOAT32: memcpy(&v, element, sizeof v); return v;
    default: abort();
    }
}

static inline void cc1d_store_f32(void *element, int32_t dtype, float v) {
    uint16_t h;
    switch (dtype) {
    case CC1D_FLOAT16: h = cc1d_f32_to_f16(v); break;
    case CC1D_BFLOAT16: h = cc1d_f32_to_bf16(v); break;
    case CC1D_FLOAT32: memcpy(element, &v, sizeof v); return;
    default: abort();
    }
    memcpy(element, &h, sizeof h);
}

/* Rounded to a dtype, as a float. */
static inline float cc1d_rounded_f32(float v, int32_t dtype) {
    char element[sizeof v];
    cc1d_store_f32(element, dtype, v);
    return cc1d_load_f32(element, dtype);
}

/* One element of any floating-point dtype as double. */
static inline double cc1d_load_f64(const void *element, int32_t dtype) {
    double v;
    if (dtype != CC1D_FLOAT64) return (double)cc1d_load_f32(element, dtype);
    memcpy(&v, element, sizeof v);
    return v;
}

static inline void cc1d_store_f64(void *element, int32_t dtype, double v) {
    switch (dtype) {
    case CC1D_FLOAT64: memcpy(element, &v, sizeof v); return;
    case CC1D_FLOAT32: cc1d_store_f32(element, dtype, (float)v); return;
    default: cc1d_store_f32(element, dtype, cc1d_f64_to_f32_odd(v)); return;
    }
}

#endif
