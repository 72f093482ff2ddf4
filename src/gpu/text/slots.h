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
#define SLOT_PARAMETER INDICES_PARAMETER DEVICE const JOIN(cc1d_index_, CC1D_OUT_INDICES_DTYPE) * out_indices,
#define SLOT_ARGUMENT INDICES_ARGUMENT out_indices,
#else
#define OUT_ROW(b, row) (row)
#define SLOT_PARAMETER INDICES_PARAMETER
#define SLOT_ARGUMENT INDICES_ARGUMENT
#endif

/* The row that sequence n of a convolution reads, or -1 for padding. */
FN int cc1d_slot(SLOT_PARAMETER CONSTANT cc1d_conv_params &p, uint n) {
    int row = STATE_ROW(n);
    return OUT_ROW(n, row) < 0 ? -1 : row;
}

/* Where channel d of a row of a convolution's pool starts. Rows may be further apart than the convolution's
 * own tensors are large. */
FN cc1d_u64 cc1d_state_at(CONSTANT cc1d_conv_params &p, int row, uint d) {
    return (cc1d_u64)(uint)row * LONG64(p.initial.stride[0]) + (cc1d_u64)d * LONG64(p.initial.stride[1]);
}
#else
#define SLOT_PARAMETER
#define SLOT_ARGUMENT
#endif

/* What a forward kernel stores: zeros in a sequence of padding, or a batch row. */
FN cc1d_pack cc1d_unless(bool padding, cc1d_pack v) {
#pragma unroll
    for (int i = 0; i < PACK_WORDS; i++) v.word[i] = padding ? 0u : v.word[i];
    return v;
}
#if CC1D_SEQ == 2 && defined(CC1D_KERNEL_FORWARD_TIME)
#define FIND_PADDING(b)
#define STORED(v) (v)
#elif CC1D_SEQ == 2
#define FIND_PADDING(b)
#define STORED(v) cc1d_unless(sequence < 0, v)
#elif CC1D_POOL
#define FIND_PADDING(b) bool padding = cc1d_slot(SLOT_ARGUMENT p, b) < 0;
#define STORED(v) cc1d_unless(padding, v)
#else
#define FIND_PADDING(b)
#define STORED(v) (v)
#endif
