/* forward_time.h - y where time is contiguous: a team of lanes computes CC1D_UNROLL blocks of packs of one
 * row.
 *
 * Reads x (and residual) once, the packs before a segment's first once more, weights and bias per team;
 * writes y once. */
#ifdef CC1D_KERNEL_FORWARD_TIME
ENTRY(cc1d_forward_time, cc1d_conv_params) {
    cc1d_team m = cc1d_find_team(p, GROUP_X, GROUP_Y, THREAD);
    uint lane = LANE & (TEAM - 1);
    int seqlen = m.live ? p.seqlen : 0;
    DEVICE const cc1d_x_t *x_row = x + cc1d_row_start(p.x, m);
    DEVICE cc1d_x_t *y_row = target + cc1d_row_start(p.target, m);
    uint shift = CC1D_TARGET_SHIFTED ? cc1d_row_skew(p.target, p.target_offset, m) : 0u;
    uint x_skew = CC1D_X_SKEWED ? (cc1d_row_skew(p.x, p.x_offset, m) - shift) & (VEC - 1) : 0u;
    int block = TEAM * VEC;
    int t = ((int)m.segment * CC1D_UNROLL * TEAM + (int)lane) * VEC - (int)shift;

    cc1d_pack steps[CC1D_UNROLL + 1];
    steps[0] = cc1d_zero_pack();
    if (lane >= (uint)(TEAM - HALO))
        steps[0] = ADD_INITIAL(cc1d_load_steps(x_row, t - block, seqlen, x_skew), t - block);
#pragma unroll
    for (int u = 0; u < CC1D_UNROLL; u++)
        steps[u + 1] = ADD_INITIAL(cc1d_load_steps(x_row, t + u * block, seqlen, x_skew), t + u * block);
#if CC1D_HAS_RESIDUAL
    DEVICE const cc1d_x_t *side_row = side + cc1d_row_start(p.side, m);
    uint side_skew = CC1D_SIDE_SKEWED ? (cc1d_row_skew(p.side, p.side_offset, m) - shift) & (VEC - 1) : 0u;
    cc1d_pack residual[CC1D_UNROLL];
#pragma unroll
    for (int u = 0; u < CC1D_UNROLL; u++)
        residual[u] = cc1d_load_steps(side_row, t + u * block, seqlen, side_skew);
#endif
    cc1d_real w[WIDTH];
    cc1d_load_weights(weight + m.d * STRIDE(p.weight, 0), STRIDE(p.weight, 1), w);
#if CC1D_HAS_BIAS
    cc1d_real start = BIAS_TO_REAL(LOAD(cc1d_bias_t, bias + m.d * STRIDE(p.bias, 0)));
#else
    cc1d_real start = 0;
#endif

#pragma unroll
    for (int u = 0; u < CC1D_UNROLL; u++, t += block) {
        cc1d_real tap[HISTORY + VEC], counted[VEC * WIDTH], y[VEC];
        cc1d_gather_taps(steps[u], steps[u + 1], LANE, tap);
#if CC1D_SEQ
        cc1d_id_t id[HISTORY + VEC];
        cc1d_find_ids(seq, p, m.b, t - HISTORY, HISTORY + VEC, id);
#endif
        cc1d_count_taps(tap, ID_ARGUMENT SEQ_ARGUMENT INITIAL_ARGUMENT p, m, t, counted);
#pragma unroll
        for (int i = 0; i < VEC; i++) {
            y[i] = cc1d_activate(cc1d_accumulate(start, w, counted + i * WIDTH));
#if CC1D_HAS_RESIDUAL
            y[i] += cc1d_pack_get(residual[u], i);
#endif
#if CC1D_SEQ
            if (id[i + HISTORY] < 0) y[i] = 0;
#endif
        }
        cc1d_store_steps(y_row, t, seqlen, cc1d_pack_reals(y));
    }
}
#endif
