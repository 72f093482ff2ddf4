/* kernel_taps.h - part of kernel_text.h: what the paths share: weights, and the taps of steps that
 * cannot be read straight from memory. */

/* `count` elements from element `offset` on, converted to REAL. */
SIMD_TARGET static void NAME(gather)(REAL *to, const cc1d_view *v, int64_t offset, int64_t stride,
                                     int64_t count) {
    const int64_t item = (int64_t)cc1d_itemsize(v->dtype);
    const char *from = v->data + offset * item;
    if (sizeof(REAL) == sizeof(double)) { /* the double vocabulary reads doubles only */
        for (int64_t i = 0; i < count; i++) to[i] = (REAL)cc1d_load_f64(from + i * stride * item, v->dtype);
        return;
    }
    _Alignas(64) char packed[LANES * sizeof(double)];
    for (int64_t i = 0; i < count; i += LANES, from += LANES * stride * item) {
        const int n = (int)(count - i < LANES ? count - i : LANES);
        if (stride != 1) cc1d_copy(packed, 1, from, stride, n, item);
        STORE_N(to + i, DTYPE, LOAD_N(stride == 1 ? from : packed, v->dtype, n), n);
    }
}

/* weights[0..W-1] and, as weights[W], the bias of channel d. */
SIMD_TARGET static void NAME(row_weights)(const cc1d_problem *p, int64_t d, REAL *weights) {
    const cc1d_view *weight = &p->view[CC1D_WEIGHT], *bias = &p->view[CC1D_BIAS];
    NAME(gather)(weights, weight, d * weight->stride[0], weight->stride[1], p->width);
    weights[p->width] = 0;
    if (bias->present) NAME(gather)(weights + p->width, bias, d * bias->stride[0], 1, 1);
}

SIMD_INLINE VEC NAME(load_lanes)(const void *from, int dtype, int n) {
    return n == LANES ? LOAD(from, dtype) : LOAD_N(from, dtype, n);
}

/* `count` vectors in the order of LOAD_ANY, or one of n lanes. */
SIMD_INLINE void NAME(load_row)(VEC *v, const char *from, int dtype, int n, int count) {
    if (n == LANES)
        LOAD_ANY(v, from, dtype, count);
    else
        v[0] = LOAD_N(from, dtype, n);
}

SIMD_INLINE void NAME(store_lanes)(void *to, int dtype, VEC v, int n) {
    if (n == LANES)
        STORE(to, dtype, v);
    else
        STORE_N(to, dtype, v, n);
}

/* acc of `count` vectors of consecutive steps of one channel, `n` lanes of each. Tap k of the first
 * step lies at x + k * step. */
SIMD_INLINE void NAME(convolve_row)(VEC *acc, const REAL *weights, const char *x, int64_t step, int64_t width,
                                    int dtype, int n, int count) {
    const int64_t vector = LANES * (int64_t)cc1d_itemsize(dtype);
    SIMD_EACH(i, count)
    acc[i] = SET(weights[width]);
    SIMD_UNROLL
    for (int64_t k = 0; k < width; k++) {
        SIMD_EACH(i, count)
        acc[i] = FMA(SET(weights[k]), NAME(load_lanes)(x + k * step + i * vector, dtype, n), acc[i]);
    }
}
