"""Kernels in the usual styles of Metal code, which the harness must execute rightly."""

import harness
import torch
from harness import compile_shader
from metal_text import bits, build


def test_kernel_without_attributes_or_includes():
    lib = compile_shader(
        "kernel void full(device float* out, constant float& val, "
        "uint idx [[thread_position_in_grid]]) { out[idx] = val; }"
    )
    out = torch.zeros(16)
    lib.full(out, 3.5)
    assert torch.equal(out, torch.full((16,), 3.5))


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


ACTIVE = """
kernel void active(device const int* in, device int* out, constant uint& n,
                   uint i [[thread_position_in_grid]], uint lane [[thread_index_in_simdgroup]]) {
    if (i >= n) return;
    const int v = in[i];
    int sum = 0, first = -1;
    if (lane % 3 == 1) {
        sum = simd_sum(v);
        first = simd_broadcast_first(v);
    }
    int loop = 0;
    for (uint k = 0; k < lane % 4; k++) loop += simd_sum(1);
    out[i * 4] = sum;
    out[i * 4 + 1] = first;
    out[i * 4 + 2] = loop;
    out[i * 4 + 3] = simd_prefix_inclusive_sum(v) * 1000 + simd_sum(1);
}
"""


def test_simd_functions_of_active_lanes():
    lib = build(ACTIVE)
    v = torch.arange(50, dtype=torch.int32) * 5 % 23
    out = torch.full((50, 4), -7, dtype=torch.int32)
    lib.active(v, out, 45, threads=50, arg_casts={2: "int32"})
    for i, row in enumerate(out.tolist()):
        simd = range(32) if i < 32 else range(32, 45)
        third = [j for j in simd if j % 32 % 3 == 1]
        loop = sum(sum(j % 4 > k for j in simd) for k in range(i % 4))
        prefix = sum(int(v[j]) for j in simd if j <= i)
        mine = i in third
        expected = [
            sum(int(v[j]) for j in third) if mine else 0,
            int(v[third[0]]) if mine else -1,
            loop,
            prefix * 1000 + len(simd),
        ]
        assert row == (expected if i < 45 else [-7] * 4)


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
