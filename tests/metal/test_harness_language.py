"""Metal's language and library: templates, types, functions, and PyTorch's own Metal headers."""

import harness
import numpy as np
import pytest
import torch
from harness import strict
from metal_text import PREFIX, bits, build

TEMPLATE = """
template <typename T>
struct Square {
    T operator()(T x) const { return x * x; }
};
template <typename T, typename Op>
[[kernel]] void unary(
    device const T* in [[buffer(0)]],
    device T* out [[buffer(1)]],
    constant uint& n [[buffer(2)]],
    uint i [[thread_position_in_grid]]) {
    if (i < n) out[i] = Op()(in[i]);
}
#define INSTANCE(tname, type) \\
    template [[host_name("square_" #tname)]] [[kernel]] void unary<type, Square<type>>( \\
        device const type* in, device type* out, constant uint& n, uint i);
INSTANCE(float32, float)
INSTANCE(float16, half)
INSTANCE(bfloat16, bfloat)
INSTANCE(int32, int)
template [[host_name("square_uint8")]] [[kernel]]
decltype(unary<uchar, Square<uchar>>) unary<uchar, Square<uchar>>;
"""


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "uint8"])
def test_template_kernel_with_host_name(dtype):
    lib = build(TEMPLATE)
    assert dir(lib) == sorted(
        f"square_{d}" for d in ("float32", "float16", "bfloat16", "int32", "uint8")
    )
    torch_dtype = getattr(torch, dtype)
    x = (torch.arange(100) - 30).to(torch_dtype)
    if torch_dtype.is_floating_point:
        x = (x * 0.37).to(torch_dtype)
    out = harness.empty(100, dtype=torch_dtype)
    getattr(lib, f"square_{dtype}")(x, out, 100, arg_casts={2: "int32"}, threads=128, group_size=64)
    assert torch.equal(out, x * x)
    assert harness.unwritten(out) == 0


VECTORS = """
kernel void vectors(device const half4* h [[buffer(0)]], device half4* ho [[buffer(1)]],
                    device const float3* f [[buffer(2)]], device float* fo [[buffer(3)]],
                    device packed_float3* p [[buffer(4)]], device uint4* u [[buffer(5)]],
                    uint i [[thread_position_in_grid]]) {
    half4 a = h[i];
    ho[i] = half4(a.wzyx.xy, a.x + a.y, fma(a.x, a.y, a.z));
    float3 v = f[i];
    fo[i] = dot(v, float3(1, 2, 3)) + length(v.xy);
    float3 q = p[i];
    q.zx = q.xz * 2.0;
    q.y += 1;
    p[i] = q;
    uint4 w = u[i];
    w = (w << 3 | w >> 29) ^ uint4(0xF, as_type<uint>(1.0f), 7u, ~0u);
    w.xyz = select(w.xyz, uint3(5), w.xyz > uint3(100, 0, 1000000));
    w[3] = uint(any(w == uint4(5)));
    const half4 halves = as_type<half4>(w.xy);
    w.xy = as_type<uint2>(halves);
    u[i] = as_type<uint4>(as_type<float4>(w));
}
"""


def test_vectors_and_swizzles():
    lib = build(VECTORS)
    n = 40
    h = torch.randn(n, 4).half()
    ho = harness.empty(n, 4, dtype=torch.half)
    f = torch.randn(n, 4)
    fo = harness.empty(n)
    p = torch.randn(n, 3)
    u = torch.randint(0, 2**31 - 1, (n, 4), dtype=torch.int32)
    p_before, u_before = p.clone(), u.clone()
    lib.vectors(h, ho, f, fo, p, u, threads=n, group_size=32)
    fused = (h[:, 0].double() * h[:, 1].double() + h[:, 2].double()).half()
    assert torch.equal(ho, torch.stack([h[:, 3], h[:, 2], h[:, 0] + h[:, 1], fused], 1))
    v = f[:, :3]
    expected = (v * torch.tensor([1.0, 2, 3])).sum(1) + v[:, :2].norm(dim=1)
    torch.testing.assert_close(fo, expected)
    x, y, z = p_before.unbind(1)
    assert torch.equal(p, torch.stack([z * 2, y + 1, x * 2], 1))
    w = u_before.numpy().astype(np.uint32)
    w = (w << np.uint32(3) | w >> np.uint32(29)) ^ np.array(
        [15, bits(1.0), 7, 2**32 - 1], dtype=np.uint32
    )
    w[:, :3] = np.where(w[:, :3] > np.array([100, 0, 1000000], dtype=np.uint32), 5, w[:, :3])
    w[:, 3] = (w == 5).any(1)
    assert np.array_equal(u.numpy().astype(np.uint32), w)


BFLOAT = """
kernel void mac(device const bfloat* a, device const bfloat* b, device bfloat* out,
                device float* wide, uint i [[thread_position_in_grid]]) {
    bfloat x = a[i], y = b[i];
    bfloat sum = x * y;
    sum += y;
    out[i] = sum / bfloat(3.0f);
    wide[i] = x * 2.0f + float(y);
}
kernel void pairs(device const bfloat2* a, device bfloat2* out,
                  uint i [[thread_position_in_grid]]) {
    out[i] = a[i].yx + bfloat2(1.0bf);
}
"""


def test_bfloat_rounds_each_operation():
    lib = build(BFLOAT)
    a, b = torch.randn(64).bfloat16(), torch.randn(64).bfloat16()
    out, wide = harness.empty(64, dtype=torch.bfloat16), harness.empty(64)
    lib.mac(a, b, out, wide)
    assert torch.equal(out, (a * b + b) / torch.tensor(3.0, dtype=torch.bfloat16))
    assert torch.equal(wide, a.float() * 2 + b.float())
    swapped = harness.empty(64, dtype=torch.bfloat16)
    lib.pairs(a, swapped, threads=32)
    assert torch.equal(swapped.view(32, 2), a.view(32, 2).flip(1) + 1)


def test_half_conversions_are_exact_for_every_value():
    lib = build(
        "kernel void widen(device const half* h, device float* f, "
        "uint i [[thread_position_in_grid]]) { f[i] = float(h[i]); }\n"
        "kernel void narrow(device const float* f, device half* h, "
        "uint i [[thread_position_in_grid]]) { h[i] = half(f[i]); }"
    )
    every = torch.arange(65536).to(torch.int32).to(torch.int16).view(torch.half)
    wide = harness.empty(65536)
    lib.widen(every, wide, group_size=256)
    assert torch.equal(wide.nan_to_num(7.0), every.float().nan_to_num(7.0))
    # Every half, the middle to its neighbour, and one float to either side of that.
    finite = every[every.isfinite()].float()
    middle = (finite + torch.nextafter(finite.half(), torch.tensor(9.0).half()).float()) / 2
    above = torch.nextafter(middle, torch.tensor(float("inf")))
    below = torch.nextafter(middle, torch.tensor(float("-inf")))
    values = torch.cat([finite, middle, above, below])
    narrow = harness.empty(values.numel(), dtype=torch.half)
    lib.narrow(values, narrow, group_size=256)
    assert torch.equal(narrow, values.half())


MATH = """
kernel void math(device const float* x, device float* out, uint i [[thread_position_in_grid]]) {
    device float* row = out + i * 12;
    float v = x[i];
    row[0] = exp(v);
    row[1] = metal::precise::exp(-v);
    row[2] = rsqrt(v * v + 1);
    row[3] = clamp(v, -0.5, 0.5);
    row[4] = fast::max(v, 0.0f) + min3(v, 1.0f, 2.0f);
    row[5] = select(1.0f, 2.0f, v > 0);
    row[6] = as_type<float>(as_type<uint>(v) & 0x7FFFFFFFu);
    row[7] = 1 / (1 + exp(-v)) * M_PI_F;
    row[8] = popcount(as_type<uint>(v)) + clz(uint(i)) + ctz(uint(i + 1)) * 0.5;
    row[9] = fract(v) + floor(v) + sign(v);
    row[10] = mix(v, 2.0f, 0.25f) + float(isnan(v)) + float(isinf(v));
    row[11] = tanh(v) * HALF_MAX / FLT_MAX + saturate(v);
}
"""


def test_math_functions():
    lib = build(MATH)
    x = torch.linspace(-4, 4, 65)
    out = harness.empty(65, 12)
    lib.math(x, out, threads=65)
    d = x.double()
    raw = x.view(torch.int32).numpy().astype(np.uint32)
    index = np.arange(65)
    counts = [
        bin(r).count("1") + 32 - int(i).bit_length() + ((i + 1) & -(i + 1)).bit_length() * 0.5 - 0.5
        for r, i in zip(raw.tolist(), index.tolist(), strict=True)
    ]
    expected = torch.stack(
        [
            d.exp(),
            (-d).exp(),
            (d * d + 1).rsqrt(),
            d.clamp(-0.5, 0.5),
            d.clamp(min=0) + d.clamp(max=1),
            torch.where(d > 0, 2.0, 1.0).double(),
            d.abs(),
            d.sigmoid() * torch.pi,
            torch.tensor(counts, dtype=torch.float64),
            d + d.sign(),
            d + (2 - d) * 0.25,
            d.tanh() * 65504 / torch.finfo(torch.float32).max + d.clamp(0, 1),
        ],
        1,
    )
    torch.testing.assert_close(out.double(), expected, rtol=2e-6, atol=1e-6)


OVERLOADS = """
template <typename T, int N>
struct Tile {
    T values[N];
    void add(device const T* p) thread { for (int i = 0; i < N; i++) values[i] += p[i]; }
    void add(threadgroup const T* p) thread { for (int i = 0; i < N; i++) values[i] += p[i]; }
};
inline float total(const device float* p, uint n) {
    float s = 0;
    for (uint i = 0; i < n; ++i) s += p[i];
    return s;
}
inline float total(const threadgroup float* p, uint n) {
    float s = 0;
    for (uint i = 0; i < n; ++i) s += p[i];
    return s;
}
template <typename T, int N = 4, bool TWICE = true>
[[kernel]] void overloads(const device T* x [[buffer(0)]], device T* y [[buffer(1)]],
                          const constant int& n [[buffer(2)]],
                          uint2 tid [[thread_position_in_grid]],
                          uint3 tsize [[threads_per_threadgroup]]) {
    threadgroup T shared[8];
    shared[tid.x] = x[tid.x];
    threadgroup_barrier(mem_flags::mem_threadgroup);
    Tile<T, N> tile = {};
    tile.add(x);
    tile.add(shared + 2);
    T sum = T(total(x, n) * total(shared, tsize.x));
    #pragma unroll
    for (short i = 0; i < N; i++) sum += tile.values[i];
    y[tid.x] = TWICE ? sum * 2 : sum;
}
template [[host_name("overloads_4")]] [[kernel]] void overloads<float>(
    const device float*, device float*, const constant int&, uint2, uint3);
template [[host_name("overloads_2")]] [[kernel]] void overloads<float, 2, false>(
    const device float*, device float*, const constant int&, uint2, uint3);
"""


def test_overloads_that_differ_in_address_space():
    lib = build(OVERLOADS)
    x, y = torch.arange(8.0), harness.empty(8)
    lib.overloads_4(x, y, 3, threads=(8, 1), group_size=(8, 1), arg_casts={2: "int32"})
    assert torch.equal(y, torch.full((8,), 2.0 * (3 * 28 + 6 + 14)))
    lib.overloads_2(x, y, 3, threads=(8, 1), group_size=(8, 1), arg_casts={2: "int32"})
    assert torch.equal(y, torch.full((8,), 3.0 * 28 + 1 + 5))


CONSTANTS = """
namespace lookup {
constant float weights[4] = {0.5, 0.25, 0.125, 1};
constant constexpr int OFFSET = 3;
inline float at(uint i, constant float* table) { return table[i & 3]; }
}
struct Pixel { uchar4 color; float depth; };
static inline float depth_of(device const Pixel& p) { return p.depth; }
kernel void constants(device const Pixel* pixels [[buffer(0)]], device float* out [[buffer(1)]],
                      uint i [[thread_position_in_grid]]) {
    Pixel p = pixels[i];
    float local[4];
    for (int k = 0; k < 4; k++) local[k] = p.color[k] * lookup::weights[k];
    out[i] = local[i & 3] + lookup::at(i, lookup::weights) + depth_of(pixels[i]) + lookup::OFFSET;
}
"""


def test_constants_structs_and_local_arrays():
    lib = build(CONSTANTS)
    color = torch.randint(0, 255, (24, 4), dtype=torch.uint8)
    depth = torch.randn(24)
    pixels = torch.cat([color, depth.view(torch.uint8).view(24, 4)], 1)
    out = harness.empty(24)
    lib.constants(pixels, out, threads=24)
    weights = torch.tensor([0.5, 0.25, 0.125, 1])
    k = torch.arange(24) % 4
    expected = color[torch.arange(24), k] * weights[k] + weights[k] + depth + 3
    torch.testing.assert_close(out, expected)


PYTORCH = """
#include <c10/metal/indexing.h>
#include <c10/metal/random.h>
#include <c10/metal/reduction_utils.h>
#include <c10/metal/special_math.h>
#include <c10/metal/atomic.h>
using namespace c10::metal;
template <typename T>
kernel void rows(constant T* x [[buffer(0)]], device opmath_t<T>* sums [[buffer(1)]],
                 device T* most [[buffer(2)]], device int* where [[buffer(3)]],
                 device AtomicType_t<T>* total [[buffer(4)]], constant long& seed [[buffer(5)]],
                 device float* noise [[buffer(6)]], device float* error [[buffer(7)]],
                 uint t [[thread_position_in_threadgroup]],
                 uint row [[threadgroup_position_in_grid]],
                 uint size [[threads_per_threadgroup]]) {
    threadgroup opmath_t<T> shared[simdgroup_size];
    threadgroup T values[simdgroup_size];
    threadgroup int indices[simdgroup_size];
    const T v = x[row * size + t];
    const auto sum = threadgroup_sum(shared, v, t, size);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const T best = threadgroup_max(values, v, t, size);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const int at = threadgroup_argmax(values, indices, v, int(t), t, size);
    if (t == 0) {
        sums[row] = sum;
        most[row] = best;
        where[row] = at;
        AtomicType<T>::atomic_add(total, 0, T(sum));
    }
    noise[row * size + t] = c10::metal::rand(seed, row * size + t);
    error[row * size + t] = c10::metal::erf(float(v));
}
template [[host_name("rows_float")]] kernel void rows<float>(
    constant float*, device float*, device float*, device int*, device AtomicType_t<float>*,
    constant long&, device float*, device float*, uint, uint, uint);
template [[host_name("rows_half")]] kernel void rows<half>(
    constant half*, device float*, device half*, device int*, device AtomicType_t<half>*,
    constant long&, device float*, device float*, uint, uint, uint);
"""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("size", [32, 96, 1024])
def test_the_metal_headers_that_pytorch_ships(dtype, size):
    lib = build(PYTORCH)
    x = torch.randn(3, size).to(dtype)
    sums, most, where = harness.empty(3), harness.empty(3, dtype=dtype), torch.zeros(3).int()
    total = torch.zeros(2, dtype=dtype)
    noise, error = harness.empty(3, size), harness.empty(3, size)
    kernel = lib.rows_float if dtype == torch.float32 else lib.rows_half
    kernel(x, sums, most, where, total, 7, noise, error, threads=3 * size, group_size=size)
    torch.testing.assert_close(sums, x.double().sum(1).float(), rtol=1e-4, atol=1e-3)
    assert torch.equal(most, x.max(1).values)
    assert torch.equal(where, x.argmax(1).int())
    torch.testing.assert_close(total[0], sums.sum().to(dtype), rtol=1e-2, atol=1e-1)
    assert noise.min() >= 0 and noise.max() < 1 and noise.unique().numel() > 2.9 * size
    torch.testing.assert_close(error, torch.erf(x.float()), rtol=1e-5, atol=1e-6)


STRIDES = """
typedef uint IdxT;
constant const IdxT table[3] = {1, 2, 3}; // caf\u00e9 \u2013 of strides
/* \u00e9 "unbalanced */
template <typename T> T pick(constant const T strides[3], uint i) { return strides[i] + table[i]; }
kernel void f(device uint* y [[buffer(0)]], constant const IdxT strides[3] [[buffer(1)]],
              uint i [[thread_position_in_grid]]) {
    constant const IdxT local[3] = {7, 8, 9};
    y[i] = pick<IdxT>(strides, i) + local[i];
}
template <typename T>
kernel void g(device uint* y, constant const T strides[3], uint i [[thread_position_in_grid]]) {
    y[i] = strides[i];
}
template [[host_name("g_uint")]]
kernel void g<uint>(device uint*, constant const uint strides[3], uint);
"""


def test_constant_arrays_and_comments_of_any_script():
    strict.check(PREFIX + STRIDES)
    lib = build(STRIDES)
    y = torch.zeros(3, dtype=torch.int32)
    for kernel, want in ((lib.f, [18, 30, 42]), (lib.g_uint, [10, 20, 30])):
        kernel(y, [10, 20, 30], threads=3, group_size=3, arg_casts="int32")
        assert y.tolist() == want
    with pytest.raises(harness.OutOfBoundsError, match="buffer 1, which has 8 bytes"):
        lib.f(y, [10, 20], threads=3, group_size=3, arg_casts="int32")
