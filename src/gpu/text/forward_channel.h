/* forward_channel.h - y where channels are contiguous, and for any other strides: a thread owns CC1D_VEC
 * channels and walks a run of time steps with the taps in registers; neighbouring threads own neighbouring
 * channels.
 *
 * Reads x (and residual) once, HISTORY steps per run once more, weights and bias once per run; writes y once.
 * With packed sequences a turn of CC1D_UNROLL steps is one sequence's: the steps before its end that make no
 * turn are computed one by one, and the taps before the next one are replaced. */
#ifdef CC1D_KERNEL_FORWARD_CHANNEL
#if CC1D_SEQ == 1
#define IDS_PARAMETER LOCAL const cc1d_id_t *id,
#define IDS_ARGUMENT(ids) ids,
#else
#define IDS_PARAMETER
#define IDS_ARGUMENT(ids)
#endif
/* y of the step after the HISTORY first of tap[step][channel]. */
FN void cc1d_find_y(LOCAL const cc1d_real *tap, IDS_PARAMETER LOCAL const cc1d_real *w,
                    LOCAL const cc1d_real *start, LOCAL cc1d_real *y) {
#pragma unroll
    for (int c = 0; c < VEC; c++) {
        cc1d_real acc = start[c];
#pragma unroll
        for (int k = 0; k < WIDTH; k++) {
            cc1d_real counted = tap[k * VEC + c];
#if CC1D_SEQ == 1
            if (id[k] != id[HISTORY] || id[HISTORY] < 0) counted = 0;
#endif
            acc = fma(w[c * WIDTH + k], counted, acc);
        }
        y[c] = cc1d_activate(acc);
    }
}

ENTRY(cc1d_forward_channel, cc1d_conv_params) {
    START_NEXT_LAUNCH();
    cc1d_walk m = cc1d_find_walk(p, GROUP_X, GROUP_Y, THREAD);
    if (!m.live) return;
    uint b = m.b, d = m.d;
    FIND_PADDING(b)
    int first = m.first, end = m.end;
    int count = cc1d_channels_of(p, d);
    cc1d_columns column = cc1d_columns();
    FIND_COLUMN(x)
    cc1d_column y_column = cc1d_find_column(target, p.target, b, d);
#if CC1D_HAS_PRE_GATE
    FIND_COLUMN(pre_gate)
#endif
#if CC1D_HAS_POST_GATE
    FIND_COLUMN(post_gate)
    cc1d_pack gate[CC1D_UNROLL];
#endif
#if CC1D_HAS_RESIDUAL
    FIND_COLUMN(side)
    cc1d_pack residual[CC1D_UNROLL];
#endif

    cc1d_raw next[CC1D_UNROLL];
#pragma unroll
    for (int u = 0; u < CC1D_UNROLL; u++) next[u] = cc1d_load_raw(column, p, first + u, end, count);
    cc1d_real tap[(HISTORY + CC1D_UNROLL) * VEC];
#pragma unroll
    for (int i = 0; i < HISTORY; i++) {
        cc1d_raw raw;
        cc1d_unpack(cc1d_history_pack(column, INITIAL_ARGUMENT p, b, d, first - HISTORY + i, count, raw),
                    tap + i * VEC);
    }
#if CC1D_HAS_INITIAL == 2 && CC1D_SEQ != 2
    if (first < HISTORY) cc1d_find_past(INITIAL_ARGUMENT SEQ_ARGUMENT p, b, d, first, count, tap);
#endif
    cc1d_real w[VEC * WIDTH], start[VEC];
#pragma unroll
    for (int c = 0; c < VEC; c++) {
        uint channel = cc1d_channel_of(d, c, count);
        cc1d_load_weights(weight + channel * STRIDE(p.weight, 0), STRIDE(p.weight, 1), w + c * WIDTH);
#if CC1D_HAS_BIAS
        start[c] = BIAS_TO_REAL(LOAD(cc1d_bias_t, bias + channel * STRIDE(p.bias, 0)));
#else
        start[c] = 0;
#endif
    }
#if CC1D_SEQ == 2
    cc1d_cursor here = cc1d_seek(SEQ_ARGUMENT p, b, first);
    cc1d_id_t sequence = NO_SEQUENCE;
    int loaded = first; /* the step of next[0] */
#elif CC1D_SEQ
    cc1d_id_t id[HISTORY + CC1D_UNROLL];
    cc1d_cursor here = cc1d_seek(SEQ_ARGUMENT p, b, first - HISTORY);
#pragma unroll
    for (int i = 0; i < HISTORY; i++) id[i] = cc1d_id_at(SEQ_ARGUMENT p, b, first - HISTORY + i, here);
#endif

    int steps = CC1D_UNROLL; /* of a turn */
    for (int t = first; t < end; t += steps) {
#if CC1D_SEQ == 2
        cc1d_id_t before = sequence;
        sequence = cc1d_id_at(SEQ_ARGUMENT p, b, t, here);
        int stop = t < here.begin ? here.begin : t < here.end ? here.end : end;
        steps = (stop < end ? stop : end) - t;
        steps = steps < CC1D_UNROLL ? steps : CC1D_UNROLL;
        if (sequence != before && sequence >= 0)
            cc1d_find_past(INITIAL_ARGUMENT SEQ_ARGUMENT p, (uint)sequence, d, t - here.begin, count, tap);
        if (steps < CC1D_UNROLL) {
#pragma unroll 1
            for (int u = 0; u < steps; u++) {
                cc1d_real y[VEC];
                cc1d_unpack(cc1d_taps_of(cc1d_load_raw(column, p, t + u, t + u + 1, count)),
                            tap + HISTORY * VEC);
                cc1d_find_y(tap, w, start, y);
#if CC1D_HAS_POST_GATE
                cc1d_pack gate_step = cc1d_load_channels(column.post_gate, p.post_gate, (uint)(t + u), count);
#pragma unroll
                for (int c = 0; c < VEC; c++) y[c] *= cc1d_pack_get(gate_step, c);
#endif
#if CC1D_HAS_RESIDUAL
                cc1d_pack side_step = cc1d_load_channels(column.side, p.side, (uint)(t + u), count);
#pragma unroll
                for (int c = 0; c < VEC; c++) y[c] += cc1d_pack_get(side_step, c);
#endif
                cc1d_store_column(y_column, p.target, (uint)(t + u), count, STORED(cc1d_pack_reals(y)));
#pragma unroll
                for (int i = 0; i < HISTORY * VEC; i++) tap[i] = tap[VEC + i];
            }
            continue;
        }
        if (loaded != t)
#pragma unroll
            for (int u = 0; u < CC1D_UNROLL; u++) next[u] = cc1d_load_raw(column, p, t + u, t + u + 1, count);
        loaded = t + CC1D_UNROLL;
#endif
        cc1d_raw now[CC1D_UNROLL];
#pragma unroll
        for (int u = 0; u < CC1D_UNROLL; u++) {
            now[u] = next[u];
            next[u] = cc1d_load_raw(column, p, t + CC1D_UNROLL + u, end, count);
#if CC1D_HAS_POST_GATE
            gate[u] = cc1d_load_column(column.post_gate, p.post_gate, t + u, end, count);
#endif
#if CC1D_HAS_RESIDUAL
            residual[u] = cc1d_load_column(column.side, p.side, t + u, end, count);
#endif
#if CC1D_SEQ == 1
            id[HISTORY + u] = cc1d_id_at(SEQ_ARGUMENT p, b, t + u, here);
#endif
        }
#pragma unroll
        for (int u = 0; u < CC1D_UNROLL; u++) {
            cc1d_real y[VEC];
            cc1d_unpack(cc1d_taps_of(now[u]), tap + (HISTORY + u) * VEC);
            cc1d_find_y(tap + u * VEC, IDS_ARGUMENT(id + u) w, start, y);
#pragma unroll
            for (int c = 0; c < VEC; c++) {
#if CC1D_HAS_POST_GATE
                y[c] *= cc1d_pack_get(gate[u], c);
#endif
#if CC1D_HAS_RESIDUAL
                y[c] += cc1d_pack_get(residual[u], c);
#endif
#if CC1D_SEQ == 1
                if (id[u + HISTORY] < 0) y[c] = 0;
#endif
            }
            if (CC1D_SEQ == 2 || t + u < end)
                cc1d_store_column(y_column, p.target, (uint)(t + u), count, STORED(cc1d_pack_reals(y)));
        }
#pragma unroll
        for (int i = 0; i < HISTORY; i++) {
#pragma unroll
            for (int c = 0; c < VEC; c++) tap[i * VEC + c] = tap[(CC1D_UNROLL + i) * VEC + c];
#if CC1D_SEQ == 1
            id[i] = id[CC1D_UNROLL + i];
#endif
        }
    }
}
#endif
