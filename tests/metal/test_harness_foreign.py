"""Kernels in the styles of other people's Metal code: executed rightly, or refused by name.

They judge the harness by text that was not written for it. What each computes is known without it.
"""

import harness
import pytest
import torch
from harness import strict
from metal_text import PREFIX, build

DIVISION = """
kernel void division(device const float* a, device const float* b, device float* out,
                     uint i [[thread_position_in_grid]]) {
    const float4 v = fast::divide(float4(a[i]), float4(b[i], 1, 2, 4));
    out[8 * i] = fast::divide(a[i], b[i]);
    out[8 * i + 1] = fast::exp2(a[i]);
    out[8 * i + 2] = metal::fast::exp2(float2(1, a[i])).y;
    out[8 * i + 3] = v.x + v.w;
    out[8 * i + 4] = fast::divide(1.0f, 1.0f + fast::exp2(-1.44269504f * a[i]));
    out[8 * i + 5] = precise::divide(1.0f, b[i]);
    out[8 * i + 6] = float(fast::exp2(half(a[i])));
    out[8 * i + 7] = fast::exp(fast::log(b[i]));
}
"""


def test_fast_functions():
    lib = build(DIVISION)
    a, b = torch.linspace(-6, 6, 97), torch.linspace(0.25, 9, 97)
    out = harness.empty(97, 8)
    lib.division(a, b, out)
    x, y = a.double(), b.double()
    expected = [x / y, x.exp2(), x.exp2(), x / y + x / 4, x.sigmoid(), 1 / y]
    expected += [a.half().double().exp2().half().double(), y]
    torch.testing.assert_close(out.double(), torch.stack(expected, 1), rtol=1e-6, atol=0)


def test_fast_functions_flush():
    lib = build("""
    kernel void f(device float* y) {
        y[0] = fast::exp2(y[0]);
        y[1] = fast::divide(y[1], 2.0f);
    }
    """)
    for flushes, expected in ((False, [2.0**-130, 2.0**-127]), (True, [0, 0])):
        y = torch.tensor([-130.0, 2.0**-126])
        with harness.device(flushes_subnormals=flushes):
            lib.f(y, threads=1)
        assert y.tolist() == expected


# A row kernel in the style of array frameworks: a struct of parameters, functors, a type for sums,
# two-level reductions with SIMD functions, a loop over what does not fit.
SOFTMAX = """
#define UNROLL _Pragma("clang loop unroll(full)")
static constant constexpr const int SIMD = 32;
struct RowParams { int axis; int stride; float scale; };
struct Max { template <typename U> U operator()(U a, U b) const { return a > b ? a : b; } };
struct Sum { template <typename U> U operator()(U a, U b) const { return a + b; } };
template <typename U, typename Op>
METAL_FUNC U across(U v, Op op) {
    UNROLL
    for (ushort by = SIMD / 2; by > 0; by /= 2) v = op(v, simd_shuffle_xor(v, by));
    return v;
}
template <typename T, typename AccT = float, int PER = 4>
[[kernel, max_total_threads_per_threadgroup(512)]] void softmax_rows(
    const device T* in [[buffer(0)]], device T* out [[buffer(1)]],
    constant const RowParams& params [[buffer(2)]], uint row [[threadgroup_position_in_grid]],
    uint lid [[thread_position_in_threadgroup]], uint lsize [[threads_per_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint group [[simdgroup_index_in_threadgroup]]) {
    threadgroup AccT shared_max[SIMD], shared_sum[SIMD];
    const device T* row_in = in + size_t(row) * params.stride;
    AccT values[PER];
    AccT best = -INFINITY;
    UNROLL
    for (int k = 0; k < PER; k++) {
        const int at = int(lid) * PER + k;
        values[k] = at < params.axis ? AccT(row_in[at]) * params.scale : AccT(-INFINITY);
        best = metal::max(best, values[k]);
    }
    if (group == 0) {
        shared_max[lane] = -INFINITY;
        shared_sum[lane] = 0;
    }
    threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    best = across(best, Max());
    if (lane == 0) shared_max[group] = best;
    threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    best = across(shared_max[lane], Max());
    AccT sum = 0;
    for (int k = 0; k < PER; k++) {
        values[k] = fast::exp(values[k] - best);
        sum += values[k];
    }
    sum = across(sum, Sum());
    if (lane == 0) shared_sum[group] = sum;
    threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    const AccT total = across(shared_sum[lane], Sum());
    for (int k = 0; k < PER; k++) {
        const int at = int(lid) * PER + k;
        const T result = static_cast<T>(values[k] / total);
        if (at < params.axis) out[size_t(row) * params.stride + at] = result;
    }
}
#define instantiate(name, type) \\
    template [[host_name("softmax_" #name)]] [[kernel]] \\
    decltype(softmax_rows<type>) softmax_rows<type>;
instantiate(float32, float) instantiate(bfloat16, bfloat)
"""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_softmax_with_a_struct_of_parameters(dtype):
    lib = build(SOFTMAX)
    x = torch.randn(3, 500).to(dtype)
    out = harness.empty(3, 500, dtype=dtype)
    params = [459, 500, 0x3F000000]  # axis, stride, scale = 0.5
    getattr(lib, f"softmax_{str(dtype)[6:]}")(
        x, out, params, threads=3 * 128, group_size=128, arg_casts={2: "int32"}
    )
    expected = (x[:, :459].double() * 0.5).softmax(1)
    tolerance = 1e-6 if dtype == torch.float32 else 2**-8
    torch.testing.assert_close(out[:, :459].double(), expected, rtol=tolerance, atol=0)
    assert harness.unwritten(out) == 3 * 41 * dtype.itemsize


# A causal convolution whose taps lie in a constant array, and a recurrence (y = a y + b) as a
# doubling scan of relative shuffles, with the carry of every SIMD-group in threadgroup memory.
RECURRENCE = """
namespace taps { constant float smooth[4] = {0.125f, 0.25f, 0.5f, 1.0f}; }
struct Step { float a, b; };
inline Step then(Step first, Step second) {
    return Step{first.a * second.a, second.a * first.b + second.b};
}
kernel void recurrence(constant float* decay [[buffer(0)]], device const float* x [[buffer(1)]],
                       device float* y [[buffer(2)]], constant uint& n [[buffer(3)]],
                       uint t [[thread_position_in_threadgroup]],
                       uint row [[threadgroup_position_in_grid]],
                       uint lane [[thread_index_in_simdgroup]],
                       uint simd [[simdgroup_index_in_threadgroup]],
                       uint simds [[simdgroups_per_threadgroup]]) {
    threadgroup Step carries[32];
    float b = 0;
    for (int k = 0; k < 4; k++) {
        const int at = int(t) + k - 3;
        if (at >= 0 && t < n) b += taps::smooth[k] * x[row * n + at];
    }
    Step step = {decay[row], b};
    for (ushort by = 1; by < 32; by *= 2) {
        const Step before = {simd_shuffle_up(step.a, by), simd_shuffle_up(step.b, by)};
        if (lane >= by) step = then(before, step);
    }
    if (lane == 31) carries[simd] = step;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    Step carry = {1, 0};
    for (uint s = 0; s < simd; s++) carry = then(carry, carries[s]);
    step = then(carry, step);
    if (t < n) y[row * n + t] = step.b;
}
"""


def test_a_scan_of_relative_shuffles():
    lib = build(RECURRENCE)
    decay, x = torch.tensor([0.5, 0.9]), torch.randn(2, 200)
    y = harness.empty(2, 200)
    lib.recurrence(decay, x, y, 200, threads=2 * 224, group_size=224, arg_casts={3: "int32"})
    padded = torch.nn.functional.pad(x.double(), (3, 0))
    b = sum(w * padded[:, k : k + 200] for k, w in enumerate((0.125, 0.25, 0.5, 1)))
    state, expected = torch.zeros(2, dtype=torch.float64), []
    for t in range(200):
        state = decay.double() * state + b[:, t]
        expected.append(state)
    torch.testing.assert_close(y.double(), torch.stack(expected, 1), rtol=1e-5, atol=1e-5)


SORT = """
kernel void sort(device uint* values [[buffer(0)]], uint t [[thread_position_in_threadgroup]]) {
    threadgroup uint shared[128];
    uint v = values[t];
    for (uint size = 2; size <= 128; size *= 2) {
        for (uint by = size / 2; by > 0; by /= 2) {
            uint other;
            if (by < 32) {
                other = simd_shuffle_xor(v, by);
            } else {
                shared[t] = v;
                threadgroup_barrier(mem_flags::mem_threadgroup);
                other = shared[t ^ by];
                threadgroup_barrier(mem_flags::mem_threadgroup);
            }
            const bool up = (t & size) == 0, low = (t & by) == 0;
            v = up == low ? min(v, other) : max(v, other);
        }
    }
    values[t] = v;
}
"""


def test_a_bitonic_sort():
    lib = build(SORT)
    values = torch.randint(0, 1 << 30, (128,), dtype=torch.int32)
    expected = values.sort().values
    lib.sort(values, threads=128, group_size=128)
    assert torch.equal(values, expected)


SCATTER = """
struct Entry { float value; int row; };
kernel void scatter(device const Entry* entries [[buffer(0)]],
                    device atomic_float* sums [[buffer(1)]], device atomic_int* most [[buffer(2)]],
                    device atomic_uint* seen [[buffer(3)]], constant int& rows [[buffer(4)]],
                    uint i [[thread_position_in_grid]], uint lane [[thread_index_in_simdgroup]]) {
    const device Entry& e = entries[i];
    const bool right = e.row >= 0 && e.row < rows;
    if (right) {
        atomic_fetch_add_explicit(&sums[e.row], e.value, memory_order_relaxed);
        atomic_fetch_max_explicit(&most[e.row], int(i), memory_order_relaxed);
    }
    const uint mask = uint(simd_vote::vote_t(simd_ballot(right)));
    if (lane == 0) atomic_fetch_add_explicit(seen, popcount(mask), memory_order_relaxed);
    if (simd_is_first()) atomic_fetch_or_explicit(seen + 1, mask, memory_order_relaxed);
}
"""


def test_atomics_of_a_scatter():
    lib = build(SCATTER)
    value, row = torch.randn(96), torch.randint(-1, 6, (96,), dtype=torch.int32)
    entries = torch.stack([value.view(torch.int32), row], 1).contiguous()
    sums, most = torch.zeros(5), torch.full((5,), -1, dtype=torch.int32)
    seen = torch.zeros(2, dtype=torch.int32)
    lib.scatter(entries, sums, most, seen, 5, threads=96, group_size=96, arg_casts={4: "int32"})
    right = (row >= 0) & (row < 5)
    for r in range(5):
        at = torch.nonzero(row == r).flatten()
        torch.testing.assert_close(sums[r], value[at].sum())
        assert most[r] == (at.max() if len(at) else -1)
    masks = [sum(1 << i for i in range(32) if right[s + i]) for s in (0, 32, 64)]
    assert seen[0] == right.sum() and seen[1].item() & 0xFFFFFFFF == masks[0] | masks[1] | masks[2]


# The last threadgroup to finish adds up what the others stored. Without an order between
# threadgroups, which relaxed atomics do not give, that is a race.
LAST_GROUP = """
kernel void last_group(device float* partial [[buffer(0)]], device atomic_uint* done [[buffer(1)]],
                       device float* total [[buffer(2)]],
                       uint g [[threadgroup_position_in_grid]],
                       uint groups [[threadgroups_per_grid]],
                       uint t [[thread_index_in_threadgroup]]) {
    threadgroup bool last;
    const float sum = simd_sum(float(t + g));
    if (t == 0) {
        partial[g] = sum;
        last = atomic_fetch_add_explicit(done, 1, memory_order_relaxed) == groups - 1;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    if (last && t == 0) {
        float all = 0;
        for (uint i = 0; i < groups; i++) all += partial[i];
        total[0] = all;
    }
}
"""


def test_the_last_threadgroup_races_with_the_others():
    lib = build(LAST_GROUP)
    partial, total = harness.empty(4), harness.empty(1)
    done = torch.zeros(1, dtype=torch.int32)
    with pytest.raises(harness.DataRaceError, match=r"buffer 0"):
        lib.last_group(partial, done, total, threads=128, group_size=32)
    with harness.checks(races=False):
        lib.last_group(partial, done, total, threads=128, group_size=32)
    assert total.item() == 4 * sum(range(32)) + 32 * (1 + 2 + 3)


STYLES = {
    "division": DIVISION,
    "softmax": SOFTMAX,
    "recurrence": RECURRENCE,
    "sort": SORT,
    "scatter": SCATTER,
    "last group": LAST_GROUP,
}


@pytest.mark.parametrize("style", STYLES)
def test_the_strict_compile_takes_them_too(style):
    strict.check(PREFIX + STYLES[style])


UNSUPPORTED = {
    "function constant": (
        "constant int kernel_width [[function_constant(0)]];\nkernel void f(device float* y) {}",
        r"source:3: error: 'kernel_width': function constants cannot be set",
    ),
    "function constant of a parameter": (
        "kernel void f(device float* y, device float* bias [[function_constant(has)]]) {}",
        r"'bias': function constants cannot be set",
    ),
    "simdgroup matrix": (
        "kernel void f(device float* y) { simdgroup_float8x8 a; }",
        r"simdgroup_float8x8",
    ),
    "matrix": ("kernel void f(device float* y, constant float4x4& m) {}", r"float4x4"),
    "texture": (
        "kernel void f(device float* y, texture2d<float> t [[texture(0)]]) {}",
        r"texture2d<float> t.*textures cannot be bound",
    ),
    "dynamic threadgroup memory": (
        "kernel void f(device float* y, threadgroup float* tile [[threadgroup(0)]]) {}",
        r"threadgroup float\* tile.*cannot be sized",
    ),
    "memory order": (
        "kernel void f(device atomic_int* y) { atomic_load_explicit(y, memory_order_acquire); }",
        r"memory_order_acquire",
    ),
    "fence": (
        "kernel void f(device float* y) { atomic_thread_fence(mem_flags::mem_device); }",
        r"atomic_thread_fence",
    ),
    "64 bits in a shuffle": (
        "kernel void f(device ulong* y) { y[0] = simd_shuffle_down(y[0], 1); }",
        r"take no 64-bit types",
    ),
}


@pytest.mark.parametrize("what", UNSUPPORTED)
def test_what_is_not_supported_is_refused_by_name(what):
    text, message = UNSUPPORTED[what]
    with pytest.raises(SyntaxError, match=message):
        build(text)
