/* columns.h - the channel path: packs of neighbouring channels of one time step. With CC1D_VEC 1, any
 * strides. */
#if defined(CC1D_KERNEL_FORWARD_CHANNEL) || defined(CC1D_KERNEL_BACKWARD_CHANNEL)
/* A thread's pack of channels and run of steps. A group is CC1D_GROUP_RUNS neighbouring runs of as many packs
 * as fit, so that the steps which one run reads for the next, and the weights, are still in the cache. */
#define GROUP_COLUMNS (CC1D_GROUP_SIZE / CC1D_GROUP_RUNS)
struct walk {
    uint b, d, runs; /* runs: the group's index among those of its time line */
    int first, end;
    bool live; /* false: past the end of the grid */
};

FN walk find_walk(CONSTANT cc1d_conv_params &p, uint group_x, uint group_y, uint index) {
    walk m;
    uint rest = divide(group_x, p.inner);
    uint slab_row = divide(rest, p.middle);
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
FN int channels_of(CONSTANT cc1d_conv_params &p, uint d) {
#if CC1D_CHANNEL_TAIL
    return p.dim - (int)d < VEC ? p.dim - (int)d : VEC;
#else
    return VEC;
#endif
}

/* The channel of element c of a pack at d; d itself where the pack is shorter. */
FN uint channel_of(uint d, int c, int count) { return d + (c < count ? (uint)c : 0u); }

FN pack load_channels(DEVICE const x_t *source, int count) {
#if CC1D_CHANNEL_TAIL
    if (count < VEC) return load_some(source, 0, count);
#endif
    return load_pack(source);
}

/* Step t of a column of packs; zeros from step `end` on. */
FN pack load_column(DEVICE const x_t *column, CONSTANT cc1d_place &place, int t, int end, int count) {
    pack v = zero_pack();
    if (t < end) v = load_channels(column + (uint)t * STRIDE(place, 2), count);
    return v;
}

FN void store_column(DEVICE x_t *column, int count, offset_t offset, pack v) {
    DEVICE x_t *target = column + offset;
#if CC1D_CHANNEL_TAIL
    if (count < VEC) {
        store_some(target, v, 0, count);
        return;
    }
#endif
    store_pack(target, v);
}

FN void unpack(pack v, LOCAL real *value) {
#pragma unroll
    for (int c = 0; c < VEC; c++) value[c] = pack_get(v, c);
}

/* Step s, which may lie before the first: then the initial states (0 for packed sequences: OUTSIDE has
 * theirs). */
FN pack history_pack(DEVICE const x_t *column, INITIAL_PARAMETER CONSTANT cc1d_conv_params &p, uint b, uint d,
                     int s, int count) {
    if (s >= 0) return load_column(column, p.x, s, p.seqlen, count);
    pack v = zero_pack();
#if CC1D_HAS_INITIAL && CC1D_SEQ != 2
#pragma unroll
    for (int c = 0; c < VEC; c++)
        if (c < count) v = pack_with(v, c, initial_bits(initial, p, b, d + (uint)c, HISTORY + s));
#endif
    return v;
}
#endif
