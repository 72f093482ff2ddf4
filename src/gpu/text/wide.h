/* wide.h - the wide path: widths that are not unrolled, one thread per element, any strides. */
#if CC1D_WIDTH == 0
struct cc1d_wide_place {
    uint b, d;
    int t;
};

/* What this thread computes; the dimension that is densest in memory varies fastest. False past the end. */
FN bool cc1d_find_wide(CONSTANT cc1d_conv_params &p, uint unit, uint group_y, LOCAL cc1d_wide_place &m) {
    uint rest = cc1d_divide(unit, p.inner);
    uint slab_row = cc1d_divide(rest, p.middle);
    uint fast = unit - rest * (uint)p.inner.divisor;
    uint slow = rest - slab_row * (uint)p.middle.divisor;
    m.d = CC1D_TIME_FASTEST ? slow : fast;
    m.t = (int)(CC1D_TIME_FASTEST ? fast : slow);
    m.b = slab_row + group_y * (uint)p.slab;
    return unit < (uint)p.units && m.b < (uint)p.batch;
}

/* Buffers that every kernel of this path reads, as the kernels' text names them. */
#define WIDE_PARAMETERS                                           \
    DEVICE const cc1d_x_t *x, DEVICE const cc1d_weight_t *weight, \
        BIAS_PARAMETER PRE_GATE_PARAMETER SEQ_PARAMETER INITIAL_PARAMETER
#define WIDE_ARGUMENTS x, weight, BIAS_ARGUMENT PRE_GATE_ARGUMENT SEQ_ARGUMENT INITIAL_ARGUMENT

/* The sequence of a step, as steps begin..end-1, a row of the states, and whether it is padding. */
struct cc1d_wide_sequence {
    cc1d_id_t id;
    int begin, end;
    uint n;
    bool padding;
};

FN cc1d_wide_sequence cc1d_wide_sequence_of(SEQ_PARAMETER CONSTANT cc1d_conv_params &p, uint b, int t) {
    cc1d_wide_sequence q;
    q.id = 0;
    q.begin = 0;
    q.end = p.seqlen;
    q.n = b;
#if CC1D_SEQ
    cc1d_cursor c = cc1d_seek(SEQ_ARGUMENT p, b, t);
    q.id = cc1d_id_at(SEQ_ARGUMENT p, b, t, c);
#endif
#if CC1D_SEQ == 2
    q.begin = c.begin;
    q.end = c.end;
    q.n = (uint)c.n;
#endif
    q.padding = q.id < 0;
#if CC1D_POOL && CC1D_SEQ != 2
    q.padding = q.padding || cc1d_find_slot(SLOT_ARGUMENT p, b).row < 0;
#endif
    return q;
}

/* tap(s) of a step of sequence q; s is not after that step. */
FN cc1d_real cc1d_wide_tap(DEVICE const cc1d_x_t *x,
                           PRE_GATE_PARAMETER SEQ_PARAMETER INITIAL_PARAMETER CONSTANT cc1d_conv_params &p,
                           cc1d_wide_sequence q, uint b, uint d, int s) {
#if CC1D_SEQ == 1
    cc1d_cursor c = cc1d_seek(SEQ_ARGUMENT p, b, s);
    if (cc1d_id_at(SEQ_ARGUMENT p, b, s, c) != q.id) return 0;
#endif
    if (s >= q.begin) return X_TO_REAL(TAP_BITS(b, d, s));
    return cc1d_initial_at(INITIAL_ARGUMENT SEQ_ARGUMENT p, p.width, q.n, d, p.width - 1 + s - q.begin);
}

FN cc1d_real cc1d_wide_weight(DEVICE const cc1d_weight_t *weight, CONSTANT cc1d_conv_params &p, uint d,
                              int k) {
    return WEIGHT_TO_REAL(
        LOAD(cc1d_weight_t, weight + d * STRIDE(p.weight, 0) + (uint)k * STRIDE(p.weight, 1)));
}

/* The pre-activation of an element. */
FN cc1d_real cc1d_wide_acc(WIDE_PARAMETERS CONSTANT cc1d_conv_params &p, cc1d_wide_sequence q,
                           cc1d_wide_place m) {
    cc1d_real acc = cc1d_load_bias(BIAS_ARGUMENT p, m.d);
    for (int k = 0; k < p.width; k++)
        acc = fma(cc1d_wide_weight(weight, p, m.d, k),
                  cc1d_wide_tap(x, PRE_GATE_ARGUMENT SEQ_ARGUMENT INITIAL_ARGUMENT p, q, m.b, m.d,
                                m.t - (p.width - 1) + k),
                  acc);
    return acc;
}

/* Whether step t, not past q's end, is in sequence q. */
FN bool cc1d_wide_same_sequence(SEQ_PARAMETER CONSTANT cc1d_conv_params &p, cc1d_wide_sequence q, uint b,
                                int t) {
#if CC1D_SEQ == 1
    cc1d_cursor c = cc1d_seek(SEQ_ARGUMENT p, b, t);
    return cc1d_id_at(SEQ_ARGUMENT p, b, t, c) == q.id;
#else
    return t >= q.begin && t < q.end;
#endif
}

#if CC1D_HAS_DOUT
#if CC1D_HAS_POST_GATE
#define POST_GATE_PARAMETER DEVICE const cc1d_x_t *post_gate,
#define POST_GATE_ARGUMENT post_gate,
#else
#define POST_GATE_PARAMETER
#define POST_GATE_ARGUMENT
#endif

/* The gradient of an element's activation. */
FN cc1d_real cc1d_wide_given(POST_GATE_PARAMETER DEVICE const cc1d_x_t *dout, CONSTANT cc1d_conv_params &p,
                             cc1d_wide_place m) {
    cc1d_real given = X_TO_REAL(LOAD(cc1d_x_t, dout + ELEMENT(p.side, m.b, m.d, m.t)));
#if CC1D_HAS_POST_GATE
    given *= X_TO_REAL(LOAD(cc1d_x_t, post_gate + ELEMENT(p.post_gate, m.b, m.d, m.t)));
#endif
    return given;
}

/* The gradient of an element's pre-activation. */
FN cc1d_real cc1d_wide_dpre(WIDE_PARAMETERS POST_GATE_PARAMETER DEVICE const cc1d_x_t *dout,
                            CONSTANT cc1d_conv_params &p, cc1d_wide_sequence q, cc1d_wide_place m) {
    cc1d_real given = cc1d_wide_given(POST_GATE_ARGUMENT dout, p, m);
    return CC1D_ACTIVATION ? cc1d_activation_gradient(given, cc1d_wide_acc(WIDE_ARGUMENTS p, q, m)) : given;
}
#endif
#endif
