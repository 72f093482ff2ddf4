/* prelude_opencl.h - the kernels' vocabulary in C++ for OpenCL, in place of prelude_metal.h, so that clang
 * makes SPIR-V of the same text for Mesa's compiler. For counting, not for running: see the shuffles. */
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
typedef long cc1d_i64;
typedef ulong cc1d_u64;
#define FN static inline __attribute__((always_inline))
#define DEVICE __global
#define CONSTANT __constant
#define LOCAL __private
#define SHARED __local
#define IN(type, name, index) __global const type *__restrict name,
#define OUT(type, name, index) __global type *__restrict name,
/* table.py writes `constant params_t &p = *params_pointer;` into the body. */
#define ENTRY(name, params_t)                                                        \
    __kernel __attribute__((reqd_work_group_size(CC1D_GROUP_SIZE, 1, 1))) void name( \
        CC1D_BUFFERS __constant params_t *params_pointer)
#define GROUP_X ((uint)get_group_id(0))
#define GROUP_Y ((uint)get_group_id(1))
#define THREAD ((uint)get_local_id(0))
#define LANE ((uint)get_sub_group_local_id())
#define BARRIER() work_group_barrier(CLK_LOCAL_MEM_FENCE)
#define WAIT_FOR_EARLIER_LAUNCH()
/* One instruction each on the hardware, but Mesa makes the long sequence of any lane of them. A shuffle from
 * the same lane for all is one instruction too: the right count, the wrong value. */
#define ONE_SHUFFLE(value) sub_group_shuffle(value, 5u)
#define SHUFFLE_XOR(value, mask) ONE_SHUFFLE(value)
#define SHUFFLE_ROTATE(value, lane, ahead, team)                            \
    ((team) == 32 ? ONE_SHUFFLE(value)                                      \
                  : sub_group_shuffle(value, ((lane) & ~(uint)((team)-1)) | \
                                                 (((lane) + (uint)(ahead)) & (uint)((team)-1))))
#define START_NEXT_LAUNCH()
#define WAIT_FOR_EARLIER_LAUNCH()
#define LOADS_NEIGHBOURS 1
#define LOADS_INDEXED 1
#define MULHI(a, b) mul_hi((uint)(a), (uint)(b))
#define AS_UINT(value) as_uint(value)
#define AS_FLOAT(value) as_float(value)
#define LOAD(type, pointer) (*(__global const type *)(pointer))
#define STORE(type, pointer, value) (*(__global type *)(pointer) = (value))
#define VEC2 uint2
#define VEC4 uint4
FN float cc1d_half_bits_to_float(uint bits) { return (float)as_half((ushort)bits); }
FN uint cc1d_float_to_half_bits(float value) { return as_ushort((half)value); }
FN uint cc1d_floats_to_half_bits(float low, float high) {
    return cc1d_float_to_half_bits(low) | (cc1d_float_to_half_bits(high) << 16);
}
FN uint cc1d_float_to_bfloat_bits(float value) {
    uint bits = as_uint(value); /* to nearest even; a NaN stays one */
    return value == value ? (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16 : 0x7fc0u;
}
FN uint cc1d_floats_to_bfloat_bits(float low, float high) {
    return cc1d_float_to_bfloat_bits(low) | (cc1d_float_to_bfloat_bits(high) << 16);
}
FN float cc1d_exp2_approximate(float value) { return native_exp2(value); }
FN float cc1d_reciprocal_approximate(float value) { return native_recip(value); }
/* Correctly rounded from the hardware's, as Metal's 1.0f / value in its safe mode is. */
FN float cc1d_reciprocal(float value) {
    float about = native_recip(value), better = fma(fma(-value, about, 1.0f), about, about);
    return better != better ? about : better;
}
