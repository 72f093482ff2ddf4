"""Calling a kernel: arguments, views, marks, attributes, and the figures of memory traffic."""

import harness
import pytest
import torch
from harness import compile_shader
from metal_text import PREFIX, build


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
