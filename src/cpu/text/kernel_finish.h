/* kernel_finish.h - part of the kernel text: from a block of pre-activations to results. */

SIMD_TARGET static void NAME(activate_whole)(NAME(block) * block, int64_t n, cc1d_activation activation,
                                             int form) {
    for (int64_t i = 0; i < n; i += LANES) {
        VEC y = LOAD(block->acc + i, DTYPE);
        NAME(activate)(&y, activation, form, 1);
        STORE(block->acc + i, DTYPE, y);
    }
}

/* Before block_finish. Where not all are near, acc becomes y. */
SIMD_INLINE void NAME(block_activate)(NAME(block) * block, int64_t n, cc1d_activation activation, int form) {
    NAME(block_prepare)(block, n, activation, form);
    if (block->left != activation) NAME(activate_whole)(block, n, activation, form);
}

/* left: a block's. any: memory is read and written in the order of LOAD_ANY. */
SIMD_INLINE void NAME(finish_at)(const REAL *acc, const REAL *d, const char *residual, char *out, int dtype,
                                 cc1d_activation left, int any, int64_t at, int count) {
    const int64_t item = (int64_t)cc1d_itemsize(dtype), vector = LANES * item;
    const int number = left != CC1D_ACTIVATION_NONE && !residual;
    VEC y[SIMD_VECTORS], other[SIMD_VECTORS];
    SIMD_EACH (i, count) y[i] = LOAD(acc + at + i * LANES, DTYPE);
    if (left != CC1D_ACTIVATION_NONE) {
        SIMD_EACH (i, count) other[i] = LOAD(d + at + i * LANES, DTYPE);
        NAME(finish)(y, other, left, NAME(form_of)(dtype, residual != NULL), count);
    }
    if (residual) {
        if (any)
            LOAD_ANY(other, residual + at * item, dtype, count);
        else
            SIMD_EACH (i, count) other[i] = LOAD(residual + at * item + i * vector, dtype);
        SIMD_EACH (i, count) y[i] = ADD(y[i], other[i]);
    }
    if (any)
        STORE_ANY(out + at * item, dtype, y, count, number);
    else if (number)
        SIMD_EACH (i, count) STORE_NUMBER(out + at * item + i * vector, dtype, y[i]);
    else
        SIMD_EACH (i, count) STORE(out + at * item + i * vector, dtype, y[i]);
}

/* y of the block's elements first..first+n-1 to contiguous memory. */
SIMD_INLINE void NAME(block_finish)(const NAME(block) * block, int64_t first, const char *residual, char *out,
                                    int64_t n, int dtype, int any) {
    const REAL *acc = block->acc + first, *d = block->d + first;
#define FINISH(constant, name)                                                                              \
    if (block->left == CC1D_ACTIVATION_##constant && residual)                                              \
        EACH_VECTORS(n, 1 + any, NAME(finish_at), acc, d, residual, out, dtype, CC1D_ACTIVATION_##constant, \
                     any)                                                                                   \
    else if (block->left == CC1D_ACTIVATION_##constant)                                                     \
    EACH_VECTORS(n, 1 + any, NAME(finish_at), acc, d, NULL, out, dtype, CC1D_ACTIVATION_##constant, any)
    CC1D_EACH_ACTIVATION(FINISH)
#undef FINISH
}
