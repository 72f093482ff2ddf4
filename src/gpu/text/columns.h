/* columns.h - the channel path: packs of neighbouring channels of one time step. With CC1D_VEC 1, any
 * strides. */
#if defined(CC1D_KERNEL_FORWARD_CHANNEL) || defined(CC1D_KERNEL_BACKWARD_CHANNEL)
/* A thread's pack of channels and run of steps. A group is CC1D_GROUP_RUNS neighbouring runs of as many packs
 * as fit, so that the steps which one run reads for the next, and the weights, are still in the cache. */
#define GROUP_COLUMNS (CC1D_GROUP_SIZE / CC1D_GROUP_RUNS)
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
    m.d = ((group_x - rest * (uint)p.inner.divisor) * GROUP_COLUMNS + index % GROUP_COLUMNS) * VEC;
    m.first = (int)(m.runs * CC1D_GROUP_RUNS + index / GROUP_COLUMNS) * p.run;
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

FN cc1d_pack cc1d_load_channels(DEVICE const cc1d_x_t *source, int count) {
#if CC1D_CHANNEL_TAIL
    if (count < VEC) return cc1d_load_some(source, 0, count);
#endif
    return cc1d_load_pack(source);
}

/* Step t of a column of packs; zeros from step `end` on. */
FN cc1d_pack cc1d_load_column(DEVICE const cc1d_x_t *column, CONSTANT cc1d_place &place, int t, int end,
                              int count) {
    cc1d_pack v = cc1d_zero_pack();
    if (t < end) v = cc1d_load_channels(column + (uint)t * STRIDE(place, 2), count);
    return v;
}

FN void cc1d_store_column(DEVICE cc1d_x_t *column, int count, cc1d_offset_t offset, cc1d_pack v) {
    DEVICE cc1d_x_t *target = column + offset;
#if CC1D_CHANNEL_TAIL
    if (count < VEC) {
        cc1d_store_some(target, v, 0, count);
        return;
    }
#endif
    cc1d_store_pack(target, v);
}

FN void cc1d_unpack(cc1d_pack v, LOCAL cc1d_real *value) {
#pragma unroll
    for (int c = 0; c < VEC; c++) value[c] = cc1d_pack_get(v, c);
}

/* Step s, which may lie before the first: then the initial states (0 for packed sequences: OUTSIDE has
 * theirs). */
FN cc1d_pack cc1d_history_pack(DEVICE const cc1d_x_t *column, INITIAL_PARAMETER CONSTANT cc1d_conv_params &p,
                               uint b, uint d, int s, int count) {
    if (s >= 0) return cc1d_load_column(column, p.x, s, p.seqlen, count);
    cc1d_pack v = cc1d_zero_pack();
#if CC1D_HAS_INITIAL && CC1D_SEQ != 2
#pragma unroll
    for (int c = 0; c < VEC; c++)
        if (c < count) v = cc1d_pack_with(v, c, cc1d_initial_bits(initial, p, b, d + (uint)c, HISTORY + s));
#endif
    return v;
}
#endif
