/* states.h - the states at either end of a sequence, one thread per element: small, so any strides and any
 * width.
 *
 * cc1d_varlen_states writes the last width - 1 steps of every sequence (final_states; varlen_states with
 * width = state_len + 1); cc1d_backward_initial writes dinitial_states, recomputing the gradients of the
 * first width - 1 steps. */
#if defined(CC1D_KERNEL_VARLEN_STATES) || defined(CC1D_KERNEL_BACKWARD_INITIAL)
/* Row n, channel d and element i of this thread; elements vary fastest. Slabs count rows of the states. */
struct cc1d_state_place {
    uint n, d;
    int i;
};

FN bool cc1d_find_state(CONSTANT cc1d_conv_params &p, uint unit, uint group_y, LOCAL cc1d_state_place &m) {
    uint rest = cc1d_divide(unit, p.inner);
    uint slab_row = cc1d_divide(rest, p.middle);
    m.i = (int)(unit - rest * (uint)p.inner.divisor);
    m.d = rest - slab_row * (uint)p.middle.divisor;
    m.n = slab_row + group_y * (uint)p.slab;
    return unit < (uint)p.units && m.n < (uint)p.sequences;
}

#if CC1D_SEQ == 2
/* Packed sequence n, whose states row n holds. */
FN cc1d_wide_sequence cc1d_packed_sequence(DEVICE const cc1d_seq_t *seq, CONSTANT cc1d_conv_params &p,
                                           uint n) {
    cc1d_wide_sequence q;
    q.n = n;
    q.id = (int)n;
    q.begin = cc1d_bounded(cc1d_boundary(seq, p, (int)n), p.seqlen);
    q.end = cc1d_bounded(cc1d_boundary(seq, p, (int)n + 1), p.seqlen);
    q.padding = false;
    return q;
}
#endif
#endif

#ifdef CC1D_KERNEL_VARLEN_STATES
ENTRY(cc1d_varlen_states, cc1d_conv_params) {
    cc1d_state_place m;
    if (!cc1d_find_state(p, GROUP_X * CC1D_GROUP_SIZE + THREAD, GROUP_Y, m)) return;
#if CC1D_SEQ == 2
    cc1d_wide_sequence q = cc1d_packed_sequence(seq, p, m.n);
    uint b = 0;
#else
    cc1d_row_end ends = cc1d_find_row_end(SEQ_ARGUMENT p, m.n, 0, p.seqlen);
    cc1d_wide_sequence q;
    q.id = ends.id;
    q.begin = 0;
    q.end = ends.end;
    uint b = m.n;
#endif
    int s = q.end - (p.width - 1) + m.i;
    cc1d_x_t bits = 0;
    if (s >= q.begin) {
        if (cc1d_wide_same_sequence(SEQ_ARGUMENT p, q, b, s))
            bits = LOAD(cc1d_x_t, x + b * STRIDE(p.x, 0) + m.d * STRIDE(p.x, 1) + (uint)s * STRIDE(p.x, 2));
    }
#if CC1D_HAS_INITIAL /* a row without a step keeps them, whatever its ids */
    else if (s - q.begin >= -(p.width - 1) &&
             (CC1D_SEQ != 1 || q.end == 0 || cc1d_wide_same_sequence(SEQ_ARGUMENT p, q, b, 0)))
        bits = cc1d_initial_bits(initial, p, m.n, m.d, p.width - 1 + s - q.begin);
#endif
    STORE(cc1d_x_t,
          target + m.n * STRIDE(p.target, 0) + m.d * STRIDE(p.target, 1) + (uint)m.i * STRIDE(p.target, 2),
          bits);
}
#endif

#ifdef CC1D_KERNEL_BACKWARD_INITIAL
ENTRY(cc1d_backward_initial, cc1d_conv_params) {
    cc1d_state_place m;
    if (!cc1d_find_state(p, GROUP_X * CC1D_GROUP_SIZE + THREAD, GROUP_Y, m)) return;
    cc1d_wide_place e;
    e.d = m.d;
#if CC1D_SEQ == 2
    e.b = 0;
    cc1d_wide_sequence q = cc1d_packed_sequence(seq, p, m.n);
#else
    e.b = m.n;
    cc1d_wide_sequence q = cc1d_wide_sequence_of(SEQ_ARGUMENT p, m.n, 0);
#endif
    cc1d_real sum = 0;
#if CC1D_HAS_LAST_GRADIENT
#if CC1D_SEQ == 2
    int steps = q.end - q.begin;
    bool kept = true;
#else
    cc1d_row_end ends = cc1d_find_row_end(SEQ_ARGUMENT p, m.n, 0, p.width - 2);
    int steps = ends.end;
    bool kept = steps == 0 || ends.id == q.id;
#endif
    int j = m.i - steps; /* this element's place in a final state that reaches so far back */
    if (kept && j >= 0 && j < p.width - 1) sum = cc1d_last_gradient_at(last, p, m.n, m.d, j);
#endif
    /* A state that no step sees has no terms: a weight of infinity would make one of its zero. */
    bool seen = !q.padding && q.end > q.begin;
    for (int k = 0; k < p.width && seen; k++) {
        e.t = q.begin + m.i - k;
        cc1d_real sent = 0;
        if (e.t >= q.begin && e.t < q.end && cc1d_wide_same_sequence(SEQ_ARGUMENT p, q, e.b, e.t))
            sent = cc1d_wide_dpre(WIDE_ARGUMENTS side, p, q, e);
        sum = fma(cc1d_wide_weight(weight, p, m.d, k), sent, sum);
    }
    STORE(cc1d_x_t,
          target + m.n * STRIDE(p.target, 0) + m.d * STRIDE(p.target, 1) + (uint)m.i * STRIDE(p.target, 2),
          X_FROM_REAL(sum));
}
#endif
