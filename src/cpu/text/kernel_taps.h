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
