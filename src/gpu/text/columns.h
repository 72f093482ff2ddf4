/* columns.h - the channel path: packs of neighbouring channels of one time step. With CC1D_VEC 1, any
 * strides. */
#if defined(CC1D_KERNEL_FORWARD_CHANNEL) || defined(CC1D_KERNEL_BACKWARD_CHANNEL)
/* A thread's pack of channels and run of steps. A group is some neighbouring runs of as many packs
 * as fit, so that the steps which one run reads for the next, and the weights, are still in the cache. */
#if CC1D_GROUP_RUNS
#define GROUP_RUNS ((uint)CC1D_GROUP_RUNS)
#define GROUP_COLUMNS ((uint)CC1D_GROUP_SIZE / GROUP_RUNS)
#define RUN_IN_GROUP(index) ((index) / GROUP_COLUMNS)
#else
#define GROUP_COLUMNS (1u << p.column_bits)
#define GROUP_RUNS ((uint)CC1D_GROUP_SIZE >> p.column_bits)
#define RUN_IN_GROUP(index) ((index) >> p.column_bits)
#endif
struct cc1d_walk {
    uint b, d, runs; /* runs: the group's index among those of its time line */
    int first, end;
    bool live; /* false: past the end of the grid */
};

FN cc1d_walk cc1d_find_walk(CONSTANT cc1d_conv_params &p, uint group_x, uint group_y, uint index) {
    cc1d_walk m;
    uint rest = cc1d_divide(group_x, p.inner);
    uint slab_row = cc1d_divide(rest, p.middle);
    m.runs = rest - slab_row * (uint)p.middle.divisor;
    m.b = slab_row + group_y * (uint)p.slab;
    uint column = index & (GROUP_COLUMNS - 1);
    m.d = ((group_x - rest * (uint)p.inner.divisor) * GROUP_COLUMNS + column) * VEC;
    m.first = (int)(m.runs * GROUP_RUNS + RUN_IN_GROUP(index)) * p.run;
    m.live = m.b < (uint)p.batch && m.d < (uint)p.dim && m.first < p.seqlen;
    if (!m.live) m.b = m.d = 0;
    m.end = !m.live ? m.first : m.first + p.run < p.seqlen ? m.first + p.run : p.seqlen;
    return m;
}

/* Channels of the pack that starts at d: VEC, or fewer in the last one. */
FN int cc1d_channels_of(CONSTANT cc1d_conv_params &p, uint d) {
#if CC1D_CHANNEL_TAIL
    return p.dim - (int)d < VEC ? p.dim - (int)d : VEC;
#else
    return VEC;
#endif
}

/* The channel of element c of a pack at d; d itself where the pack is shorter. */
FN uint cc1d_channel_of(uint d, int c, int count) { return d + (c < count ? (uint)c : 0u); }

/* Taps [channel][tap] and biases of a thread's channels. */
FN void cc1d_load_channel_weights(DEVICE const cc1d_weight_t *weight,
                                  BIAS_PARAMETER CONSTANT cc1d_conv_params &p, uint d, int count,
                                  LOCAL cc1d_real *w, LOCAL cc1d_real *start) {
#pragma unroll
    for (int c = 0; c < VEC; c++) {
        uint channel = cc1d_channel_of(d, c, count);
        cc1d_load_weights(weight + channel * STRIDE(p.weight, 0), STRIDE(p.weight, 1), w + c * WIDTH);
        start[c] = cc1d_load_bias(BIAS_ARGUMENT p, channel);
    }
}

/* The packs of a tensor at the same channels, from step to step. */
struct cc1d_column {
#if NUMBERED_PACKS
    DEVICE const cc1d_x_t *tensor;
    uint first, step; /* the number of step 0's pack, and how many packs further the next step's is */
#else
    DEVICE const cc1d_x_t *first; /* step 0 */
#endif
};

FN cc1d_column cc1d_find_column(DEVICE const cc1d_x_t *tensor, CONSTANT cc1d_place &place, uint b, uint d) {
    cc1d_column column;
#if NUMBERED_PACKS
    column.tensor = tensor;
    column.first = (b * STRIDE(place, 0) + d * STRIDE(place, 1)) / VEC;
    column.step = STRIDE(place, 2) / VEC;
#else
    column.first = tensor + b * STRIDE(place, 0) + d * STRIDE(place, 1);
#endif
    return column;
}

/* Counts the steps from another one. */
FN void cc1d_move_column(LOCAL cc1d_column &column, CONSTANT cc1d_place &place, int steps) {
#if NUMBERED_PACKS
    column.first += (uint)steps * column.step;
#else
    column.first += (cc1d_i64)steps * (cc1d_i64)STRIDE(place, 2);
#endif
}

FN DEVICE const cc1d_x_t *cc1d_step_of_column(cc1d_column column, CONSTANT cc1d_place &place, uint t) {
#if NUMBERED_PACKS
    return column.tensor + (column.first + t * column.step) * VEC;
#else
    return column.first + t * STRIDE(place, 2);
#endif
}

FN cc1d_pack cc1d_load_channels(cc1d_column column, CONSTANT cc1d_place &place, uint t, int count) {
#if CC1D_CHANNEL_TAIL
    if (count < VEC) return cc1d_load_some(cc1d_step_of_column(column, place, t), 0, count);
#endif
#if NUMBERED_PACKS
    return cc1d_load_numbered(column.tensor, column.first + t * column.step);
#else
    return cc1d_load_pack(cc1d_step_of_column(column, place, t));
#endif
}

/* Zeros from step `end` on. */
FN cc1d_pack cc1d_load_column(cc1d_column column, CONSTANT cc1d_place &place, int t, int end, int count) {
    cc1d_pack v = cc1d_zero_pack();
    if (t < end) v = cc1d_load_channels(column, place, (uint)t, count);
    return v;
}

/* The columns that a kernel reads; it uses no other. */
struct cc1d_columns {
    cc1d_column x, side, pre_gate, post_gate;
};
#define FIND_COLUMN(name) column.name = cc1d_find_column(name, p.name, b, d);

/* What makes up the taps of a step; zeros from step `end` on. */
FN cc1d_raw cc1d_load_raw(cc1d_columns column, CONSTANT cc1d_conv_params &p, int t, int end, int count) {
    cc1d_raw raw;
    raw.x = cc1d_load_column(column.x, p.x, t, end, count);
#if CC1D_HAS_PRE_GATE
    raw.gate = cc1d_load_column(column.pre_gate, p.pre_gate, t, end, count);
#endif
    return raw;
}

/* Of the tensor that is written, whose column is found as the others are. */
FN void cc1d_store_column(cc1d_column column, CONSTANT cc1d_place &place, uint t, int count, cc1d_pack v) {
#if CC1D_CHANNEL_TAIL
    if (count < VEC) {
        cc1d_store_some((DEVICE cc1d_x_t *)cc1d_step_of_column(column, place, t), v, 0, count);
        return;
    }
#endif
#if NUMBERED_PACKS
    cc1d_store_numbered((DEVICE cc1d_x_t *)column.tensor, column.first + t * column.step, v);
#else
    cc1d_store_pack((DEVICE cc1d_x_t *)cc1d_step_of_column(column, place, t), v);
#endif
}

FN void cc1d_unpack(cc1d_pack v, LOCAL cc1d_real *value) {
#pragma unroll
    for (int c = 0; c < VEC; c++) value[c] = cc1d_pack_get(v, c);
}

/* The taps of step s, and what makes them up. Step s may lie before the first: then the initial states. Those
 * of packed sequences, and rows of a pool, are looked for by cc1d_load_past or OUTSIDE. */
FN cc1d_pack cc1d_history_pack(cc1d_columns column, INITIAL_PARAMETER CONSTANT cc1d_conv_params &p, uint b,
                               uint d, int s, int count, LOCAL cc1d_raw &raw) {
#if CC1D_HAS_PRE_GATE
    raw = cc1d_zero_raw();
    if (s >= 0) {
        raw = cc1d_load_raw(column, p, s, p.seqlen, count);
        return cc1d_taps_of(raw);
    }
#else
    if (s >= 0) return cc1d_load_column(column.x, p.x, s, p.seqlen, count);
#endif
    cc1d_pack v = cc1d_zero_pack();
#if CC1D_HAS_INITIAL == 1 && CC1D_SEQ != 2
#pragma unroll
    for (int c = 0; c < VEC; c++)
        if (c < count) v = cc1d_pack_with(v, c, cc1d_initial_bits(initial, p, b, d + (uint)c, HISTORY + s));
#endif
    return v;
}

/* The HISTORY taps [step][channel] before step t of sequence n, as far as they lie before its first one. */
FN void cc1d_load_past(INITIAL_PARAMETER CONSTANT cc1d_conv_params &p, cc1d_slot slot, uint n, uint d, int t,
                       int count, LOCAL cc1d_real *tap) {
#pragma unroll
    for (int c = 0; c < VEC; c++) {
        cc1d_past past = cc1d_find_past(INITIAL_ARGUMENT p, WIDTH, slot, n, cc1d_channel_of(d, c, count));
#pragma unroll
        for (int i = 0; i < HISTORY; i++)
            if (t + i < HISTORY) tap[i * VEC + c] = cc1d_past_at(past, p, t + i);
    }
}
#endif
