/* update.h - decoding: y of the new steps, and the state moved on in place. A thread owns whole state rows
 * (or vectors of channels of them), so no other thread reads what it writes. */
#if defined(CC1D_KERNEL_UPDATE) || defined(CC1D_KERNEL_UPDATE_STEP)
/* The new steps. In place, y takes the place of each when it has been read. */
#if CC1D_IN_PLACE
#define NEW_STEPS target
#define LOAD_STEP(pointer) (*(pointer))
#define LOAD_STEPS(tensor, spot) READ_SPOT(tensor, spot)
#else
#define NEW_STEPS x
#define LOAD_STEP(pointer) LOAD(cc1d_x_t, pointer)
#define LOAD_STEPS(tensor, spot) LOAD_SPOT(tensor, spot)
#endif
#endif

#ifdef CC1D_KERNEL_UPDATE
#define RAGGED (CC1D_SEQ == 2)

#if RAGGED
FN cc1d_i64 cc1d_row_start(DEVICE const cc1d_seq_t *seq, CONSTANT cc1d_update_params &p, uint n) {
    return (cc1d_i64)LOAD(cc1d_seq_t, seq + n * STRIDE(p.seq, 0));
}
#define LOAD_COUNT(dtype, pointer) (row < 0 ? 0 : (cc1d_i64)LOAD(JOIN(cc1d_index_, dtype), pointer))
#else
#define LOAD_COUNT(dtype, pointer) ((cc1d_i64)LOAD(JOIN(cc1d_index_, dtype), pointer))
#endif

/* The step that is `back` taps before step t: of the new ones, or < 0 of the state, whose last is -1. */
#if CC1D_PARENTS_DTYPE
#define NO_STEP 0x7fffffff /* the way leads past a parent that is none */
FN int cc1d_ancestor(DEVICE const JOIN(cc1d_index_, CC1D_PARENTS_DTYPE) * parents,
                     CONSTANT cc1d_update_params &p, uint b, int t, int back) {
    for (; back > 0 && t >= 0; back--) {
        cc1d_i64 parent = (cc1d_i64)LOAD(JOIN(cc1d_index_, CC1D_PARENTS_DTYPE),
                                         parents + b * STRIDE(p.parents, 0) + (uint)t * STRIDE(p.parents, 1));
        if (parent < -1 || parent >= t) return NO_STEP;
        t = (int)parent;
    }
    return t - back;
}
#define TAP_STEP(t, back) cc1d_ancestor(parents, p, b, t, back)
#else
#define NO_STEP 0x7fffffff
#define TAP_STEP(t, back) ((t) - (back))
#endif

/* Any number of steps, any state length, shifting or circular; one channel per thread. */
ENTRY(cc1d_update, cc1d_update_params) {
    uint unit = GROUP_X * CC1D_GROUP_SIZE + THREAD;
    uint slab_row = cc1d_divide(unit, p.inner);
    uint d = unit - slab_row * (uint)p.inner.divisor;
    uint b = slab_row + GROUP_Y * (uint)p.slab;
    if (unit >= (uint)p.units || b >= (uint)p.batch) return;
#if RAGGED
    int steps = 0, first = 0, row = -1, length = p.state_len;
    if (b < (uint)p.sequences) {
        cc1d_i64 begin = cc1d_row_start(seq, p, b), until = cc1d_row_start(seq, p, b + 1);
        first = cc1d_bounded(begin, p.total);
        steps = cc1d_bounded(until, p.total) - first;
        steps = steps < 0 ? 0 : steps;
        if (begin >= 0 && until <= p.total && steps > 0 && steps <= p.seqlen) row = STATE_ROW(b);
    }
#else
    int row = STATE_ROW(b), steps = p.seqlen, length = p.state_len;
#endif
    int out_row = OUT_ROW(b, row);
    if (out_row < 0) row = -1;
    /* The step s before the first lies at state[origin + s], in the circular buffer modulo its length. */
    int origin = length, accepted = steps, end = length; /* columns 0..end-1 hold steps afterwards */
#if CC1D_CACHE_DTYPE
    cc1d_i64 position = LOAD_COUNT(CC1D_CACHE_DTYPE, cache + b * STRIDE(p.cache, 0));
    if (position < 0)
        row = -1;
    else if (length > 0)
        origin = (int)(position % length);
    int slot = origin; /* of the next step: that of one too old for the steps to come */
#endif
#if CC1D_ACCEPTED_DTYPE
    cc1d_i64 kept = LOAD_COUNT(CC1D_ACCEPTED_DTYPE, accepted_tokens + b * STRIDE(p.accepted, 0));
    if (kept < 1 || kept > length - p.width + 2)
        row = -1;
    else
        accepted = (int)kept;
    origin = p.width - 2 + accepted;
    end = p.width > 1 ? p.width - 2 + steps : 0;
#endif
    DEVICE const cc1d_x_t *x_row = NEW_STEPS + b * STRIDE(p.x, 0) + d * STRIDE(p.x, 1);
    DEVICE cc1d_x_t *y_row = target + b * STRIDE(p.out, 0) + d * STRIDE(p.out, 1);
#if CC1D_HAS_RESIDUAL
    DEVICE const cc1d_x_t *side_row = side + b * STRIDE(p.side, 0) + d * STRIDE(p.side, 1);
#endif
#if CC1D_HAS_PRE_GATE
    DEVICE const cc1d_x_t *pre_gate_row =
        pre_gate + b * STRIDE(p.pre_gate, 0) + d * STRIDE(p.pre_gate, 1);
#define TAP_OF(t)                                          \
    cc1d_gated(LOAD_STEP(x_row + (uint)(t)*STRIDE(p.x, 2)), \
               LOAD(cc1d_x_t, pre_gate_row + (uint)(t)*STRIDE(p.pre_gate, 2)))
#else
#define TAP_OF(t) LOAD_STEP(x_row + (uint)(t)*STRIDE(p.x, 2))
#endif
#if CC1D_HAS_POST_GATE
    DEVICE const cc1d_x_t *post_gate_row =
        post_gate + b * STRIDE(p.post_gate, 0) + d * STRIDE(p.post_gate, 1);
#endif
#if RAGGED /* whose rows lie along time */
    x_row += (uint)first * STRIDE(p.x, 2);
    y_row += (uint)first * STRIDE(p.out, 2);
#if CC1D_HAS_RESIDUAL
    side_row += (uint)first * STRIDE(p.side, 2);
#endif
#if CC1D_HAS_PRE_GATE
    pre_gate_row += (uint)first * STRIDE(p.pre_gate, 2);
#endif
#if CC1D_HAS_POST_GATE
    post_gate_row += (uint)first * STRIDE(p.post_gate, 2);
#endif
#endif
    DEVICE cc1d_state_t *own =
        state + (uint)(row < 0 ? 0 : row) * STRIDE(p.state, 0) + d * STRIDE(p.state, 1);
#if CC1D_OUT_INDICES_DTYPE
    DEVICE cc1d_state_t *next =
        state + (uint)(row < 0 ? 0 : out_row) * STRIDE(p.state, 0) + d * STRIDE(p.state, 1);
#if CC1D_CACHE_DTYPE /* the whole buffer goes there, then the new steps */
    for (int i = 0; i < length && row >= 0 && row != out_row; i++)
        next[(uint)i * STRIDE(p.state, 2)] = own[(uint)i * STRIDE(p.state, 2)];
    own = next;
#endif
#else
    DEVICE cc1d_state_t *next = own;
#endif
    for (int t = 0; t < steps; t++) {
        cc1d_real y = 0;
        bool known = row >= 0;
        cc1d_x_t now = TAP_OF(t);
        if (row >= 0) {
#if CC1D_HAS_BIAS
            y = BIAS_TO_REAL(LOAD(cc1d_bias_t, bias + d * STRIDE(p.bias, 0)));
#endif
            for (int k = 0; k < p.width; k++) {
                int s = TAP_STEP(t, p.width - 1 - k);
                cc1d_real tap;
                if (CC1D_PARENTS_DTYPE && s == NO_STEP) {
                    known = false;
                    break;
                } else if (s == t) {
                    tap = X_TO_REAL(now);
                } else if (s >= 0 && !CC1D_IN_PLACE) {
                    tap = X_TO_REAL(TAP_OF(s));
                } else {
                    int at = origin + s;
                    if (CC1D_CACHE_DTYPE && at < 0) at += length;
                    if (CC1D_CACHE_DTYPE && CC1D_IN_PLACE) at %= length;
                    tap = STATE_TO_REAL(own[(uint)at * STRIDE(p.state, 2)]);
                }
                y = fma(WEIGHT_TO_REAL(LOAD(cc1d_weight_t, weight + d * STRIDE(p.weight, 0) +
                                                               (uint)k * STRIDE(p.weight, 1))),
                        tap, y);
            }
            y = cc1d_activate(y);
#if CC1D_HAS_POST_GATE
            y *= X_TO_REAL(LOAD(cc1d_x_t, post_gate_row + (uint)t * STRIDE(p.post_gate, 2)));
#endif
#if CC1D_HAS_RESIDUAL
            y += X_TO_REAL(LOAD(cc1d_x_t, side_row + (uint)t * STRIDE(p.side, 2)));
#endif
        }
        STORE(cc1d_x_t, y_row + (uint)t * STRIDE(p.out, 2), X_FROM_REAL(known ? y : (cc1d_real)0));
#if CC1D_HAS_NODES
        DEVICE cc1d_state_t *node =
            nodes + ((cc1d_offset_t)b * (uint)steps + (uint)t) * STRIDE(p.nodes, 0) + d * STRIDE(p.nodes, 1);
        for (int i = 0; i < p.width - 1; i++) {
            int s = known ? TAP_STEP(t, p.width - 2 - i) : NO_STEP;
            cc1d_state_t step = (cc1d_state_t)0;
            if (s >= 0 && s != NO_STEP)
                step = STATE_OF(TAP_OF(s));
            else if (s < 0)
                step = own[(uint)(origin + s) * STRIDE(p.state, 2)];
            node[(uint)i * STRIDE(p.nodes, 2)] = step;
        }
#endif
#if CC1D_CACHE_DTYPE
        if (row >= 0 && length > 0) next[(uint)slot * STRIDE(p.state, 2)] = STATE_OF(now);
        slot = slot + 1 < length ? slot + 1 : 0;
#elif CC1D_IN_PLACE
        /* Step by step, because later steps find this one in the state alone. */
        int column = CC1D_ACCEPTED_DTYPE ? p.width - 2 + t : length - 1;
        int moved = CC1D_ACCEPTED_DTYPE && t > 0 ? column : 0;
        for (int i = moved; i < column && i < end && row >= 0; i++)
            next[(uint)i * STRIDE(p.state, 2)] =
                own[(uint)(i + (CC1D_ACCEPTED_DTYPE ? accepted : 1)) * STRIDE(p.state, 2)];
        if (end > 0 && row >= 0) next[(uint)column * STRIDE(p.state, 2)] = STATE_OF(now);
        origin = CC1D_ACCEPTED_DTYPE ? p.width - 2 : length - 1 - t;
        own = next;
#endif
    }
#if !CC1D_CACHE_DTYPE && !CC1D_IN_PLACE && !CC1D_PARENTS_DTYPE
    for (int i = 0; i < end && row >= 0; i++) /* upwards: reads are ahead of writes */
        next[(uint)i * STRIDE(p.state, 2)] =
            i < end - steps ? own[(uint)(i + accepted) * STRIDE(p.state, 2)]
                            : STATE_OF(TAP_OF(i - (end - steps)));
#endif
#if RAGGED /* the steps of no row: each thread has its share */
    uint head = (uint)cc1d_bounded(cc1d_row_start(seq, p, 0), p.total);
    uint tail = (uint)cc1d_bounded(cc1d_row_start(seq, p, (uint)p.sequences), p.total);
    DEVICE cc1d_x_t *padding = target + d * STRIDE(p.out, 1);
    for (uint t = b; t < head; t += (uint)p.batch)
        STORE(cc1d_x_t, padding + t * STRIDE(p.out, 2), X_FROM_REAL((cc1d_real)0));
    for (uint t = tail + b; t < (uint)p.total; t += (uint)p.batch)
        STORE(cc1d_x_t, padding + t * STRIDE(p.out, 2), X_FROM_REAL((cc1d_real)0));
#endif
}
#endif

#ifdef CC1D_KERNEL_UPDATE_STEP
/* One new step, a short state that shifts: VEC channels of CC1D_UNROLL batch rows per thread, all in
 * registers. CC1D_STATE_ROWS 1: a channel's CC1D_STATE_LEN steps are contiguous, and channels follow each
 * other without a gap; 2: and those of VEC channels are one access, so that a group's neighbours read
 * neighbouring bytes. Reads x and the state once, writes y and the state once; weights and bias once per
 * thread. */
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
