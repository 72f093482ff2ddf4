/* kernel_taps.h - part of the kernel text: what forward and backward share along time: weights, and the
 * pre-activations of steps whose taps are contiguous. */

/* weights[0..W-1] and, as weights[W], the bias of channel d. */
SIMD_TARGET static void NAME(row_weights)(const cc1d_problem *p, int64_t d, REAL *weights) {
    const cc1d_view *weight = &p->view[CC1D_WEIGHT], *bias = &p->view[CC1D_BIAS];
    const int64_t first = d * weight->stride[0], step = weight->stride[1];
    if (weight->dtype == DTYPE) /* short rows are many: no detour */
        for (int64_t k = 0; k < p->width; k++)
            memcpy(weights + k, weight->data + (first + k * step) * (int64_t)sizeof(REAL), sizeof(REAL));
    else
        NAME(gather)(weights, weight, first, step, p->width);
    weights[p->width] = 0;
    if (bias->present && bias->dtype == DTYPE)
        memcpy(weights + p->width, bias->data + d * bias->stride[0] * (int64_t)sizeof(REAL), sizeof(REAL));
    else if (bias->present)
        NAME(gather)(weights + p->width, bias, d * bias->stride[0], 1, 1);
}

/* n elements of memory, not only whole vectors, as REAL; zeros fill the last vector. */
SIMD_TARGET static void NAME(widen_row)(REAL *to, const char *from, int64_t n, int dtype) {
    const int64_t whole = n / LANES * LANES, item = (int64_t)cc1d_itemsize(dtype);
#define WIDEN(as)                                                    \
    for (int64_t i = 0; dtype == CC1D_##as && i < whole; i += LANES) \
        STORE(to + i, DTYPE, LOAD(from + i * item, CC1D_##as));
    EACH_DTYPE(WIDEN)
#undef WIDEN
    if (whole < n) STORE(to + whole, DTYPE, LOAD_N(from + whole * item, dtype, (int)(n - whole)));
}

/* The pre-activation of n <= LANES consecutive steps of one channel. Tap k of the first lies at taps + k *
 * step elements. */
SIMD_TARGET static VEC NAME(convolve_lanes)(const REAL *weights, const char *taps, int64_t step,
                                            int64_t width, int dtype, int n) {
    const int64_t bytes = step * (int64_t)cc1d_itemsize(dtype);
    VEC acc = SET(weights[width]);
    for (int64_t k = 0; k < width; k++) acc = FMA(SET(weights[k]), LOAD_N(taps + k * bytes, dtype, n), acc);
    return acc;
}

/* The pre-activations of `count` vectors of steps. x: the oldest tap of the first step. */
SIMD_INLINE void NAME(convolve)(VEC *y, const REAL *weights, const char *x, int64_t width, int dtype,
                                int count) {
    const int64_t item = (int64_t)cc1d_itemsize(dtype);
    SIMD_EACH (i, count) y[i] = SET(weights[width]);
    SIMD_UNROLL
    for (int64_t k = 0; k < width; k++) {
        SIMD_EACH (i, count) y[i] = FMA(SET(weights[k]), LOAD(x + (k + i * LANES) * item, dtype), y[i]);
    }
}

SIMD_INLINE void NAME(convolve_at)(REAL *acc, const REAL *weights, const char *x, int64_t width, int dtype,
                                   int64_t at, int count) {
    VEC y[SIMD_VECTORS];
    NAME(convolve)(y, weights, x + at * (int64_t)cc1d_itemsize(dtype), width, dtype, count);
    SIMD_EACH (i, count) STORE(acc + at + i * LANES, DTYPE, y[i]);
}

/* n steps, whole vectors, at most CC1D_BLOCK, to acc. */
SIMD_INLINE void NAME(convolve_as)(REAL *acc, const REAL *weights, const char *x, int64_t n, int64_t width,
                                   int dtype) {
#define CONVOLVE(constant) \
    if (width == constant) EACH_VECTORS(n, 1, NAME(convolve_at), acc, weights, x, constant, dtype) else
    CC1D_EACH_WIDTH(CONVOLVE)
    EACH_VECTORS(n, 1, NAME(convolve_at), acc, weights, x, width, dtype)
#undef CONVOLVE
}
