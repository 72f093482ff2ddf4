/* kernel_arith.h - part of the kernel text: arith.h in vectors, operation for operation.
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

/* What an activation is computed for: results, 16-bit results, gradients. */
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

/* The form for results of a type; a residual could leave little of the result but its error. */
SIMD_INLINE int NAME(form_of)(int dtype, int residual) {
    return cc1d_is_brief(dtype) && !residual ? NAME(BRIEF) : NAME(LONG);
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

/* ---- What the kernels know of an activation: a new one is a case in each of these
 * ------------------------------- */

/* Where every |a| is below, the two stages hold: what takes a chain of operations, `prepare`, and the little
 * that is left, `finish` or `finish_slopes`. No case for NONE, which has no stages. */
SIMD_INLINE REAL NAME(limit)(cc1d_activation activation) {
    switch (activation) {
    case CC1D_ACTIVATION_NONE: break;
    case CC1D_ACTIVATION_SILU: return -CONSTANT(EXP_SCALED);
    }
    return 0;
}

SIMD_INLINE void NAME(prepare)(VEC *d, const VEC *a, cc1d_activation activation, int form, int count) {
    switch (activation) {
    case CC1D_ACTIVATION_NONE: break;
    case CC1D_ACTIVATION_SILU: NAME(denominators)(d, a, form, count); break;
    }
}

/* a[i] becomes y. d: prepared. */
SIMD_INLINE void NAME(finish)(VEC *a, const VEC *d, cc1d_activation activation, int form, int count) {
    switch (activation) {
    case CC1D_ACTIVATION_NONE: break;
    case CC1D_ACTIVATION_SILU: NAME(quotients)(a, d, form, count); break;
    }
}

/* dout[i] becomes the gradient of the pre-activation. d: prepared in the form SLOPE; not kept. */
SIMD_INLINE void NAME(finish_slopes)(VEC *dout, const VEC *a, VEC *d, cc1d_activation activation, int count) {
    VEC s[SIMD_VECTORS];
    switch (activation) {
    case CC1D_ACTIVATION_NONE: break;
    case CC1D_ACTIVATION_SILU:
        NAME(sigmoids)(s, d, count);
        NAME(slopes)(dout, a, s, d, count);
        break;
    }
}

/* For any a, one vector. */
SIMD_INLINE VEC NAME(activate_any)(VEC a, cc1d_activation activation, int form) {
    VEC d, near = a;
    switch (activation) {
    case CC1D_ACTIVATION_NONE: break;
    case CC1D_ACTIVATION_SILU:
        NAME(denominators)(&d, &a, form, 1);
        NAME(quotients)(&near, &d, form, 1);
        return NAME(choose)(a, near, NAME(times_sigmoid_any)(a, a));
    }
    return a;
}

SIMD_INLINE VEC NAME(deactivate_any)(VEC dout, VEC a, cc1d_activation activation) {
    VEC s, rest, far;
    switch (activation) {
    case CC1D_ACTIVATION_NONE: break;
    case CC1D_ACTIVATION_SILU:
        far = NAME(times_sigmoid_any)(SET(1), a);
        NAME(denominators)(&rest, &a, NAME(SLOPE), 1);
        NAME(sigmoids)(&s, &rest, 1);
        rest = NAME(choose)(a, rest, SUB(SET(1), far));
        s = NAME(choose)(a, s, far);
        NAME(slopes)(&dout, &a, &s, &rest, 1);
        break;
    }
    return dout;
}

/* ---- Whatever the activation is
 * --------------------------------------------------------------------------------- */

SIMD_RARE void NAME(activate_far)(VEC *a, cc1d_activation activation, int form, int count) {
    for (int i = 0; i < count; i++) a[i] = NAME(activate_any)(a[i], activation, form);
}

/* a[i] becomes y. */
SIMD_INLINE void NAME(activate)(VEC *a, cc1d_activation activation, int form, int count) {
    if (activation == CC1D_ACTIVATION_NONE) return;
    VEC far = SET(0), d[SIMD_VECTORS], copy[SIMD_VECTORS];
    SIMD_EACH (i, count) far = FARTHER(far, a[i]);
    if (IS_NEAR(far, NAME(limit)(activation))) {
        NAME(prepare)(d, a, activation, form, count);
        NAME(finish)(a, d, activation, form, count);
        return;
    }
    SIMD_EACH (i, count) copy[i] = a[i]; /* so that a and d stay in registers */
    NAME(activate_far)(copy, activation, form, count);
    SIMD_EACH (i, count) a[i] = copy[i];
}

SIMD_RARE void NAME(deactivate_far)(VEC *dout, const VEC *a, cc1d_activation activation, int count) {
    for (int i = 0; i < count; i++) dout[i] = NAME(deactivate_any)(dout[i], a[i], activation);
}

/* dout[i] becomes the gradient of the pre-activation. */
SIMD_INLINE void NAME(deactivate)(VEC *dout, const VEC *a, cc1d_activation activation, int count) {
    if (activation == CC1D_ACTIVATION_NONE) return;
    VEC far = SET(0), d[SIMD_VECTORS], to[SIMD_VECTORS], from[SIMD_VECTORS];
    SIMD_EACH (i, count) far = FARTHER(far, a[i]);
    if (IS_NEAR(far, NAME(limit)(activation))) {
        NAME(prepare)(d, a, activation, NAME(SLOPE), count);
        NAME(finish_slopes)(dout, a, d, activation, count);
        return;
    }
    SIMD_EACH (i, count) to[i] = dout[i]; /* copies, as in activate */
    SIMD_EACH (i, count) from[i] = a[i];
    NAME(deactivate_far)(to, from, activation, count);
    SIMD_EACH (i, count) dout[i] = to[i];
}
