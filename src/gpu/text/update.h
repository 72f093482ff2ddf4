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
    DEVICE const cc1d_x_t *pre_gate_row = pre_gate + b * STRIDE(p.pre_gate, 0) + d * STRIDE(p.pre_gate, 1);
#define TAP_OF(t)                                           \
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
        next[(uint)i * STRIDE(p.state, 2)] = i < end - steps ? own[(uint)(i + accepted) * STRIDE(p.state, 2)]
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
