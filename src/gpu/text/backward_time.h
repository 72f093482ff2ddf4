/* backward_time.h - dx and partial weight gradients where time is contiguous. A team of lanes walks a segment
 * of a row from its last block to its first, so that the gradients that the next steps send back are already
 * in registers.
 *
 * Reads x and dout once (a few packs per segment twice), recomputes the pre-activation, writes dx once, and
 * WIDTH + 1 sums per segment into scratch[part][channel][tap]. */
#ifdef CC1D_KERNEL_BACKWARD_TIME
FN cc1d_given cc1d_load_given(cc1d_rows row, int t, int ahead, int seqlen) {
    cc1d_given given;
    given.dout = cc1d_load_steps(row.side, t, ahead, seqlen);
#if CC1D_HAS_POST_GATE
    given.gate = cc1d_load_steps(row.post_gate, t, ahead, seqlen);
#endif
    return given;
}

/* dpre[i] = the gradient of step t + i's pre-activation; 0 at padding and outside the row: dout is 0 there,
 * but the slope may be no number, since the taps are those of real steps. dgate[i] = that of the step's post
 * gate. */
FN void cc1d_find_dpre(int t, int seqlen, cc1d_given given, LOCAL const cc1d_real *w, cc1d_real start,
                       LOCAL const cc1d_real *counted, ID_PARAMETER LOCAL cc1d_real *dpre,
                       LOCAL cc1d_real *dgate) {
#pragma unroll
    for (int i = 0; i < VEC; i++) {
        cc1d_real acc = cc1d_accumulate(start, w, counted + i * WIDTH), dout = cc1d_pack_get(given.dout, i);
#if CC1D_HAS_DPOST_GATE
        dgate[i] = dout * cc1d_activate(acc);
#if CC1D_SEQ
        if (id[i + HISTORY] < 0) dgate[i] = 0;
#endif
#endif
#if CC1D_HAS_POST_GATE
        dout *= cc1d_pack_get(given.gate, i);
#endif
        dpre[i] = cc1d_activation_gradient(dout, acc);
#if CC1D_SEQ
        if (id[i + HISTORY] < 0) dpre[i] = 0;
#endif
#if CC1D_PARTIAL_PACKS
        if ((uint)(t + i) >= (uint)seqlen) dpre[i] = 0;
#endif
    }
}

/* A pack after a row of whole packs sees no tap, so its slopes are numbers. */
FN void cc1d_forget_taps(int t, int seqlen, LOCAL cc1d_real *tap) {
#if !CC1D_SEQ && !CC1D_PARTIAL_PACKS
#pragma unroll
    for (int i = 0; i < HISTORY; i++)
        if (t >= seqlen) tap[i] = 0;
#endif
}

/* Adds the pack at step t to the sums; only steps of the row, where 0 * infinity would not be 0. */
FN void cc1d_add_dweight(int t, int seqlen, LOCAL const cc1d_real *dpre, LOCAL const cc1d_real *counted,
                         LOCAL cc1d_real *dweight) {
    if (t >= seqlen || t + VEC <= 0) return;
#pragma unroll
    for (int i = 0; i < VEC; i++) {
#if CC1D_PARTIAL_PACKS
        if (!SLOPE_SHOWS_INFINITY && (uint)(t + i) >= (uint)seqlen) continue;
#endif
#pragma unroll
        for (int k = 0; k < WIDTH; k++) dweight[k] = fma(dpre[i], counted[i * WIDTH + k], dweight[k]);
        dweight[WIDTH] += dpre[i];
    }
}

ENTRY(cc1d_backward_time, cc1d_conv_params) {
    cc1d_team m = cc1d_find_team(p, GROUP_X, GROUP_Y, THREAD);
    uint lane = LANE & (uint)(TEAM - 1);
    int seqlen = m.live ? p.seqlen : 0;
    uint shift = CC1D_PARTIAL_PACKS ? cc1d_row_skew(p.target, p.target_offset, m) : 0u;
    const int block = TEAM * VEC;
    int first = (int)m.segment * p.run * block + (int)lane * VEC - (int)shift;
    int t = first + p.run * block;
    cc1d_rows row = cc1d_rows();
    FIND_ROW(x, CC1D_X_SKEWED)
    FIND_ROW(side, CC1D_SIDE_SKEWED)
#if CC1D_HAS_DX
    FIND_ROW(target, 0)
#endif
#if CC1D_HAS_PRE_GATE
    FIND_ROW(pre_gate, CC1D_GATES_SKEWED)
#endif
#if CC1D_HAS_POST_GATE
    FIND_ROW(post_gate, CC1D_GATES_SKEWED)
#endif
#if CC1D_HAS_DPRE_GATE
    FIND_ROW(dpre_gate, CC1D_GATES_SKEWED)
#endif
#if CC1D_HAS_DPOST_GATE
    FIND_ROW(dpost_gate, CC1D_GATES_SKEWED)
#endif

    cc1d_real w[WIDTH];
    cc1d_load_weights(weight + m.d * STRIDE(p.weight, 0), STRIDE(p.weight, 1), w);
    cc1d_real start = cc1d_load_bias(BIAS_ARGUMENT p, m.d);
#if SENDS_BACK && CC1D_HAS_LAST_GRADIENT && CC1D_SEQ != 2
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
    if (CC1D_ROW_LANES || p.inner.divisor > 1) {
        /* the first steps of the next segment, whose gradients reach back into this one */
        cc1d_raw before = cc1d_zero_raw(), now = cc1d_zero_raw();
        cc1d_given given = cc1d_nothing_given();
        if (lane >= (uint)(TEAM - HALO)) before = cc1d_load_raw(row, t, -TEAM, seqlen);
        if (lane < (uint)HALO) {
            now = cc1d_load_raw(row, t, 0, seqlen);
            given = cc1d_load_given(row, t, 0, seqlen);
        }
        cc1d_pack past = cc1d_taps_of(before);
        if (lane >= (uint)(TEAM - HALO)) past = ADD_INITIAL(past, t - block);
        cc1d_real tap[HISTORY + VEC], counted[VEC * WIDTH], dgate[VEC];
        cc1d_gather_taps(past, cc1d_taps_of(now), LANE, p, tap);
        cc1d_forget_taps(t, seqlen, tap);
#if CC1D_SEQ
        cc1d_id_t id[HISTORY + VEC];
        cc1d_find_ids(SEQ_ARGUMENT p, m.b, t - HISTORY, HISTORY + VEC, id);
#endif
        cc1d_count_taps(tap, ID_ARGUMENT SEQ_ARGUMENT INITIAL_ARGUMENT p, m, t, counted);
        cc1d_find_dpre(t, seqlen, given, w, start, counted, ID_ARGUMENT later, dgate);
    }
#endif

    /* With partial packs the last blocks of the first turn may lie after the segment. */
    int turns = (p.run + CC1D_UNROLL - 1) / CC1D_UNROLL, spare = 0;
#if CC1D_PARTIAL_PACKS
    spare = turns * CC1D_UNROLL - p.run;
    t += spare * block;
    cc1d_move_rows(row, spare * TEAM);
#endif
    for (int j = 0; j < turns; j++, spare = 0) {
        t -= CC1D_UNROLL * block;
        cc1d_move_rows(row, -CC1D_UNROLL * TEAM);
        cc1d_raw raw[CC1D_UNROLL + 1];
        cc1d_given given[CC1D_UNROLL];
        raw[0] = cc1d_zero_raw();
        if (lane >= (uint)(TEAM - HALO)) raw[0] = cc1d_load_raw(row, t, -TEAM, seqlen);
#pragma unroll
        for (int u = 0; u < CC1D_UNROLL; u++) {
            if (u >= CC1D_UNROLL - spare) break;
            raw[u + 1] = cc1d_load_raw(row, t, u * TEAM, seqlen);
            given[u] = cc1d_load_given(row, t, u * TEAM, seqlen);
        }
        cc1d_pack steps[CC1D_UNROLL + 1];
        steps[0] = cc1d_taps_of(raw[0]);
        if (lane >= (uint)(TEAM - HALO)) steps[0] = ADD_INITIAL(steps[0], t - block);
#pragma unroll
        for (int u = 0; u < CC1D_UNROLL; u++) {
            if (u >= CC1D_UNROLL - spare) break;
            steps[u + 1] = ADD_INITIAL(cc1d_taps_of(raw[u + 1]), t + u * block);
        }
#pragma unroll
        for (int u = CC1D_UNROLL - 1; u >= 0; u--) {
            if (u >= CC1D_UNROLL - spare) continue;
            int at = t + u * block;
            cc1d_real tap[HISTORY + VEC], counted[VEC * WIDTH], dpre[VEC + HISTORY], dgate[VEC];
            cc1d_gather_taps(steps[u], steps[u + 1], LANE, p, tap);
            cc1d_forget_taps(at, seqlen, tap);
#if CC1D_SEQ
            cc1d_id_t id[HISTORY + VEC + HISTORY];
            cc1d_find_ids(SEQ_ARGUMENT p, m.b, at - HISTORY, HISTORY + VEC + HISTORY, id);
#endif
            cc1d_count_taps(tap, ID_ARGUMENT SEQ_ARGUMENT INITIAL_ARGUMENT p, m, at, counted);
            cc1d_find_dpre(at, seqlen, given[u], w, start, counted, ID_ARGUMENT dpre, dgate);
#if CC1D_HAS_DPOST_GATE
            cc1d_store_steps(row.dpost_gate, t, u * TEAM, seqlen, cc1d_pack_reals(dgate));
#endif
#if CC1D_HAS_DWEIGHT
            cc1d_add_dweight(at, seqlen, dpre, counted, dweight);
#endif
#if SENDS_BACK
#pragma unroll
            for (int i = 0; i < HISTORY; i++) { /* from the lanes after this one */
                int ahead = i / VEC + 1;
                dpre[VEC + i] =
                    SHUFFLE_ROTATE(lane < (uint)ahead ? later[i % VEC] : dpre[i % VEC], LANE, ahead, TEAM);
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
#if CC1D_HAS_PRE_GATE
                dx[i] = sum * cc1d_pack_get(raw[u + 1].gate, i);
                dgate[i] = sum * cc1d_pack_get(raw[u + 1].x, i);
#endif
#if CC1D_SEQ
                if (id[HISTORY + i] < 0) dx[i] = dgate[i] = 0;
#endif
            }
#if CC1D_HAS_DX
            cc1d_store_steps(row.target, t, u * TEAM, seqlen, cc1d_pack_reals(dx));
#endif
#if CC1D_HAS_DPRE_GATE
            cc1d_store_steps(row.dpre_gate, t, u * TEAM, seqlen, cc1d_pack_reals(dgate));
#endif
#pragma unroll
            for (int i = 0; i < VEC; i++) later[i] = dpre[i];
#endif
        }
    }

#if CC1D_HAS_DWEIGHT
#pragma unroll
    for (int k = 0; k <= WIDTH; k++) {
#if CC1D_ROW_LANES
#pragma unroll
#else
#pragma unroll 1
#endif
        for (uint half_team = TEAM / 2; half_team > 0; half_team /= 2)
            dweight[k] += SHUFFLE_XOR(dweight[k], half_team);
        if (lane == 0 && m.live) {
            cc1d_offset_t part = (cc1d_offset_t)m.b * (uint)p.inner.divisor + m.segment;
            scratch[LONG(p.partials) + (part * (uint)p.dim + m.d) * (WIDTH + 1) + (uint)k] = dweight[k];
        }
    }
#endif
}
#endif
