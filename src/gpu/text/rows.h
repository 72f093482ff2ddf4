/* rows.h - the time path: rows of contiguous time steps, 16 bytes per lane, the halo from the neighbour lane.
 *
 * A team of lanes (a SIMD-group, or a part of one where rows are short) covers neighbouring
 * packs of one row. Packs lie on 16-byte boundaries of the row that is written; where a row starts between
 * boundaries, its first and last pack are partial. A row that is read and lies differently (its CC1D_*_SKEWED
 * is 1) is read as two aligned packs that are shifted together. */
#if defined(CC1D_KERNEL_FORWARD_TIME) || defined(CC1D_KERNEL_BACKWARD_TIME)
#if CC1D_ROW_LANES
#define LANE_BITS (2 + (CC1D_ROW_LANES > 4) + (CC1D_ROW_LANES > 8) + (CC1D_ROW_LANES > 16))
#else
#define LANE_BITS p.lane_bits
#endif
#define TEAM (1 << LANE_BITS)            /* lanes */
#define HALO ((HISTORY + VEC - 1) / VEC) /* packs before a pack that its taps reach */

/* The segment of a row that this team works on. */
struct cc1d_team {
    uint b, d, segment;
    bool live; /* false: past the end of the grid; takes part in shuffles only */
};

FN cc1d_team cc1d_find_team(CONSTANT cc1d_conv_params &p, uint group_x, uint group_y, uint thread_index) {
    cc1d_team m;
    uint unit = group_x * (CC1D_GROUP_SIZE >> LANE_BITS) + (thread_index >> LANE_BITS);
    uint rest = cc1d_divide(unit, p.inner);
    uint slab_row = cc1d_divide(rest, p.middle);
    m.segment = unit - rest * (uint)p.inner.divisor;
    m.d = rest - slab_row * (uint)p.middle.divisor;
    m.b = slab_row + group_y * (uint)p.slab;
    m.live = unit < (uint)p.units && m.b < (uint)p.batch;
    if (!m.live) m.b = m.d = m.segment = 0;
    return m;
}

/* The offset of row (b, d), and how many elements it lies past a 16-byte boundary. */
FN cc1d_offset_t cc1d_row_start(CONSTANT cc1d_place &place, cc1d_team m) {
    return m.b * STRIDE(place, 0) + m.d * STRIDE(place, 1);
}

FN uint cc1d_row_skew(CONSTANT cc1d_place &place, int offset, cc1d_team m) {
    return ((uint)offset + (uint)cc1d_row_start(place, m)) & (VEC - 1);
}

/* Elements skew..skew+VEC-1 of two neighbouring packs. */
FN cc1d_pack cc1d_join_packs(cc1d_pack low, cc1d_pack high, uint skew) {
    uint word[2 * PACK_WORDS];
    uint bytes = skew * ITEM_BYTES;
#pragma unroll
    for (int i = 0; i < PACK_WORDS; i++) {
        word[i] = low.word[i];
        word[PACK_WORDS + i] = high.word[i];
    }
#pragma unroll
    for (int i = 0; i + 2 < 2 * PACK_WORDS; i++) word[i] = (bytes & 8u) ? word[i + 2] : word[i];
#pragma unroll
    for (int i = 0; i + 1 < 2 * PACK_WORDS; i++) word[i] = (bytes & 4u) ? word[i + 1] : word[i];
#pragma unroll
    for (int i = 0; i < PACK_WORDS; i++)
        low.word[i] = (bytes & 2u) ? (word[i] >> 16) | (word[i + 1] << 16) : word[i];
    return low;
}

/* A row of a tensor, for the lane whose pack starts at step t. */
struct cc1d_row {
#if NUMBERED_PACKS
    DEVICE const cc1d_x_t *boundary; /* of 16 bytes, at or before the tensor's first element */
    uint pack;                       /* of step t, counted from there */
#else
    DEVICE const cc1d_x_t *start; /* step 0 */
#endif
    uint skew; /* elements from a 16-byte boundary to step t */
};

/* shift: from a boundary to the row that is written, whose packs start there. */
FN cc1d_row cc1d_find_row(DEVICE const cc1d_x_t *tensor, CONSTANT cc1d_place &place, int offset, cc1d_team m,
                          int t, uint shift, bool skewed) {
    cc1d_row row;
    row.skew = skewed ? (cc1d_row_skew(place, offset, m) - shift) & (VEC - 1) : 0u;
#if NUMBERED_PACKS
    row.boundary = tensor - offset;
    /* t may be less than 0, and the pack the one before the boundary: -1. */
    row.pack = ((uint)offset + cc1d_row_start(place, m) + (uint)(t + VEC)) / VEC - 1u;
#else
    row.start = tensor + cc1d_row_start(place, m);
#endif
    return row;
}

/* Where t moves on by some packs. */
FN void cc1d_move_row(LOCAL cc1d_row &row, int packs) {
#if NUMBERED_PACKS
    row.pack += (uint)packs;
#endif
}

/* The rows that a kernel has; it uses no other. */
struct cc1d_rows {
    cc1d_row x, side, target, pre_gate, post_gate, dpre_gate, dpost_gate;
};

FN void cc1d_move_rows(LOCAL cc1d_rows &row, int packs) {
    cc1d_move_row(row.x, packs);
    cc1d_move_row(row.side, packs);
    cc1d_move_row(row.target, packs);
    cc1d_move_row(row.pre_gate, packs);
    cc1d_move_row(row.post_gate, packs);
    cc1d_move_row(row.dpre_gate, packs);
    cc1d_move_row(row.dpost_gate, packs);
}

/* The row of a buffer that goes by this name, in the params too. skewed: it may lie differently. */
#define FIND_ROW(name, skewed) row.name = cc1d_find_row(name, p.name, p.name##_offset, m, t, shift, skewed);

/* Step t. */
FN DEVICE const cc1d_x_t *cc1d_step_of(cc1d_row row, int t) {
#if NUMBERED_PACKS
    return row.boundary + ((int)row.pack * VEC + (int)row.skew);
#else
    return row.start + t;
#endif
}

/* The pack that starts at step t, a 16-byte boundary; `more` packs after row.pack. */
FN cc1d_pack cc1d_load_aligned(cc1d_row row, int t, uint more) {
#if NUMBERED_PACKS
    return cc1d_load_numbered(row.boundary, row.pack + more);
#else
    return cc1d_load_pack(row.start + t);
#endif
}

/* The VEC steps that are `ahead` packs after step t; zeros outside 0..seqlen-1. Without CC1D_PARTIAL_PACKS,
 * seqlen and every row's start are multiples of VEC. */
FN cc1d_pack cc1d_load_steps(cc1d_row row, int t, int ahead, int seqlen) {
    t += ahead * VEC;
    cc1d_move_row(row, ahead);
#if CC1D_PARTIAL_PACKS
    int first = t - (int)row.skew;
    if (row.skew == 0 && t >= 0 && t + VEC <= seqlen) return cc1d_load_aligned(row, t, 0);
    if (row.skew != 0 && first >= 0 && first + 2 * VEC <= seqlen)
        return cc1d_join_packs(cc1d_load_aligned(row, first, 0), cc1d_load_aligned(row, first + VEC, 1),
                               row.skew);
    int begin = t < 0 ? -t : 0, end = seqlen - t < VEC ? seqlen - t : VEC;
    return begin < end ? cc1d_load_some(cc1d_step_of(row, t), begin, end) : cc1d_zero_pack();
#else
    cc1d_pack v = cc1d_zero_pack();
#if NUMBERED_PACKS
    bool inside = (uint)t < (uint)seqlen;
#else
    bool inside = t >= 0 && t < seqlen; /* in fewer registers than one comparison, by NVRTC */
#endif
    if (inside) v = cc1d_load_aligned(row, t, 0);
    return v;
#endif
}

/* Writes the VEC steps that are `ahead` packs after step t. */
FN void cc1d_store_steps(cc1d_row row, int t, int ahead, int seqlen, cc1d_pack v) {
    t += ahead * VEC;
    cc1d_move_row(row, ahead);
    DEVICE cc1d_x_t *start = (DEVICE cc1d_x_t *)cc1d_step_of(row, t);
#if CC1D_PARTIAL_PACKS
    if (t < 0 || t + VEC > seqlen || row.skew != 0) {
        cc1d_store_some(start, v, -t, seqlen - t);
        return;
    }
#endif
#if NUMBERED_PACKS
    if (t < seqlen) cc1d_store_numbered((DEVICE cc1d_x_t *)row.boundary, row.pack, v);
#else
    if (t < seqlen) cc1d_store_pack(start, v);
#endif
}

/* The same of what makes up taps. */
FN cc1d_raw cc1d_load_raw(cc1d_rows row, int t, int ahead, int seqlen) {
    cc1d_raw raw;
    raw.x = cc1d_load_steps(row.x, t, ahead, seqlen);
#if CC1D_HAS_PRE_GATE
    raw.gate = cc1d_load_steps(row.pre_gate, t, ahead, seqlen);
#endif
    return raw;
}

/* The taps that the pack `back` packs before this lane's holds. */
FN void cc1d_place_taps(cc1d_pack v, int back, LOCAL cc1d_real *tap) {
#pragma unroll
    for (int i = 0; i < VEC; i++)
        if (back * VEC - i <= HISTORY) tap[HISTORY - (back * VEC - i)] = cc1d_pack_get(v, i);
}

/* tap[i] = step t - HISTORY + i for the HISTORY + VEC taps of this lane's pack `now`. `before` is the pack
 * that this lane had (or would have had) in the block of TEAM packs before. All lanes of the SIMD-group must
 * come here. */
FN void cc1d_gather_taps(cc1d_pack before, cc1d_pack now, uint lane_in_simd, CONSTANT cc1d_conv_params &p,
                         LOCAL cc1d_real *tap) {
    uint lane = lane_in_simd & (uint)(TEAM - 1);
#pragma unroll
    for (int back = 1; back <= HALO; back++) {
        cc1d_pack neighbour = cc1d_zero_pack();
#pragma unroll
        for (int w = 0; w < PACK_WORDS; w++)
            if (back * VEC - (4 * w + 3) / ITEM_BYTES <= HISTORY) /* the word's last element is a tap */
                neighbour.word[w] = SHUFFLE_ROTATE(lane >= (uint)(TEAM - back) ? before.word[w] : now.word[w],
                                                   lane_in_simd, -back, TEAM);
        cc1d_place_taps(neighbour, back, tap);
    }
    cc1d_place_taps(now, 0, tap);
}

#if CC1D_HAS_INITIAL == 1 && CC1D_SEQ != 2
/* Fills in the steps before 0 of a pack that starts at step t. */
FN cc1d_pack cc1d_add_initial(cc1d_pack v, DEVICE const cc1d_x_t *initial, CONSTANT cc1d_conv_params &p,
                              cc1d_team m, int t) {
    if (t < 0 && m.live)
#pragma unroll
        for (int i = 0; i < VEC; i++)
            if (t + i < 0 && t + i >= -HISTORY)
                v = cc1d_pack_with(v, i, cc1d_initial_bits(initial, p, m.b, m.d, HISTORY + t + i));
    return v;
}
#define ADD_INITIAL(v, t) cc1d_add_initial(v, initial, p, m, t)
#else
#define ADD_INITIAL(v, t) (v)
#endif

/* The taps before step 0 of a row of a pool; tap[0] is step t - HISTORY, where t may be less than 0. */
#if CC1D_HAS_INITIAL == 2 && CC1D_SEQ != 2
#define REACHED (HISTORY + (CC1D_PARTIAL_PACKS ? VEC : 0))
FN void cc1d_load_states(INITIAL_PARAMETER CONSTANT cc1d_conv_params &p, cc1d_slot slot, cc1d_team m, int t,
                         LOCAL cc1d_real *past) {
    if (t >= HISTORY || !m.live) return;
    cc1d_past row = cc1d_find_past(INITIAL_ARGUMENT p, WIDTH, slot, m.b, m.d);
#pragma unroll
    for (int i = 0; i < REACHED; i++)
        if (t + i >= 0 && t + i < HISTORY) past[i] = cc1d_past_at(row, p, t + i);
}
FN void cc1d_place_states(int t, LOCAL const cc1d_real *past, LOCAL cc1d_real *tap) {
#pragma unroll
    for (int i = 0; i < REACHED; i++)
        if (t + i >= 0 && t + i < HISTORY) tap[i] = past[i];
}
#define LOAD_STATES(t, past)     \
    cc1d_real past[REACHED + 1]; \
    cc1d_load_states(INITIAL_ARGUMENT p, slot, m, t, past);
#define PLACE_STATES(t, past, tap) cc1d_place_states(t, past, tap)
#else
#define LOAD_STATES(t, past)
#define PLACE_STATES(t, past, tap)
#endif

/* counted[i] = step first + i as the sequence at hand sees it: tap[i], or what lies before its begin. */
#if CC1D_SEQ == 2
FN void cc1d_place_past(LOCAL const cc1d_real *tap, INITIAL_PARAMETER CONSTANT cc1d_conv_params &p, uint d,
                        int first, cc1d_cursor here, LOCAL cc1d_real *counted) {
#pragma unroll
    for (int i = 0; i < HISTORY + VEC; i++) counted[i] = tap[i];
    if (first >= here.begin) return;
    cc1d_past past = cc1d_find_past(INITIAL_ARGUMENT p, WIDTH, here.slot, (uint)here.n, d);
#pragma unroll
    for (int i = 0; i < HISTORY + VEC; i++) {
        int place = HISTORY + first + i - here.begin; /* in the initial state */
        if (place < HISTORY) counted[i] = place < 0 ? (cc1d_real)0 : cc1d_past_at(past, p, place);
    }
}
#endif

#if CC1D_SEQ
#define ID_PARAMETER LOCAL const cc1d_id_t *id,
#define ID_ARGUMENT id,
/* id[i] = the id of step t + i. */
FN void cc1d_find_ids(SEQ_PARAMETER CONSTANT cc1d_conv_params &p, uint b, int t, int count,
                      LOCAL cc1d_id_t *id) {
    cc1d_cursor c = cc1d_seek(SEQ_ARGUMENT p, b, t);
#pragma unroll
    for (int i = 0; i < count; i++) id[i] = cc1d_id_at(SEQ_ARGUMENT p, b, t + i, c);
}
#else
#define ID_PARAMETER
#define ID_ARGUMENT
#endif

/* counted[i * WIDTH + k] = what tap k of step t + i is multiplied by: gather_taps' tap, if its sequence
 * counts; at padding nothing does. */
FN void cc1d_count_taps(LOCAL const cc1d_real *tap,
                        ID_PARAMETER SEQ_PARAMETER INITIAL_PARAMETER CONSTANT cc1d_conv_params &p,
                        cc1d_team m, int t, LOCAL cc1d_real *counted) {
#pragma unroll
    for (int i = 0; i < VEC; i++)
#pragma unroll
        for (int k = 0; k < WIDTH; k++) {
            cc1d_real value = tap[i + k];
#if CC1D_SEQ
            if (id[i + k] != id[i + HISTORY] || id[i + HISTORY] < 0)
                value = OUTSIDE(WIDTH, id[i + HISTORY], m.d, t + i + k - HISTORY);
#endif
            counted[i * WIDTH + k] = value;
        }
}

FN cc1d_real cc1d_accumulate(cc1d_real acc, LOCAL const cc1d_real *w, LOCAL const cc1d_real *counted) {
#pragma unroll
    for (int k = 0; k < WIDTH; k++) acc = fma(w[k], counted[k], acc);
    return acc;
}
#endif
