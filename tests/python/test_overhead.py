"""What a small call costs around its kernel.

Times are recorded (pytest -rP prints them; --junitxml keeps them) and never fail a test. What is
asserted does not depend on the machine: how many functions a call goes through, and that it
allocates its result and nothing else.
"""

import sys
import timeit
from collections import Counter

import pytest
import torch
import torch.nn.functional as F

import causal_conv1d_mps as ccmps

D, T, W = 64, 8, 4


def made(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


X, STEP, WEIGHT, BIAS = made(1, D, T), made(1, D), made(D, W), made(D)
STATE = torch.zeros(1, D, W)
LEAVES = [t.clone().requires_grad_() for t in (X, WEIGHT, BIAS)]
COTANGENT = torch.ones_like(X)


def forward_backward():
    ccmps.causal_conv1d(*LEAVES, "silu").backward(COTANGENT)


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
# Python functions entered, the call itself included; more is a regression of the direct path.
PYTHON_CALLS = {"forward": 6, "forward (fn)": 6, "update": 5}


def profiled(call):
    """Counts of Python and C functions that one call enters."""
    counts = Counter()

    def trace(frame, event, argument):
        if event in ("call", "c_call"):
            counts[event] += 1
            name = argument.__name__ if event == "c_call" else frame.f_code.co_name
            counts[name] += 1

    call()
    with torch.no_grad():
        sys.setprofile(trace)
        try:
            call()
        finally:
            sys.setprofile(None)
    counts["c_call"] -= 1  # sys.setprofile itself
    return counts


@pytest.mark.parametrize("name", PYTHON_CALLS)
def test_direct_path_is_short(name):
    counts = profiled(CALLS[name])
    assert counts["empty_like"] == 1, "the result is the only allocation"
    assert counts["forward"] + counts["update"] >= 1, "the kernel is called straight"
    assert counts["<lambda>"] == 1
    assert counts["call"] <= 1 + PYTHON_CALLS[name], dict(counts)


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
    }
    times = {name: microseconds(call) for name, call in {**compared, **CALLS}.items()}
    for name, value in times.items():
        record_property(name, round(value, 2))
        print(f"{name:28s} {value:8.2f} us")
    around = times["forward"] - times["kernel alone"] - times["empty_like"]
    print(f"{'forward, around the kernel':28s} {around:8.2f} us")
    assert all(value > 0 for value in times.values())


def kernel_alone():
    from causal_conv1d_mps import _C

    out, threads = torch.empty_like(X), torch.get_num_threads()
    return lambda: _C.forward(X, WEIGHT, BIAS, None, None, None, None, out, None, 1, threads)
