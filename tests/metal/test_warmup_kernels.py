"""After warmup() the calls of a model compile nothing, whatever their lengths and batch sizes.

What is compiled is counted, not run: a kernel here does nothing.
"""

import itertools

import backend
import pytest
import torch

import causal_conv1d_mps as ccmps
from causal_conv1d_mps import _metal, _warmup

LENGTHS = [*range(1, 70), *range(70, 600, 19), 700, 777, 1000, 1023, 1536, 2047, 3000, 4096, 5001]
BATCHES = [1, 2, 3, 5, 8, 12, 32]
MOST = 2**25  # elements of a tensor of these tests


class Library:
    def __getattr__(self, name):
        return lambda *arguments, **options: None


@pytest.fixture
def compiled(monkeypatch):
    """Of every kernel: the text. warmup() takes the CPU's tensors for an Apple GPU's."""
    texts = []

    def compile_shader(source):
        texts.append(source)
        return Library()

    monkeypatch.setitem(_warmup.COMPILING, "cpu", _warmup.COMPILING["mps"])
    with backend.on_harness(compile_shader, marked=False):
        yield texts


class Model:
    """A short convolution, as a model calls it."""

    def __init__(self, dim, width=4, dtype=torch.bfloat16, weight_dtype=None, bias=True):
        self.dim, self.dtype = dim, dtype
        self.weight = torch.zeros(dim, width, dtype=weight_dtype or dtype)
        self.bias = torch.zeros(dim, dtype=weight_dtype or dtype) if bias else None

    def x(self, layout, batch, length):
        if layout == "BDT":
            return torch.empty(batch, self.dim, length, dtype=self.dtype)
        return torch.empty(batch, length, self.dim, dtype=self.dtype).transpose(1, 2)

    def train(self, *shape):
        leaves = [self.x(*shape), self.weight, self.bias]
        leaves = [t if t is None else t.detach().requires_grad_() for t in leaves]
        y = ccmps.causal_conv1d_fn(*leaves, activation="silu")
        torch.autograd.grad(y, [t for t in leaves if t is not None], torch.empty_like(y))

    def prefill(self, *shape):
        x = self.x(*shape)
        with torch.no_grad():
            return ccmps.causal_conv1d_fn(
                x, self.weight, self.bias, return_final_states=True, activation="silu"
            )

    def decode(self, batch, size):
        x = torch.empty(batch, self.dim, dtype=self.dtype)
        state = torch.empty(batch, self.dim, size, dtype=self.dtype)
        ccmps.causal_conv1d_update(x, state, self.weight, self.bias, "silu")


def shapes(dim):
    for layout, batch, length in itertools.product(_warmup.LAYOUTS, BATCHES, LENGTHS):
        if batch * dim * length <= MOST:
            yield layout, batch, length


@pytest.mark.parametrize(
    "options",
    [
        dict(dim=2048),
        dict(dim=1536, dtype=torch.float32),
        dict(dim=100, dtype=torch.float16),
        dict(dim=7, width=3),
        dict(dim=64, width=8, bias=False, weight_dtype=torch.float32),
        dict(dim=48, width=11),
    ],
    ids=str,
)
def test_a_model_compiles_nothing_afterwards(compiled, options):
    model = Model(**options)
    found = ccmps.warmup(**options, device="cpu")
    assert len(found) == len(compiled) > 0
    for name, call, seconds in found:
        assert name.startswith("cc1d_") and call.split(",")[0] in (
            "training",
            "prefill",
            "decoding",
        )
        assert seconds >= 0
    del compiled[:]
    for shape in shapes(model.dim):
        model.train(*shape)
        model.prefill(*shape)
        assert not compiled, f"compiled for {shape}"
    width = model.weight.shape[1]
    for batch, size in itertools.product([*range(1, 40), 64, 100, 256, 300], (width - 1, width)):
        model.decode(batch, size)
        assert not compiled, f"compiled for a step of {batch} rows, states of {size}"
    assert ccmps.warmup(**options, device="cpu") == []


def kernels(found):
    return {one.kernel for one in found}


def test_only_what_is_asked_for(compiled):
    options = dict(dim=64, device="cpu", layouts="BDT")
    forward = kernels(ccmps.warmup(**options, training=False, decoding=False))
    assert "cc1d_forward_time" in forward
    assert all(name.startswith("cc1d_forward_") for name in forward)
    decoding = kernels(ccmps.warmup(**options, training=False))
    assert decoding == {"cc1d_varlen_states", "cc1d_update_step"}
    training = kernels(ccmps.warmup(**options, decoding=False))
    assert {"cc1d_backward_time", "cc1d_backward_reduce"} <= training
    assert training.isdisjoint(forward | decoding)
    rest = ccmps.warmup(64, device="cpu")
    assert {one.call[:13] for one in rest} <= {"training, BTD"}


def test_progress(compiled, capsys):
    said = []
    options = dict(device="cpu", layouts=["BTD"], training=False, decoding=False)
    found = ccmps.warmup(64, **options, progress=said.append)
    assert said == found and found
    assert capsys.readouterr().err == ""
    _metal.kernels.clear()
    again = ccmps.warmup(64, **options, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(again) == len(found)
    for line, one in zip(lines, again, strict=True):
        assert line.startswith(f"causal_conv1d_mps: compiled {one.kernel} ") and one.call in line


def test_modes_of_the_caller_change_nothing(compiled):
    """Neither inference mode nor no_grad nor autocast nor a default device."""
    plain = [one[:2] for one in ccmps.warmup(64, dtype=torch.float32, device="cpu")]
    _metal.kernels.clear()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
        again = [one[:2] for one in ccmps.warmup(64, dtype=torch.float32, device="cpu")]
    assert again == plain


def test_a_failing_compiler_is_not_hidden(compiled, monkeypatch):
    def fails(source):
        raise SyntaxError("program_source:1: error: no")

    monkeypatch.setattr(_metal, "compile_shader", fails)
    with pytest.raises(SyntaxError, match=r"refused the kernel cc1d_forward_.*error: no"):
        ccmps.warmup(64, device="cpu")
    assert not _metal._watchers
