/* slots.h - rows of a pool of states: the one that a batch row or sequence reads, and the one that it writes.
 *
 * Whatever a GPU is given, an index selects a row of the pool or makes its sequence padding, and padding
 * touches nothing. */
typedef JOIN(cc1d_bits_, CC1D_STATE_DTYPE) cc1d_state_t;
#if CC1D_STATE_DTYPE == CC1D_X_DTYPE
#define STATE_OF(step) (step)
#else /* rounded once, when it is stored */
#define STATE_OF(step) JOIN(cc1d_write_, CC1D_STATE_DTYPE)(X_TO_REAL(step))
#endif
#if CC1D_POOL
#define STATE_TO_REAL(state) ((cc1d_real)JOIN(cc1d_read_, CC1D_STATE_DTYPE)(state))
/* An index of a state row, or -1 for padding: also where it is out of range, so that nothing is touched. */
FN int cc1d_state_row(cc1d_i64 row, int rows, CONSTANT cc1d_long &pad_slot_id) {
    cc1d_i64 pad = (cc1d_i64)((cc1d_u64)(uint)pad_slot_id.lo | ((cc1d_u64)(uint)pad_slot_id.hi << 32));
    return row < 0 || row >= rows || row == pad ? -1 : (int)row;
}
#define ROW_AT(dtype, name, b)                                                                     \
    cc1d_state_row((cc1d_i64)LOAD(JOIN(cc1d_index_, dtype), name + (b)*STRIDE(p.name, 0)), p.rows, \
                   p.pad_slot_id)
#if CC1D_INDICES_DTYPE
#define STATE_ROW(b) ROW_AT(CC1D_INDICES_DTYPE, indices, b)
#define INDICES_PARAMETER DEVICE const JOIN(cc1d_index_, CC1D_INDICES_DTYPE) * indices,
#define INDICES_ARGUMENT indices,
#else
#define STATE_ROW(b) ((int)(b))
#define INDICES_PARAMETER
#define INDICES_ARGUMENT
#endif
/* The row that is written, from the one that is read. */
#if CC1D_OUT_INDICES_DTYPE
#define OUT_ROW(b, row) ((row) < 0 ? -1 : ROW_AT(CC1D_OUT_INDICES_DTYPE, out_indices, b))
#define OUT_INDICES_PARAMETER DEVICE const JOIN(cc1d_index_, CC1D_OUT_INDICES_DTYPE) * out_indices,
#define OUT_INDICES_ARGUMENT out_indices,
#else
#define OUT_ROW(b, row) (row)
#define OUT_INDICES_PARAMETER
#define OUT_INDICES_ARGUMENT
#endif
#if CC1D_HAS_INITIAL == 2
#define FLAGS_PARAMETER DEVICE const cc1d_flag_t *has_initial,
#define FLAGS_ARGUMENT has_initial,
#else
#define FLAGS_PARAMETER
#define FLAGS_ARGUMENT
#endif
#define SLOT_PARAMETER INDICES_PARAMETER OUT_INDICES_PARAMETER FLAGS_PARAMETER
#define SLOT_ARGUMENT INDICES_ARGUMENT OUT_INDICES_ARGUMENT FLAGS_ARGUMENT

/* What a convolution's sequence reads and writes of the pool. */
struct cc1d_slot {
    int row, out_row; /* -1: it is padding */
    bool continues;   /* from what the row holds; else it starts from zeros */
};

/* That of sequence n. Its loads do not wait for each other. */
FN cc1d_slot cc1d_find_slot(SLOT_PARAMETER CONSTANT cc1d_conv_params &p, uint n) {
    cc1d_slot slot;
#if CC1D_HAS_INITIAL == 2
    slot.continues = LOAD(cc1d_flag_t, has_initial + n * STRIDE(p.has_initial, 0)) != 0;
#else
    slot.continues = false;
#endif
    slot.row = STATE_ROW(n);
    slot.out_row = OUT_ROW(n, slot.row);
    if (slot.out_row < 0) slot.row = -1;
    return slot;
}

/* Where channel d of a row of a convolution's pool starts. Rows may be further apart than the convolution's
 * own tensors are large. */
FN cc1d_u64 cc1d_state_at(CONSTANT cc1d_conv_params &p, int row, uint d) {
    return (cc1d_u64)(uint)row * LONG64(p.initial.stride[0]) + (cc1d_u64)d * LONG64(p.initial.stride[1]);
}
#else
#define SLOT_PARAMETER
#define SLOT_ARGUMENT
struct cc1d_slot {};
FN cc1d_slot cc1d_find_slot(CONSTANT cc1d_conv_params &p, uint n) { return cc1d_slot(); }
#endif

/* What a forward kernel stores: zeros in a sequence of padding, or a batch row. */
FN cc1d_pack cc1d_unless(bool padding, cc1d_pack v) {
#pragma unroll
    for (int i = 0; i < PACK_WORDS; i++) v.word[i] = padding ? 0u : v.word[i];
    return v;
}
#if CC1D_SEQ == 2 && !defined(CC1D_KERNEL_FORWARD_TIME)
#define STORED(v) cc1d_unless(sequence < 0, v)
#elif CC1D_SEQ != 2 && CC1D_POOL
#define STORED(v) cc1d_unless(slot.row < 0, v)
#else
#define STORED(v) (v)
#endif
