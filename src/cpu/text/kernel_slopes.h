/* kernel_slopes.h - part of the kernel text: from a block of pre-activations to their gradients. */

SIMD_INLINE void NAME(slopes_at)(const REAL *acc, const REAL *d, const char *dout, REAL *dpre, int dtype,
                                 cc1d_activation activation, int64_t at, int count) {
    const int64_t item = (int64_t)cc1d_itemsize(dtype), vector = LANES * item;
    VEC gradient[SIMD_VECTORS], a[SIMD_VECTORS], prepared[SIMD_VECTORS];
    SIMD_EACH (i, count) gradient[i] = LOAD(dout + at * item + i * vector, dtype);
    if (activation != CC1D_ACTIVATION_NONE) {
        SIMD_EACH (i, count) a[i] = LOAD(acc + at + i * LANES, DTYPE);
        SIMD_EACH (i, count) prepared[i] = LOAD(d + at + i * LANES, DTYPE);
        NAME(finish_slopes)(gradient, a, prepared, activation, count);
    }
    SIMD_EACH (i, count) STORE(dpre + at + i * LANES, DTYPE, gradient[i]);
}

SIMD_INLINE void NAME(slopes_as)(const REAL *acc, const REAL *d, const char *dout, REAL *dpre, int64_t n,
                                 int dtype, cc1d_activation activation) {
#define SLOPES(constant, name)                    \
    if (activation == CC1D_ACTIVATION_##constant) \
    EACH_VECTORS(n, 1, NAME(slopes_at), acc, d, dout, dpre, dtype, CC1D_ACTIVATION_##constant)
    CC1D_EACH_ACTIVATION(SLOPES)
#undef SLOPES
}

/* Gradients of the pre-activations first..first+n-1, from contiguous gradients of y. After block_prepare in
 * the form SLOPE. */
SIMD_TARGET static void NAME(block_slopes)(const NAME(block) * block, int64_t first, const char *dout,
                                           REAL *dpre, int64_t n, int dtype, cc1d_activation activation) {
    const REAL *acc = block->acc + first, *d = block->d + first;
    if (block->left != activation) {
        for (int64_t i = 0; i < n; i += LANES) {
            VEC gradient = LOAD(dout + i * (int64_t)cc1d_itemsize(dtype), dtype), a = LOAD(acc + i, DTYPE);
            NAME(deactivate)(&gradient, &a, activation, 1);
            STORE(dpre + i, DTYPE, gradient);
        }
        return;
    }
#define SLOPES_AS(as) \
    if (dtype == CC1D_##as) NAME(slopes_as)(acc, d, dout, dpre, n, CC1D_##as, activation);
    EACH_DTYPE(SLOPES_AS)
#undef SLOPES_AS
}
