"""Planted faults: the harness must catch each one, and say what and where it is."""

import harness
import pytest
import torch
from harness import compile_shader

PREFIX = "#include <metal_stdlib>\nusing namespace metal;\n"


def build(body):
    return compile_shader(PREFIX + body)


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
    with pytest.raises(
        harness.DivergenceError,
        match=r"divergent simd_shuffle_xor: thread 1 .* \(line 6, .* but thread 0 .* has returned",
    ):
        lib.shuffle(y)
    with pytest.raises(harness.DivergenceError, match=r"simd_sum .* but thread 8 .* simd_max"):
        lib.different(y)
    with pytest.raises(harness.DivergenceError, match=r"thread 16 .* waits at simd_sum"):
        lib.loop(y)


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


LIMITS = """
kernel void small(device float* y, uint i [[thread_position_in_grid]]) {
    threadgroup float tile[8192];
    tile[i] = i;
    y[i] = tile[i];
}
kernel void large(device float* y, uint i [[thread_position_in_grid]]) {
    threadgroup float tile[8192];
    threadgroup float more[1];
    tile[i] = i;
    more[0] = i;
    y[i] = tile[i] + more[0];
}
"""


def test_limits():
    lib = build(LIMITS)
    y = torch.zeros(4)
    lib.small(y)
    assert lib.small.static_thread_group_memory_length == 32768
    with pytest.raises(harness.MetalError, match=r"'large' uses 32784 bytes of threadgroup memory"):
        _ = lib.large
    with pytest.raises(ValueError, match=r"Threadgroup size exceeds 1024 limit"):
        lib.small(y, threads=2048, group_size=1025)
    with pytest.raises(ValueError, match=r"Threadgroup size exceeds 1024 limit"):
        lib.small(y, threads=(64, 64), group_size=(64, 32))
    with pytest.raises(harness.MetalError, match=r"a launch of .* threads is not allowed"):
        lib.small(y, threads=0)
    with pytest.raises(harness.MetalError, match=r"a launch of .* threads is not allowed"):
        lib.small(torch.zeros(0))
    with pytest.raises(harness.MetalError, match=r"differ in dimensions"):
        lib.small(y, threads=(4, 1), group_size=4)


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        ((None, 1), {}, "Unsupported argument type: argument 0 is NoneType"),
        (("y", None), {}, "Unsupported argument type: argument 1 is NoneType"),
        (("y", "text"), {}, "Unsupported argument type: argument 1 is str"),
        (("y", []), {}, "Empty list/tuple"),
        (("y", [1, 2.5]), {}, "a list that starts with an integer holds 2.5"),
        (("y", 2**63), {}, "does not fit in 64 bits"),
        (("y", [0] * 513), {}, "4104 bytes, but setBytes takes at most 4096"),
        (("y",), {}, "takes 2 arguments .* but 1 were given"),
        (("y", 1, 2), {}, "takes 2 arguments .* but 3 were given"),
        (("y", 1), {"arg_casts": ["int32"]}, "Unexpected caster arg type list"),
        (("y", 1), {"arg_casts": "int64"}, "Unsupported cast instruction int64"),
        (("y", 1), {"arg_casts": {1: "float"}}, "Unsupported cast instruction float"),
        (("y", 1), {"threads": (1, 1, 1, 1)}, "threads must be one to three"),
        (("y", 1), {"threads": -1}, "threads must be one to three"),
        (("y", 1), {"arg_casts": "int32"}, "argument 1 has 4 bytes, but .* type has 8"),
        ((1, 1), {}, "Number of threads is undefined"),
    ],
)
def test_bad_arguments(arguments, keywords, message):
    lib = build("kernel void f(device float* y, constant long& n) { y[0] = n; }")
    y = torch.zeros(4)
    given = [y if a == "y" else a for a in arguments]
    with pytest.raises(RuntimeError, match=message):
        lib.f(*given, **keywords)
    assert torch.equal(y, torch.zeros(4))
    lib.f(y, [0] * 512, threads=1)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(4, dtype=torch.float64), "MPS has no torch.float64"),
        (torch.zeros(4, device="meta"), "CPU tensors, not meta"),
        (torch.zeros(4).to_sparse(), "layout torch.sparse_coo"),
    ],
)
def test_bad_tensors(tensor, message):
    lib = build("kernel void f(device float* y) { y[0] = 1; }")
    with pytest.raises(harness.MetalError, match=message):
        lib.f(tensor, threads=1)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("kernel void f(device float* y) { y[0] = 1 }", "program_source:3:.*expected ';'"),
        ("kernel void f(device double* y) { y[0] = 1; }", "3: error: Metal has no double"),
        ("kernel void f(float* y) { y[0] = 1; }", "needs the address space device or constant"),
        ("kernel void f(device float* y, uint i) { y[i] = 1; }", "'uint i' .* has no attribute"),
        (
            "kernel void f(device float* y, uint i [[thread_positon_in_grid]]) { y[i] = 1; }",
            "unknown attribute thread_positon_in_grid",
        ),
        (
            "kernel void f(device float* y, threadgroup float* t [[threadgroup(0)]]) { y[0] = 1; }",
            "cannot be sized",
        ),
        (
            "constant int w [[function_constant(0)]];\nkernel void f(device float* y) {}",
            "function constants",
        ),
        (
            "kernel void f(device float* y [[buffer(1)]], device float* x [[buffer(1)]]) {}",
            "uses a buffer index twice",
        ),
        ("kernel void f(device float* y [[buffer(31)]]) {}", "buffer index above 30"),
        ("kernel void f(device int* y) { threadgroup int t[1] = {1}; }", "initialiser"),
        ("kernel void f(device int* y) { y[0] = new int; }", "no dynamic allocation"),
        ("#include <cmath>\nkernel void f(device int* y) {}", "'cmath' file not found"),
        ("kernel void f(device long* y) { y[0] = simd_sum(y[0]); }", "take no 64-bit types"),
        ("kernel void f(device int* y) {}\nkernel void f(device float* y) {}", "named 'f'"),
    ],
)
def test_wrong_text_is_a_syntax_error(body, message):
    with pytest.raises(SyntaxError, match=message):
        build(body)


def test_source_must_be_ascii():
    with pytest.raises(SyntaxError, match=r"must be ASCII, and line 3 column 5 is '\u2013'"):
        compile_shader("// one\n// two\n// a\u2013b\nkernel void f(device int* y) {}")
    with pytest.raises(TypeError, match=r"source must be str"):
        compile_shader(b"")


def test_a_missing_clang_is_said_clearly(monkeypatch, tmp_path):
    from harness import toolchain

    monkeypatch.setenv("PATH", str(tmp_path))
    toolchain.clang.cache_clear()
    try:
        with pytest.raises(harness.ToolchainError, match=r"needs clang"):
            toolchain.clang()
    finally:
        toolchain.clang.cache_clear()


def test_the_cache_must_be_ones_own(monkeypatch, tmp_path):
    from harness import toolchain

    place = tmp_path / "link"
    place.symlink_to(tmp_path)
    monkeypatch.setenv(toolchain.CACHE_VARIABLE, str(place))
    toolchain.cache_directory.cache_clear()
    try:
        with pytest.raises(harness.ToolchainError, match=r"not a directory of this user"):
            toolchain.cache_directory()
    finally:
        toolchain.cache_directory.cache_clear()
