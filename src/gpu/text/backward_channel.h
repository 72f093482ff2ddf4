/* backward_channel.h - dx and partial weight gradients where channels are contiguous, and for any other
 * strides: a thread owns CC1D_VEC channels and walks a run of time steps; step t - HISTORY's dx is complete
 * when step t's gradient is known.
 *
 * Reads x and dout once (HISTORY steps at either end of a run twice), writes dx once, and WIDTH + 1 sums per
 * channel and group of runs into scratch[part][tap][channel]. */
#ifdef CC1D_KERNEL_BACKWARD_CHANNEL
ENTRY(cc1d_backward_channel, cc1d_conv_params) {
    cc1d_walk m = cc1d_find_walk(p, GROUP_X, GROUP_Y, THREAD);
    uint b = m.b, d = m.d;
    int first = m.first, end = m.end;
    bool live = m.live;
    int read_end = live ? (end + HISTORY < p.seqlen ? end + HISTORY : p.seqlen) : first;
    int count = cc1d_channels_of(p, d);
    cc1d_column x_column = cc1d_find_column(x, p.x, b, d);
    cc1d_column dout_column = cc1d_find_column(side, p.side, b, d);
#if CC1D_HAS_DWEIGHT
    SHARED cc1d_real sums[(WIDTH + 1) * VEC * CC1D_GROUP_SIZE]; /* [tap][channel][thread] */
#endif
#if CC1D_HAS_DX
    /* Step t - HISTORY, which may lie before the tensor: only steps of this run are written. */
    cc1d_column dx_column = cc1d_find_column(target, p.target, b, d);
    cc1d_move_column(dx_column, p.target, first - HISTORY);
#endif

    cc1d_pack next_x[CC1D_UNROLL], next_dout[CC1D_UNROLL];
#pragma unroll
    for (int u = 0; u < CC1D_UNROLL; u++) {
        next_x[u] = cc1d_load_column(x_column, p.x, first + u, read_end, count);
        next_dout[u] = cc1d_load_column(dout_column, p.side, first + u, read_end, count);
    }
    cc1d_column x_next = x_column, dout_next = dout_column;
    cc1d_move_column(x_next, p.x, first + CC1D_UNROLL);
    cc1d_move_column(dout_next, p.side, first + CC1D_UNROLL);
    cc1d_real tap[HISTORY + CC1D_UNROLL][VEC], dpre[HISTORY + CC1D_UNROLL][VEC], dweight[WIDTH + 1][VEC];
#pragma unroll
    for (int i = 0; i < HISTORY; i++) {
        cc1d_pack v = cc1d_zero_pack();
        if (live) v = cc1d_history_pack(x_column, INITIAL_ARGUMENT p, b, d, first - HISTORY + i, count);
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
#if CC1D_HAS_DX && CC1D_HAS_LAST_GRADIENT && CC1D_SEQ != 2
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
        cc1d_pack now_x[CC1D_UNROLL], now_dout[CC1D_UNROLL];
#pragma unroll
        for (int u = 0; u < CC1D_UNROLL; u++) {
            now_x[u] = next_x[u];
            now_dout[u] = next_dout[u];
#if CC1D_SEQ
            id[HISTORY + u] = cc1d_id_at(SEQ_ARGUMENT p, b, t + u, here);
#endif
        }
#if CC1D_HAS_DX
        cc1d_pack done[CC1D_UNROLL];
#endif
        if (t + 2 * CC1D_UNROLL <= read_end) {
#pragma unroll
            for (int u = 0; u < CC1D_UNROLL; u++) {
                next_x[u] = cc1d_load_channels(x_next, p.x, 0, count);
                next_dout[u] = cc1d_load_channels(dout_next, p.side, 0, count);
                cc1d_move_column(x_next, p.x, 1);
                cc1d_move_column(dout_next, p.side, 1);
            }
        } else {
#pragma unroll
            for (int u = 0; u < CC1D_UNROLL; u++) {
                next_x[u] = cc1d_load_column(x_next, p.x, u, read_end - t - CC1D_UNROLL, count);
                next_dout[u] = cc1d_load_column(dout_next, p.side, u, read_end - t - CC1D_UNROLL, count);
            }
            cc1d_move_column(x_next, p.x, CC1D_UNROLL);
            cc1d_move_column(dout_next, p.side, CC1D_UNROLL);
        }
#pragma unroll
        for (int u = 0; u < CC1D_UNROLL; u++) {
#if CC1D_HAS_DX
            cc1d_real dx[VEC];
#endif
            cc1d_unpack(now_x[u], tap[HISTORY + u]);
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
                cc1d_real gradient = cc1d_activation_gradient(cc1d_pack_get(now_dout[u], c), acc);
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
#if CC1D_HAS_DX
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
                dx[c] = own_id < 0 ? (cc1d_real)0 : sum;
#endif
            }
#if CC1D_HAS_DX
            done[u] = cc1d_pack_reals(dx);
#endif
        }
#if CC1D_HAS_DX
        if (t - HISTORY >= first && t + CC1D_UNROLL - HISTORY <= end) {
#pragma unroll
            for (int u = 0; u < CC1D_UNROLL; u++)
                cc1d_store_column(dx_column, p.target, (uint)u, count, done[u]);
        } else {
#pragma unroll
            for (int u = 0; u < CC1D_UNROLL; u++)
                if (t + u - HISTORY >= first && t + u - HISTORY < end)
                    cc1d_store_column(dx_column, p.target, (uint)u, count, done[u]);
        }
        cc1d_move_column(dx_column, p.target, CC1D_UNROLL);
#endif
#pragma unroll
        for (int i = 0; i < HISTORY; i++) {
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
