"""The Python side of Metal calls: what is compiled, when, and from which text."""

import logging
import subprocess
import sys
import threading
from pathlib import Path

import backend
import harness
import pytest
import torch
from harness import strict

import causal_conv1d_mps as ccmps
from causal_conv1d_mps import _metal

OVERRIDE = "CAUSAL_CONV1D_METAL_PATH"


@pytest.fixture
def compiled():
    """The sources that were compiled, in order."""
    sources = []

    def compile_shader(source):
        sources.append(source)
        return harness.compile_shader(source)

    with backend.on_harness(compile_shader):
        yield sources


def call(dim=4, length=16):
    x = torch.randn(1, dim, length, generator=torch.Generator().manual_seed(1))
    weight = torch.randn(dim, 3, generator=torch.Generator().manual_seed(2))
    return ccmps.causal_conv1d(x, weight, activation="silu")


def test_a_kernel_is_compiled_once(compiled):
    assert torch.equal(call(), call())
    assert len(compiled) == 1
    call(length=1000)  # other numbers, and the text for rows of several packs
    call(length=1001)
    call(length=2001)
    assert len(compiled) == len(set(compiled))


def test_threads_compile_a_kernel_once(compiled):
    start = threading.Barrier(4)
    results = []

    def work():
        start.wait()
        results.append(call(length=24))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(compiled) == 1 and all(torch.equal(y, results[0]) for y in results)


def test_empty_calls_compile_nothing(compiled):
    assert call(dim=0).shape == (1, 0, 16)
    assert call(length=0).shape == (1, 4, 0)
    assert not compiled


def test_a_view_is_read_where_it_lies(compiled):
    whole = torch.randn(3, 9, 70)
    weight = torch.randn(4, 3)
    view = whole[1:, 3:7, 5:38]
    expected = ccmps.causal_conv1d(view.clone(), weight)
    assert torch.equal(ccmps.causal_conv1d(view, weight), expected)


def test_the_text_is_self_contained():
    text = _metal.metal_source()
    strict.check(text)
    assert harness.compile_shader(text).cc1d_forward_time
    assert text.isascii() and "#ifndef CC1D_SPECIALISED" in text


def test_the_command_writes_the_text():
    command = [sys.executable, "-m", "causal_conv1d_mps", "metal-source"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == _metal.metal_source()


def test_an_edited_text_is_used_and_said(compiled, monkeypatch, tmp_path, caplog):
    path = tmp_path / "edited.metal"
    plain = call()
    edited = _metal.metal_source().replace(
        "FN cc1d_real cc1d_activate(cc1d_real acc) {",
        "FN cc1d_real cc1d_activate(cc1d_real acc) {\n    return 7;",
    )
    path.write_text(edited)
    monkeypatch.setenv(OVERRIDE, str(path))
    _metal.kernels.clear()
    with caplog.at_level(logging.WARNING):
        y = call()
    assert (y == 7).all() and not torch.equal(y, plain)
    assert str(path) in caplog.text


@pytest.mark.parametrize(
    "path, why",
    [
        ("edited.metal", "it is not an absolute path"),
        ("/nowhere/edited.metal", "it is no file"),
        ("/", "it is no file"),
        ("foreign.metal", "it does not hold the kernel cc1d_forward_time"),
    ],
)
def test_a_file_without_our_kernels_is_passed_over(compiled, monkeypatch, tmp_path, path, why):
    """The variable may be another package's, with its file, or one that is gone; one warning."""
    want = call(dim=5)
    if path == "foreign.metal":
        path = str(tmp_path / path)
        Path(path).write_bytes(b"// caf\xc3\xa9\nkernel void causal_conv1d_forward() {}\n")
    elif path == "edited.metal":  # there is one in the current directory, which is not opened
        monkeypatch.chdir(tmp_path)
        Path(path).write_text("// cc1d_forward_time")
    monkeypatch.setenv(OVERRIDE, path)
    _metal.kernels.clear()
    monkeypatch.setattr(_metal, "_warned", set())
    with pytest.warns(RuntimeWarning) as caught:
        assert torch.equal(call(dim=5), want)
        call(length=1001)
    (warning,) = (w for w in caught if OVERRIDE in str(w.message))
    assert str(warning.message) == f"{OVERRIDE}: {path!r} is not used, because {why}"


def test_text_of_ours_that_is_not_ascii_is_refused(compiled, monkeypatch, tmp_path):
    path = tmp_path / "edited.metal"
    path.write_bytes(b"// caf\xc3\xa9\n" + _metal.metal_source().encode())
    monkeypatch.setenv(OVERRIDE, str(path))
    with pytest.raises(ValueError, match="expected ASCII text, got byte 0xc3 at offset 6"):
        call(dim=6)


@pytest.mark.parametrize("error", [SyntaxError, RuntimeError])
def test_a_text_that_the_compiler_refuses_is_named(error):
    """Which error it is depends on PyTorch's version."""

    def refuses(source):
        raise error("program_source:3: error: no such type")

    state = torch.ones(1, 7, 3)
    message = (
        "refused the kernel cc1d_update_step .*mps info.: program_source:3: error: no such type"
    )
    with backend.on_harness(refuses):
        with pytest.raises(error, match=message):
            ccmps.causal_conv1d_update(torch.ones(1, 7), state, torch.ones(7, 4))
    assert (state == 1).all()


def test_a_call_that_nothing_can_compute_says_why(monkeypatch):
    monkeypatch.setattr(_metal, "missing", lambda: "expected PyTorch 2.7 or newer, got 2.6.0")
    x = torch.ones(1, 7, 16)
    state = torch.ones(1, 7, 3)
    message = "x: a tensor on 'mps': expected PyTorch 2.7 or newer, got 2.6.0$"
    with backend.on_harness(_metal._unavailable):
        with pytest.raises(NotImplementedError, match=message):
            call(dim=7)
        with pytest.raises(NotImplementedError, match=message):
            ccmps.causal_conv1d_update(x[..., 0], state, torch.ones(7, 4))
    assert (state == 1).all()
