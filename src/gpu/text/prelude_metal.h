/* prelude_metal.h - the kernels' vocabulary in the Metal Shading Language; docs/kernels.md has the table. */
#include <metal_stdlib>
using namespace metal;
#if __METAL_VERSION__ >= 320
#pragma METAL fp math_mode(safe)
#pragma METAL fp contract(off)
#else
#pragma clang fp contract(off)
#endif
typedef long cc1d_i64;
typedef ulong cc1d_u64;
#define FN inline
#define DEVICE device
#define CONSTANT constant
#define LOCAL thread
#define SHARED threadgroup
#define IN(type, name, index) device const type *name [[buffer(index)]],
#define OUT(type, name, index) device type *name [[buffer(index)]],
/* The attribute makes the compiler fit its registers to the group that will be launched. */
#define ENTRY(name, params_t)                                                \
    [[max_total_threads_per_threadgroup(CC1D_GROUP_SIZE)]] kernel void name( \
        CC1D_BUFFERS constant params_t &p [[buffer(CC1D_PARAMS_INDEX)]],     \
        uint3 group_in_grid [[threadgroup_position_in_grid]],                \
        uint thread_in_group [[thread_index_in_threadgroup]],                \
        uint lane_in_simd [[thread_index_in_simdgroup]])
#define GROUP_X group_in_grid.x
#define GROUP_Y group_in_grid.y
#define THREAD thread_in_group
#define LANE lane_in_simd
#define BARRIER() threadgroup_barrier(mem_flags::mem_threadgroup)
#define WAIT_FOR_EARLIER_LAUNCH() /* launches on an encoder follow each other */
#define START_NEXT_LAUNCH()
#define SHUFFLE_XOR(value, mask) simd_shuffle_xor(value, (ushort)(mask))
/* On Apple GPUs a shuffle from any lane is some 30 instructions, the other two are one each. */
#define SHUFFLE_ROTATE(value, lane, ahead, team)                                \
    ((team) == 32 ? simd_shuffle_rotate_down(value, (ushort)((ahead)&31))       \
                  : simd_shuffle(value, (ushort)(((lane) & ~(uint)((team)-1)) | \
                                                 (((lane) + (uint)(ahead)) & (uint)((team)-1)))))
#define LOADS_NEIGHBOURS 1 /* forward loads what another lane has too: it is in the cache */
#define LOADS_INDEXED 1    /* a load adds a 32-bit index to its 64-bit base by itself */
#define MULHI(a, b) mulhi((uint)(a), (uint)(b))
#define AS_UINT(value) as_type<uint>(value)
#define AS_FLOAT(value) as_type<float>(value)
#define LOAD(type, pointer) (*(device const type *)(pointer))
#define STORE(type, pointer, value) (*(device type *)(pointer) = (value))
#define VEC2 uint2
#define VEC4 uint4
FN float cc1d_half_bits_to_float(uint bits) { return float(as_type<half>(ushort(bits))); }
FN uint cc1d_float_to_half_bits(float value) { return as_type<ushort>(half(value)); }
FN uint cc1d_floats_to_half_bits(float low, float high) {
    return cc1d_float_to_half_bits(low) | (cc1d_float_to_half_bits(high) << 16);
}
FN uint cc1d_float_to_bfloat_bits(float value) {
    uint bits = as_type<uint>(value); /* to nearest even; a NaN stays one */
    return value == value ? (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16 : 0x7fc0u;
}
FN uint cc1d_floats_to_bfloat_bits(float low, float high) {
    return cc1d_float_to_bfloat_bits(low) | (cc1d_float_to_bfloat_bits(high) << 16);
}
/* Products of two pairs of 16-bit numbers, each rounded once: exact in a float, but for subnormals. */
FN uint cc1d_multiply_halves(uint a, uint b) {
    return cc1d_floats_to_half_bits(cc1d_half_bits_to_float(a & 0xffffu) *
                                        cc1d_half_bits_to_float(b & 0xffffu),
                                    cc1d_half_bits_to_float(a >> 16) * cc1d_half_bits_to_float(b >> 16));
}
FN uint cc1d_multiply_bfloats(uint a, uint b) {
    return cc1d_floats_to_bfloat_bits(as_type<float>(a << 16) * as_type<float>(b << 16),
                                      as_type<float>(a & 0xffff0000u) * as_type<float>(b & 0xffff0000u));
}
/* For results of 16 bits: one instruction each. Apple promises 3 + 2 |value| ulp, and 2.5 up to 2^126. */
FN float cc1d_exp2_approximate(float value) { return fast::exp2(value); }
FN float cc1d_reciprocal_approximate(float value) { return fast::divide(1.0f, value); }
/* Within 1 ulp. */
FN float cc1d_reciprocal(float value) { return 1.0f / value; }
