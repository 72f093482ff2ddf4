/* forward_time.h - y where time is contiguous: a team of lanes computes up to CC1D_UNROLL blocks of packs of
 * one row.
 *
 * Reads x (and residual) once, the packs before a segment's first once more, weights and bias per team;
 * writes y once. With packed sequences a block that lies in one is computed as without; the packs of others
 * once for each sequence that has steps in them. */
#ifdef CC1D_KERNEL_FORWARD_TIME
#if CC1D_HAS_POST_GATE
#define GATE_PARAMETER cc1d_pack gate,
#define GATE_ARGUMENT(u) gate[u],
#else
#define GATE_PARAMETER
#define GATE_ARGUMENT(u)
#endif
#if CC1D_HAS_RESIDUAL
#define RESIDUAL_PARAMETER cc1d_pack residual,
#define RESIDUAL_ARGUMENT(u) residual[u],
#else
#define RESIDUAL_PARAMETER
#define RESIDUAL_ARGUMENT(u)
#endif
/* y of a pack's steps; the taps of step i begin at tap[i * apart]. */
FN void cc1d_find_y(LOCAL const cc1d_real *tap, int apart, LOCAL const cc1d_real *w, cc1d_real start,
                    GATE_PARAMETER RESIDUAL_PARAMETER LOCAL cc1d_real *y) {
#pragma unroll
    for (int i = 0; i < VEC; i++) {
        y[i] = cc1d_activate(cc1d_accumulate(start, w, tap + i * apart));
#if CC1D_HAS_POST_GATE
        y[i] *= cc1d_pack_get(gate, i);
#endif
#if CC1D_HAS_RESIDUAL
        y[i] += cc1d_pack_get(residual, i);
#endif
    }
}

ENTRY(cc1d_forward_time, cc1d_conv_params) {
    cc1d_team m = cc1d_find_team(p, GROUP_X, GROUP_Y, THREAD);
    uint lane = LANE & (uint)(TEAM - 1);
#if CC1D_SEQ != 2
    cc1d_slot slot = cc1d_find_slot(SLOT_ARGUMENT p, m.b);
#endif
    int seqlen = m.live ? p.seqlen : 0;
    uint shift = CC1D_PARTIAL_PACKS ? cc1d_row_skew(p.target, p.target_offset, m) : 0u;
    int blocks = CC1D_PARTIAL_PACKS ? p.run : CC1D_UNROLL;
    int t = ((int)m.segment * blocks * TEAM + (int)lane) * VEC - (int)shift;
    cc1d_rows row = cc1d_rows();
    FIND_ROW(x, CC1D_X_SKEWED)
#if CC1D_HAS_PRE_GATE
    FIND_ROW(pre_gate, CC1D_GATES_SKEWED)
#endif
    FIND_ROW(target, 0)

    cc1d_raw raw[CC1D_UNROLL + 1]; /* the first are those before the segment */
    raw[0] = cc1d_zero_raw();
    if (!LOADS_NEIGHBOURS && lane >= (uint)(TEAM - HALO)) raw[0] = cc1d_load_raw(row, t, -TEAM, seqlen);
#pragma unroll
    for (int u = 0; u < CC1D_UNROLL; u++)
        if (u < blocks) raw[u + 1] = cc1d_load_raw(row, t, u * TEAM, seqlen);
#if LOADS_NEIGHBOURS
    cc1d_raw before[CC1D_UNROLL][HALO + 1];
#pragma unroll
    for (int u = 0; u < CC1D_UNROLL; u++)
#pragma unroll
        for (int back = 1; back <= HALO && u < blocks; back++)
            before[u][back] = cc1d_load_raw(row, t, u * TEAM - back, seqlen);
#endif
#if CC1D_HAS_RESIDUAL
    FIND_ROW(side, CC1D_SIDE_SKEWED)
    cc1d_pack residual[CC1D_UNROLL];
#pragma unroll
    for (int u = 0; u < CC1D_UNROLL; u++)
        if (u < blocks) residual[u] = cc1d_load_steps(row.side, t, u * TEAM, seqlen);
#endif
#if CC1D_HAS_POST_GATE
    FIND_ROW(post_gate, CC1D_GATES_SKEWED)
    cc1d_pack gate[CC1D_UNROLL];
#pragma unroll
    for (int u = 0; u < CC1D_UNROLL; u++)
        if (u < blocks) gate[u] = cc1d_load_steps(row.post_gate, t, u * TEAM, seqlen);
#endif
    cc1d_real w[WIDTH];
    cc1d_load_weights(weight + m.d * STRIDE(p.weight, 0), STRIDE(p.weight, 1), w);
    cc1d_real start = cc1d_load_bias(BIAS_ARGUMENT p, m.d);

#if CC1D_SEQ == 2
    cc1d_cursor here = cc1d_seek(SEQ_ARGUMENT p, m.b, t - (int)lane * VEC);
#endif
    LOAD_STATES(t, past) /* while steps are on their way */
    cc1d_pack steps[CC1D_UNROLL + 1];
    steps[0] = cc1d_taps_of(raw[0]);
    if (!LOADS_NEIGHBOURS && lane >= (uint)(TEAM - HALO)) steps[0] = ADD_INITIAL(steps[0], t - TEAM * VEC);
#pragma unroll
    for (int u = 0; u < CC1D_UNROLL; u++) {
        if (u >= blocks) break;
        cc1d_real tap[HISTORY + VEC], y[VEC];
        steps[u + 1] = ADD_INITIAL(cc1d_taps_of(raw[u + 1]), t + u * TEAM * VEC);
#if LOADS_NEIGHBOURS
#pragma unroll
        for (int back = 1; back <= HALO; back++) {
            int ahead = u * TEAM - back;
            cc1d_place_taps(ADD_INITIAL(cc1d_taps_of(before[u][back]), t + ahead * VEC), back, tap);
        }
        cc1d_place_taps(steps[u + 1], 0, tap);
#else
        cc1d_gather_taps(steps[u], steps[u + 1], LANE, p, tap);
#endif
        if (u == 0) { /* a row's start */
            PLACE_STATES(t, past, tap);
        }
        int at = t + u * TEAM * VEC;
#if CC1D_SEQ == 2
        int first = at - (int)lane * VEC; /* of the block */
        cc1d_id_t sequence = cc1d_id_at(SEQ_ARGUMENT p, m.b, first, here);
        bool whole = sequence >= 0 && here.begin <= first - HISTORY && first + TEAM * VEC <= here.end;
        if (whole) {
            cc1d_find_y(tap, 1, w, start, GATE_ARGUMENT(u) RESIDUAL_ARGUMENT(u) y);
        } else {
            cc1d_cursor own = here; /* one sequence after the other, or what lies between them */
#pragma unroll
            for (int i = 0; i < VEC; i++) y[i] = 0;
#pragma unroll 1
            for (int s = at < 0 ? 0 : at, stop; s < at + VEC && s < seqlen; s = stop) {
                sequence = cc1d_id_at(SEQ_ARGUMENT p, m.b, s, own);
                stop = s < own.begin ? own.begin : s < own.end ? own.end : seqlen;
                if (sequence < 0) continue;
                cc1d_real counted[HISTORY + VEC], value[VEC];
                cc1d_place_past(tap, INITIAL_ARGUMENT p, m.d, at - HISTORY, own, counted);
                cc1d_find_y(counted, 1, w, start, GATE_ARGUMENT(u) RESIDUAL_ARGUMENT(u) value);
#pragma unroll
                for (int i = 0; i < VEC; i++)
                    if ((uint)(at + i - s) < (uint)(stop - s)) y[i] = value[i];
            }
        }
#else
#if CC1D_SEQ
        cc1d_id_t id[HISTORY + VEC];
        cc1d_find_ids(SEQ_ARGUMENT p, m.b, at - HISTORY, HISTORY + VEC, id);
#endif
        cc1d_real counted[VEC * WIDTH];
        cc1d_count_taps(tap, ID_ARGUMENT SEQ_ARGUMENT INITIAL_ARGUMENT p, m, at, counted);
        cc1d_find_y(counted, WIDTH, w, start, GATE_ARGUMENT(u) RESIDUAL_ARGUMENT(u) y);
#if CC1D_SEQ
#pragma unroll
        for (int i = 0; i < VEC; i++)
            if (id[i + HISTORY] < 0) y[i] = 0;
#endif
#endif
        cc1d_store_steps(row.target, t, u * TEAM, seqlen, STORED(cc1d_pack_reals(y)));
    }
}
#endif
