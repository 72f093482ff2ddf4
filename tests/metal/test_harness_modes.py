"""The devices that the harness models: versions of the language, and flushed subnormals."""

import backend
import cases
import harness
import pytest
import test_backward
import test_forward
import test_update
import torch
from harness import modes, strict
from harness.modes import VERSIONS
from metal_text import PREFIX

import causal_conv1d_mps as ccmps
from causal_conv1d_mps import _metal

VERSION = "kernel void f(device int* y [[buffer(0)]]) { y[0] = __METAL_VERSION__; }"


def run(text, y=None, *arguments, **device):
    """What kernel f leaves in y; both compiles see the text."""
    y = torch.zeros(1, dtype=torch.int32) if y is None else y
    with harness.device(**device):
        strict.check(PREFIX + text)
        harness.compile_shader(PREFIX + text).f(
            y, *arguments, threads=y.numel(), group_size=y.numel(), arg_casts="int32"
        )
    return y.tolist()


# ---- Versions ----


@pytest.mark.parametrize("version", VERSIONS)
def test_the_text_sees_its_version(version):
    assert run(VERSION, version=version) == [VERSIONS[version]]


def test_3_1_is_the_default():
    assert run(VERSION) == [310]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "text",
    ["bfloat b = bfloat(2.0f);", "bfloat2 v; v.x = 2; auto b = v.x;", "auto b = 2.0bf;"],
)
def test_bfloat_is_of_3_1_and_later(version, text):
    kernel = f"kernel void f(device int* y [[buffer(0)]]) {{\n{text} y[0] = int(float(b)); }}"
    if version == "3.0":
        with pytest.raises(SyntaxError, match=r"program_source:4: .* needs Metal 3\.1"):
            run(kernel, version=version)
    else:
        assert run(kernel, version=version) == [2]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("pragma", ["METAL fp math_mode(safe)", "METAL fp contract(off)"])
def test_the_pragmas_of_3_2(version, pragma):
    text = f"#pragma {pragma}\n{VERSION}"
    if VERSIONS[version] < 320:
        with pytest.raises(SyntaxError, match=r"program_source:3: .* needs Metal 3\.2"):
            run(text, version=version)
    else:
        assert run(text, version=version) == [VERSIONS[version]]


@pytest.mark.parametrize(
    "pragma, message",
    [
        ("METAL fp contract(of)", r"takes \(fast, on, off\), not '\(of\)'"),
        ("METAL fp contraction(off)", "unknown #pragma METAL fp contraction"),
        ("METAL", "unknown #pragma METAL"),
        ("omp parallel", "unknown #pragma omp"),
    ],
)
def test_an_unknown_pragma_is_refused(pragma, message):
    with pytest.raises(SyntaxError, match=f"program_source:3: .*{message}"):
        run(f"#pragma {pragma}\n{VERSION}", version="3.2")


def test_garbage_in_the_branch_of_a_version_is_seen():
    text = _metal.metal_source()
    planted = text.replace("fp contract(off)", "fp contract(off) garbage", 1)
    assert planted != text
    with harness.device(version="3.2"), pytest.raises(SyntaxError, match="garbage"):
        harness.compile_shader(planted, optimise=False)


SPREAD = {
    "forward": (
        test_forward.test_forward,
        cases.ConvCase(2, 5, 70, 4, cases.BF16, initial=True, final="returned"),
    ),
    "forward of channels": (
        test_forward.test_forward,
        cases.ConvCase(2, 8, 33, 3, torch.float16, layout="channel_last", packing="seq_idx"),
    ),
    "forward of float32, wide": (test_forward.test_forward, cases.ConvCase(1, 3, 40, 9)),
    "backward": (test_backward.test_backward, cases.ConvCase(2, 5, 70, 4, initial=True)),
    "backward of channels": (
        test_backward.test_backward,
        cases.ConvCase(2, 8, 33, 4, cases.BF16, layout="channel_last"),
    ),
    "one step": (test_update.test_update, cases.UpdateCase(4, 8, None, 4, 0, cases.BF16)),
    "several steps": (test_update.test_update, cases.UpdateCase(4, 8, 3, 4, 1, mode="circular")),
}


@pytest.mark.parametrize("flushes", [False, True], ids=["keeping", "flushing"])
@pytest.mark.parametrize("version", VERSIONS)
def test_the_kernels_in_every_version(version, flushes):
    device = dict(version=version, flushes_subnormals=flushes)
    with backend.on_harness(backend.compile_quickly, **device):
        for test, case in SPREAD.values():
            test(backend.METAL, case)


def test_a_version_has_kernels_of_its_own():
    seen = []

    def compile_shader(source):
        seen.append(modes.current().version)
        return backend.compile_quickly(source)

    x, weight = torch.randn(1, 2, 8), torch.randn(2, 3)
    for version in VERSIONS:
        with backend.on_harness(compile_shader, version=version):
            ccmps.causal_conv1d(x, weight)
    assert seen == [*VERSIONS.values()]


# ---- Subnormals ----

FLOATS = """
kernel void f(device float* y [[buffer(0)]], uint i [[thread_position_in_grid]]) {
    float x = y[i];
    if (i < 2) y[i] = x * 4.0f;         // an operand
    else if (i < 4) y[i] = x * 0.25f;   // a result
    else if (i == 4) y[i] = exp2(x);
    else if (i == 5) y[i] = fma(x, 0.5f, 0.0f);
    else if (i == 6) y[i] = float(as_type<half>(ushort(1)));
    else if (i == 7) y[i] = float(half(x));
    else y[i] = x == 0.0f ? 1.0f : 2.0f;
}
"""
GIVEN = [2.0**-127, -(2.0**-127), 2.0**-126, -(2.0**-126), -127, 2.0**-126, 0, 2.0**-24, 2.0**-140]
KEPT = [2.0**-125, -(2.0**-125), 2.0**-128, -(2.0**-128), 2.0**-127, 2.0**-127]
HALVES = [2.0**-24, 2.0**-24]  # half's own subnormals are kept


@pytest.mark.parametrize("flushes", [False, True], ids=["keeping", "flushing"])
def test_subnormals(flushes):
    got = run(FLOATS, torch.tensor(GIVEN), flushes_subnormals=flushes)
    want = [0.0, -0.0, 0.0, -0.0, 0.0, 0.0, *HALVES, 1.0] if flushes else [*KEPT, *HALVES, 2.0]
    assert got == want and [str(x) for x in got] == [str(x) for x in want]  # with the sign of zero


def test_the_mode_is_the_kernel_s_alone():
    """The thread's own mode is neither seen nor changed, also where the kernel fails."""
    x = torch.tensor([2.0**-127])
    outside = "kernel void f(device float* y [[buffer(0)]]) { y[8] = 1.0f; }"
    for flushes in (True, False):
        run(FLOATS, torch.tensor(GIVEN), flushes_subnormals=flushes)
        with pytest.raises(harness.OutOfBoundsError):
            run(outside, x.clone(), flushes_subnormals=flushes)
        assert (x * 0.5).item() == 2.0**-128
    y = torch.tensor(GIVEN)
    assert torch.set_flush_denormal(True)
    try:
        run(FLOATS, y, flushes_subnormals=False)
        assert (x * 0.5).item() == 0  # as before
    finally:
        torch.set_flush_denormal(False)
    assert y.tolist() == [*KEPT, *HALVES, 2.0]


def test_the_backends_know_their_devices():
    assert not backend.METAL.flushes_subnormals and backend.METAL_FLUSHING.flushes_subnormals


def test_the_environment_chooses(monkeypatch):
    assert modes.of_environment() == modes.Device(310, flushes_subnormals=False)
    monkeypatch.setenv(modes.VERSION_VARIABLE, "3.2")
    monkeypatch.setenv(modes.FLUSH_VARIABLE, "1")
    assert modes.of_environment() == modes.Device(320, flushes_subnormals=True)
    monkeypatch.setenv(modes.FLUSH_VARIABLE, "yes")
    with pytest.raises(ValueError, match=r"HARNESS_FLUSH: expected 0 or 1, got 'yes'"):
        modes.of_environment()
    monkeypatch.setenv(modes.VERSION_VARIABLE, "3")
    with pytest.raises(ValueError, match=r"HARNESS_MSL: expected 3\.0, .*, got '3'"):
        modes.of_environment()


def test_an_unknown_version_is_refused():
    with pytest.raises(ValueError, match=r"expected 3\.0, 3\.1, 3\.2, 4\.0, got '2\.4'"):
        with harness.device(version="2.4"):
            pass
