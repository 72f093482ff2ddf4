/* simd_common.h - the words of the vocabulary (docs/cpu.md) that are the same on every instruction set. Each
 * simd_<set>.h includes it in its middle: after its types, LANES, SIMD_PAIRS, widen_f32 and narrow_f32 (and
 * what reads pairs), before what is made of these words. */

#define SIMD_ARITHMETIC(type)                                                       \
    SIMD_INLINE vec_##type add_##type(vec_##type a, vec_##type b) { return a + b; } \
    SIMD_INLINE vec_##type sub_##type(vec_##type a, vec_##type b) { return a - b; } \
    SIMD_INLINE vec_##type mul_##type(vec_##type a, vec_##type b) { return a * b; } \
    SIMD_INLINE vec_##type div_##type(vec_##type a, vec_##type b) { return a / b; }
SIMD_ARITHMETIC(f32)
SIMD_ARITHMETIC(f64)

SIMD_INLINE vec_f32 load_f32(const void *from, int dtype) {
    vec_f32 v;
    half_f32 half;
    if (dtype == CC1D_FLOAT32) return memcpy(&v, from, sizeof v), v;
    return memcpy(&half, from, sizeof half), widen_f32(half, dtype);
}
SIMD_INLINE vec_f64 load_f64(const void *from, int dtype) {
    vec_f64 v;
    (void)dtype;
    return memcpy(&v, from, sizeof v), v;
}

/* number: v is no NaN. */
SIMD_INLINE void put_f32(void *to, int dtype, vec_f32 v, int number) {
    if (dtype == CC1D_FLOAT32) {
        memcpy(to, &v, sizeof v);
    } else {
        const half_f32 half = narrow_f32(v, dtype, number);
        memcpy(to, &half, sizeof half);
    }
}
SIMD_INLINE void put_f64(void *to, int dtype, vec_f64 v, int number) {
    (void)dtype, (void)number;
    memcpy(to, &v, sizeof v);
}

/* Several vectors of consecutive elements in an order of lanes that is the same for loads and stores,
 * whatever it is: where bfloat16 pairs are cheapest as they lie, the even ones and the odd ones. */
SIMD_INLINE int is_pairs_f32(int dtype, int count) {
    return SIMD_PAIRS && dtype == CC1D_BFLOAT16 && count % 2 == 0;
}
SIMD_INLINE int is_pairs_f64(int dtype, int count) { return (void)dtype, (void)count, 0; }

#define SIMD_MEMORY(type)                                                                                    \
    SIMD_INLINE void store_##type(void *to, int dtype, vec_##type v) { put_##type(to, dtype, v, 0); }        \
    SIMD_INLINE void store_number_##type(void *to, int dtype, vec_##type v) { put_##type(to, dtype, v, 1); } \
    SIMD_INLINE void load_any_##type(vec_##type *v, const char *from, int dtype, int count) {                \
        const size_t bytes = LANES_##type * cc1d_itemsize(dtype);                                            \
        if (is_pairs_##type(dtype, count))                                                                   \
            SIMD_EACH (i, count / 2) load_pairs_##type(&v[2 * i], from + (size_t)(2 * i) * bytes);           \
        else                                                                                                 \
            SIMD_EACH (i, count) v[i] = load_##type(from + (size_t)i * bytes, dtype);                        \
    }                                                                                                        \
    SIMD_INLINE void store_any_##type(char *to, int dtype, const vec_##type *v, int count, int number) {     \
        const size_t bytes = LANES_##type * cc1d_itemsize(dtype);                                            \
        if (is_pairs_##type(dtype, count))                                                                   \
            SIMD_EACH (i, count / 2) store_pairs_##type(to + (size_t)(2 * i) * bytes, &v[2 * i], number);    \
        else                                                                                                 \
            SIMD_EACH (i, count) put_##type(to + (size_t)i * bytes, dtype, v[i], number);                    \
    }
/* Never called; the pairs' words exist for one text. */
#define SIMD_NO_PAIRS(type)                                                                      \
    SIMD_INLINE void load_pairs_##type(vec_##type *v, const char *from) { (void)v, (void)from; } \
    SIMD_INLINE void store_pairs_##type(char *to, const vec_##type *v, int number) {             \
        (void)to, (void)v, (void)number;                                                         \
    }
SIMD_NO_PAIRS(f64)
#if !SIMD_PAIRS
SIMD_NO_PAIRS(f32)
#endif
SIMD_MEMORY(f32)
SIMD_MEMORY(f64)

SIMD_INLINE void accumulate_f64(double *to, vec_f64 v) {
    store_f64(to, CC1D_FLOAT64, add_f64(load_f64(to, CC1D_FLOAT64), v));
}
