/* prelude_cuda.h - the kernels' vocabulary in CUDA C++ for NVRTC, without headers; docs/kernels.md has the
 * table. */
typedef unsigned int uint;
typedef unsigned short ushort;
typedef long long cc1d_i64;
typedef unsigned long long cc1d_u64;
#define FN __device__ __forceinline__
#define DEVICE
#define CONSTANT const
#define LOCAL
#define SHARED __shared__
#define IN(type, name, index) const type *__restrict__ name,
#define OUT(type, name, index) type *name,
#define ENTRY(name, params_t)                                                      \
    extern "C" __global__ void __launch_bounds__(CC1D_GROUP_SIZE, CC1D_MIN_BLOCKS) \
        name(CC1D_BUFFERS const params_t p)
#define GROUP_X blockIdx.x
#define GROUP_Y blockIdx.y
#define THREAD threadIdx.x
#define LANE (threadIdx.x & 31u)
#define BARRIER() __syncthreads()
#define SHUFFLE_XOR(value, mask) __shfl_xor_sync(0xffffffffu, value, (int)(mask))
#define SHUFFLE_ROTATE(value, lane, ahead, team) \
    __shfl_sync(0xffffffffu, value,              \
                (int)(((lane) & ~(uint)((team)-1)) | (((lane) + (uint)(ahead)) & (uint)((team)-1))))
#define LOADS_NEIGHBOURS 0
#define LOADS_INDEXED 0
#define MULHI(a, b) __umulhi((uint)(a), (uint)(b))
#define AS_UINT(value) __float_as_uint(value)
#define AS_FLOAT(value) __uint_as_float(value)
#define LOAD(type, pointer) __ldg((const type *)(pointer))
#define STORE(type, pointer, value) (*(type *)(pointer) = (value))
#if __CUDA_ARCH__ >= 900
#define WAIT_FOR_EARLIER_LAUNCH() asm volatile("griddepcontrol.wait;" ::: "memory")
#else
#define WAIT_FOR_EARLIER_LAUNCH()
#endif
#if __CUDA_ARCH__ >= 900 && CC1D_POOL
#define START_NEXT_LAUNCH() asm volatile("griddepcontrol.launch_dependents;")
#else
#define START_NEXT_LAUNCH()
#endif
#define VEC2 uint2
#define VEC4 uint4
#define PTX(result, text, ...) asm(text:result : __VA_ARGS__)
FN float cc1d_half_bits_to_float(uint bits) {
    float f;
    PTX("=f"(f), "cvt.f32.f16 %0, %1;", "h"((ushort)bits));
    return f;
}
FN uint cc1d_float_to_half_bits(float value) {
    ushort h;
    PTX("=h"(h), "cvt.rn.f16.f32 %0, %1;", "f"(value));
    return h;
}
FN float cc1d_exp2_approximate(float value) {
    float f;
    PTX("=f"(f), "ex2.approx.ftz.f32 %0, %1;", "f"(value));
    return f;
}
FN float cc1d_reciprocal_approximate(float value) {
    float f;
    PTX("=f"(f), "rcp.approx.ftz.f32 %0, %1;", "f"(value));
    return f;
}
FN float cc1d_reciprocal(float value) { return cc1d_reciprocal_approximate(value); }
FN uint cc1d_float_to_bfloat_bits(float value) {
    uint bits = __float_as_uint(value); /* to nearest even; a NaN stays one */
    return value == value ? (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16 : 0x7fffu;
}
/* Products of two pairs of 16-bit numbers, each rounded once. */
FN uint cc1d_multiply_halves(uint a, uint b) {
    uint u;
    PTX("=r"(u), "mul.rn.f16x2 %0, %1, %2;", "r"(a), "r"(b));
    return u;
}
#if __CUDA_ARCH__ >= 800
FN uint cc1d_multiply_bfloats(uint a, uint b) {
    uint u; /* plus -0 */
    PTX("=r"(u), "fma.rn.bf16x2 %0, %1, %2, %3;", "r"(a), "r"(b), "r"(0x80008000u));
    return u;
}
FN uint cc1d_floats_to_half_bits(float low, float high) {
    uint u;
    PTX("=r"(u), "cvt.rn.f16x2.f32 %0, %1, %2;", "f"(high), "f"(low));
    return u;
}
FN uint cc1d_floats_to_bfloat_bits(float low, float high) {
    uint u;
    PTX("=r"(u), "cvt.rn.bf16x2.f32 %0, %1, %2;", "f"(high), "f"(low));
    return u;
}
#else
FN uint cc1d_floats_to_half_bits(float low, float high) {
    return cc1d_float_to_half_bits(low) | (cc1d_float_to_half_bits(high) << 16);
}
FN uint cc1d_floats_to_bfloat_bits(float low, float high) {
    return cc1d_float_to_bfloat_bits(low) | (cc1d_float_to_bfloat_bits(high) << 16);
}
FN uint cc1d_multiply_bfloats(uint a, uint b) {
    return cc1d_floats_to_bfloat_bits(__uint_as_float(a << 16) * __uint_as_float(b << 16),
                                      __uint_as_float(a & 0xffff0000u) * __uint_as_float(b & 0xffff0000u));
}
#endif
