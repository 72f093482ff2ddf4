/* kernel_arith.h - part of kernel_text.h: arith.h in vectors, operation for operation.
 *
 * Functions work on `count` vectors at once, step by step, because one vector's chain of dependent
 * operations is far longer than what a processor looks ahead.
 *
 * near: every |a| is below -EXP_SCALED, so that no clamp and no scaling can make a difference. */

/* exp(-c) = 2^n (1 + r w), where scale holds n in its low bits. */
SIMD_INLINE void NAME(exponentials)(VEC *scale, VEC *r, VEC *w, const VEC *c, int count) {
    VEC n[SIMD_VECTORS];
    SIMD_EACH (i, count) scale[i] = FMA(c[i], SET(-CONSTANT(EXP_LOG2E)), SET(CONSTANT(EXP_MAGIC)));
    SIMD_EACH (i, count) n[i] = SUB(scale[i], SET(CONSTANT(EXP_MAGIC)));
    SIMD_EACH (i, count) r[i] = FMA(n[i], SET(CONSTANT(EXP_LN2_HIGH)), c[i]);
    SIMD_EACH (i, count) r[i] = FMA(n[i], SET(CONSTANT(EXP_LN2_LOW)), r[i]);
    SIMD_EACH (i, count) w[i] = SET(CONSTANT(EXP_FIRST));
#define CC1D_STEP(coefficient) \
    SIMD_EACH (i, count) w[i] = FMA(w[i], r[i], SET(coefficient));
    CONSTANT(EXP_STEPS)
    (CC1D_STEP)
#undef CC1D_STEP
}

/* How v * sigmoid(a) is computed: silu, silu for 16-bit results, or v = 1 in backward, which wants e. */
enum { NAME(LONG), NAME(BRIEF), NAME(SLOPE) };

#if IS_FLOAT
/* d[i] = 1 + exp(-a[i]), near, brief. */
SIMD_INLINE void NAME(denominators_brief)(VEC *d, const VEC *a, int count) {
    VEC scale[SIMD_VECTORS], f[SIMD_VECTORS], ff[SIMD_VECTORS], low[SIMD_VECTORS], high[SIMD_VECTORS];
    SIMD_EACH (i, count) scale[i] = FMA(a[i], SET(-CC1D_EXP_LOG2E_F32), SET(CC1D_EXP_MAGIC_F32));
    SIMD_EACH (i, count) f[i] = SUB(SET(CC1D_EXP_MAGIC_F32), scale[i]);
    SIMD_EACH (i, count) f[i] = FMA(a[i], SET(-CC1D_EXP_LOG2E_F32), f[i]);
    SIMD_EACH (i, count) ff[i] = MUL(f[i], f[i]);
    SIMD_EACH (i, count) high[i] = FMA(SET(CC1D_EXP_BRIEF_3), f[i], SET(CC1D_EXP_BRIEF_2));
    SIMD_EACH (i, count) low[i] = FMA(SET(CC1D_EXP_BRIEF_1), f[i], SET(CC1D_EXP_BRIEF_0));
    SIMD_EACH (i, count) high[i] = FMA(SET(CC1D_EXP_BRIEF_4), ff[i], high[i]);
    SIMD_EACH (i, count) low[i] = FMA(high[i], ff[i], low[i]);
    SIMD_EACH (i, count) d[i] = ADD(SET(1), SCALE(scale[i], low[i]));
}

/* v[i] becomes v[i] / d[i] within 2^-17.2. */
SIMD_INLINE void NAME(divide_briefly)(VEC *v, const VEC *d, int count) {
    VEC y[SIMD_VECTORS], u[SIMD_VECTORS];
    SIMD_EACH (i, count) y[i] = NAME(seed)(d[i]);
    SIMD_EACH (i, count) u[i] = NAME(fnma)(d[i], y[i], SET(1));
    SIMD_EACH (i, count) v[i] = MUL(v[i], y[i]);
    SIMD_EACH (i, count) v[i] = FMA(v[i], u[i], v[i]);
    SIMD_EACH (i, count) u[i] = MUL(u[i], u[i]);
    SIMD_EACH (i, count) v[i] = FMA(v[i], u[i], v[i]);
}
#endif

/* d[i] = 1 + exp(-a[i]), near; SLOPE: exp(-a[i]). */
SIMD_INLINE void NAME(denominators)(VEC *d, const VEC *a, int form, int count) {
    VEC scale[SIMD_VECTORS], r[SIMD_VECTORS], w[SIMD_VECTORS];
#if IS_FLOAT
    if (form == NAME(BRIEF)) {
        NAME(denominators_brief)(d, a, count);
        return;
    }
#endif
    NAME(exponentials)(scale, r, w, a, count);
    SIMD_EACH (i, count) scale[i] = SCALE(scale[i], SET(1));
    SIMD_EACH (i, count) r[i] = MUL(r[i], scale[i]);
    if (form == NAME(SLOPE)) {
        SIMD_EACH (i, count) d[i] = FMA(r[i], w[i], scale[i]);
        return;
    }
    SIMD_EACH (i, count) w[i] = FMA(r[i], w[i], SET(1));
    SIMD_EACH (i, count) d[i] = ADD(w[i], scale[i]);
}

/* v[i] becomes v[i] / d[i], near; SLOPE: v[i] is 1. */
SIMD_INLINE void NAME(quotients)(VEC *v, const VEC *d, int form, int count) {
#if IS_FLOAT
    if (form != NAME(LONG)) {
        NAME(divide_briefly)(v, d, count);
        if (form == NAME(BRIEF)) return;
        VEC u[SIMD_VECTORS];
        SIMD_EACH (i, count) u[i] = NAME(fnma)(d[i], v[i], SET(1));
        SIMD_EACH (i, count) v[i] = FMA(v[i], u[i], v[i]);
        return;
    }
#endif
    (void)form;
    SIMD_EACH (i, count) v[i] = DIV(v[i], d[i]);
}

SIMD_INLINE void NAME(times_sigmoid_near)(VEC *v, const VEC *a, int form, int count) {
    VEC d[SIMD_VECTORS];
    NAME(denominators)(d, a, form, count);
    NAME(quotients)(v, d, form, count);
}

/* v * sigmoid(a) for any a. */
SIMD_TARGET static VEC NAME(times_sigmoid_any)(VEC v, VEC a) {
    VEC scale, r, w, c = SELECT_LESS(SET(CONSTANT(EXP_LOWER)), a, a, SET(CONSTANT(EXP_FAR)));
    c = MIN(c, SET(CONSTANT(EXP_UPPER)));
    NAME(exponentials)(&scale, &r, &w, &c, 1);
    const VEC one = SELECT_LESS(a, SET(CONSTANT(EXP_SCALED)), SET(CONSTANT(EXP_SMALL)), SET(1));
    scale = SCALE(scale, one);
    return DIV(MUL(v, one), ADD(FMA(MUL(r, scale), w, one), scale));
}

/* Lane by lane `near` where a is near, else `far`. */
SIMD_INLINE VEC NAME(choose)(VEC a, VEC near, VEC far) {
    return SELECT_LESS(FARTHER(SET(0), a), SET(-CONSTANT(EXP_SCALED)), near, far);
}

/* For any a, one vector at a time. Rare, so it is a function of its own. */
__attribute__((noinline)) SIMD_TARGET static void NAME(times_sigmoid_far)(VEC *v, const VEC *a, int form,
                                                                          int count) {
    for (int i = 0; i < count; i++) {
        VEC near = v[i];
        NAME(times_sigmoid_near)(&near, a + i, form, 1);
        v[i] = NAME(choose)(a[i], near, NAME(times_sigmoid_any)(v[i], a[i]));
    }
}

/* v[i] * sigmoid(a[i]) to v[i]. */
SIMD_INLINE void NAME(times_sigmoid)(VEC *v, const VEC *a, int form, int count) {
    VEC far = SET(0);
    SIMD_EACH (i, count) far = FARTHER(far, a[i]);
    if (IS_NEAR(far, -CONSTANT(EXP_SCALED))) {
        NAME(times_sigmoid_near)(v, a, form, count);
        return;
    }
    VEC to[SIMD_VECTORS], from[SIMD_VECTORS]; /* copies, so that v and a themselves stay in registers */
    SIMD_EACH (i, count) to[i] = v[i];
    SIMD_EACH (i, count) from[i] = a[i];
    NAME(times_sigmoid_far)(to, from, form, count);
    SIMD_EACH (i, count) v[i] = to[i];
}

/* silu's form for elements of a type; a residual could leave little of the result but its error. */
SIMD_INLINE int NAME(form_of)(int dtype, int residual) {
    return cc1d_is_brief(dtype) && !residual ? NAME(BRIEF) : NAME(LONG);
}

SIMD_INLINE void NAME(activate)(VEC *acc, int silu, int form, int count) {
    if (silu) NAME(times_sigmoid)(acc, acc, form, count);
}

/* dout[i] * silu'(acc[i]): s[i] the sigmoid, rest[i] what it lacks to 1. */
SIMD_INLINE void NAME(slopes)(VEC *dout, const VEC *acc, const VEC *s, const VEC *rest, int count) {
    SIMD_EACH (i, count) dout[i] = MUL(MUL(dout[i], s[i]), FMA(acc[i], rest[i], SET(1)));
}

/* s[i] = 1 / (1 + e[i]), and e[i] becomes 1 - s[i]; near. */
SIMD_INLINE void NAME(sigmoids)(VEC *s, VEC *e, int count) {
    VEC d[SIMD_VECTORS];
    SIMD_EACH (i, count) d[i] = ADD(SET(1), e[i]);
    SIMD_EACH (i, count) s[i] = SET(1);
    NAME(quotients)(s, d, NAME(SLOPE), count);
    SIMD_EACH (i, count) e[i] = MUL(e[i], s[i]);
}

/* As times_sigmoid_far. */
__attribute__((noinline)) SIMD_TARGET static void NAME(deactivate_far)(VEC *dout, const VEC *acc, int count) {
    for (int i = 0; i < count; i++) {
        const VEC far = NAME(times_sigmoid_any)(SET(1), acc[i]);
        VEC s, rest;
        NAME(denominators)(&rest, acc + i, NAME(SLOPE), 1);
        NAME(sigmoids)(&s, &rest, 1);
        rest = NAME(choose)(acc[i], rest, SUB(SET(1), far));
        s = NAME(choose)(acc[i], s, far);
        NAME(slopes)(dout + i, acc + i, &s, &rest, 1);
    }
}

/* dout[i] becomes the gradient of the pre-activation. */
SIMD_INLINE void NAME(deactivate)(VEC *dout, const VEC *acc, int silu, int count) {
    if (!silu) return;
    VEC far = SET(0), s[SIMD_VECTORS], rest[SIMD_VECTORS];
    SIMD_EACH (i, count) far = FARTHER(far, acc[i]);
    if (IS_NEAR(far, -CONSTANT(EXP_SCALED))) {
        NAME(denominators)(rest, acc, NAME(SLOPE), count);
        NAME(sigmoids)(s, rest, count);
        NAME(slopes)(dout, acc, s, rest, count);
        return;
    }
    SIMD_EACH (i, count) /* copies, as in times_sigmoid */
        s[i] = dout[i];
    SIMD_EACH (i, count) rest[i] = acc[i];
    NAME(deactivate_far)(s, rest, count);
    SIMD_EACH (i, count) dout[i] = s[i];
}
