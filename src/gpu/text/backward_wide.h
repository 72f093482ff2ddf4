/* backward_wide.h - gradients for any width and any strides, in passes over dpre, the pre-activation's
 * gradient, which lies in scratch as (batch, channel, step), followed by the partial sums
 * [part][tap][channel]. */
#if CC1D_WIDTH == 0
FN cc1d_offset_t cc1d_dpre_at(CONSTANT cc1d_conv_params &p, uint b, uint d, int t) {
    return ((cc1d_offset_t)b * (uint)p.dim + d) * (uint)p.seqlen + (uint)t;
}
#endif

#ifdef CC1D_KERNEL_BACKWARD_WIDE_DPRE
ENTRY(cc1d_backward_wide_dpre, cc1d_conv_params) {
    cc1d_wide_place m;
    if (!cc1d_find_wide(p, GROUP_X * CC1D_GROUP_SIZE + THREAD, GROUP_Y, m)) return;
    cc1d_wide_sequence q = cc1d_wide_sequence_of(SEQ_ARGUMENT p, m.b, m.t);
#if !CC1D_HAS_DPOST_GATE
    scratch[cc1d_dpre_at(p, m.b, m.d, m.t)] =
        q.padding ? (cc1d_real)0 : cc1d_wide_dpre(WIDE_ARGUMENTS POST_GATE_ARGUMENT side, p, q, m);
#else
    cc1d_real dpre = 0, dgate = 0;
    if (!q.padding) {
        cc1d_real acc = cc1d_wide_acc(WIDE_ARGUMENTS p, q, m);
        dpre = cc1d_activation_gradient(cc1d_wide_given(POST_GATE_ARGUMENT side, p, m), acc);
        dgate = X_TO_REAL(LOAD(cc1d_x_t, side + ELEMENT(p.side, m.b, m.d, m.t))) * cc1d_activate(acc);
    }
    scratch[cc1d_dpre_at(p, m.b, m.d, m.t)] = dpre;
    STORE(cc1d_x_t, dpost_gate + ELEMENT(p.dpost_gate, m.b, m.d, m.t), X_FROM_REAL(dgate));
#endif
}
#endif

#ifdef CC1D_KERNEL_BACKWARD_WIDE_DX
ENTRY(cc1d_backward_wide_dx, cc1d_conv_params) {
    cc1d_wide_place m;
    if (!cc1d_find_wide(p, GROUP_X * CC1D_GROUP_SIZE + THREAD, GROUP_Y, m)) return;
    cc1d_wide_sequence q = cc1d_wide_sequence_of(SEQ_ARGUMENT p, m.b, m.t);
    cc1d_real sum = 0;
    if (!q.padding) {
#if CC1D_HAS_LAST_GRADIENT
#if CC1D_SEQ != 2
        cc1d_row_end ends = cc1d_find_row_end(SEQ_ARGUMENT p, m.b, m.t, m.t + p.width - 1);
#endif
        sum = cc1d_last_gradient(last, SEQ_ARGUMENT ROW_END_ARGUMENT p, p.width, m.b, q.id, m.d, m.t);
#endif
        for (int k = 0; k < p.width; k++) {
            int t = m.t + p.width - 1 - k;
            cc1d_real sent = 0;
            if (t < q.end && cc1d_wide_same_sequence(SEQ_ARGUMENT p, q, m.b, t))
                sent = scratch[cc1d_dpre_at(p, m.b, m.d, t)];
            sum = fma(cc1d_wide_weight(weight, p, m.d, k), sent, sum);
        }
    }
#if CC1D_HAS_DPRE_GATE
    cc1d_real dgate = 0;
    if (!q.padding) dgate = sum * X_TO_REAL(LOAD(cc1d_x_t, x + ELEMENT(p.x, m.b, m.d, m.t)));
    STORE(cc1d_x_t, dpre_gate + ELEMENT(p.dpre_gate, m.b, m.d, m.t), X_FROM_REAL(dgate));
#endif
#if CC1D_HAS_DX
#if CC1D_HAS_PRE_GATE
    if (!q.padding) sum *= X_TO_REAL(LOAD(cc1d_x_t, pre_gate + ELEMENT(p.pre_gate, m.b, m.d, m.t)));
#endif
    STORE(cc1d_x_t, target + ELEMENT(p.target, m.b, m.d, m.t), X_FROM_REAL(sum));
#endif
}
#endif

#ifdef CC1D_KERNEL_BACKWARD_WIDE_DWEIGHT
/* A thread sums one tap (or, for k = width, the bias) of one channel over p.run steps, in chains of 32. */
ENTRY(cc1d_backward_wide_dweight, cc1d_conv_params) {
    uint unit = GROUP_X * CC1D_GROUP_SIZE + THREAD;
    uint rest = cc1d_divide(unit, p.inner);
    uint slab_part = cc1d_divide(rest, p.middle);
    int k = (int)(unit - rest * (uint)p.inner.divisor);
    cc1d_wide_place m;
    m.d = rest - slab_part * (uint)p.middle.divisor;
    uint part = slab_part + GROUP_Y * (uint)p.slab;
    if (unit >= (uint)p.units || part >= (uint)p.parts) return;
    uint runs = (uint)(p.parts / p.batch);
    m.b = part / runs;
    int first = (int)(part % runs) * p.run;
    int end = first + p.run < p.seqlen ? first + p.run : p.seqlen;
    cc1d_real sum = 0;
    for (int t0 = first; t0 < end; t0 += 32) {
        cc1d_real chain = 0;
        for (m.t = t0; m.t < end && m.t < t0 + 32; m.t++) {
            cc1d_real dpre = scratch[cc1d_dpre_at(p, m.b, m.d, m.t)];
            cc1d_real tap = 1;
            if (k < p.width) {
                cc1d_wide_sequence q = cc1d_wide_sequence_of(SEQ_ARGUMENT p, m.b, m.t);
                tap = q.padding ? (cc1d_real)0
                                : cc1d_wide_tap(x, PRE_GATE_ARGUMENT SEQ_ARGUMENT INITIAL_ARGUMENT p, q, m.b,
                                                m.d, m.t - (p.width - 1) + k);
            }
            chain = fma(dpre, tap, chain);
        }
        sum += chain;
    }
    scratch[LONG(p.partials) + ((cc1d_offset_t)part * (uint)(p.width + 1) + (uint)k) * (uint)p.dim + m.d] =
        sum;
}
#endif
