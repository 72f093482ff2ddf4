/* kernel_arith.h - part of kernel_text.h: arith.h in vectors, operation for operation.
 *
 * Functions work on `count` vectors at once, step by step, because one vector's chain of dependent
 * operations is far longer than what a processor looks ahead. */

/* v[i] * sigmoid(a[i]) to v[i]. near: every |a[i]| is below -EXP_SCALED, so that no clamp and no
 * scaling can make a difference. */
SIMD_INLINE void NAME(times_sigmoid_in)(VEC *v, const VEC *a, int near, int count) {
    VEC c[SIMD_VECTORS], n[SIMD_VECTORS], r[SIMD_VECTORS], w[SIMD_VECTORS];
    VEC one[SIMD_VECTORS], scale[SIMD_VECTORS];
    SIMD_EACH(i, count)
    c[i] = near ? a[i] : SELECT_LESS(SET(CONSTANT(EXP_LOWER)), a[i], a[i], SET(CONSTANT(EXP_FAR)));
    SIMD_EACH(i, count)
    c[i] = near ? c[i] : MIN(c[i], SET(CONSTANT(EXP_UPPER)));
    SIMD_EACH(i, count)
    scale[i] = FMA(c[i], SET(-CONSTANT(EXP_LOG2E)), SET(CONSTANT(EXP_MAGIC)));
    SIMD_EACH(i, count)
    n[i] = SUB(scale[i], SET(CONSTANT(EXP_MAGIC)));
    SIMD_EACH(i, count)
    r[i] = FMA(n[i], SET(CONSTANT(EXP_LN2_HIGH)), c[i]);
    SIMD_EACH(i, count)
    r[i] = FMA(n[i], SET(CONSTANT(EXP_LN2_LOW)), r[i]);
    SIMD_EACH(i, count)
    w[i] = SET(CONSTANT(EXP_FIRST));
#define CC1D_STEP(coefficient) \
    SIMD_EACH(i, count)        \
    w[i] = FMA(w[i], r[i], SET(coefficient));
    CONSTANT(EXP_STEPS)
    (CC1D_STEP)
#undef CC1D_STEP
        SIMD_EACH(i, count) one[i] =
            near ? SET(1) : SELECT_LESS(a[i], SET(CONSTANT(EXP_SCALED)), SET(CONSTANT(EXP_SMALL)), SET(1));
    SIMD_EACH(i, count)
    scale[i] = SCALE(scale[i], one[i]);
    SIMD_EACH(i, count)
    r[i] = MUL(r[i], scale[i]);
    SIMD_EACH(i, count)
    w[i] = FMA(r[i], w[i], one[i]);
    SIMD_EACH(i, count)
    v[i] = DIV(near ? v[i] : MUL(v[i], one[i]), ADD(w[i], scale[i]));
}

/* Rare, so it is one function of its own. */
__attribute__((noinline)) SIMD_TARGET static void NAME(times_sigmoid_far)(VEC *v, const VEC *a, int count) {
    for (int i = 0; i < count; i++) NAME(times_sigmoid_in)(v + i, a + i, 0, 1);
}

SIMD_INLINE void NAME(times_sigmoid)(VEC *v, const VEC *a, int count) {
    VEC far = a[0];
    SIMD_EACH(i, count)
    far = FARTHER(far, a[i]);
    if (IS_NEAR(far, -CONSTANT(EXP_SCALED))) {
        NAME(times_sigmoid_in)(v, a, 1, count);
        return;
    }
    VEC to[SIMD_VECTORS], from[SIMD_VECTORS]; /* copies, so that v and a themselves stay in registers */
    SIMD_EACH(i, count)
    to[i] = v[i];
    SIMD_EACH(i, count)
    from[i] = a[i];
    NAME(times_sigmoid_far)(to, from, count);
    SIMD_EACH(i, count)
    v[i] = to[i];
}

SIMD_INLINE void NAME(activate)(VEC *acc, int silu, int count) {
    if (silu) NAME(times_sigmoid)(acc, acc, count);
}

/* dout[i] becomes the gradient of the pre-activation. */
SIMD_INLINE void NAME(deactivate)(VEC *dout, const VEC *acc, int silu, int count) {
    if (!silu) return;
    VEC s[SIMD_VECTORS];
    SIMD_EACH(i, count)
    s[i] = SET(1);
    NAME(times_sigmoid)(s, acc, count);
    SIMD_EACH(i, count)
    dout[i] = MUL(MUL(dout[i], s[i]), FMA(acc[i], SUB(SET(1), s[i]), SET(1)));
}
