/* pool_states.h - the rows of a pool after a convolution's launch has read them: a thread writes the last
 * p.state_len steps of a sequence, after those that its row held, in one channel.
 *
 * Reads and writes the rows once, and as many steps of x. Columns are read in turns of POOL_TURN, ahead of
 * those that are written, so a row may be written where it lies. */
#ifdef CC1D_KERNEL_POOL_STATES
#define POOL_TURN 4
ENTRY(cc1d_pool_states, cc1d_conv_params) {
    uint unit = GROUP_X * CC1D_GROUP_SIZE + THREAD;
    uint slab_row = cc1d_divide(unit, p.inner);
    uint d = unit - slab_row * (uint)p.inner.divisor;
    uint n = slab_row + GROUP_Y * (uint)p.slab;
    bool live = unit < (uint)p.units && n < (uint)p.sequences;
    if (!live) n = d = 0;
    cc1d_slot slot = cc1d_find_slot(SLOT_ARGUMENT p, n);
    live = live && slot.row >= 0;
    if (!live) slot.row = slot.out_row = 0;
    uint b = n;
    int begin = 0, end = p.seqlen;
#if CC1D_SEQ == 2
    b = 0;
    begin = cc1d_bounded(cc1d_boundary(seq, p, (int)n), p.seqlen);
    end = cc1d_bounded(cc1d_boundary(seq, p, (int)n + 1), p.seqlen);
#elif CC1D_LENGTHS
    end = cc1d_bounded((cc1d_i64)LOAD(cc1d_seq_t, seq + n * STRIDE(p.seq, 0)), p.seqlen);
#endif
    int steps = end > begin ? end - begin : 0;
    DEVICE const cc1d_x_t *steps_end = x + ELEMENT(p.x, b, d, begin + steps);
#if CC1D_HAS_PRE_GATE
    DEVICE const cc1d_x_t *gates_end = pre_gate + ELEMENT(p.pre_gate, b, d, begin + steps);
#define STEP_BACK(back)                                                 \
    cc1d_gated(LOAD(cc1d_x_t, steps_end - (uint)(back)*STRIDE(p.x, 2)), \
               LOAD(cc1d_x_t, gates_end - (uint)(back)*STRIDE(p.pre_gate, 2)))
#else
#define STEP_BACK(back) LOAD(cc1d_x_t, steps_end - (uint)(back)*STRIDE(p.x, 2))
#endif
    DEVICE const cc1d_state_t *own = state + cc1d_state_at(p, slot.row, d);
    DEVICE cc1d_state_t *next = state + cc1d_state_at(p, slot.out_row, d);
    cc1d_u64 step = LONG64(p.initial.stride[2]);
    int length = live ? p.state_len : 0;
    for (int first = 0; first < length; first += POOL_TURN) {
        cc1d_state_t value[POOL_TURN];
#pragma unroll
        for (int i = 0; i < POOL_TURN; i++) {
            int column = first + i + steps; /* of the row and the steps after it */
            value[i] = 0;
            if (first + i >= length) continue;
            if (column >= length)
                value[i] = STATE_OF(STEP_BACK(length - first - i));
            else if (slot.continues)
                value[i] = own[(uint)column * step];
        }
        WAIT_FOR_EARLIER_LAUNCH();
#pragma unroll
        for (int i = 0; i < POOL_TURN; i++)
            if (first + i < length) STORE(cc1d_state_t, next + (uint)(first + i) * step, value[i]);
    }
    WAIT_FOR_EARLIER_LAUNCH(); /* a thread without a column ends no earlier either */
}
#endif
