"""Planted faults in kernels: each must be caught, and the message must say what and where it is."""

import harness
import pytest
import torch
from metal_text import build

ONE = """kernel void f(device const float* x [[buffer(0)]], device float* y [[buffer(1)]],
              constant int& shift [[buffer(2)]], uint i [[thread_position_in_grid]]) {
    y[i] = x[int(i) + shift];
}
kernel void g(device float* y [[buffer(0)]], constant int& shift [[buffer(1)]],
              uint i [[thread_position_in_grid]]) {
    y[int(i) + shift] = 1;
}
"""


@pytest.mark.parametrize("size", [1, 15, 16, 17, 64, 1000, 1024])
@pytest.mark.parametrize("dtype", [torch.float32])
def test_out_of_bounds_by_one(size, dtype):
    lib = build(ONE)
    x, y = torch.zeros(size, dtype=dtype), torch.zeros(size, dtype=dtype)
    lib.f(x, y, 0, threads=size, arg_casts="int32")
    with pytest.raises(
        harness.OutOfBoundsError,
        match=rf"kernel 'f': out of bounds: read of 4 bytes at byte {4 * size} of buffer 0, which "
        rf"has {4 * size} bytes \(thread_position_in_grid \({size - 1},0,0\).* at line 5",
    ):
        lib.f(x, y, 1, threads=size, arg_casts="int32")
    with pytest.raises(harness.OutOfBoundsError, match=r"read of 4 bytes at byte -4 of buffer 0"):
        lib.f(x, y, -1, threads=size, arg_casts="int32")
    before = y.clone()
    with pytest.raises(
        harness.OutOfBoundsError, match=rf"write of 4 bytes at byte {4 * size} of buffer 0"
    ):
        lib.g(y, 1, threads=size, arg_casts="int32")
    with pytest.raises(harness.OutOfBoundsError, match=r"write of 4 bytes at byte -4 of buffer 0"):
        lib.g(y, -1, threads=size, arg_casts="int32")
    assert torch.equal(y, before)


def test_out_of_bounds_next_to_another_view_of_the_storage():
    lib = build(ONE)
    storage = torch.zeros(32)
    x, y = storage[:16], storage[16:]
    with pytest.raises(harness.OutOfBoundsError, match=r"buffer 0"):
        lib.f(x, y, 1, threads=16, arg_casts="int32")
    with pytest.raises(harness.OutOfBoundsError, match=r"byte -4 of buffer 0"):
        lib.g(y, -1, threads=16, arg_casts="int32")


def test_write_between_the_elements_of_a_view():
    lib = build(ONE)
    columns = torch.zeros(4, 4)[:, :2]
    lib.g(columns, 0, threads=2, arg_casts="int32")
    with pytest.raises(harness.OutOfBoundsError, match=r"byte 8 of buffer 0.*between the elements"):
        lib.g(columns, 0, threads=3, arg_casts="int32")


@pytest.mark.parametrize("far", [10**5, 2**31 - 1, -(2**31)])
def test_far_out_of_bounds(far):
    lib = build(ONE)
    with pytest.raises(harness.OutOfBoundsError):
        lib.g(torch.zeros(4), far, arg_casts="int32")


def test_out_of_bounds_in_threadgroup_and_constant_arrays():
    lib = build("""
    constant float table[5] = {1, 2, 3, 4, 5};
    kernel void t(device float* y, constant int& n, uint i [[thread_position_in_grid]]) {
        threadgroup float tile[8];
        threadgroup float other[8];
        tile[i] = i;
        other[i] = i;
        y[i] = tile[i] + other[i];
    }
    kernel void c(device float* y, constant int& n, uint i [[thread_position_in_grid]]) {
        y[i] = table[int(i) + n];
    }
    kernel void p(device float* y, constant int* n, uint i [[thread_position_in_grid]]) {
        y[i] = n[i];
    }
    """)
    y = torch.zeros(9)
    lib.t(y, 0, threads=8, arg_casts="int32")
    with pytest.raises(
        harness.OutOfBoundsError,
        match=r"write of 4 bytes at byte 32 of threadgroup variable 'tile'",
    ):
        lib.t(y, 0, threads=9, arg_casts="int32")
    lib.c(y, 0, threads=5, arg_casts="int32")
    with pytest.raises(harness.OutOfBoundsError, match=r"byte 20 of constant 'table'"):
        lib.c(y, 1, threads=5, arg_casts="int32")
    with pytest.raises(harness.OutOfBoundsError, match=r"read of 4 bytes at byte .* of constant"):
        lib.c(y, -1, threads=5, arg_casts="int32")
    lib.p(y, [1, 2, 3], threads=3, arg_casts="int32")
    with pytest.raises(harness.OutOfBoundsError, match=r"byte 12 of buffer 1, which has 12"):
        lib.p(y, [1, 2, 3], threads=4, arg_casts="int32")


def test_wide_access_that_straddles_the_end():
    lib = build("""
    kernel void f(device const uint4* x, device uint* y, uint i [[thread_position_in_grid]]) {
        uint4 v = x[i];
        y[i] = v.x;
    }
    """)
    with pytest.raises(
        harness.OutOfBoundsError, match=r"read of 16 bytes at byte 16 of buffer 0, which has 28"
    ):
        lib.f(torch.zeros(7, dtype=torch.int32), torch.zeros(2, dtype=torch.int32), threads=2)


def test_misaligned_vector_access():
    lib = build("""
    kernel void f(device const uchar* x, device float4* y, constant int& at,
                  uint i [[thread_position_in_grid]]) {
        y[i] = *(device const float4*)(x + at);
    }
    kernel void packed(device const uchar* x, device float4* y, constant int& at,
                       uint i [[thread_position_in_grid]]) {
        y[i] = float4(*(device const packed_float4*)(x + at));
    }
    """)
    x, y = torch.zeros(64, dtype=torch.uint8), torch.zeros(4)
    for at in (4, 8, 12):
        with pytest.raises(
            harness.MisalignedError, match=f"byte {at} of buffer 0 needs .* multiple of 16"
        ):
            lib.f(x, y, at, threads=1, arg_casts="int32")
        lib.packed(x, y, at, threads=1, arg_casts="int32")
    lib.f(x, y, 16, threads=1, arg_casts="int32")
    # A storage offset moves the address that the kernel sees.
    with pytest.raises(harness.MisalignedError):
        lib.f(x[8:], y, 16, threads=1, arg_casts="int32")
    lib.f(x[16:], y, 16, threads=1, arg_casts="int32")


def test_uninitialised_reads():
    lib = build("""
    kernel void buffer(device const float* x, device float* y, uint i [[thread_position_in_grid]]) {
        y[i] = x[i];
    }
    kernel void shared(device float* y, uint i [[thread_position_in_grid]]) {
        threadgroup float tile[32];
        if (i != 7) tile[i] = i;
        threadgroup_barrier(mem_flags::mem_threadgroup);
        y[i] = tile[31 - i];
    }
    """)
    x, y = torch.zeros(8), torch.zeros(32)
    harness.uninitialised(x[5:6])
    lib.buffer(x, y, threads=5)
    with pytest.raises(harness.UninitialisedReadError, match=r"byte 20 of buffer 0.*at line 5"):
        lib.buffer(x, y, threads=8)
    with pytest.raises(
        harness.UninitialisedReadError, match=r"byte 28 of threadgroup variable 'tile'.*thread 24"
    ):
        lib.shared(y)
    with harness.checks(uninitialised=False):
        lib.buffer(x, y, threads=8)


def test_threadgroup_memory_does_not_survive_the_threadgroup():
    lib = build("""
    kernel void f(device float* y, uint t [[thread_index_in_threadgroup]],
                  uint g [[threadgroup_position_in_grid]]) {
        threadgroup float tile[4];
        if (g == 0) tile[t] = t;
        y[g * 4 + t] = tile[t];
    }
    """)
    with pytest.raises(harness.UninitialisedReadError, match=r"threadgroup \(1,0,0\)"):
        lib.f(torch.zeros(8), threads=8, group_size=4)


RACES = """
kernel void reverse(device const float* x, device float* y,
                    uint i [[thread_index_in_threadgroup]]) {
    threadgroup float tile[64];
    tile[i] = x[i];
    BARRIER
    y[i] = tile[63 - i];
}
"""


def test_missing_barrier_is_a_race():
    x = torch.randn(64)
    good = build(RACES.replace("BARRIER", "threadgroup_barrier(mem_flags::mem_threadgroup);"))
    y = harness.empty(64)
    good.reverse(x, y)
    assert torch.equal(y, x.flip(0))
    # The later SIMD-group overwrites what the earlier one would read: uninitialised or a race.
    for wrong in ("", "simdgroup_barrier(mem_flags::mem_threadgroup);"):
        with pytest.raises((harness.DataRaceError, harness.UninitialisedReadError)):
            build(RACES.replace("BARRIER", wrong)).reverse(x, torch.zeros(64))
    for wrong in ("mem_flags::mem_none", "mem_flags::mem_device"):
        lib = build(RACES.replace("BARRIER", f"threadgroup_barrier({wrong});"))
        with pytest.raises(
            harness.DataRaceError, match=r"read of byte 252 of threadgroup variable 'tile'.*wrote"
        ):
            lib.reverse(x, torch.zeros(64))


def test_race_of_a_write_with_an_earlier_read():
    body = """
    kernel void f(device float* y, uint i [[thread_index_in_threadgroup]]) {
        threadgroup float tile[32];
        tile[i] = i;
        threadgroup_barrier(mem_flags::mem_threadgroup);
        float v = tile[(i + 1) % 32];
        BARRIER
        tile[i] = v;
        threadgroup_barrier(mem_flags::mem_threadgroup);
        y[i] = tile[i];
    }
    """
    with pytest.raises(harness.DataRaceError, match=r"write of byte .* read with no barrier"):
        build(body.replace("BARRIER", "")).f(torch.zeros(32))
    y = torch.zeros(32)
    build(body.replace("BARRIER", "simdgroup_barrier(mem_flags::mem_threadgroup);")).f(y)
    assert torch.equal(y, ((torch.arange(32) + 1) % 32).float())


def test_races_in_device_memory():
    lib = build("""
    kernel void same(device float* y, uint i [[thread_position_in_grid]]) { y[i / 2] = i; }
    kernel void groups(device float* y, uint i [[thread_position_in_grid]],
                       uint g [[threadgroup_position_in_grid]]) {
        threadgroup_barrier(mem_flags::mem_device);
        y[(i + g) % 64] = i;
    }
    kernel void ordered(device float* y, uint i [[thread_index_in_threadgroup]]) {
        y[i] = i;
        threadgroup_barrier(mem_flags::mem_device);
        float v = y[(i + 40) % 64];
        threadgroup_barrier(mem_flags::mem_device);
        y[i] = v;
    }
    """)
    with pytest.raises(harness.DataRaceError, match=r"write of byte 0 of buffer 0.*thread 1"):
        lib.same(torch.zeros(32), threads=64)
    with pytest.raises(
        harness.DataRaceError, match=r"threadgroup .1,0,0.*thread 0 of threadgroup 0 wrote"
    ):
        lib.groups(torch.zeros(64), threads=96, group_size=32)
    lib.ordered(torch.zeros(64))
    with harness.checks(races=False):
        lib.same(torch.zeros(32), threads=64)


def test_write_to_constant_memory():
    lib = build("""
    kernel void f(device int* y, constant int* n, uint i [[thread_position_in_grid]]) {
        ((device int*)n)[i] = 1;
    }
    """)
    with pytest.raises(harness.ReadOnlyError, match=r"buffer 1, which is constant"):
        lib.f(torch.zeros(1, dtype=torch.int32), [1, 2], arg_casts="int32")
    with pytest.raises(SyntaxError, match=r"const"):
        build("kernel void f(constant int& n) { n = 1; }")


def test_endless_recursion_is_a_stack_overflow():
    lib = build("""
    float deep(device const float* x, float a) {
        volatile float local[1000];
        local[int(a)] = x[0];
        return x[0] > 0 ? deep(x, local[0]) + local[1] : a;
    }
    kernel void f(device const float* x, device float* y) { y[0] = deep(x, 1); }
    """)
    with pytest.raises(harness.MemoryFaultError, match=r"stack overflow"):
        lib.f(torch.ones(1), torch.zeros(1))
