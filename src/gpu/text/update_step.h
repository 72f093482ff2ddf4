/* update_step.h - decoding one step, a short state that shifts: VEC channels of CC1D_UNROLL batch rows per
 * thread, all in registers.
 *
 * CC1D_STATE_ROWS 1: a channel's CC1D_STATE_LEN steps are contiguous, and channels follow each other without
 * a gap; 2: and those of VEC channels are one access, so that a group's neighbours read neighbouring bytes.
 * Reads x (and its gate) and the state once, writes y and the state once; weights and bias once per thread.
 */
#ifdef CC1D_KERNEL_UPDATE_STEP
#define STATE_LEN CC1D_STATE_LEN
#define STATE_PACKS (STATE_LEN > 0 ? STATE_LEN : 1)

#if CC1D_STATE_ROWS == 2
#define ROWS_WORDS (STATE_LEN * PACK_BYTES / 4)
#if ROWS_WORDS == 4
typedef VEC4 cc1d_memory_rows;
#elif ROWS_WORDS == 2
typedef VEC2 cc1d_memory_rows;
#else
typedef uint cc1d_memory_rows;
#endif

FN void cc1d_read_rows(DEVICE const cc1d_x_t *source, LOCAL cc1d_pack *packs) {
    cc1d_memory_rows u = *(DEVICE const cc1d_memory_rows *)source;
#if ROWS_WORDS == 4
    uint word[4] = {u.x, u.y, u.z, u.w};
#elif ROWS_WORDS == 2
    uint word[2] = {u.x, u.y};
#else
    uint word[1] = {u};
#endif
#pragma unroll
    for (int i = 0; i < STATE_PACKS * PACK_WORDS; i++)
#if PACK_BYTES >= 4
        packs[i / PACK_WORDS].word[i % PACK_WORDS] = word[i];
#else
        packs[i].word[0] = (word[i / 2] >> (16 * (i & 1))) & 0xffffu;
#endif
}

FN void cc1d_store_rows(DEVICE cc1d_x_t *target, LOCAL const cc1d_pack *packs) {
    uint word[4] = {0, 0, 0, 0};
#pragma unroll
    for (int i = 0; i < STATE_PACKS * PACK_WORDS; i++)
#if PACK_BYTES >= 4
        word[i] = packs[i / PACK_WORDS].word[i % PACK_WORDS];
#else
        word[i / 2] |= packs[i].word[0] << (16 * (i & 1));
#endif
    cc1d_memory_rows u;
#if ROWS_WORDS == 1
    u = word[0];
#else
    u.x = word[0];
    u.y = word[1];
#endif
#if ROWS_WORDS == 4
    u.z = word[2];
    u.w = word[3];
#endif
    STORE(cc1d_memory_rows, target, u);
}
#endif

/* The state of step i of channel c, among the packs as they lie in memory. */
FN cc1d_x_t cc1d_state_bits(LOCAL const cc1d_pack *packs, int c, int i) {
#if CC1D_STATE_ROWS
    int flat = c * STATE_LEN + i;
    return cc1d_pack_bits(packs[flat / VEC], flat % VEC);
#else
    return cc1d_pack_bits(packs[i], c);
#endif
}

/* Where the pack of channels from d on of a row lies in a tensor: its number or its address. */
#if NUMBERED_PACKS
#define SPOT(tensor, place, row, d) (((row)*STRIDE(place, 0) + (d)*STRIDE(place, 1)) / VEC)
#define SPOT_STEP(elements) ((elements) / VEC)
#define LOAD_SPOT(tensor, spot) cc1d_load_numbered(tensor, spot)
#define READ_SPOT(tensor, spot) cc1d_load_numbered(tensor, spot)
#define STORE_SPOT(tensor, spot, v) cc1d_store_numbered(tensor, spot, v)
#else
#define SPOT(tensor, place, row, d) ((tensor) + (row)*STRIDE(place, 0) + (d)*STRIDE(place, 1))
#define SPOT_STEP(elements) (elements)
#define LOAD_SPOT(tensor, spot) cc1d_load_pack(spot)
#define READ_SPOT(tensor, spot) cc1d_read_pack(spot)
#define STORE_SPOT(tensor, spot, v) cc1d_store_pack((DEVICE cc1d_x_t *)(spot), v)
#endif

ENTRY(cc1d_update_step, cc1d_update_params) {
    uint columns = 1u << p.column_bits, bundles = (uint)CC1D_GROUP_SIZE >> p.column_bits;
    uint slab_row = cc1d_divide(GROUP_X, p.inner);
    uint d = ((GROUP_X - slab_row * (uint)p.inner.divisor) * columns + (THREAD & (columns - 1))) * VEC;
    uint first = (slab_row + GROUP_Y * (uint)p.slab) * bundles + (THREAD >> p.column_bits);
    first *= CC1D_UNROLL;
    if (d >= (uint)p.dim || first >= (uint)p.batch) return;
#if CC1D_STATE_ROWS == 2
#define ROWS_OF(row) (state + (uint)(row)*STRIDE(p.state, 0) + d * STRIDE(p.state, 1))
#else
    cc1d_offset_t step = SPOT_STEP(CC1D_STATE_ROWS ? (cc1d_offset_t)VEC : STRIDE(p.state, 2));
#endif
    cc1d_pack now[CC1D_UNROLL], old[CC1D_UNROLL][STATE_PACKS];
    int row[CC1D_UNROLL], out_row[CC1D_UNROLL];
#if CC1D_HAS_PRE_GATE
    cc1d_pack now_gate[CC1D_UNROLL];
#endif
#pragma unroll
    for (int u = 0; u < CC1D_UNROLL; u++) {
        uint b = first + (uint)u;
        row[u] = out_row[u] = -1;
        now[u] = cc1d_zero_pack();
#if CC1D_HAS_PRE_GATE
        now_gate[u] = cc1d_zero_pack();
#endif
        if (b < (uint)p.batch) {
            row[u] = STATE_ROW(b);
            out_row[u] = OUT_ROW(b, row[u]);
            if (out_row[u] < 0) row[u] = -1;
            now[u] = LOAD_STEPS(NEW_STEPS, SPOT(NEW_STEPS, p.x, b, d));
#if CC1D_HAS_PRE_GATE
            now_gate[u] = LOAD_SPOT(pre_gate, SPOT(pre_gate, p.pre_gate, b, d));
#endif
        }
    }
#pragma unroll
    for (int u = 0; u < CC1D_UNROLL; u++) {
#pragma unroll
        for (int i = 0; i < STATE_LEN; i++)
#if CC1D_STATE_ROWS == 2
            old[u][i] = cc1d_zero_pack();
        if (row[u] >= 0) cc1d_read_rows(ROWS_OF(row[u]), old[u]);
#else
            old[u][i] = row[u] < 0 ? cc1d_zero_pack()
                                   : READ_SPOT(state, SPOT(state, p.state, (uint)row[u], d) + (uint)i * step);
#endif
    }
    cc1d_real w[VEC][WIDTH], start[VEC];
#pragma unroll
    for (int c = 0; c < VEC; c++) {
        cc1d_load_weights(weight + (d + (uint)c) * STRIDE(p.weight, 0), STRIDE(p.weight, 1), w[c]);
#if CC1D_HAS_BIAS
        start[c] = BIAS_TO_REAL(LOAD(cc1d_bias_t, bias + (d + (uint)c) * STRIDE(p.bias, 0)));
#else
        start[c] = 0;
#endif
    }
#pragma unroll
    for (int u = 0; u < CC1D_UNROLL; u++) {
        uint b = first + (uint)u;
        cc1d_real y[VEC];
#if CC1D_HAS_PRE_GATE
        now[u] = cc1d_gated_pack(now[u], now_gate[u]);
#endif
        cc1d_pack moved[STATE_PACKS];
#pragma unroll
        for (int i = 0; i < STATE_LEN; i++) moved[i] = cc1d_zero_pack();
#pragma unroll
        for (int c = 0; c < VEC; c++) {
            cc1d_real acc = start[c];
#pragma unroll
            for (int k = 0; k < HISTORY; k++)
                acc = fma(w[c][k], X_TO_REAL(cc1d_state_bits(old[u], c, STATE_LEN - HISTORY + k)), acc);
            acc = fma(w[c][HISTORY], cc1d_pack_get(now[u], c), acc);
            y[c] = row[u] < 0 ? (cc1d_real)0 : cc1d_activate(acc);
#pragma unroll
            for (int i = 0; i < STATE_LEN; i++) {
                cc1d_x_t bits =
                    i + 1 < STATE_LEN ? cc1d_state_bits(old[u], c, i + 1) : cc1d_pack_bits(now[u], c);
#if CC1D_STATE_ROWS
                int flat = c * STATE_LEN + i;
                moved[flat / VEC] = cc1d_pack_with(moved[flat / VEC], flat % VEC, bits);
#else
                moved[i] = cc1d_pack_with(moved[i], c, bits);
#endif
            }
        }
#if CC1D_HAS_POST_GATE
        cc1d_pack gate =
            b < (uint)p.batch ? LOAD_SPOT(post_gate, SPOT(post_gate, p.post_gate, b, d)) : cc1d_zero_pack();
#pragma unroll
        for (int c = 0; c < VEC; c++) y[c] = row[u] < 0 ? (cc1d_real)0 : y[c] * cc1d_pack_get(gate, c);
#endif
#if CC1D_HAS_RESIDUAL
        cc1d_pack added = b < (uint)p.batch ? LOAD_SPOT(side, SPOT(side, p.side, b, d)) : cc1d_zero_pack();
#pragma unroll
        for (int c = 0; c < VEC; c++) y[c] += row[u] < 0 ? (cc1d_real)0 : cc1d_pack_get(added, c);
#endif
        if (b < (uint)p.batch) STORE_SPOT(target, SPOT(target, p.out, b, d), cc1d_pack_reals(y));
#if CC1D_STATE_ROWS == 2
        if (row[u] >= 0) cc1d_store_rows(ROWS_OF(out_row[u]), moved);
#else
        if (row[u] >= 0)
#pragma unroll
            for (int i = 0; i < STATE_LEN; i++)
                STORE_SPOT(state, SPOT(state, p.state, (uint)out_row[u], d) + (uint)i * step, moved[i]);
#endif
    }
}
#endif
