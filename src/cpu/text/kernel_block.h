/* kernel_block.h - part of the kernel text: a block of elements on its way through the activation, in stages.
 * Each stage is a short loop over buffers in the first-level cache: a processor's window holds many vectors'
 * worth of a short chain of operations, but hardly two of the whole one. A stage's n is whole vectors (pairs
 * of them where elements lie in the order of LOAD_ANY), at most CC1D_BLOCK. */

typedef struct NAME(block) {
    _Alignas(64) REAL acc[CC1D_BLOCK]; /* pre-activations */
    _Alignas(64) REAL d[CC1D_BLOCK];   /* prepared from them */
    cc1d_activation left; /* what is left to finish; NONE where it was not prepared, or not all are near */
} NAME(block);

SIMD_INLINE void NAME(prepare_at)(NAME(block) * block, VEC *far, cc1d_activation activation, int form,
                                  int64_t at, int count) {
    VEC a[SIMD_VECTORS], d[SIMD_VECTORS];
    SIMD_EACH (i, count) a[i] = LOAD(block->acc + at + i * LANES, DTYPE);
    SIMD_EACH (i, count) *far = FARTHER(*far, a[i]);
    NAME(prepare)(d, a, activation, form, count);
    SIMD_EACH (i, count) STORE(block->d + at + i * LANES, DTYPE, d[i]);
}

SIMD_INLINE void NAME(prepare_as)(NAME(block) * block, int64_t n, cc1d_activation activation, int form) {
    VEC far = SET(0);
    if (form == NAME(BRIEF))
        EACH_VECTORS(n, 1, NAME(prepare_at), block, &far, activation, NAME(BRIEF))
    else if (form == NAME(SLOPE))
        EACH_VECTORS(n, 1, NAME(prepare_at), block, &far, activation, NAME(SLOPE))
    else
        EACH_VECTORS(n, 1, NAME(prepare_at), block, &far, activation, NAME(LONG))
    if (IS_NEAR(far, NAME(limit)(activation))) block->left = activation;
}

SIMD_TARGET static void NAME(prepare_whole)(NAME(block) * block, int64_t n, cc1d_activation activation,
                                            int form) {
#define PREPARE(constant, name)                                                                         \
    if (CC1D_ACTIVATION_##constant != CC1D_ACTIVATION_NONE && activation == CC1D_ACTIVATION_##constant) \
        NAME(prepare_as)(block, n, CC1D_ACTIVATION_##constant, form);
    CC1D_EACH_ACTIVATION(PREPARE)
#undef PREPARE
}

SIMD_INLINE void NAME(block_prepare)(NAME(block) * block, int64_t n, cc1d_activation activation, int form) {
    block->left = CC1D_ACTIVATION_NONE;
    if (activation != CC1D_ACTIVATION_NONE) NAME(prepare_whole)(block, n, activation, form);
}
