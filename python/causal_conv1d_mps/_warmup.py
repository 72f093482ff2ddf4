"""warmup(): compiles ahead of a model's first step the kernels that it will call.

Which kernel a call needs depends on its shape (src/gpu/plan), so this makes a model's own calls on
its device, over the lengths and batch sizes at which kernels change, and notes what was compiled.
"""

import argparse
import functools
import operator
import sys
import time
from typing import NamedTuple

import torch

from . import _C, _checks, _metal
from ._info import backends
from .functional import causal_conv1d_fn, causal_conv1d_update

LAYOUTS = ("BDT", "BTD")
MOST_ELEMENTS = 2**24  # of a tensor that a call is made with,
LEAST_LENGTH = 1024  # unless a single row of this length has more
BATCHES = (1, 4, 16)
DECODED = tuple(2**k for k in range(11))


class Compiled(NamedTuple):
    """A kernel, the call that needed it, and how long that took."""

    kernel: str
    call: str
    seconds: float


def warmup(
    dim,
    width=4,
    dtype=torch.bfloat16,
    device=None,
    layouts=LAYOUTS,
    training=True,
    decoding=True,
    *,
    bias=True,
    activation="silu",
    weight_dtype=None,
    progress=False,
):
    """Compile ahead what a model with such a convolution will call on a GPU.

    dim, width: those of the weight. dtype: x's. weight_dtype: that of weight and bias, if another.
    device: by default the GPU that there is.
    layouts: "BDT", x contiguous as (B, D, T), and "BTD", x contiguous as (B, T, D), transposed.
    training: forward and backward. Without it: forward only.
    decoding: forward that returns final states, and single steps.
    bias, activation: as the model has them; another activation is another kernel.
    progress: True writes a line per kernel to stderr; a function is called with each Compiled.
    Returns a list of Compiled, empty where all was ready and on the CPU, which compiles nothing.
    """
    for name, value in (("training", training), ("decoding", decoding), ("bias", bias)):
        if not isinstance(value, bool):
            raise TypeError(f"{name}: expected a bool, got {type(value).__name__}")
    if not isinstance(progress, bool) and not callable(progress):
        raise TypeError(f"progress: expected a bool or a function, got {type(progress).__name__}")
    model = _Model(dim, width, dtype, device, layouts, bias, activation, weight_dtype)
    say = _print if progress is True else progress or (lambda compiled: None)
    found = []
    compiled_by = COMPILING.get(model.device.type)
    if compiled_by is None:
        return found
    with torch.inference_mode(False), torch.autocast(model.device.type, enabled=False):
        for name, call in model.calls(training, decoding):
            for kernel, seconds in compiled_by(call):
                found.append(Compiled(kernel, name, seconds))
                say(found[-1])
    return found


def _print(compiled):
    text = f"{compiled.kernel} {compiled.seconds * 1e3:.0f} ms ({compiled.call})"
    print(f"causal_conv1d_mps: compiled {text}", file=sys.stderr, flush=True)


def _compiled_on_metal(call):
    """Runs it; (kernel, seconds) of what it compiled."""
    with _metal.watch_compilation() as compiled:
        call()
    return compiled


def _compiled_on_cuda(call):
    """There the library compiles; what it compiled for one call has taken the same share of it."""
    before, start = _C.cuda_kernels(), time.perf_counter()
    call()
    seconds, after = time.perf_counter() - start, _C.cuda_kernels()
    kernels = [name for name, count in after.items() for _ in range(count - before[name])]
    return [(name, seconds / len(kernels)) for name in kernels]


# Where calls compile what they need, and what tells that; a CPU compiles nothing.
COMPILING = {"mps": _compiled_on_metal, "cuda": _compiled_on_cuda}


class _Model:
    """What a model has alike in all its calls."""

    def __init__(self, dim, width, dtype, device, layouts, bias, activation, weight_dtype):
        self.dim, self.width = _positive("dim", dim), _positive("width", width)
        self.device = _device(device)
        self.dtype = _dtype("dtype", dtype, self.device)
        given = self.dtype if weight_dtype is None else weight_dtype
        self.weight_dtype = _dtype("weight_dtype", given, self.device)
        self.layouts = _layouts(layouts)
        self.bias, self.activation = bias, activation
        _checks.activation_code(activation)

    def calls(self, training, decoding):
        """(what it is, function) of every call."""
        for layout in self.layouts:
            for batch in BATCHES:
                most = max(MOST_ELEMENTS // (batch * self.dim), LEAST_LENGTH // batch)
                for length in _lengths(most):
                    shape = (layout, batch, length)
                    where = f"{layout}, B {batch}, T {length}"
                    if training:
                        yield f"training, {where}", functools.partial(self._train, *shape)
                    else:
                        yield f"forward, {where}", functools.partial(self._forward, *shape)
                    if decoding:
                        yield (
                            f"prefill, {where}",
                            functools.partial(self._forward, *shape, return_final_states=True),
                        )
        if decoding:
            for batch in DECODED:
                for size in (self.width - 1, self.width):
                    what = f"decoding, B {batch}, state of {size} steps"
                    yield what, functools.partial(self._decode, batch, size)

    def _zeros(self, *shape, dtype=None):
        return torch.zeros(shape, dtype=dtype or self.dtype, device=self.device)

    def _weights(self):
        weight = self._zeros(self.dim, self.width, dtype=self.weight_dtype)
        return weight, self._zeros(self.dim, dtype=self.weight_dtype) if self.bias else None

    def _x(self, layout, batch, length):
        if layout == "BTD":
            return self._zeros(batch, length, self.dim).transpose(1, 2)
        return self._zeros(batch, self.dim, length)

    def _train(self, layout, batch, length):
        x, (weight, bias) = self._x(layout, batch, length), self._weights()
        leaves = [t.requires_grad_() for t in (x, weight, bias) if t is not None]
        with torch.enable_grad():
            y = causal_conv1d_fn(x, weight, bias, activation=self.activation)
            torch.autograd.grad(y, leaves, torch.zeros_like(y))

    def _forward(self, layout, batch, length, **options):
        x, (weight, bias) = self._x(layout, batch, length), self._weights()
        with torch.no_grad():
            causal_conv1d_fn(x, weight, bias, activation=self.activation, **options)

    def _decode(self, batch, size):
        x, state = self._zeros(batch, self.dim), self._zeros(batch, self.dim, size)
        with torch.no_grad():
            causal_conv1d_update(x, state, *self._weights(), self.activation)


def _lengths(most):
    """2^k and 3 * 2^k, whose rows start at 16-byte boundaries where k is not small, and the numbers
    behind them, whose rows do not."""
    found = {n for k in range(64) for n in (2**k, 2**k + 1, 3 * 2**k, 3 * 2**k + 1) if n <= most}
    return sorted(found)


# ---- Arguments


def _positive(name, value):
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {type(value).__name__}") from None
    if number < 1:
        raise ValueError(f"{name}: expected an integer of at least 1, got {number}")
    return number


def _device(value):
    if value is None:
        found = [torch.backends.mps.is_available(), torch.cuda.is_available(), True]
        return torch.device(("mps", "cuda", "cpu")[found.index(True)])
    try:
        device = torch.device(value)
    except (TypeError, RuntimeError):
        raise ValueError(f"device: expected 'mps', 'cuda' or 'cpu', got {value!r}") from None
    if device.type not in ("cpu", "mps", "cuda"):
        raise ValueError(f"device: expected 'mps', 'cuda' or 'cpu', got {str(device)!r}")
    for backend in backends():
        if backend["name"] == device.type and not backend["available"]:
            raise ValueError(f"device: {device.type} cannot be used: {backend['detail']}")
    return device


def _dtype(name, value, device):
    known = [d for d in _checks.FLOAT_DTYPES if device.type != "mps" or d != torch.float64]
    if value not in known:
        *most, last = (str(d).removeprefix("torch.") for d in known)
        came = str(value).removeprefix("torch.")
        raise TypeError(
            f"{name}: expected {', '.join(most)} or {last} on {device.type}, got {came}"
        )
    if value == torch.bfloat16 and device.type == "mps" and _metal.bfloat16_missing():
        raise NotImplementedError(f"{name}: {_metal.bfloat16_missing()}")
    return value


def _layouts(value):
    try:
        given = (value,) if isinstance(value, str) else tuple(value)
    except TypeError:
        raise TypeError(
            f"layouts: expected some of 'BDT' and 'BTD', got {type(value).__name__}"
        ) from None
    if not given or any(layout not in LAYOUTS for layout in given):
        raise ValueError(f"layouts: expected some of 'BDT' and 'BTD', got {value!r}")
    return given


# ---- Command


def main(arguments=None):
    """What a model's first steps cost: kernels live in the process that compiled them."""
    dtypes = {str(d).removeprefix("torch."): d for d in _checks.FLOAT_DTYPES}
    parser = argparse.ArgumentParser(
        prog="python -m causal_conv1d_mps warmup", description=main.__doc__
    )
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--width", type=int, default=4)
    parser.add_argument("--dtype", choices=dtypes, default="bfloat16")
    parser.add_argument("--device", help="mps, cuda or cpu; by default the GPU that there is")
    options = parser.parse_args(arguments)
    dtype = dtypes[options.dtype]
    try:
        device = _device(options.device)
        found = warmup(options.dim, options.width, dtype, device, progress=True)
    except (TypeError, ValueError, NotImplementedError) as error:
        parser.error(str(error))
    if found:
        seconds = sum(one.seconds for one in found)
        print(f"{len(found)} kernels in {seconds:.1f} s on {device.type}")
    else:
        print(f"nothing to compile on {device.type}")
