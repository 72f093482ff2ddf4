"""Planted faults in control flow: barriers and SIMD-group functions that lanes reach apart."""

import harness
import pytest
import torch
from metal_text import build


def test_divergent_barrier():
    lib = build("""
    kernel void half_of_them(device float* y, uint i [[thread_index_in_threadgroup]]) {
        if (i < 16) threadgroup_barrier(mem_flags::mem_threadgroup);
        y[i] = i;
    }
    kernel void early(device float* y, constant uint& n, uint i [[thread_index_in_threadgroup]]) {
        if (i >= n) return;
        y[i] = i;
        threadgroup_barrier(mem_flags::mem_device);
        y[i] += 1;
    }
    kernel void by_simd(device float* y, uint s [[simdgroup_index_in_threadgroup]],
                        uint i [[thread_index_in_threadgroup]]) {
        if (s == 0) {
            threadgroup_barrier(mem_flags::mem_threadgroup);
        } else {
            threadgroup_barrier(mem_flags::mem_threadgroup);
        }
        y[i] = i;
    }
    """)
    y = torch.zeros(64)
    with pytest.raises(
        harness.DivergenceError,
        match=r"divergent threadgroup_barrier: thread 0 .* waits at threadgroup_barrier \(line 5, "
        r".* but thread 16 .* has returned",
    ):
        lib.half_of_them(y)
    lib.early(y, 64, arg_casts="int32")
    with pytest.raises(harness.DivergenceError, match=r"thread 33 .* has returned"):
        lib.early(y, 33, arg_casts="int32")
    with pytest.raises(harness.DivergenceError, match=r"line 17,.* but thread 32 .* \(line 19"):
        lib.by_simd(y)


def test_divergent_simd_functions():
    lib = build("""
    kernel void shuffle(device float* y, uint i [[thread_index_in_threadgroup]]) {
        float v = i;
        if (i % 2) v = simd_shuffle_xor(v, 1);
        y[i] = v;
    }
    kernel void two(device float* y, uint i [[thread_index_in_threadgroup]]) {
        float v = i;
        if (i < 8) {
            v = simd_shuffle_xor(v, 1);
        } else {
            v = simd_shuffle_xor(v, 1);
        }
        y[i] = v;
    }
    """)
    y = torch.zeros(32)
    with pytest.raises(harness.DivergenceError, match=r"line 12.* but thread 8 .*line 14"):
        lib.two(y)
    with pytest.raises(
        harness.DivergenceError,
        match=r"divergent simd_shuffle_xor: thread 1 .* \(line 6, .* but thread 0 .* has returned",
    ):
        lib.shuffle(y)


def test_broadcast_from_a_lane_that_takes_no_part():
    lib = build("""
    kernel void f(device float* y, constant uint& from, uint i [[thread_index_in_threadgroup]]) {
        y[i] = 0;
        if (i >= 4) y[i] = simd_broadcast(float(i), from);
    }
    """)
    y = torch.zeros(32)
    lib.f(y, 4, arg_casts={1: "int32"})
    assert y.tolist() == [0] * 4 + [4] * 28
    with pytest.raises(harness.DivergenceError, match=r"line 6, .* reads lane 3, which takes no"):
        lib.f(y, 3, arg_casts={1: "int32"})


def test_simd_functions_of_active_lanes_can_be_required_to_be_uniform():
    lib = build("""
    kernel void different(device float* y, uint i [[thread_index_in_threadgroup]]) {
        y[i] = i < 8 ? simd_sum(float(i)) : simd_max(float(i));
    }
    kernel void loop(device float* y, uint i [[thread_index_in_threadgroup]]) {
        float v = 0;
        for (uint k = 0; k <= i / 16; k++) v += simd_sum(1.0f);
        y[i] = v;
    }
    """)
    y = torch.zeros(32)
    lib.different(y)
    lib.loop(y)
    with harness.checks(uniform=True):
        with pytest.raises(harness.DivergenceError, match=r"simd_sum .* but thread 8 .* simd_max"):
            lib.different(y)
        with pytest.raises(harness.DivergenceError, match=r"thread 16 .* waits at simd_sum"):
            lib.loop(y)
    with pytest.raises(TypeError, match=r"unknown check 'typo'; there are races"):
        with harness.checks(typo=True):
            pass
