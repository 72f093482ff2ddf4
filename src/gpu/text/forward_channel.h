/* forward_channel.h - y where channels are contiguous, and for any other strides: a thread owns CC1D_VEC
 * channels and walks a run of time steps with the taps in registers; neighbouring threads own neighbouring
 * channels.
 *
 * Reads x (and residual) once, HISTORY steps per run once more, weights and bias once per run; writes y once.
 * With packed sequences it walks one sequence's part of the run after the other. */
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
#if CC1D_SEQ != 2
    cc1d_slot slot = cc1d_find_slot(SLOT_ARGUMENT p, b);
#endif
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
    cc1d_real w[VEC * WIDTH], start[VEC];
#if CC1D_SEQ == 2
    cc1d_load_channel_weights(weight, BIAS_ARGUMENT p, d, count, w, start);
    cc1d_cursor here = cc1d_seek(SEQ_ARGUMENT p, b, first);
    for (int run_end = end; first < run_end; first = end) {
        cc1d_id_t sequence = cc1d_id_at(SEQ_ARGUMENT p, b, first, here);
        int stop = first < here.begin ? here.begin : first < here.end ? here.end : run_end;
        end = stop < run_end ? stop : run_end;
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
#if CC1D_SEQ == 2
        if (sequence >= 0 && first - here.begin < HISTORY)
            cc1d_load_past(INITIAL_ARGUMENT p, here.slot, (uint)sequence, d, first - here.begin, count, tap);
#elif CC1D_HAS_INITIAL == 2
    if (first < HISTORY) cc1d_load_past(INITIAL_ARGUMENT p, slot, b, d, first, count, tap);
#endif
#if CC1D_SEQ != 2
        cc1d_load_channel_weights(weight, BIAS_ARGUMENT p, d, count, w, start);
#endif
#if CC1D_SEQ == 1
        cc1d_id_t id[HISTORY + CC1D_UNROLL];
        cc1d_cursor here = cc1d_seek(SEQ_ARGUMENT p, b, first - HISTORY);
#pragma unroll
        for (int i = 0; i < HISTORY; i++) id[i] = cc1d_id_at(SEQ_ARGUMENT p, b, first - HISTORY + i, here);
#endif

        for (int t = first; t < end; t += CC1D_UNROLL) {
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
                if (t + u < end)
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
#if CC1D_SEQ == 2
    }
#endif
}
#endif
