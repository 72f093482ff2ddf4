/* states.h - the states of sequences, one thread per element: small, so any strides and any width.
 *
 * cc1d_varlen_states writes width - 1 steps each, those that end with a sequence or at a position
 * (final_states; varlen_states with width = state_len + 1); cc1d_backward_initial writes dinitial_states,
 * recomputing the gradients of the first width - 1 steps. */
#if defined(CC1D_KERNEL_VARLEN_STATES) || defined(CC1D_KERNEL_BACKWARD_INITIAL)
/* State n, channel d and element i of this thread; elements vary fastest. Slabs count rows of the states. */
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
    return unit < (uint)p.units && m.n < (uint)p.batch;
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
#if CC1D_POSITIONS_DTYPE
/* The sequence that the last step before a position belongs to, cut there; padding: the position is in none.
 */
FN cc1d_wide_sequence cc1d_sequence_up_to(DEVICE const cc1d_seq_t *seq, CONSTANT cc1d_conv_params &p,
                                          cc1d_i64 position) {
    int end = position < 0 || position > p.seqlen ? -1 : (int)position;
    cc1d_cursor c = cc1d_seek(seq, p, 0, end - 1);
    cc1d_wide_sequence q;
    q.n = (uint)c.n;
    q.id = c.n;
    q.begin = c.begin;
    q.padding = end < c.begin || end > c.end || p.sequences == 0;
    q.end = end;
    return q;
}
#endif
#if CC1D_HAS_INITIAL
FN cc1d_state_t cc1d_kept_state(DEVICE const cc1d_initial_t *initial, CONSTANT cc1d_conv_params &p, uint n,
                                uint d, int i) {
    cc1d_initial_t bits = LOAD(cc1d_initial_t, initial + n * STRIDE(p.initial, 0) + d * STRIDE(p.initial, 1) +
                                                   (uint)i * STRIDE(p.initial, 2));
#if CC1D_INITIAL_DTYPE == CC1D_STATE_DTYPE
    return bits;
#else
    return JOIN(cc1d_write_, CC1D_STATE_DTYPE)(JOIN(cc1d_read_, CC1D_INITIAL_DTYPE)(bits));
#endif
}
#endif

ENTRY(cc1d_varlen_states, cc1d_conv_params) {
    cc1d_state_place m;
    if (!cc1d_find_state(p, GROUP_X * CC1D_GROUP_SIZE + THREAD, GROUP_Y, m)) return;
    uint row = m.n;
#if CC1D_OUT_INDICES_DTYPE
    cc1d_i64 listed =
        (cc1d_i64)LOAD(JOIN(cc1d_index_, CC1D_OUT_INDICES_DTYPE), out_indices + m.n * STRIDE(p.last, 0));
    if (listed < 0 || listed >= p.run) return;
    row = (uint)listed;
#endif
#if CC1D_POSITIONS_DTYPE
    cc1d_wide_sequence q = cc1d_sequence_up_to(
        seq, p, (cc1d_i64)LOAD(JOIN(cc1d_index_, CC1D_POSITIONS_DTYPE), positions + m.n * STRIDE(p.side, 0)));
    if (q.padding && CC1D_OUT_INDICES_DTYPE) return;
    m.n = q.n;
    uint b = 0;
#elif CC1D_SEQ == 2
    cc1d_wide_sequence q = cc1d_packed_sequence(seq, p, m.n);
    uint b = 0;
#else
    cc1d_row_end ends = cc1d_find_row_end(SEQ_ARGUMENT p, m.n, 0, p.seqlen);
    cc1d_wide_sequence q;
    q.padding = false;
    q.id = ends.id;
    q.begin = 0;
    q.end = ends.end;
    uint b = m.n;
#endif
    int s = q.end - (p.width - 1) + m.i;
    cc1d_state_t bits = 0;
    if (!q.padding && s >= q.begin) {
        if (cc1d_wide_same_sequence(SEQ_ARGUMENT p, q, b, s)) bits = STATE_OF(TAP_BITS(b, m.d, s));
    }
#if CC1D_HAS_INITIAL /* a row without a step keeps them, whatever its ids */
    else if (!q.padding && s - q.begin >= -(p.width - 1) &&
             (CC1D_SEQ != 1 || q.end == 0 || cc1d_wide_same_sequence(SEQ_ARGUMENT p, q, b, 0)))
        bits = cc1d_kept_state(initial, p, m.n, m.d, p.parts + s - q.begin);
#endif
    STORE(cc1d_state_t,
          target + row * STRIDE(p.target, 0) + m.d * STRIDE(p.target, 1) + (uint)m.i * STRIDE(p.target, 2),
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
            sent = cc1d_wide_dpre(WIDE_ARGUMENTS POST_GATE_ARGUMENT side, p, q, e);
        sum = fma(cc1d_wide_weight(weight, p, m.d, k), sent, sum);
    }
    STORE(cc1d_x_t,
          target + m.n * STRIDE(p.target, 0) + m.d * STRIDE(p.target, 1) + (uint)m.i * STRIDE(p.target, 2),
          X_FROM_REAL(sum));
}
#endif
