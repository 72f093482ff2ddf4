"""What is refused before anything runs: wrong text, wrong arguments, limits, a wrong machine."""

import harness
import pytest
import torch
from harness import compile_shader
from metal_text import build

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


def test_source_must_be_ascii_outside_comments():
    for number, line in enumerate(("int \u00e9;", 'auto s = "\u2013";', "/* \u2013 */ \u2013"), 1):
        text = "// a\u2013b\n" * number + line + "\nkernel void f(device int* y) {}"
        with pytest.raises(SyntaxError, match=rf"source:{number + 1}: .*must be ASCII"):
            compile_shader(text)
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
