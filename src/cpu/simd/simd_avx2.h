/* simd_avx2.h - the vector vocabulary (docs/cpu.md) on AVX2, FMA and F16C: 8 floats or 4 doubles. */
#ifndef CC1D_CPU_SIMD_AVX2_H
#define CC1D_CPU_SIMD_AVX2_H

#include "cpu/convert.h"
#include "simd_each.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define SIMD_ENTRY(name) cc1d_cpu_##name##_avx2

#define SIMD_TARGET SIMD_UNCHECKED __attribute__((target("avx2,fma,f16c")))
#define SIMD_INLINE SIMD_TARGET static inline __attribute__((always_inline))

typedef __m256 vec_f32;
typedef __m256d vec_f64;
typedef __m128i half_f32; /* as many 16-bit elements */
enum { LANES_f32 = 8, LANES_f64 = 4 };
#define SIMD_PAIRS 1

/* ---- float -------------------------------------------------------------------------------- */

SIMD_INLINE vec_f32 set_f32(float v) { return _mm256_set1_ps(v); }
SIMD_INLINE vec_f32 fma_f32(vec_f32 a, vec_f32 b, vec_f32 c) { return _mm256_fmadd_ps(a, b, c); }
/* c - a b, rounded once */
SIMD_INLINE vec_f32 fnma_f32(vec_f32 a, vec_f32 b, vec_f32 c) { return _mm256_fnmadd_ps(a, b, c); }
SIMD_INLINE vec_f32 min_f32(vec_f32 a, vec_f32 b) { return _mm256_min_ps(a, b); }
SIMD_INLINE vec_f32 select_less_f32(vec_f32 a, vec_f32 b, vec_f32 yes, vec_f32 no) {
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
SIMD_INLINE vec_f32 scale_f32(vec_f32 n, vec_f32 one) {
    const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_castps_si256(one)));
}

SIMD_INLINE vec_f32 seed_f32(vec_f32 d) {
    return _mm256_castsi256_ps(
        _mm256_sub_epi32(_mm256_set1_epi32((int)CC1D_RECIPROCAL_SEED), _mm256_castps_si256(d)));
}

/* Lane by lane the larger of far >= 0 and v's magnitude; NaN is larger than any number. */
SIMD_INLINE vec_f32 farther_f32(vec_f32 far, vec_f32 v) {
    const __m256i magnitude = _mm256_castps_si256(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), v));
    return _mm256_castsi256_ps(_mm256_max_epu32(_mm256_castps_si256(far), magnitude));
}
/* Every lane is below limit; NaN is not. */
SIMD_INLINE int is_near_f32(vec_f32 far, float limit) {
    return !_mm256_movemask_ps(_mm256_cmp_ps(far, _mm256_set1_ps(limit), _CMP_NLT_UQ));
}

SIMD_INLINE vec_f32 widen_f32(half_f32 half, int dtype) {
    if (dtype == CC1D_FLOAT16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}
/* bfloat16 in the upper half of each lane. number: v is no NaN. */
SIMD_INLINE __m256i round_bf16(vec_f32 v, int number) {
    const __m256i u = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
    if (number) return sum;
    return _mm256_blendv_epi8(sum, _mm256_set1_epi32(0x7fc00000),
                              _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
}
SIMD_INLINE half_f32 narrow_f32(vec_f32 v, int dtype, int number) {
    if (dtype == CC1D_FLOAT16) return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m256i rounded = _mm256_srli_epi32(round_bf16(v, number), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
}

SIMD_INLINE void load_pairs_f32(vec_f32 *v, const char *from) {
    const __m256i pairs = _mm256_loadu_si256((const __m256i *)(const void *)from);
    v[0] = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
    v[1] = _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(-0x10000)));
}
SIMD_INLINE void store_pairs_f32(char *to, const vec_f32 *v, int number) {
    const __m256i even = _mm256_srli_epi32(round_bf16(v[0], number), 16);
    _mm256_storeu_si256((__m256i *)(void *)to, _mm256_blend_epi16(even, round_bf16(v[1], number), 0xaa));
}

#include "simd_common.h"

/* The first n of 8 halves, the rest zero; AVX2 has no masked access to 16-bit elements. */
SIMD_INLINE __m128i load_halves(const char *from, int n) {
    uint16_t halves[8] = {0};
    char *to = (char *)halves;
    if (n & 4) memcpy(to, from, 8), to += 8, from += 8;
    if (n & 2) memcpy(to, from, 4), to += 4, from += 4;
    if (n & 1) memcpy(to, from, 2);
    return _mm_loadu_si128((const __m128i *)(const void *)halves);
}
SIMD_INLINE void store_halves(char *to, __m128i v, int n) {
    uint16_t halves[8];
    const char *from = (const char *)halves;
    _mm_storeu_si128((__m128i *)(void *)halves, v);
    if (n & 4) memcpy(to, from, 8), to += 8, from += 8;
    if (n & 2) memcpy(to, from, 4), to += 4, from += 4;
    if (n & 1) memcpy(to, from, 2);
}

/* The sign bit set in the first n lanes. */
SIMD_INLINE __m256i first_f32(int n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane);
}
SIMD_INLINE __m256i first_f64(int n) {
    const __m256i lane = _mm256_setr_epi64x(0, 1, 2, 3);
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), lane);
}

SIMD_INLINE vec_f32 load_n_f32(const void *from, int dtype, int n) {
    if (n == LANES_f32) return load_f32(from, dtype);
    if (dtype == CC1D_FLOAT32) return _mm256_maskload_ps(from, first_f32(n));
    return widen_f32(load_halves(from, n), dtype);
}
SIMD_INLINE void store_n_f32(void *to, int dtype, vec_f32 v, int n) {
    if (n == LANES_f32)
        store_f32(to, dtype, v);
    else if (dtype == CC1D_FLOAT32)
        _mm256_maskstore_ps(to, first_f32(n), v);
    else
        store_halves(to, narrow_f32(v, dtype, 0), n);
}

SIMD_INLINE float sum_f32(vec_f32 v) {
    const __m128 v4 = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 v2 = _mm_add_ps(v4, _mm_movehl_ps(v4, v4));
    return _mm_cvtss_f32(_mm_add_ss(v2, _mm_movehdup_ps(v2)));
}
SIMD_INLINE void accumulate_f32(double *to, vec_f32 v) {
    const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
    const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
    _mm256_storeu_pd(to, _mm256_add_pd(_mm256_loadu_pd(to), low));
    _mm256_storeu_pd(to + 4, _mm256_add_pd(_mm256_loadu_pd(to + 4), high));
}

/* ---- double ------------------------------------------------------------------------------- */

SIMD_INLINE vec_f64 set_f64(double v) { return _mm256_set1_pd(v); }
SIMD_INLINE vec_f64 fma_f64(vec_f64 a, vec_f64 b, vec_f64 c) { return _mm256_fmadd_pd(a, b, c); }
SIMD_INLINE vec_f64 min_f64(vec_f64 a, vec_f64 b) { return _mm256_min_pd(a, b); }
SIMD_INLINE vec_f64 select_less_f64(vec_f64 a, vec_f64 b, vec_f64 yes, vec_f64 no) {
    return _mm256_blendv_pd(no, yes, _mm256_cmp_pd(a, b, _CMP_LT_OQ));
}
SIMD_INLINE vec_f64 scale_f64(vec_f64 n, vec_f64 one) {
    const __m256i exponent = _mm256_slli_epi64(_mm256_castpd_si256(n), 52);
    return _mm256_castsi256_pd(_mm256_add_epi64(exponent, _mm256_castpd_si256(one)));
}

SIMD_INLINE vec_f64 farther_f64(vec_f64 far, vec_f64 v) {
    const vec_f64 magnitude = _mm256_andnot_pd(_mm256_set1_pd(-0.0), v);
    const __m256i more = _mm256_cmpgt_epi64(_mm256_castpd_si256(magnitude), _mm256_castpd_si256(far));
    return _mm256_blendv_pd(far, magnitude, _mm256_castsi256_pd(more));
}
SIMD_INLINE int is_near_f64(vec_f64 far, double limit) {
    return !_mm256_movemask_pd(_mm256_cmp_pd(far, _mm256_set1_pd(limit), _CMP_NLT_UQ));
}

SIMD_INLINE vec_f64 load_n_f64(const void *from, int dtype, int n) {
    (void)dtype;
    return _mm256_maskload_pd(from, first_f64(n));
}
SIMD_INLINE void store_n_f64(void *to, int dtype, vec_f64 v, int n) {
    (void)dtype;
    _mm256_maskstore_pd(to, first_f64(n), v);
}

SIMD_INLINE double sum_f64(vec_f64 v) {
    const __m128d v2 = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(v2, _mm_unpackhi_pd(v2, v2)));
}

#endif
#endif
