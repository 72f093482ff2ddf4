/* simd_avx512.h - the vector vocabulary (docs/cpu.md) on AVX-512: 16 floats or 8 doubles. */
#ifndef CC1D_CPU_SIMD_AVX512_H
#define CC1D_CPU_SIMD_AVX512_H

#include "cpu/convert.h"
#include "simd_each.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define SIMD_ENTRY(name) cc1d_cpu_##name##_avx512

#define SIMD_TARGET SIMD_UNCHECKED __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")))
#define SIMD_INLINE SIMD_TARGET static inline __attribute__((always_inline))

typedef __m512 vec_f32;
typedef __m512d vec_f64;
typedef __m256i half_f32; /* as many 16-bit elements */
enum { LANES_f32 = 16, LANES_f64 = 8 };
#define SIMD_PAIRS 1

/* ---- float -------------------------------------------------------------------------------- */

SIMD_INLINE vec_f32 set_f32(float v) { return _mm512_set1_ps(v); }
SIMD_INLINE vec_f32 fma_f32(vec_f32 a, vec_f32 b, vec_f32 c) { return _mm512_fmadd_ps(a, b, c); }
/* c - a b, rounded once */
SIMD_INLINE vec_f32 fnma_f32(vec_f32 a, vec_f32 b, vec_f32 c) { return _mm512_fnmadd_ps(a, b, c); }
SIMD_INLINE vec_f32 min_f32(vec_f32 a, vec_f32 b) { return _mm512_min_ps(a, b); }
SIMD_INLINE vec_f32 select_less_f32(vec_f32 a, vec_f32 b, vec_f32 yes, vec_f32 no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
SIMD_INLINE vec_f32 scale_f32(vec_f32 n, vec_f32 one) {
    const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(n), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_castps_si512(one)));
}

SIMD_INLINE vec_f32 seed_f32(vec_f32 d) {
    return _mm512_castsi512_ps(
        _mm512_sub_epi32(_mm512_set1_epi32((int)CC1D_RECIPROCAL_SEED), _mm512_castps_si512(d)));
}

/* Lane by lane the larger of far >= 0 and v's magnitude; NaN is larger than any number. */
SIMD_INLINE vec_f32 farther_f32(vec_f32 far, vec_f32 v) {
    return _mm512_castsi512_ps(
        _mm512_max_epu32(_mm512_castps_si512(far), _mm512_castps_si512(_mm512_abs_ps(v))));
}
/* Every lane is below limit; NaN is not. */
SIMD_INLINE int is_near_f32(vec_f32 far, float limit) {
    return !_mm512_cmp_ps_mask(far, _mm512_set1_ps(limit), _CMP_NLT_UQ);
}

SIMD_INLINE vec_f32 widen_f32(half_f32 half, int dtype) {
    if (dtype == CC1D_FLOAT16) return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}
/* bfloat16 in the upper half of each lane. number: v is no NaN. */
SIMD_INLINE __m512i round_bf16(vec_f32 v, int number) {
    const __m512i u = _mm512_castps_si512(v), below = _mm512_add_epi32(u, _mm512_set1_epi32(0x7fff));
    const __mmask16 odd = _mm512_test_epi32_mask(u, _mm512_set1_epi32(0x10000));
    const __m512i sum = _mm512_mask_add_epi32(below, odd, u, _mm512_set1_epi32(0x8000));
    if (number) return sum;
    return _mm512_mask_mov_epi32(sum, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), _mm512_set1_epi32(0x7fc00000));
}
SIMD_INLINE half_f32 narrow_f32(vec_f32 v, int dtype, int number) {
    if (dtype == CC1D_FLOAT16) return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(round_bf16(v, number), 16));
}

SIMD_INLINE void load_pairs_f32(vec_f32 *v, const char *from) {
    const __m512i pairs = _mm512_loadu_si512(from);
    v[0] = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
    v[1] = _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(-0x10000)));
}
SIMD_INLINE void store_pairs_f32(char *to, const vec_f32 *v, int number) {
    const __m512i even = _mm512_srli_epi32(round_bf16(v[0], number), 16);
    _mm512_storeu_si512(to, _mm512_mask_blend_epi16(0xaaaaaaaa, even, round_bf16(v[1], number)));
}

#include "simd_common.h"

SIMD_INLINE vec_f32 load_n_f32(const void *from, int dtype, int n) {
    const __mmask16 mask = (__mmask16)((1u << n) - 1);
    if (dtype == CC1D_FLOAT32) return _mm512_maskz_loadu_ps(mask, from);
    return widen_f32(_mm256_maskz_loadu_epi16(mask, from), dtype);
}
SIMD_INLINE void store_n_f32(void *to, int dtype, vec_f32 v, int n) {
    const __mmask16 mask = (__mmask16)((1u << n) - 1);
    if (dtype == CC1D_FLOAT32)
        _mm512_mask_storeu_ps(to, mask, v);
    else
        _mm256_mask_storeu_epi16(to, mask, narrow_f32(v, dtype, 0));
}

SIMD_INLINE float sum_f32(vec_f32 v) {
    const __m256 v8 = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 v4 = _mm_add_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));
    const __m128 v2 = _mm_add_ps(v4, _mm_movehl_ps(v4, v4));
    return _mm_cvtss_f32(_mm_add_ss(v2, _mm_movehdup_ps(v2)));
}
SIMD_INLINE void accumulate_f32(double *to, vec_f32 v) {
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
    const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
    _mm512_storeu_pd(to, _mm512_add_pd(_mm512_loadu_pd(to), low));
    _mm512_storeu_pd(to + 8, _mm512_add_pd(_mm512_loadu_pd(to + 8), high));
}

/* ---- double ------------------------------------------------------------------------------- */

SIMD_INLINE vec_f64 set_f64(double v) { return _mm512_set1_pd(v); }
SIMD_INLINE vec_f64 fma_f64(vec_f64 a, vec_f64 b, vec_f64 c) { return _mm512_fmadd_pd(a, b, c); }
SIMD_INLINE vec_f64 min_f64(vec_f64 a, vec_f64 b) { return _mm512_min_pd(a, b); }
SIMD_INLINE vec_f64 select_less_f64(vec_f64 a, vec_f64 b, vec_f64 yes, vec_f64 no) {
    return _mm512_mask_blend_pd(_mm512_cmp_pd_mask(a, b, _CMP_LT_OQ), no, yes);
}
SIMD_INLINE vec_f64 scale_f64(vec_f64 n, vec_f64 one) {
    const __m512i exponent = _mm512_slli_epi64(_mm512_castpd_si512(n), 52);
    return _mm512_castsi512_pd(_mm512_add_epi64(exponent, _mm512_castpd_si512(one)));
}

SIMD_INLINE vec_f64 farther_f64(vec_f64 far, vec_f64 v) {
    return _mm512_castsi512_pd(
        _mm512_max_epu64(_mm512_castpd_si512(far), _mm512_castpd_si512(_mm512_abs_pd(v))));
}
SIMD_INLINE int is_near_f64(vec_f64 far, double limit) {
    return !_mm512_cmp_pd_mask(far, _mm512_set1_pd(limit), _CMP_NLT_UQ);
}

SIMD_INLINE vec_f64 load_n_f64(const void *from, int dtype, int n) {
    (void)dtype;
    return _mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), from);
}
SIMD_INLINE void store_n_f64(void *to, int dtype, vec_f64 v, int n) {
    (void)dtype;
    _mm512_mask_storeu_pd(to, (__mmask8)((1u << n) - 1), v);
}

SIMD_INLINE double sum_f64(vec_f64 v) {
    const __m256d v4 = _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1));
    const __m128d v2 = _mm_add_pd(_mm256_castpd256_pd128(v4), _mm256_extractf128_pd(v4, 1));
    return _mm_cvtsd_f64(_mm_add_sd(v2, _mm_unpackhi_pd(v2, v2)));
}

#endif
#endif
