/* common.h - what every kernel needs: dtypes, strides, packs of 16 bytes or less, weights.
 *
 * Comes after the CC1D_ defines of the kernel's key, the prelude and params.h; docs/kernels.md lists all of
 * them. Dtypes are the numbers of cc1d_dtype: 0 float32, 1 float16, 2 bfloat16, 3 float64 (CUDA only). */
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
typedef int cc1d_index_4;
typedef cc1d_i64 cc1d_index_5;
typedef unsigned char cc1d_flag_t;

typedef float cc1d_bits_0;
typedef ushort cc1d_bits_1;
typedef ushort cc1d_bits_2;
FN float cc1d_read_0(float value) { return value; }
FN float cc1d_read_1(ushort value) { return cc1d_half_bits_to_float(value); }
FN float cc1d_read_2(ushort value) { return AS_FLOAT((uint)value << 16); }
FN float cc1d_write_0(float value) { return value; }
FN ushort cc1d_write_1(float value) { return (ushort)cc1d_float_to_half_bits(value); }
FN ushort cc1d_write_2(float value) { return (ushort)cc1d_float_to_bfloat_bits(value); }
#if CC1D_X_DTYPE == 3
typedef double cc1d_bits_3;
FN double cc1d_read_3(double value) { return value; }
FN double cc1d_write_3(double value) { return value; }
typedef double cc1d_real;
#else
typedef float cc1d_real;
#endif

/* What a tensor's elements are in memory, and the conversions to and from real. */
typedef JOIN(cc1d_bits_, CC1D_X_DTYPE) cc1d_x_t;
typedef JOIN(cc1d_bits_, CC1D_WEIGHT_DTYPE) cc1d_weight_t;
typedef JOIN(cc1d_bits_, CC1D_BIAS_DTYPE) cc1d_bias_t;
#define X_TO_REAL(value) ((cc1d_real)JOIN(cc1d_read_, CC1D_X_DTYPE)(value))
#define X_FROM_REAL(value) JOIN(cc1d_write_, CC1D_X_DTYPE)(value)
#define WEIGHT_TO_REAL(value) ((cc1d_real)JOIN(cc1d_read_, CC1D_WEIGHT_DTYPE)(value))
#define WEIGHT_FROM_REAL(value) JOIN(cc1d_write_, CC1D_WEIGHT_DTYPE)(value)
#define BIAS_TO_REAL(value) ((cc1d_real)JOIN(cc1d_read_, CC1D_BIAS_DTYPE)(value))
#define BIAS_FROM_REAL(value) JOIN(cc1d_write_, CC1D_BIAS_DTYPE)(value)
typedef JOIN(cc1d_bits_, CC1D_INITIAL_DTYPE) cc1d_initial_t;

/* ---- Strides: 32-bit where every tensor of the launch is small enough for it ---- */

#define LONG64(value) ((cc1d_u64)(uint)(value).lo | ((cc1d_u64)(uint)(value).hi << 32))
#if CC1D_OFFSET64
typedef cc1d_u64 cc1d_offset_t;
#define LONG(value) LONG64(value)
#else
typedef uint cc1d_offset_t;
#define LONG(value) ((uint)(value).lo)
#endif
#define STRIDE(place, dimension) LONG((place).stride[dimension])

/* Packs are found by their number, counted from a 16-byte boundary at or before the tensor; else by pointers.
 */
#define NUMBERED_PACKS (LOADS_INDEXED && !CC1D_OFFSET64)

FN uint cc1d_divide(uint n, CONSTANT cc1d_divisor &by) { return (MULHI(n, by.multiplier) + n) >> by.shift; }

/* ---- Packs: VEC neighbouring elements of x's dtype, as 32-bit words ---- */

#if CC1D_X_DTYPE == 0
#define ITEM_BYTES 4
#elif CC1D_X_DTYPE == 3
#define ITEM_BYTES 8
#else
#define ITEM_BYTES 2
#endif
#define VEC CC1D_VEC
#define PACK_BYTES (VEC * ITEM_BYTES)
#define PACK_WORDS ((PACK_BYTES + 3) / 4)

struct cc1d_pack {
    uint word[PACK_WORDS];
};

FN cc1d_pack cc1d_zero_pack() {
    cc1d_pack v;
#pragma unroll
    for (int i = 0; i < PACK_WORDS; i++) v.word[i] = 0;
    return v;
}

/* A pack as it lies in memory, aligned to its size. */
#if PACK_BYTES == 16
typedef VEC4 cc1d_memory_pack;
#elif PACK_BYTES == 8
typedef VEC2 cc1d_memory_pack;
#elif PACK_BYTES == 4
typedef uint cc1d_memory_pack;
#else
typedef ushort cc1d_memory_pack;
#endif

FN cc1d_pack cc1d_from_memory(cc1d_memory_pack u) {
    cc1d_pack v;
#if PACK_BYTES == 16
    v.word[0] = u.x;
    v.word[1] = u.y;
    v.word[2] = u.z;
    v.word[3] = u.w;
#elif PACK_BYTES == 8
    v.word[0] = u.x;
    v.word[1] = u.y;
#else
    v.word[0] = u;
#endif
    return v;
}

FN cc1d_pack cc1d_load_pack(DEVICE const cc1d_x_t *source) {
    return cc1d_from_memory(LOAD(cc1d_memory_pack, source));
}

FN cc1d_pack cc1d_load_numbered(DEVICE const cc1d_x_t *boundary, uint number) {
    return cc1d_from_memory(LOAD(cc1d_memory_pack, (DEVICE const cc1d_memory_pack *)boundary + number));
}

/* Like load_pack, from a tensor that the kernel writes too. */
FN cc1d_pack cc1d_read_pack(DEVICE const cc1d_x_t *source) {
    return cc1d_from_memory(*(DEVICE const cc1d_memory_pack *)source);
}

FN cc1d_memory_pack cc1d_to_memory(cc1d_pack v) {
    cc1d_memory_pack u;
#if PACK_BYTES == 16
    u.x = v.word[0];
    u.y = v.word[1];
    u.z = v.word[2];
    u.w = v.word[3];
#elif PACK_BYTES == 8
    u.x = v.word[0];
    u.y = v.word[1];
#else
    u = (cc1d_memory_pack)v.word[0];
#endif
    return u;
}

FN void cc1d_store_pack(DEVICE cc1d_x_t *target, cc1d_pack v) {
    STORE(cc1d_memory_pack, target, cc1d_to_memory(v));
}

FN void cc1d_store_numbered(DEVICE cc1d_x_t *boundary, uint number, cc1d_pack v) {
    STORE(cc1d_memory_pack, (DEVICE cc1d_memory_pack *)boundary + number, cc1d_to_memory(v));
}

/* Element i; i is a constant after unrolling. */
FN cc1d_x_t cc1d_pack_bits(cc1d_pack v, int i) {
#if CC1D_X_DTYPE == 0
    return AS_FLOAT(v.word[i]);
#elif CC1D_X_DTYPE == 3
    return __longlong_as_double((cc1d_i64)((cc1d_u64)v.word[2 * i] | ((cc1d_u64)v.word[2 * i + 1] << 32)));
#else
    return (ushort)(v.word[i / 2] >> (16 * (i & 1)));
#endif
}

FN cc1d_real cc1d_pack_get(cc1d_pack v, int i) {
#if CC1D_X_DTYPE == 2
    return AS_FLOAT((i & 1) ? v.word[i / 2] & 0xffff0000u : v.word[i / 2] << 16);
#else
    return X_TO_REAL(cc1d_pack_bits(v, i));
#endif
}

/* Sets element i of a pack whose element i is still zero. */
FN cc1d_pack cc1d_pack_with(cc1d_pack v, int i, cc1d_x_t bits) {
#if CC1D_X_DTYPE == 0
    v.word[i] = AS_UINT(bits);
#elif CC1D_X_DTYPE == 3
    cc1d_u64 both = (cc1d_u64)__double_as_longlong(bits);
    v.word[2 * i] = (uint)both;
    v.word[2 * i + 1] = (uint)(both >> 32);
#else
    v.word[i / 2] |= (uint)bits << (16 * (i & 1));
#endif
    return v;
}

/* Rounds VEC values, once, to nearest even. */
FN cc1d_pack cc1d_pack_reals(LOCAL const cc1d_real *value) {
    cc1d_pack v = cc1d_zero_pack();
#if ITEM_BYTES == 2 && PACK_BYTES >= 4
#pragma unroll
    for (int i = 0; i < PACK_WORDS; i++)
#if CC1D_X_DTYPE == 1
        v.word[i] = cc1d_floats_to_half_bits(value[2 * i], value[2 * i + 1]);
#else
        v.word[i] = cc1d_floats_to_bfloat_bits(value[2 * i], value[2 * i + 1]);
#endif
#else
#pragma unroll
    for (int i = 0; i < VEC; i++) v = cc1d_pack_with(v, i, X_FROM_REAL(value[i]));
#endif
    return v;
}

/* The elements first..end-1 of a pack, one by one; the others are zero, or are not written. */
FN cc1d_pack cc1d_load_some(DEVICE const cc1d_x_t *source, int first, int end) {
    cc1d_pack v = cc1d_zero_pack();
#pragma unroll
    for (int i = 0; i < VEC; i++)
        if (i >= first && i < end) v = cc1d_pack_with(v, i, LOAD(cc1d_x_t, source + i));
    return v;
}

FN void cc1d_store_some(DEVICE cc1d_x_t *target, cc1d_pack v, int first, int end) {
#pragma unroll
    for (int i = 0; i < VEC; i++)
        if (i >= first && i < end) STORE(cc1d_x_t, target + i, cc1d_pack_bits(v, i));
}

/* ---- Weights and bias of one channel ---- */

#define WIDTH CC1D_WIDTH
#define HISTORY (WIDTH - 1)

#if CC1D_HAS_BIAS
#define BIAS_PARAMETER DEVICE const cc1d_bias_t *bias,
#define BIAS_ARGUMENT bias,
#else
#define BIAS_PARAMETER
#define BIAS_ARGUMENT
#endif

#if WIDTH > 0
/* The taps of a channel into real[WIDTH]; one wide load where the host says that they lie so. */
FN void cc1d_load_weights(DEVICE const cc1d_weight_t *source, cc1d_offset_t stride, LOCAL cc1d_real *target) {
#if CC1D_WEIGHT_WORDS == 4
    VEC4 u = LOAD(VEC4, source);
    uint word[4] = {u.x, u.y, u.z, u.w};
#elif CC1D_WEIGHT_WORDS == 2
    VEC2 u = LOAD(VEC2, source);
    uint word[2] = {u.x, u.y};
#elif CC1D_WEIGHT_WORDS == 1
    uint word[1] = {LOAD(uint, source)};
#endif
#pragma unroll
    for (int k = 0; k < WIDTH; k++)
#if CC1D_WEIGHT_WORDS == 0
        target[k] = WEIGHT_TO_REAL(LOAD(cc1d_weight_t, source + (cc1d_offset_t)k * stride));
#elif CC1D_WEIGHT_DTYPE == 0
        target[k] = AS_FLOAT(word[k]);
#else
        target[k] = WEIGHT_TO_REAL((ushort)(word[k / 2] >> (16 * (k & 1))));
#endif
}
#endif

/* What channel d's sums start with. */
FN cc1d_real cc1d_load_bias(BIAS_PARAMETER CONSTANT cc1d_conv_params &p, uint d) {
#if CC1D_HAS_BIAS
    return BIAS_TO_REAL(LOAD(cc1d_bias_t, bias + d * STRIDE(p.bias, 0)));
#else
    return 0;
#endif
}
