/* sequence.h - which taps count: the sequence that a time step belongs to, as an id that taps compare.
 *
 * CC1D_SEQ 0: one sequence per batch row. 1: ids are read from seq_idx. 2: ids are found in cu_seqlens. 3: as
 * 1, but an id is 0 up to the row's length and -1 from there. Negative ids are padding. Whatever a GPU is
 * given, these functions read inside the tensors only. */
#if CC1D_SEQ == 3
#undef CC1D_SEQ
#define CC1D_SEQ 1
#define CC1D_LENGTHS 1
#else
#define CC1D_LENGTHS 0
#endif
#if CC1D_SEQ
typedef JOIN(cc1d_index_, CC1D_SEQ_DTYPE) cc1d_seq_t;
#define SEQ_PARAMETER DEVICE const cc1d_seq_t *seq, SLOT_PARAMETER
#define SEQ_ARGUMENT seq, SLOT_ARGUMENT
#else
#define SEQ_PARAMETER SLOT_PARAMETER
#define SEQ_ARGUMENT SLOT_ARGUMENT
#endif
#if CC1D_HAS_INITIAL == 2 /* rows of a pool, of the sequences that have one */
#define INITIAL_PARAMETER DEVICE const cc1d_state_t *state,
#define INITIAL_ARGUMENT state,
#elif CC1D_HAS_INITIAL
#define INITIAL_PARAMETER DEVICE const cc1d_x_t *initial,
#define INITIAL_ARGUMENT initial,
#else
#define INITIAL_PARAMETER
#define INITIAL_ARGUMENT
#endif

#if CC1D_SEQ == 1
typedef cc1d_seq_t cc1d_id_t;
#else
typedef int cc1d_id_t;
#endif
#define NO_SEQUENCE ((cc1d_id_t)-2) /* before or after every step */

FN int cc1d_bounded(cc1d_i64 step, int seqlen) { return step < 0 ? 0 : step > seqlen ? seqlen : (int)step; }

#if CC1D_SEQ == 2
/* Steps begin..end-1 are those of packed sequence n. */
struct cc1d_cursor {
    int n, begin, end;
    cc1d_slot slot;
};

FN cc1d_i64 cc1d_boundary(DEVICE const cc1d_seq_t *seq, CONSTANT cc1d_conv_params &p, int n) {
    return (cc1d_i64)LOAD(cc1d_seq_t, seq + (cc1d_offset_t)(uint)n * STRIDE(p.seq, 0));
}

/* The last sequence that starts at step t or before, by bisection. */
FN cc1d_cursor cc1d_seek(SEQ_PARAMETER CONSTANT cc1d_conv_params &p, uint b, int t) {
    cc1d_cursor c;
    int low = 0, high = p.sequences;
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (cc1d_boundary(seq, p, middle) <= t)
            low = middle;
        else
            high = middle;
    }
    c.n = low;
    c.begin = high > 0 ? cc1d_bounded(cc1d_boundary(seq, p, low), p.seqlen) : 0;
    c.end = high > 0 ? cc1d_bounded(cc1d_boundary(seq, p, low + 1), p.seqlen) : 0;
    if (high > 0) c.slot = cc1d_find_slot(SLOT_ARGUMENT p, (uint)low);
    return c;
}

/* The id of step t; the cursor was made for this step or an earlier one. */
FN cc1d_id_t cc1d_id_at(SEQ_PARAMETER CONSTANT cc1d_conv_params &p, uint b, int t, LOCAL cc1d_cursor &c) {
    while (t >= c.end && c.n + 1 < p.sequences) {
        c.n++;
        c.begin = c.end;
        c.end = cc1d_bounded(cc1d_boundary(seq, p, c.n + 1), p.seqlen);
        c.slot = cc1d_find_slot(SLOT_ARGUMENT p, (uint)c.n);
    }
#if CC1D_POOL
    if (c.slot.row < 0) return NO_SEQUENCE;
#endif
    return t >= c.begin && t < c.end ? c.n : NO_SEQUENCE;
}
#elif CC1D_SEQ == 1
struct cc1d_cursor {};

FN cc1d_cursor cc1d_seek(SEQ_PARAMETER CONSTANT cc1d_conv_params &p, uint b, int t) { return cc1d_cursor(); }

/* The id of step t of batch row b. Before the first step: the id to which the initial states belong. */
FN cc1d_id_t cc1d_id_at(SEQ_PARAMETER CONSTANT cc1d_conv_params &p, uint b, int t, LOCAL cc1d_cursor &) {
    if (t >= p.seqlen) return NO_SEQUENCE;
#if CC1D_LENGTHS
    return t < 0 || LOAD(cc1d_seq_t, seq + (cc1d_offset_t)b * STRIDE(p.seq, 0)) > t ? 0 : -1;
#endif
    return LOAD(cc1d_seq_t,
                seq + (cc1d_offset_t)b * STRIDE(p.seq, 0) + (uint)(t < 0 ? 0 : t) * STRIDE(p.seq, 1));
}
#endif

/* The width - 1 steps before the first of a sequence, in one channel, as they count: those of a pool are not
 * rounded to x's dtype. */
struct cc1d_past {
#if CC1D_HAS_INITIAL == 2
    DEVICE const cc1d_state_t *oldest;
    bool there; /* else they are 0 */
#elif CC1D_HAS_INITIAL
    DEVICE const cc1d_x_t *oldest;
#endif
};

/* Of sequence n, which reads `slot`. */
FN cc1d_past cc1d_find_past(INITIAL_PARAMETER CONSTANT cc1d_conv_params &p, int width, cc1d_slot slot, uint n,
                            uint d) {
    cc1d_past past;
#if CC1D_HAS_INITIAL == 2
    past.there = slot.row >= 0 && slot.continues;
    past.oldest = state + cc1d_state_at(p, slot.row < 0 ? 0 : slot.row, d) +
                  (uint)(p.state_len - (width - 1)) * LONG64(p.initial.stride[2]);
#elif CC1D_HAS_INITIAL
    past.oldest = initial + n * STRIDE(p.initial, 0) + d * STRIDE(p.initial, 1);
#endif
    return past;
}

FN cc1d_real cc1d_past_at(cc1d_past past, CONSTANT cc1d_conv_params &p, int i) {
#if CC1D_HAS_INITIAL == 2
    return past.there ? STATE_TO_REAL(LOAD(cc1d_state_t, past.oldest + (uint)i * LONG64(p.initial.stride[2])))
                      : (cc1d_real)0;
#elif CC1D_HAS_INITIAL
    return X_TO_REAL(LOAD(cc1d_x_t, past.oldest + (uint)i * STRIDE(p.initial, 2)));
#else
    return 0;
#endif
}

#if CC1D_HAS_INITIAL == 1
FN cc1d_x_t cc1d_initial_bits(DEVICE const cc1d_x_t *initial, CONSTANT cc1d_conv_params &p, uint n, uint d,
                              int i) {
    return LOAD(cc1d_x_t, initial + n * STRIDE(p.initial, 0) + d * STRIDE(p.initial, 1) +
                              (uint)i * STRIDE(p.initial, 2));
}
#endif
FN cc1d_real cc1d_initial_at(INITIAL_PARAMETER SEQ_PARAMETER CONSTANT cc1d_conv_params &p, int width, uint n,
                             uint d, int i) {
    cc1d_slot slot = cc1d_find_slot(SLOT_ARGUMENT p, n);
    return cc1d_past_at(cc1d_find_past(INITIAL_ARGUMENT p, width, slot, n, d), p, i);
}

/* What stands for step s, which is not in sequence `id`, in channel d: the sequence's initial state, or 0. */
#if CC1D_SEQ == 2 && CC1D_HAS_INITIAL
FN cc1d_real cc1d_packed_initial(INITIAL_PARAMETER SEQ_PARAMETER CONSTANT cc1d_conv_params &p, int width,
                                 cc1d_id_t id, uint d, int s) {
    if (id < 0) return 0;
    int i = width - 1 + s - cc1d_bounded(cc1d_boundary(seq, p, id), p.seqlen);
    if (i < 0 || i >= width - 1) return 0;
    return cc1d_initial_at(INITIAL_ARGUMENT SEQ_ARGUMENT p, width, (uint)id, d, i);
}
#define OUTSIDE(width, id, d, s) cc1d_packed_initial(INITIAL_ARGUMENT SEQ_ARGUMENT p, width, id, d, s)
#else
#define OUTSIDE(width, id, d, s) ((cc1d_real)0)
#endif

#if CC1D_SEQ != 2
/* Where a row's steps end for its final states: after its last step that is no padding, whose id counts. */
struct cc1d_row_end {
    int end;
    cc1d_id_t id;
};

/* The end of row b, for a reader of steps first..limit-1 only: an end after limit is as good as none and
 * costs one load, and a whole row (limit = seqlen) without padding at its end costs one too. 0: no step
 * counts from first on. */
FN cc1d_row_end cc1d_find_row_end(SEQ_PARAMETER CONSTANT cc1d_conv_params &p, uint b, int first, int limit) {
    cc1d_row_end r;
    r.end = p.seqlen;
    r.id = 0;
#if CC1D_SEQ == 1
    cc1d_cursor c = cc1d_seek(SEQ_ARGUMENT p, b, 0);
    r.end = 0;
    first = first < 0 ? 0 : first;
    limit = limit < first ? first : limit < p.seqlen ? limit : p.seqlen;
    for (int t = limit; t < p.seqlen; t++)
        if (cc1d_id_at(SEQ_ARGUMENT p, b, t, c) >= 0) {
            r.end = 0x7fffffff;
            return r;
        }
    for (int t = limit - 1; t >= first; t--) {
        r.id = cc1d_id_at(SEQ_ARGUMENT p, b, t, c);
        if (r.id >= 0) {
            r.end = t + 1;
            return r;
        }
    }
#endif
    return r;
}
#endif

#if CC1D_HAS_LAST_GRADIENT
FN cc1d_real cc1d_last_gradient_at(DEVICE const cc1d_x_t *last, CONSTANT cc1d_conv_params &p, uint n, uint d,
                                   int i) {
    return X_TO_REAL(
        LOAD(cc1d_x_t, last + n * STRIDE(p.last, 0) + d * STRIDE(p.last, 1) + (uint)i * STRIDE(p.last, 2)));
}

/* What dfinal_states adds to dx of step s of channel d, which is in sequence id (batch row b, which ends at
 * `ends`, without packing). */
#if CC1D_SEQ == 2
#define ROW_END_PARAMETER
#define ROW_END_ARGUMENT
#else
#define ROW_END_PARAMETER cc1d_row_end ends,
#define ROW_END_ARGUMENT ends,
#endif
FN cc1d_real cc1d_last_gradient(DEVICE const cc1d_x_t *last,
                                SEQ_PARAMETER ROW_END_PARAMETER CONSTANT cc1d_conv_params &p, int width,
                                uint b, cc1d_id_t id, uint d, int s) {
#if CC1D_SEQ == 2
    if (id < 0) return 0;
    int end = cc1d_bounded(cc1d_boundary(seq, p, id + 1), p.seqlen);
    uint n = (uint)id;
#else
    if (id < 0 || id != ends.id) return 0;
    int end = ends.end;
    uint n = b;
#endif
    int i = s - (end - (width - 1));
    return i >= 0 && i < width - 1 ? cc1d_last_gradient_at(last, p, n, d, i) : (cc1d_real)0;
}
#endif
