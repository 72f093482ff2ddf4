/* kernel_gather.h - part of the kernel text: elements that lie apart, of any type, as REALs. */

/* `count` elements from element `offset` on, converted to REAL. */
SIMD_TARGET static void NAME(gather)(REAL *to, const cc1d_view *v, int64_t offset, int64_t stride,
                                     int64_t count) {
    const int64_t item = (int64_t)cc1d_itemsize(v->dtype);
    const char *from = v->data + offset * item;
    if (v->dtype == DTYPE) {
        cc1d_copy((char *)to, 1, from, stride, count, item);
        return;
    }
    if (!IS_FLOAT) { /* the double vocabulary reads doubles only */
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
