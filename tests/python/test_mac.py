"""What a Mac's user is told where 'mps' cannot compute, with stand-ins for the Mac."""

import types

import pytest
import torch

import causal_conv1d_mps as ccmps
from causal_conv1d_mps import _metal

INTEL = "Darwin Kernel Version 22.6.0: root:xnu-8796.141.3~6/RELEASE_X86_64"
APPLE = "Darwin Kernel Version 24.1.0: root:xnu-11215.41.3~2/RELEASE_ARM64_T6000"


@pytest.fixture
def mac(monkeypatch):
    """mac(...) makes this machine look like one, to the package alone."""

    def become(*, system="15.1", machine="arm64", kernel=APPLE, torch_version="2.9.0", **mps):
        given = {"built": True, "available": True, "compile_shader": True, **mps}
        monkeypatch.setattr(_metal, "sys", types.SimpleNamespace(platform="darwin"))
        answers = dict(
            machine=lambda: machine,
            version=lambda: kernel,
            mac_ver=lambda: (system, ("", "", ""), machine),
        )
        monkeypatch.setattr(_metal, "platform", types.SimpleNamespace(**answers))
        monkeypatch.setattr(torch.backends.mps, "is_built", lambda: given["built"])
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: given["available"])
        monkeypatch.setattr(torch, "__version__", torch_version)
        if not given["compile_shader"]:
            monkeypatch.delattr(torch.mps, "compile_shader")

    return become


def mps():
    return next(backend for backend in ccmps.backends() if backend["name"] == "mps")


MACS = {
    "apple silicon": ({}, None, "Metal through PyTorch 2.9.0"),
    "macOS 13": (
        dict(system="13.6.1"),
        None,
        "Metal through PyTorch 2.9.0; expected macOS 14 or newer for bfloat16 on 'mps', got macOS "
        "13.6.1; use float16",
    ),
    "old PyTorch": (
        dict(torch_version="2.6.0", compile_shader=False),
        "expected PyTorch 2.7 or newer, which has torch.mps.compile_shader, got 2.6.0; upgrade "
        "PyTorch, or use 'cpu'",
        None,
    ),
    "Intel": (
        dict(machine="x86_64", kernel=INTEL, torch_version="2.2.2", compile_shader=False),
        "expected a Mac with Apple Silicon, got one with an Intel processor; use 'cpu' there",
        None,
    ),
    "Intel, with a PyTorch of one's own": (
        dict(machine="x86_64", kernel=INTEL),
        "expected a Mac with Apple Silicon, got one with an Intel processor; use 'cpu' there",
        None,
    ),
    "Rosetta": (
        dict(machine="x86_64", torch_version="2.2.2", available=False, compile_shader=False),
        "expected a Python for arm64, got one for Intel Macs, which macOS translates; install "
        "Python and PyTorch for arm64",
        None,
    ),
    "no MPS in PyTorch": (dict(built=False), "this PyTorch (2.9.0) was built without MPS", None),
    "an old macOS": (
        dict(system="12.1", available=False),
        "PyTorch 2.9.0 finds no MPS device on macOS 12.1",
        None,
    ),
}


@pytest.mark.parametrize("which", MACS)
def test_what_info_and_a_call_say(mac, which):
    facts, why, detail = MACS[which]
    mac(**facts)
    assert mps() == {"name": "mps", "available": why is None, "detail": why or detail}
    assert ccmps.info()["mps"] == f"{'no' if why else 'yes'}: {why or detail}"
    if why:
        with pytest.raises(NotImplementedError) as caught:
            _metal._unavailable("")
        assert str(caught.value) == f"x: a tensor on 'mps': {why}"
        with pytest.raises(ValueError) as caught:
            ccmps.warmup(8, device="mps")
        assert str(caught.value) == f"device: mps cannot be used: {why}"


def test_bfloat16_before_macos_14(mac):
    """PyTorch refuses to make such a tensor; what we would make ourselves is refused by name."""
    mac(system="13.6.1")
    message = "expected macOS 14 or newer for bfloat16 on 'mps', got macOS 13.6.1; use float16"
    for name in ("dtype", "weight_dtype"):
        options = {"dtype": torch.float16, name: torch.bfloat16}
        with pytest.raises(NotImplementedError) as caught:
            ccmps.warmup(8, device="mps", **options)
        assert str(caught.value) == f"{name}: {message}"
    with pytest.raises(NotImplementedError, match="dtype: expected macOS 14"):
        ccmps.warmup(8)  # on the GPU that there is, in bfloat16
