"""What a small call costs around its kernel.

Times are recorded (pytest -rP prints them; --junitxml keeps them) and never fail a test. What is
asserted does not depend on the machine: how many functions a call goes through, and that the only
operators of PyTorch that it runs are the allocations of its results.
"""

import sys
import timeit
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from test_eager import answering

import causal_conv1d_mps as ccmps

D, T, W = 64, 8, 4


def made(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


X, STEP, WEIGHT, BIAS = made(1, D, T), made(1, D), made(D, W), made(D)
STATE = torch.zeros(1, D, W)
LEAVES = [t.clone().requires_grad_() for t in (X, WEIGHT, BIAS)]
COTANGENT = torch.ones_like(X)
EAGER = hasattr(torch.Tensor, "__dlpack_c_exchange_api__")


def forward_backward():
    ccmps.causal_conv1d(*LEAVES, "silu").backward(COTANGENT)


def gradients():
    return torch.autograd.grad(ccmps.causal_conv1d(*LEAVES, "silu"), LEAVES, COTANGENT)


def pytorch_forward_backward():
    x, weight, bias = LEAVES
    y = F.conv1d(x, weight[:, None], bias, padding=W - 1, groups=D)[..., :T]
    F.silu(y).backward(COTANGENT)


def pytorch_forward():
    return F.silu(F.conv1d(X, WEIGHT[:, None], BIAS, padding=W - 1, groups=D)[..., :T])


CALLS = {
    "forward": lambda: ccmps.causal_conv1d(X, WEIGHT, BIAS, "silu"),
    "forward (fn)": lambda: ccmps.causal_conv1d_fn(X, WEIGHT, BIAS, activation="silu"),
    "update": lambda: ccmps.causal_conv1d_update(STEP, STATE, WEIGHT, BIAS, "silu"),
    "forward + backward": forward_backward,
}
# Functions that a call enters, of Python and (from Python) of C; more is a regression.
ENTERED = {
    "forward": ["causal_conv1d", "is_dynamo_compiling", "forward"],
    "forward (fn)": ["causal_conv1d_fn", "convolve", "is_dynamo_compiling", "forward"],
    "update": ["causal_conv1d_update", "is_dynamo_compiling", "update"],
}
RESULTS = {"forward": 1, "forward (fn)": 1, "update": 1, "forward + backward": 4}


def entered(call):
    """The functions that one call enters, in order."""
    names = []

    def trace(frame, event, argument):
        if event in ("call", "c_call"):
            names.append(argument.__name__ if event == "c_call" else frame.f_code.co_name)

    with torch.no_grad():
        call()
        sys.setprofile(trace)
        try:
            call()
        finally:
            sys.setprofile(None)
    assert names[0] == "<lambda>" and names[-1] == "setprofile"
    return names[1:-1]


@pytest.mark.skipif(not EAGER, reason="needs the DLPack exchange table of PyTorch 2.10")
@pytest.mark.parametrize("name", ENTERED)
def test_direct_path_is_short(name):
    assert entered(CALLS[name]) == ENTERED[name]


@pytest.mark.skipif(not EAGER, reason="needs the DLPack exchange table of PyTorch 2.10")
@pytest.mark.parametrize("name", RESULTS)
def test_nothing_but_the_results_is_allocated(name):
    calls = {**CALLS, "forward + backward": gradients}
    calls[name]()
    # Under a profiler calls go through the operators; here it is to look on unseen.
    with answering(profiler=SimpleNamespace(_is_profiler_enabled=False)):
        with torch.autograd.profiler.profile() as profile:
            calls[name]()
    seen = (e.name for e in profile.function_events)
    operators = Counter(n for n in seen if n.startswith(("aten::", "causal_conv1d_mps::")))
    assert operators.pop("aten::empty_like") == RESULTS[name]
    assert set(operators) <= {"aten::empty", "aten::empty_strided"}, "what empty_like is made of"


def test_direct_path_does_not_enter_the_dispatcher(monkeypatch):
    from causal_conv1d_mps import _ops

    def refuse(*arguments):
        raise AssertionError("an operator was dispatched")

    for name in ("forward", "backward", "update"):
        monkeypatch.setattr(_ops, name, refuse)
    for call in CALLS.values():
        call()


def test_record_times(record_property):
    def microseconds(call, number=200, repeat=15):
        return min(timeit.repeat(call, number=number, repeat=repeat)) / number * 1e6

    compared = {
        "empty_like": lambda: torch.empty_like(X),
        "kernel alone": kernel_alone(),
        "PyTorch forward": pytorch_forward,
        "PyTorch forward + backward": pytorch_forward_backward,
        "autograd of x.neg()": lambda: LEAVES[0].neg().backward(COTANGENT),
        "autograd of a Function that only allocates": only_allocates(),
    }
    times = {name: microseconds(call) for name, call in {**compared, **CALLS}.items()}
    for name, value in times.items():
        record_property(name, round(value, 2))
        print(f"{name:44s} {value:8.2f} us")
    around = times["forward"] - times["kernel alone"] - times["empty_like"]
    print(f"{'forward, around the kernel':44s} {around:8.2f} us")
    assert all(value > 0 for value in times.values())


def only_allocates():
    """Forward and backward of an autograd.Function without work: what PyTorch takes for itself."""

    class OnlyAllocates(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            ctx.save_for_backward(*inputs)
            return torch.empty_like(inputs[0])

        @staticmethod
        def backward(ctx, gradient):
            return tuple(torch.empty_like(t) for t in ctx.saved_tensors)

    return lambda: OnlyAllocates.apply(*LEAVES).backward(COTANGENT)


def kernel_alone():
    from causal_conv1d_mps import _C
    from causal_conv1d_mps._tables import arrange

    out, threads = torch.empty_like(X), torch.get_num_threads()
    tensors = arrange("forward", x=X, weight=WEIGHT, bias=BIAS, out=out)
    return lambda: _C.run("forward", tensors, 1, -1, threads)
