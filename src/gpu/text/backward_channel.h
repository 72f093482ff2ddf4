/* backward_channel.h - dx and partial weight gradients where channels are contiguous, and for any other
 * strides: a thread owns CC1D_VEC channels and walks a run of time steps; step t - HISTORY's dx is complete
 * when step t's gradient is known.
 *
 * Reads x and dout once (HISTORY steps at either end of a run twice), writes dx once, and WIDTH + 1 sums per
 * channel and group of runs into scratch[part][tap][channel]. */
#ifdef CC1D_KERNEL_BACKWARD_CHANNEL
FN cc1d_given cc1d_load_given(cc1d_columns column, CONSTANT cc1d_conv_params &p, int t, int end, int count) {
    cc1d_given given;
    given.dout = cc1d_load_column(column.side, p.side, t, end, count);
#if CC1D_HAS_POST_GATE
    given.gate = cc1d_load_column(column.post_gate, p.post_gate, t, end, count);
#endif
    return given;
}

FN void cc1d_move_columns(LOCAL cc1d_columns &column, CONSTANT cc1d_conv_params &p, int steps) {
    cc1d_move_column(column.x, p.x, steps);
    cc1d_move_column(column.side, p.side, steps);
#if CC1D_HAS_PRE_GATE
    cc1d_move_column(column.pre_gate, p.pre_gate, steps);
#endif
#if CC1D_HAS_POST_GATE
    cc1d_move_column(column.post_gate, p.post_gate, steps);
#endif
}

/* Writes the steps of a turn that starts at step t, where the column stands, and moves it on; only steps
 * first..end-1. */
FN void cc1d_store_turn(LOCAL cc1d_column &column, CONSTANT cc1d_place &place, int t, int first, int end,
                        int count, LOCAL const cc1d_pack *done) {
    if (t >= first && t + CC1D_UNROLL <= end) {
#pragma unroll
        for (int u = 0; u < CC1D_UNROLL; u++) cc1d_store_column(column, place, (uint)u, count, done[u]);
    } else {
#pragma unroll
        for (int u = 0; u < CC1D_UNROLL; u++)
            if (t + u >= first && t + u < end) cc1d_store_column(column, place, (uint)u, count, done[u]);
    }
    cc1d_move_column(column, place, CC1D_UNROLL);
}

ENTRY(cc1d_backward_channel, cc1d_conv_params) {
    cc1d_walk m = cc1d_find_walk(p, GROUP_X, GROUP_Y, THREAD);
    uint b = m.b, d = m.d;
    int first = m.first, end = m.end;
    bool live = m.live;
    int read_end = live ? (end + HISTORY < p.seqlen ? end + HISTORY : p.seqlen) : first;
    int count = cc1d_channels_of(p, d);
    cc1d_columns column = cc1d_columns();
    FIND_COLUMN(x)
    FIND_COLUMN(side)
#if CC1D_HAS_PRE_GATE
    FIND_COLUMN(pre_gate)
#endif
#if CC1D_HAS_POST_GATE
    FIND_COLUMN(post_gate)
#endif
#if CC1D_HAS_DWEIGHT
    SHARED cc1d_real sums[(WIDTH + 1) * VEC * CC1D_GROUP_SIZE]; /* [tap][channel][thread] */
#endif
#if CC1D_HAS_DX
    /* Step t - HISTORY, which may lie before the tensor: only steps of this run are written. */
    cc1d_column dx_column = cc1d_find_column(target, p.target, b, d);
    cc1d_move_column(dx_column, p.target, first - HISTORY);
#endif
#if CC1D_HAS_DPRE_GATE
    cc1d_column dpre_gate_column = cc1d_find_column(dpre_gate, p.dpre_gate, b, d);
    cc1d_move_column(dpre_gate_column, p.dpre_gate, first - HISTORY);
#endif
#if CC1D_HAS_DPOST_GATE
    cc1d_column dpost_gate_column = cc1d_find_column(dpost_gate, p.dpost_gate, b, d);
    cc1d_move_column(dpost_gate_column, p.dpost_gate, first);
#endif

    cc1d_raw next_raw[CC1D_UNROLL];
    cc1d_given next_given[CC1D_UNROLL];
#pragma unroll
    for (int u = 0; u < CC1D_UNROLL; u++) {
        next_raw[u] = cc1d_load_raw(column, p, first + u, read_end, count);
        next_given[u] = cc1d_load_given(column, p, first + u, read_end, count);
    }
    cc1d_columns ahead = column; /* of the steps that are loaded next */
    cc1d_move_columns(ahead, p, first + CC1D_UNROLL);
    cc1d_raw raw[HISTORY + CC1D_UNROLL]; /* of the taps, for what dx and dpre_gate come from */
    cc1d_real tap[HISTORY + CC1D_UNROLL][VEC], dpre[HISTORY + CC1D_UNROLL][VEC], dweight[WIDTH + 1][VEC];
#pragma unroll
    for (int i = 0; i < HISTORY; i++) {
        cc1d_pack v = cc1d_zero_pack();
        raw[i] = cc1d_zero_raw();
        if (live) v = cc1d_history_pack(column, INITIAL_ARGUMENT p, b, d, first - HISTORY + i, count, raw[i]);
        cc1d_unpack(v, tap[i]);
        cc1d_unpack(cc1d_zero_pack(), dpre[i]);
    }
#pragma unroll
    for (int k = 0; k <= WIDTH; k++) cc1d_unpack(cc1d_zero_pack(), dweight[k]);
    cc1d_real w[VEC][WIDTH], start[VEC];
    cc1d_load_channel_weights(weight, BIAS_ARGUMENT p, d, count, w[0], start);
#if CC1D_SEQ
    cc1d_id_t id[HISTORY + CC1D_UNROLL];
    cc1d_cursor here = cc1d_seek(SEQ_ARGUMENT p, b, first - HISTORY);
#pragma unroll
    for (int i = 0; i < HISTORY; i++) id[i] = cc1d_id_at(SEQ_ARGUMENT p, b, first - HISTORY + i, here);
#endif
#if SENDS_BACK && CC1D_HAS_LAST_GRADIENT && CC1D_SEQ != 2
    cc1d_row_end ends = cc1d_find_row_end(SEQ_ARGUMENT p, b, first, live ? end + HISTORY : first);
#endif

    for (int t = first; live; t += CC1D_UNROLL) {
#if CC1D_HAS_DWEIGHT
        if (t >= end &&
            t < end + CC1D_UNROLL) /* the run's own steps are summed; the ones after it only send back */
#pragma unroll
            for (int k = 0; k <= WIDTH; k++)
#pragma unroll
                for (int c = 0; c < VEC; c++) sums[(k * VEC + c) * CC1D_GROUP_SIZE + THREAD] = dweight[k][c];
#endif
        if (t >= end + HISTORY) break;
        cc1d_given given[CC1D_UNROLL];
#pragma unroll
        for (int u = 0; u < CC1D_UNROLL; u++) {
            raw[HISTORY + u] = next_raw[u];
            given[u] = next_given[u];
#if CC1D_SEQ
            id[HISTORY + u] = cc1d_id_at(SEQ_ARGUMENT p, b, t + u, here);
#endif
        }
        cc1d_pack done[CC1D_UNROLL];
#if CC1D_HAS_DPRE_GATE
        cc1d_pack dpre_done[CC1D_UNROLL];
#endif
#if CC1D_HAS_DPOST_GATE
        cc1d_pack dpost_done[CC1D_UNROLL];
#endif
        if (t + 2 * CC1D_UNROLL <= read_end) {
#pragma unroll
            for (int u = 0; u < CC1D_UNROLL; u++) {
                next_raw[u] = cc1d_load_raw(ahead, p, 0, 1, count);
                next_given[u] = cc1d_load_given(ahead, p, 0, 1, count);
                cc1d_move_columns(ahead, p, 1);
            }
        } else {
#pragma unroll
            for (int u = 0; u < CC1D_UNROLL; u++) {
                next_raw[u] = cc1d_load_raw(ahead, p, u, read_end - t - CC1D_UNROLL, count);
                next_given[u] = cc1d_load_given(ahead, p, u, read_end - t - CC1D_UNROLL, count);
            }
            cc1d_move_columns(ahead, p, CC1D_UNROLL);
        }
#pragma unroll
        for (int u = 0; u < CC1D_UNROLL; u++) {
            cc1d_real dx[VEC];
#if CC1D_HAS_PRE_GATE
            cc1d_real dpre_gated[VEC];
#endif
#if CC1D_HAS_DPOST_GATE
            cc1d_real dpost_gated[VEC];
#endif
            cc1d_unpack(cc1d_taps_of(raw[HISTORY + u]), tap[HISTORY + u]);
#pragma unroll
            for (int c = 0; c < VEC; c++) {
                cc1d_real acc = start[c], counted[WIDTH];
#pragma unroll
                for (int k = 0; k < WIDTH; k++) {
                    counted[k] = tap[u + k][c];
#if CC1D_SEQ
                    if (id[u + k] != id[u + HISTORY] || id[u + HISTORY] < 0)
                        counted[k] = OUTSIDE(WIDTH, id[u + HISTORY], cc1d_channel_of(d, c, count),
                                             t + u + k - HISTORY);
#endif
                    acc = fma(w[c][k], counted[k], acc);
                }
                cc1d_real dout = cc1d_pack_get(given[u].dout, c);
#if CC1D_HAS_DPOST_GATE
                dpost_gated[c] = dout * cc1d_activate(acc);
#if CC1D_SEQ
                if (id[HISTORY + u] < 0) dpost_gated[c] = 0;
#endif
#endif
#if CC1D_HAS_POST_GATE
                dout *= cc1d_pack_get(given[u].gate, c);
#endif
                cc1d_real gradient = cc1d_activation_gradient(dout, acc);
#if CC1D_SEQ
                if (id[HISTORY + u] < 0) gradient = 0;
#else
                if (t + u >= p.seqlen) gradient = 0; /* a slope beyond the last step may be no number */
#endif
                dpre[HISTORY + u][c] = gradient;
#if CC1D_HAS_DWEIGHT
                if (SLOPE_SHOWS_INFINITY || t + u < p.seqlen) { /* 0 * infinity is not 0 */
#pragma unroll
                    for (int k = 0; k < WIDTH; k++) dweight[k][c] = fma(gradient, counted[k], dweight[k][c]);
                    dweight[WIDTH][c] += gradient;
                }
#endif
#if SENDS_BACK
#if CC1D_SEQ
                cc1d_id_t own_id = id[u];
#else
                cc1d_id_t own_id = 0;
#endif
                cc1d_real sum = 0; /* of step t + u - HISTORY, whose dx is complete now */
#if CC1D_HAS_LAST_GRADIENT
                int s = t + u - HISTORY;
                if (s >= first && s < end)
                    sum = cc1d_last_gradient(last, SEQ_ARGUMENT ROW_END_ARGUMENT p, WIDTH, b, own_id,
                                             cc1d_channel_of(d, c, count), s);
#endif
#pragma unroll
                for (int k = 0; k < WIDTH; k++) {
                    cc1d_real sent = dpre[u + HISTORY - k][c];
#if CC1D_SEQ
                    if (id[u + HISTORY - k] != own_id) sent = 0;
#endif
                    sum = fma(w[c][k], sent, sum);
                }
#if CC1D_HAS_PRE_GATE
                dpre_gated[c] = own_id < 0 ? (cc1d_real)0 : sum * cc1d_pack_get(raw[u].x, c);
                sum *= cc1d_pack_get(raw[u].gate, c);
#endif
                dx[c] = own_id < 0 ? (cc1d_real)0 : sum;
#endif
            }
#if CC1D_HAS_DX
            done[u] = cc1d_pack_reals(dx);
#endif
#if CC1D_HAS_DPRE_GATE
            dpre_done[u] = cc1d_pack_reals(dpre_gated);
#endif
#if CC1D_HAS_DPOST_GATE
            dpost_done[u] = cc1d_pack_reals(dpost_gated);
#endif
        }
#if CC1D_HAS_DX
        cc1d_store_turn(dx_column, p.target, t - HISTORY, first, end, count, done);
#endif
#if CC1D_HAS_DPRE_GATE
        cc1d_store_turn(dpre_gate_column, p.dpre_gate, t - HISTORY, first, end, count, dpre_done);
#endif
#if CC1D_HAS_DPOST_GATE
        cc1d_store_turn(dpost_gate_column, p.dpost_gate, t, first, end, count, dpost_done);
#endif
#pragma unroll
        for (int i = 0; i < HISTORY; i++) {
            raw[i] = raw[CC1D_UNROLL + i];
#pragma unroll
            for (int c = 0; c < VEC; c++) {
                tap[i][c] = tap[CC1D_UNROLL + i][c];
                dpre[i][c] = dpre[CC1D_UNROLL + i][c];
            }
#if CC1D_SEQ
            id[i] = id[CC1D_UNROLL + i];
#endif
        }
    }

#if CC1D_HAS_DWEIGHT
    BARRIER();
    cc1d_offset_t part = (cc1d_offset_t)b * (uint)p.middle.divisor + m.runs;
    if (live && THREAD < GROUP_COLUMNS) {
#pragma unroll
        for (int k = 0; k <= WIDTH; k++) cc1d_unpack(cc1d_zero_pack(), dweight[k]);
        int t = (int)(m.runs * GROUP_RUNS) * p.run, group_end = t + (int)GROUP_RUNS * p.run;
        if (group_end > p.seqlen) group_end = p.seqlen;
#pragma unroll 1
        for (uint at = THREAD; t < group_end; t += p.run, at += GROUP_COLUMNS)
#pragma unroll
            for (int k = 0; k <= WIDTH; k++)
#pragma unroll
                for (int c = 0; c < VEC; c++) dweight[k][c] += sums[(k * VEC + c) * CC1D_GROUP_SIZE + at];
#pragma unroll
        for (int k = 0; k <= WIDTH; k++)
#pragma unroll
            for (int c = 0; c < VEC; c++)
                if (c < count)
                    scratch[LONG(p.partials) + (part * (WIDTH + 1) + (uint)k) * (uint)p.dim + d + (uint)c] =
                        dweight[k][c];
    }
#endif
}
#endif
