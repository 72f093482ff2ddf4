/* backward_time.h - dx and partial weight gradients where time is contiguous. A team of lanes walks a segment
 * of a row from its last block to its first, so that the gradients that the next steps send back are already
 * in registers.
 *
 * Reads x and dout once (a few packs per segment twice), recomputes the pre-activation, writes dx once, and
 * WIDTH + 1 sums per segment into scratch[part][channel][tap]. */
#ifdef CC1D_KERNEL_BACKWARD_TIME
/* dpre[i] = the gradient of step t + i's pre-activation; 0 at padding and outside the row, where dout is 0.
 */
FN void cc1d_find_dpre(cc1d_pack dout, LOCAL const cc1d_real *w, cc1d_real start,
                       LOCAL const cc1d_real *counted, ID_PARAMETER LOCAL cc1d_real *dpre) {
#pragma unroll
    for (int i = 0; i < VEC; i++) {
        dpre[i] =
            cc1d_activation_gradient(cc1d_pack_get(dout, i), cc1d_accumulate(start, w, counted + i * WIDTH));
#if CC1D_SEQ
        if (id[i + HISTORY] < 0) dpre[i] = 0;
#endif
    }
}

/* Adds the pack at step t to the sums; only steps of the row, because 0 * infinity is not 0. */
FN void cc1d_add_dweight(int t, int seqlen, LOCAL const cc1d_real *dpre, LOCAL const cc1d_real *counted,
                         LOCAL cc1d_real *dweight) {
    if (t >= seqlen || t + VEC <= 0) return;
#pragma unroll
    for (int i = 0; i < VEC; i++) {
#if CC1D_PARTIAL_PACKS
        if (t + i < 0 || t + i >= seqlen) continue;
#endif
#pragma unroll
        for (int k = 0; k < WIDTH; k++) dweight[k] = fma(dpre[i], counted[i * WIDTH + k], dweight[k]);
        dweight[WIDTH] += dpre[i];
    }
}

ENTRY(cc1d_backward_time, cc1d_conv_params) {
    cc1d_team m = cc1d_find_team(p, GROUP_X, GROUP_Y, THREAD);
    uint lane = LANE & (TEAM - 1);
    int seqlen = m.live ? p.seqlen : 0;
    DEVICE const cc1d_x_t *x_row = x + cc1d_row_start(p.x, m);
    DEVICE const cc1d_x_t *dout_row = side + cc1d_row_start(p.side, m);
    uint shift = CC1D_TARGET_SHIFTED ? cc1d_row_skew(p.target, p.target_offset, m) : 0u;
    uint x_skew = CC1D_X_SKEWED ? (cc1d_row_skew(p.x, p.x_offset, m) - shift) & (VEC - 1) : 0u;
    uint dout_skew = CC1D_SIDE_SKEWED ? (cc1d_row_skew(p.side, p.side_offset, m) - shift) & (VEC - 1) : 0u;
    const int block = TEAM * VEC;
    int first = (int)m.segment * p.run * CC1D_UNROLL * block + (int)lane * VEC - (int)shift;
    int t = first + p.run * CC1D_UNROLL * block;

    cc1d_real w[WIDTH];
    cc1d_load_weights(weight + m.d * STRIDE(p.weight, 0), STRIDE(p.weight, 1), w);
#if CC1D_HAS_BIAS
    cc1d_real start = BIAS_TO_REAL(LOAD(cc1d_bias_t, bias + m.d * STRIDE(p.bias, 0)));
#else
    cc1d_real start = 0;
#endif
#if CC1D_HAS_DX && CC1D_HAS_LAST_GRADIENT && CC1D_SEQ != 2
    int steps_end = t - (int)lane * VEC; /* of the segment */
    cc1d_row_end ends = cc1d_find_row_end(SEQ_ARGUMENT p, m.b, first - (int)lane * VEC, steps_end + HISTORY);
#endif
    cc1d_real later[VEC];         /* dpre of the block after the one at hand */
    cc1d_real dweight[WIDTH + 1]; /* the last is dbias */
#pragma unroll
    for (int i = 0; i < VEC; i++) later[i] = 0;
#pragma unroll
    for (int k = 0; k <= WIDTH; k++) dweight[k] = 0;

#if CC1D_SEGMENTED && HISTORY > 0
    { /* the first steps of the next segment, whose gradients reach back into this one */
        cc1d_pack before = cc1d_zero_pack(), now = cc1d_zero_pack(), dout = cc1d_zero_pack();
        if (lane >= (uint)(TEAM - HALO))
            before = ADD_INITIAL(cc1d_load_steps(x_row, t - block, seqlen, x_skew), t - block);
        if (lane < (uint)HALO) {
            now = cc1d_load_steps(x_row, t, seqlen, x_skew);
            dout = cc1d_load_steps(dout_row, t, seqlen, dout_skew);
        }
        cc1d_real tap[HISTORY + VEC], counted[VEC * WIDTH];
        cc1d_gather_taps(before, now, LANE, tap);
#if CC1D_SEQ
        cc1d_id_t id[HISTORY + VEC];
        cc1d_find_ids(seq, p, m.b, t - HISTORY, HISTORY + VEC, id);
#endif
        cc1d_count_taps(tap, ID_ARGUMENT SEQ_ARGUMENT INITIAL_ARGUMENT p, m, t, counted);
        cc1d_find_dpre(dout, w, start, counted, ID_ARGUMENT later);
    }
#endif

    for (int j = 0; j < p.run; j++) {
        t -= CC1D_UNROLL * block;
        cc1d_pack steps[CC1D_UNROLL + 1], dout[CC1D_UNROLL];
        steps[0] = cc1d_zero_pack();
        if (lane >= (uint)(TEAM - HALO))
            steps[0] = ADD_INITIAL(cc1d_load_steps(x_row, t - block, seqlen, x_skew), t - block);
#pragma unroll
        for (int u = 0; u < CC1D_UNROLL; u++) {
            steps[u + 1] = ADD_INITIAL(cc1d_load_steps(x_row, t + u * block, seqlen, x_skew), t + u * block);
            dout[u] = cc1d_load_steps(dout_row, t + u * block, seqlen, dout_skew);
        }
#pragma unroll
        for (int u = CC1D_UNROLL - 1; u >= 0; u--) {
            int at = t + u * block;
            cc1d_real tap[HISTORY + VEC], counted[VEC * WIDTH], dpre[VEC + HISTORY];
            cc1d_gather_taps(steps[u], steps[u + 1], LANE, tap);
#if CC1D_SEQ
            cc1d_id_t id[HISTORY + VEC + HISTORY];
            cc1d_find_ids(seq, p, m.b, at - HISTORY, HISTORY + VEC + HISTORY, id);
#endif
            cc1d_count_taps(tap, ID_ARGUMENT SEQ_ARGUMENT INITIAL_ARGUMENT p, m, at, counted);
            cc1d_find_dpre(dout[u], w, start, counted, ID_ARGUMENT dpre);
#if CC1D_HAS_DWEIGHT
            cc1d_add_dweight(at, seqlen, dpre, counted, dweight);
#endif
#if CC1D_HAS_DX
#pragma unroll
            for (int i = 0; i < HISTORY; i++) { /* from the lanes after this one */
                int ahead = i / VEC + 1;
                dpre[VEC + i] =
                    SHUFFLE(lane < (uint)ahead ? later[i % VEC] : dpre[i % VEC], cc1d_team_lane(LANE, ahead));
            }
            cc1d_real dx[VEC];
#pragma unroll
            for (int i = 0; i < VEC; i++) {
#if CC1D_HAS_LAST_GRADIENT
#if CC1D_SEQ
                cc1d_id_t own = id[HISTORY + i];
#else
                cc1d_id_t own = 0;
#endif
                cc1d_real sum = at + i >= 0 && at + i < seqlen
                                    ? cc1d_last_gradient(last, SEQ_ARGUMENT ROW_END_ARGUMENT p, WIDTH, m.b,
                                                         own, m.d, at + i)
                                    : (cc1d_real)0;
#else
                cc1d_real sum = 0;
#endif
#pragma unroll
                for (int k = 0; k < WIDTH; k++) {
                    cc1d_real sent = dpre[i + HISTORY - k];
#if CC1D_SEQ
                    if (id[HISTORY + i + HISTORY - k] != id[HISTORY + i]) sent = 0;
#endif
                    sum = fma(w[k], sent, sum);
                }
                dx[i] = sum;
#if CC1D_SEQ
                if (id[HISTORY + i] < 0) dx[i] = 0;
#endif
            }
            cc1d_store_steps(target + cc1d_row_start(p.target, m), at, seqlen, cc1d_pack_reals(dx));
#pragma unroll
            for (int i = 0; i < VEC; i++) later[i] = dpre[i];
#endif
        }
    }

#if CC1D_HAS_DWEIGHT
#pragma unroll
    for (int k = 0; k <= WIDTH; k++) {
#pragma unroll
        for (uint half_team = TEAM / 2; half_team > 0; half_team /= 2)
            dweight[k] += SHUFFLE(dweight[k], LANE ^ half_team);
        if (lane == 0 && m.live) {
            cc1d_offset_t part = (cc1d_offset_t)m.b * (uint)p.inner.divisor + m.segment;
            scratch[LONG(p.partials) + (part * (uint)p.dim + m.d) * (WIDTH + 1) + (uint)k] = dweight[k];
        }
    }
#endif
}
#endif
