/* kernel_block.h - part of kernel_text.h: a block of elements on its way through the activation, in stages.
 * Each stage is a short loop over buffers in the first-level cache: a processor's window holds many vectors'
 * worth of a short chain of operations, but hardly two of the whole one. A stage's n is whole vectors (pairs
 * of them where elements lie in the order of LOAD_ANY), at most CC1D_BLOCK. */

typedef struct NAME(block) {
    _Alignas(64) REAL
        acc[CC1D_BLOCK]; /* pre-activations; after block_activate, where not all are near, silu of them */
    _Alignas(64) REAL d[CC1D_BLOCK]; /* 1 + exp(-acc); in backward exp(-acc) */
    int near;
} NAME(block);

/* Calls DO(..., at, count) for the vectors of 0..n-1, several at a time while there are enough. */
#define EACH_VECTORS(n, least, DO, ...)                                    \
    {                                                                      \
        int64_t at = 0;                                                    \
        for (; (n)-at >= SIMD_VECTORS * LANES; at += SIMD_VECTORS * LANES) \
            DO(__VA_ARGS__, at, SIMD_VECTORS);                             \
        for (; at < (n); at += (least)*LANES) DO(__VA_ARGS__, at, least);  \
    }

SIMD_INLINE void NAME(denominators_at)(NAME(block) * block, VEC *far, int form, int64_t at, int count) {
    VEC a[SIMD_VECTORS], d[SIMD_VECTORS];
    SIMD_EACH (i, count) a[i] = LOAD(block->acc + at + i * LANES, DTYPE);
    SIMD_EACH (i, count) *far = FARTHER(*far, a[i]);
    NAME(denominators)(d, a, form, count);
    SIMD_EACH (i, count) STORE(block->d + at + i * LANES, DTYPE, d[i]);
}

SIMD_TARGET static void NAME(block_denominators)(NAME(block) * block, int64_t n, int form) {
    VEC far = SET(0);
    if (form == NAME(BRIEF))
        EACH_VECTORS(n, 1, NAME(denominators_at), block, &far, NAME(BRIEF))
    else if (form == NAME(SLOPE))
        EACH_VECTORS(n, 1, NAME(denominators_at), block, &far, NAME(SLOPE))
    else
        EACH_VECTORS(n, 1, NAME(denominators_at), block, &far, NAME(LONG))
    block->near = IS_NEAR(far, -CONSTANT(EXP_SCALED));
}

/* Before block_finish. */
SIMD_TARGET static void NAME(block_activate)(NAME(block) * block, int64_t n, int silu, int form) {
    block->near = 0;
    if (!silu) return;
    NAME(block_denominators)(block, n, form);
    for (int64_t i = 0; i < n && !block->near; i += LANES) {
        VEC y = LOAD(block->acc + i, DTYPE);
        NAME(times_sigmoid)(&y, &y, form, 1);
        STORE(block->acc + i, DTYPE, y);
    }
}

/* any: memory is read and written in the order of LOAD_ANY. */
SIMD_INLINE void NAME(finish_at)(const REAL *acc, const REAL *d, const char *residual, char *out, int dtype,
                                 int near, int any, int64_t at, int count) {
    const int64_t item = (int64_t)cc1d_itemsize(dtype), vector = LANES * item;
    VEC y[SIMD_VECTORS], other[SIMD_VECTORS];
    SIMD_EACH (i, count) y[i] = LOAD(acc + at + i * LANES, DTYPE);
    if (near) {
        SIMD_EACH (i, count) other[i] = LOAD(d + at + i * LANES, DTYPE);
        NAME(quotients)(y, other, NAME(form_of)(dtype, residual != NULL), count);
    }
    if (residual) {
        if (any)
            LOAD_ANY(other, residual + at * item, dtype, count);
        else
            SIMD_EACH (i, count) other[i] = LOAD(residual + at * item + i * vector, dtype);
        SIMD_EACH (i, count) y[i] = ADD(y[i], other[i]);
    }
    if (any)
        STORE_ANY(out + at * item, dtype, y, count, near && !residual);
    else if (near && !residual)
        SIMD_EACH (i, count) STORE_NUMBER(out + at * item + i * vector, dtype, y[i]);
    else
        SIMD_EACH (i, count) STORE(out + at * item + i * vector, dtype, y[i]);
}

/* y of the block's elements first..first+n-1 to contiguous memory. */
SIMD_INLINE void NAME(block_finish)(const NAME(block) * block, int64_t first, const char *residual, char *out,
                                    int64_t n, int dtype, int any) {
    const REAL *acc = block->acc + first, *d = block->d + first;
    if (residual && block->near)
        EACH_VECTORS(n, 1 + any, NAME(finish_at), acc, d, residual, out, dtype, 1, any)
    else if (residual)
        EACH_VECTORS(n, 1 + any, NAME(finish_at), acc, d, residual, out, dtype, 0, any)
    else if (block->near)
        EACH_VECTORS(n, 1 + any, NAME(finish_at), acc, d, NULL, out, dtype, 1, any)
    else
        EACH_VECTORS(n, 1 + any, NAME(finish_at), acc, d, NULL, out, dtype, 0, any)
}

SIMD_INLINE void NAME(slopes_at)(const REAL *acc, const REAL *d, const char *dout, REAL *dpre, int dtype,
                                 int silu, int64_t at, int count) {
    const int64_t item = (int64_t)cc1d_itemsize(dtype), vector = LANES * item;
    VEC gradient[SIMD_VECTORS], a[SIMD_VECTORS], s[SIMD_VECTORS], e[SIMD_VECTORS];
    SIMD_EACH (i, count) gradient[i] = LOAD(dout + at * item + i * vector, dtype);
    if (silu) {
        SIMD_EACH (i, count) a[i] = LOAD(acc + at + i * LANES, DTYPE);
        SIMD_EACH (i, count) e[i] = LOAD(d + at + i * LANES, DTYPE);
        NAME(sigmoids)(s, e, count);
        NAME(slopes)(gradient, a, s, e, count);
    }
    SIMD_EACH (i, count) STORE(dpre + at + i * LANES, DTYPE, gradient[i]);
}

/* Gradients of the pre-activations first..first+n-1, from contiguous gradients of y. With silu after
 * block_denominators. */
SIMD_TARGET static void NAME(block_slopes)(const NAME(block) * block, int64_t first, const char *dout,
                                           REAL *dpre, int64_t n, int dtype, int silu) {
    const REAL *acc = block->acc + first, *d = block->d + first;
    for (int64_t i = 0; i < n && silu && !block->near; i += LANES) {
        VEC gradient = LOAD(dout + i * (int64_t)cc1d_itemsize(dtype), dtype), a = LOAD(acc + i, DTYPE);
        NAME(deactivate)(&gradient, &a, 1, 1);
        STORE(dpre + i, DTYPE, gradient);
    }
#define SLOPES(as)                                                            \
    if (dtype == CC1D_##as && !silu)                                          \
        EACH_VECTORS(n, 1, NAME(slopes_at), acc, d, dout, dpre, CC1D_##as, 0) \
    else if (dtype == CC1D_##as && block->near)                               \
    EACH_VECTORS(n, 1, NAME(slopes_at), acc, d, dout, dpre, CC1D_##as, 1)
    EACH_DTYPE(SLOPES)
#undef SLOPES
}
