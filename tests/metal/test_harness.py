"""Kernels in the usual styles of Metal code, which the harness must execute rightly."""

import struct

import harness
import numpy as np
import pytest
import torch
from harness import compile_shader

PREFIX = "#include <metal_stdlib>\nusing namespace metal;\n"


def build(body):
    return compile_shader(PREFIX + body)


def bits(value):
    return struct.unpack("<i", struct.pack("<f", value))[0]


def test_kernel_without_attributes_or_includes():
    lib = compile_shader(
        "kernel void full(device float* out, constant float& val, "
        "uint idx [[thread_position_in_grid]]) { out[idx] = val; }"
    )
    out = torch.zeros(16)
    lib.full(out, 3.5)
    assert torch.equal(out, torch.full((16,), 3.5))


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


REDUCTION = """
struct Params { uint n; float scale; };
kernel void row_sum(device const float* x [[buffer(0)]],
                    device float* out [[buffer(1)]],
                    constant Params& p [[buffer(2)]],
                    uint row [[threadgroup_position_in_grid]],
                    uint t [[thread_index_in_threadgroup]],
                    uint threads [[threads_per_threadgroup]],
                    uint lane [[thread_index_in_simdgroup]],
                    uint simd [[simdgroup_index_in_threadgroup]],
                    uint simds [[simdgroups_per_threadgroup]]) {
    threadgroup float partial[32];
    float sum = 0;
    for (uint i = t; i < p.n; i += threads) sum += x[row * p.n + i];
    sum = simd_sum(sum);
    if (lane == 0) partial[simd] = sum;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (simd == 0) {
        sum = simd_sum(lane < simds ? partial[lane] : 0.0);
        if (lane == 0) out[row] = sum * p.scale;
    }
}
kernel void tree_max(device const int* x, device int* out,
                     uint3 g [[threadgroup_position_in_grid]],
                     uint3 t [[thread_position_in_threadgroup]],
                     uint3 size [[threads_per_threadgroup]]) {
    threadgroup int buffer[256];
    buffer[t.x] = x[g.x * size.x + t.x];
    for (uint half_size = size.x / 2; half_size > 0; half_size >>= 1) {
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (t.x < half_size) buffer[t.x] = max(buffer[t.x], buffer[t.x + half_size]);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (t.x == 0) out[g.x] = buffer[0];
}
"""


def test_threadgroup_reduction():
    lib = build(REDUCTION)
    x = torch.randn(5, 1000)
    out = harness.empty(5)
    lib.row_sum(x, out, [1000, bits(0.5)], threads=5 * 256, group_size=256, arg_casts={2: "int32"})
    torch.testing.assert_close(out, x.double().sum(1).float() * 0.5, rtol=1e-5, atol=1e-4)
    assert lib.row_sum.static_thread_group_memory_length == 128

    y = torch.randint(-1000, 1000, (1024,), dtype=torch.int32)
    best = harness.empty(4, dtype=torch.int32)
    lib.tree_max(y, best, threads=1024, group_size=256)
    assert torch.equal(best, y.view(4, 256).max(1).values)


SCAN = """
template <typename T>
kernel void block_scan(device const T* in [[buffer(0)]], device T* out [[buffer(1)]],
                       uint i [[thread_position_in_grid]],
                       ushort lane [[thread_index_in_simdgroup]],
                       ushort simd [[simdgroup_index_in_threadgroup]]) {
    threadgroup T totals[32];
    T inclusive = simd_prefix_inclusive_sum(in[i]);
    if (lane == 31) totals[simd] = inclusive;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (simd == 0) {
        T total = lane < 8 ? totals[lane] : T(0);
        simdgroup_barrier(mem_flags::mem_threadgroup);
        totals[lane] = simd_prefix_exclusive_sum(total);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    out[i] = inclusive + totals[simd];
}
template [[host_name("scan_int")]] kernel void block_scan<int>(
    device const int*, device int*, uint, ushort, ushort);
template [[host_name("scan_float")]] kernel void block_scan<float>(
    device const float*, device float*, uint, ushort, ushort);
"""


def test_prefix_sum():
    lib = build(SCAN)
    x = torch.randint(-9, 9, (2, 256), dtype=torch.int32)
    out = harness.empty(2, 256, dtype=torch.int32)
    lib.scan_int(x, out, threads=512, group_size=256)
    assert torch.equal(out, x.cumsum(1).int())
    y = torch.randn(256)
    scanned = harness.empty(256)
    lib.scan_float(y, scanned, threads=256)
    torch.testing.assert_close(scanned, y.double().cumsum(0).float(), rtol=1e-4, atol=1e-4)


HISTOGRAM = """
kernel void histogram(device const uchar* data [[buffer(0)]],
                      device atomic_uint* bins [[buffer(1)]],
                      constant uint& n [[buffer(2)]],
                      uint i [[thread_position_in_grid]],
                      uint t [[thread_index_in_threadgroup]],
                      uint size [[threads_per_threadgroup]]) {
    threadgroup atomic_uint local[16];
    if (t < 16) atomic_store_explicit(&local[t], 0, memory_order_relaxed);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (i < n) atomic_fetch_add_explicit(&local[data[i] & 15], 1, memory_order_relaxed);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (t < 16) {
        uint count = atomic_load_explicit(&local[t], memory_order_relaxed);
        if (count) atomic_fetch_add_explicit(bins + t, count, memory_order_relaxed);
    }
}
kernel void float_max(device const float* x, volatile device atomic<float>* best,
                      uint i [[thread_position_in_grid]]) {
    float seen = atomic_load_explicit(best, memory_order_relaxed);
    while (x[i] > seen &&
           !atomic_compare_exchange_weak_explicit(best, &seen, x[i], memory_order_relaxed,
                                                  memory_order_relaxed)) {
    }
}
"""


def test_atomics():
    lib = build(HISTOGRAM)
    data = torch.randint(0, 16, (1000,), dtype=torch.uint8)
    bins = torch.zeros(16, dtype=torch.int32)
    lib.histogram(data, bins, 1000, threads=1024, group_size=128, arg_casts={2: "int32"})
    assert torch.equal(bins, torch.bincount(data, minlength=16).int())
    x = torch.randn(300)
    best = torch.full((1,), -9.0)
    lib.float_max(x, best, threads=300)
    assert best.item() == x.max().item()


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


MATMUL = """
#define TILE 16
kernel void matmul(device const float* A [[buffer(0)]], device const float* B [[buffer(1)]],
                   device float* C [[buffer(2)]], constant uint3& size [[buffer(3)]],
                   uint2 t [[thread_position_in_threadgroup]],
                   uint2 g [[threadgroup_position_in_grid]]) {
    threadgroup float a[TILE][TILE], b[TILE][TILE + 1];
    const uint M = size.x, N = size.y, K = size.z;
    const uint row = g.y * TILE + t.y, column = g.x * TILE + t.x;
    float sum = 0.0f;
    for (uint k = 0; k < K; k += TILE) {
        a[t.y][t.x] = row < M && k + t.x < K ? A[row * K + k + t.x] : 0.0f;
        b[t.y][t.x] = column < N && k + t.y < K ? B[(k + t.y) * N + column] : 0.0f;
        threadgroup_barrier(mem_flags::mem_threadgroup);
        for (uint i = 0; i < TILE; ++i) sum = fma(a[t.y][i], b[i][t.x], sum);
        threadgroup_barrier(mem_flags::mem_threadgroup);
    }
    if (row < M && column < N) C[row * N + column] = sum;
}
kernel void transpose(device const half* in, device half* out, constant uint2& size,
                      uint2 gid [[thread_position_in_grid]],
                      uint2 t [[thread_position_in_threadgroup]],
                      uint2 group [[threadgroup_position_in_grid]]) {
    threadgroup half tile[32][33];
    for (uint y = t.y; y < 32; y += 8)
        tile[y][t.x] = in[(group.y * 32 + y) * size.x + gid.x];
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint y = t.y; y < 32; y += 8)
        out[(group.x * 32 + y) * size.y + group.y * 32 + t.x] = tile[t.x][y];
}
"""


def test_tiled_matmul_and_transpose():
    lib = build(MATMUL)
    a, b = torch.randn(37, 50), torch.randn(50, 21)
    c = harness.empty(37, 21)
    lib.matmul(
        a, b, c, [37, 21, 50, 0], threads=(32, 48), group_size=(16, 16), arg_casts={3: "int32"}
    )
    torch.testing.assert_close(c, a @ b)
    x = torch.randn(96, 64).half()
    out = harness.empty(64, 96, dtype=torch.half)
    lib.transpose(x, out, (64, 96), threads=(64, 24), group_size=(32, 8), arg_casts="int32")
    assert torch.equal(out, x.t())


SHUFFLES = """
kernel void shuffles(device const int* in [[buffer(0)]], device int* out [[buffer(1)]],
                     uint i [[thread_position_in_grid]], uint lane [[thread_index_in_simdgroup]]) {
    const int v = in[i];
    device int* row = out + i * 16;
    row[0] = simd_shuffle_up(v, 3);
    row[1] = simd_shuffle_down(v, 3);
    row[2] = simd_shuffle_xor(v, 5);
    row[3] = simd_shuffle(v, ushort(31 - lane));
    row[4] = simd_broadcast(v, 7);
    row[5] = simd_broadcast_first(v);
    row[6] = simd_shuffle_and_fill_up(v, -v, 2);
    row[7] = simd_shuffle_and_fill_down(v, -v, 2);
    row[8] = simd_shuffle_rotate_down(v, 1);
    row[9] = quad_sum(v);
    row[10] = quad_shuffle_xor(v, 1);
    row[11] = int(uint(ulong(simd_ballot(v % 3 == 0))));
    row[12] = simd_max(v);
    row[13] = simd_all(v >= 0) * 2 + simd_any(v == 5);
    row[14] = simd_prefix_exclusive_sum(v);
    row[15] = simd_shuffle(float4(v, v + 1, v + 2, v + 3), 9).z;
}
"""


def test_simd_functions():
    lib = build(SHUFFLES)
    v = torch.arange(64, dtype=torch.int32) * 7 % 41
    out = harness.empty(64, 16, dtype=torch.int32)
    lib.shuffles(v, out, threads=64, group_size=64)
    for simd in range(2):
        x = v[simd * 32 : simd * 32 + 32].tolist()
        rows = out[simd * 32 : simd * 32 + 32].tolist()
        ballot = sum(1 << i for i in range(32) if x[i] % 3 == 0)
        for lane, row in enumerate(rows):
            quad = lane & ~3
            assert row == [
                x[lane - 3] if lane >= 3 else x[lane],
                x[lane + 3] if lane < 29 else x[lane],
                x[lane ^ 5],
                x[31 - lane],
                x[7],
                x[0],
                x[lane - 2] if lane >= 2 else -x[lane + 30],
                x[lane + 2] if lane < 30 else -x[lane - 30],
                x[(lane + 1) % 32],
                sum(x[quad : quad + 4]),
                x[lane ^ 1],
                ballot - (1 << 32) if ballot >> 31 else ballot,
                max(x),
                2 + (5 in x),
                sum(x[:lane]),
                x[9] + 2,
            ]


GRID = """
kernel void grid(device uint* out [[buffer(0)]],
                 uint3 gid [[thread_position_in_grid]], uint3 t [[thread_position_in_threadgroup]],
                 uint3 g [[threadgroup_position_in_grid]], uint3 actual [[threads_per_threadgroup]],
                 uint3 full [[dispatch_threads_per_threadgroup]], uint3 all [[threads_per_grid]],
                 uint3 groups [[threadgroups_per_grid]], uint index [[thread_index_in_threadgroup]],
                 uint lane [[thread_index_in_simdgroup]],
                 uint simd [[simdgroup_index_in_threadgroup]],
                 uint width [[threads_per_simdgroup]], uint simds [[simdgroups_per_threadgroup]],
                 uint full_simds [[dispatch_simdgroups_per_threadgroup]]) {
    device uint* row = out + ((gid.z * all.y + gid.y) * all.x + gid.x) * 24;
    uint3 v[7] = {gid, t, g, actual, full, all, groups};
    for (int i = 0; i < 7; i++) {
        row[3 * i] = v[i].x;
        row[3 * i + 1] = v[i].y;
        row[3 * i + 2] = v[i].z;
    }
    row[21] = index;
    row[22] = simd * width + lane;
    row[23] = simds * 100 + full_simds;
}
"""


def test_partial_edge_groups():
    lib = build(GRID)
    size, group = (10, 7, 3), (4, 5, 2)
    out = harness.empty(3, 7, 10, 24, dtype=torch.int32)
    lib.grid(out, threads=size, group_size=group)
    for z in range(3):
        for y in range(7):
            for x in range(10):
                at = (x, y, z)
                place = [a // b for a, b in zip(at, group, strict=True)]
                inner = [a % b for a, b in zip(at, group, strict=True)]
                actual = [min(b, n - p * b) for n, b, p in zip(size, group, place, strict=True)]
                index = (inner[2] * actual[1] + inner[1]) * actual[0] + inner[0]
                threads = actual[0] * actual[1] * actual[2]
                expected = [*at, *inner, *place, *actual, *group, *size, 3, 2, 2]
                expected += [index, index, -(-threads // 32) * 100 + 2]
                assert out[z, y, x].tolist() == expected


def test_views_keep_offset_and_alias():
    lib = build(
        "kernel void shift(device const float* a [[buffer(0)]], device float* b [[buffer(1)]], "
        "uint i [[thread_position_in_grid]]) { b[2 * i] = a[2 * i] + 1; }"
    )
    base = torch.arange(20, dtype=torch.float32)
    lib.shift(base[2::2], base[3::2], threads=8)  # two views whose bytes interleave
    expected = torch.arange(20, dtype=torch.float32)
    expected[3:19:2] = expected[2:18:2] + 1
    assert torch.equal(base, expected)


def test_an_empty_tensor_can_be_bound():
    lib = build(
        "kernel void f(device const float* a, device float* b, uint i [[thread_position_in_grid]])"
        "{ b[i] = i; }"
    )
    b = harness.empty(3)
    lib.f(torch.empty(0), b, threads=3)
    assert b.tolist() == [0, 1, 2]
    with torch.inference_mode():
        lib.f(torch.empty(0), torch.zeros(3), threads=3)


CASTS = """
kernel void ints(device long* out, constant long& a, constant int& b, constant short4& c,
                 constant bool& d) {
    out[0] = a; out[1] = b; out[2] = c.x + c.y * 10 + c.z * 100 + c.w * 1000; out[3] = d;
}
kernel void floats(device float* out, constant float2& a, constant half& b, constant bfloat& c) {
    out[0] = a.x; out[1] = a.y; out[2] = b; out[3] = c;
}
kernel void words(device int* out, constant int* a, uint i [[thread_position_in_grid]]) {
    out[i] = a[i];
}
"""


def test_scalar_and_list_arguments():
    lib = build(CASTS)
    out = torch.zeros(4, dtype=torch.int64)
    lib.ints(
        out, -(2**40), 2**32 + 5, (1, 2, 3, 4), True, threads=1, arg_casts={2: "int32", 3: "int16"}
    )
    assert out.tolist() == [-(2**40), 5, 4321, 1]
    result = torch.zeros(4)
    lib.floats(result, [0.1, 0.2], 0.1, 0.1, threads=1, arg_casts={2: "fp16", 3: "bf16"})
    expected = [0.1, 0.2, float(torch.tensor(0.1).half()), float(torch.tensor(0.1).bfloat16())]
    assert torch.equal(result, torch.tensor(expected))
    words = torch.zeros(3, dtype=torch.int32)
    lib.words(words, [7, -8, 2**31], arg_casts="int32")
    assert words.tolist() == [7, -8, -(2**31)]


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


def test_kernel_attributes_and_missing_kernel():
    lib = build(
        "[[max_total_threads_per_threadgroup(64)]] kernel void f(device int* x, "
        "uint i [[thread_position_in_grid]]) { x[i] = int(i); }"
    )
    assert lib.f.max_threads_per_threadgroup == 64
    assert lib.f.thread_execution_width == 32
    assert lib.f.static_thread_group_memory_length == 0
    with pytest.raises(RuntimeError, match=r"Failed to create function state object for: g"):
        _ = lib.g
    x = torch.zeros(100, dtype=torch.int32)
    lib.f(x)
    assert torch.equal(x, torch.arange(100, dtype=torch.int32))
    with pytest.raises(ValueError, match=r"Threadgroup size exceeds 64 limit"):
        lib.f(x, threads=100, group_size=65)


TRAFFIC = """
kernel void wide(device const uint4* x, device uint4* y, uint i [[thread_position_in_grid]]) {
    y[i] = x[i];
}
kernel void taps(device const float* x, device float* y, uint i [[thread_position_in_grid]]) {
    y[i] = x[i] + x[i + 1] + x[i + 2] + x[i + 3];
}
kernel void strided(device const float* x, device float* y, uint i [[thread_position_in_grid]]) {
    y[i] = x[i * 16];
}
"""


def test_traffic_is_counted_in_lines():
    lib = build(TRAFFIC)
    n = 4096
    x, y = torch.zeros(n), harness.empty(n)
    lib.wide(x, y, threads=n // 4, group_size=256)
    t = harness.traffic()
    assert (t.load_bytes, t.store_bytes, t.bytes) == (4 * n, 4 * n, 8 * n)
    assert t.group_bytes == t.launch_bytes == 8 * n
    assert (t.loads, t.stores) == (n // 4, n // 4)
    assert t.buffers[0].load_bytes == 4 * n and t.buffers[0].store_bytes == 0
    assert t.buffers[1].store_bytes == 4 * n and t.buffers[1].load_bytes == 0
    assert lib.wide.last_traffic is t

    lib.taps(torch.zeros(n + 3), y, threads=n, group_size=256)
    t = harness.traffic()
    # 32 lanes x 4 bytes: 2 lines per tap, and 1 more for the three taps that straddle.
    assert t.load_bytes == n // 32 * (2 + 3 + 3 + 3) * 64
    assert t.group_load_bytes == n // 256 * (256 * 4 // 64 + 1) * 64
    assert t.launch_load_bytes == (n * 4 // 64 + 1) * 64
    assert t.requested_load_bytes == 16 * n

    lib.strided(torch.zeros(16 * n), y, threads=n, group_size=256)
    assert harness.traffic().load_bytes == 64 * n

    with harness.count_traffic() as total:
        lib.wide(x, y, threads=n // 4, group_size=256)
        lib.wide(x, y, threads=n // 4, group_size=256)
    assert total.bytes == 16 * n


def test_traffic_of_loop_iterations_is_separate():
    lib = build(
        "kernel void loop(device const float* x, device float* y, "
        "uint i [[thread_position_in_grid]]) {\n"
        "float s = 0; for (uint k = 0; k < 8; k++) s += x[k * 32 + i]; y[i] = s; }"
    )
    lib.loop(torch.zeros(256), harness.empty(32), threads=32)
    assert harness.traffic().load_bytes == 8 * 128


def test_traffic_of_a_serial_copy_is_not_merged():
    lib = build("""
    kernel void serial(device const float* x, device float* y, device float* z,
                       uint i [[thread_position_in_grid]]) {
        for (uint k = 0; k < 16; k++) y[i * 16 + k] = x[i * 16 + k];
        for (uint k = 0; k < 16; k++) z[i * 16 + k] = 0;
    }
    """)
    lib.serial(torch.zeros(512), harness.empty(512), harness.empty(512), threads=32)
    t = harness.traffic()
    assert (t.loads, t.stores) == (512, 1024)
    assert t.load_bytes == 16 * 32 * 64 and t.store_bytes == 2 * 16 * 32 * 64
    assert t.group_bytes == 3 * 512 * 4


def test_marks_follow_storage_from_launch_to_launch():
    lib = build(
        "kernel void put(device float* x, uint i [[thread_position_in_grid]]) { x[i] = 1; }\n"
        "kernel void get(device const float* x, device float* y, "
        "uint i [[thread_position_in_grid]]) { y[i] = x[i]; }"
    )
    scratch = harness.empty(64)
    out = torch.zeros(64)
    lib.put(scratch, threads=32)
    assert harness.unwritten(scratch) == 128
    lib.get(scratch, out, threads=32)
    with pytest.raises(harness.UninitialisedReadError, match=r"byte 128 of buffer 0"):
        lib.get(scratch, out, threads=33)
    lib.get(harness.initialised(scratch), out, threads=64)


def test_same_source_is_compiled_once():
    source = PREFIX + "kernel void f(device int* x) { x[0] = 1; }"
    assert compile_shader(source) is compile_shader(source)
