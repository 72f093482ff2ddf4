/* kernel_arith.h - part of kernel_text.h: arith.h in vectors, operation for operation. */

SIMD_INLINE VEC NAME(times_sigmoid)(VEC v, VEC a) {
    VEC c = SELECT_LESS(SET(CONSTANT(EXP_LOWER)), a, a, SET(CONSTANT(EXP_FAR)));
    c = MIN(c, SET(CONSTANT(EXP_UPPER)));
    const VEC t = FMA(c, SET(-CONSTANT(EXP_LOG2E)), SET(CONSTANT(EXP_MAGIC)));
    const VEC n = SUB(t, SET(CONSTANT(EXP_MAGIC)));
    const VEC r = FMA(n, SET(CONSTANT(EXP_LN2_LOW)), FMA(n, SET(CONSTANT(EXP_LN2_HIGH)), c));
    VEC w = SET(CONSTANT(EXP_FIRST));
#define CC1D_STEP(coefficient) w = FMA(w, r, SET(coefficient));
    CONSTANT(EXP_STEPS)(CC1D_STEP)
#undef CC1D_STEP
    const VEC one = SELECT_LESS(a, SET(CONSTANT(EXP_SCALED)), SET(CONSTANT(EXP_SMALL)), SET(1));
    const VEC scale = SCALE(t, one);
    return DIV(MUL(v, one), ADD(FMA(MUL(r, scale), w, one), scale));
}

SIMD_INLINE VEC NAME(activate)(VEC acc, int silu) {
    return silu ? NAME(times_sigmoid)(acc, acc) : acc;
}

/* The gradient of the pre-activation. */
SIMD_INLINE VEC NAME(deactivate)(VEC dout, VEC acc, int silu) {
    if (!silu)
        return dout;
    const VEC s = NAME(times_sigmoid)(SET(1), acc);
    return MUL(MUL(dout, s), FMA(acc, SUB(SET(1), s), SET(1)));
}
