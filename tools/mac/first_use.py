"""What a first call costs, which compiles its kernels, and what warmup() takes off it."""

import time
from unittest import mock

import torch

import causal_conv1d_mps as ccmps
from causal_conv1d_mps import _warmup

from .gpu import in_use, wait
from .markdown import table


def part(options):
    """The second call is what every later one costs."""
    with in_use(options) as device:
        x = torch.randn(2, 64, 256, device=device, dtype=torch.bfloat16)
        weight = torch.randn(64, 4, device=device)
        state = torch.zeros(2, 64, 3, device=device, dtype=torch.bfloat16)
        leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_()]

        def backward():
            y = ccmps.causal_conv1d_fn(*leaves, activation="silu")
            torch.autograd.grad(y, leaves, torch.ones_like(y))

        calls = {
            "forward": lambda: ccmps.causal_conv1d_fn(x, weight, activation="silu"),
            "forward and backward": backward,
            "update": lambda: ccmps.causal_conv1d_update(x[:, :, 0], state, weight),
        }
        rows = []
        for name, call in calls.items():
            first, second = milliseconds(call, device), milliseconds(call, device)
            rows.append((name, f"{first:.2f}", f"{second:.2f}"))
    return table(("call", "first, ms", "second, ms"), rows), True


def milliseconds(call, device):
    start = time.perf_counter()
    call()
    wait(device)
    return (time.perf_counter() - start) * 1e3


def warmup_part(options):
    """Kernel by kernel, for a layer of a usual size."""
    with in_use(options) as device:
        if (
            options.backend == "harness"
        ):  # each text takes its clang half a second, each step longer
            patches = [mock.patch.dict(_warmup.COMPILING, cpu=_warmup.COMPILING["mps"])]
            patches += [mock.patch.multiple(_warmup, MOST_ELEMENTS=1, LEAST_LENGTH=8, BATCHES=(1,))]
            given = dict(dim=8, layouts="BDT", training=False, decoding=False)
        else:
            patches, given = [], dict(dim=2048)
        for patch in patches:
            patch.start()
        start = time.perf_counter()
        found = ccmps.warmup(**given, device=device, progress=not patches)
        total = time.perf_counter() - start
        for patch in patches:
            patch.stop()
    rows = [(c.kernel, c.call, f"{c.seconds * 1e3:.1f}") for c in found]
    text = table(("kernel", "first needed by", "ms"), rows)
    compiling = sum(c.seconds for c in found)
    said = f"{len(found)} kernels, {compiling:.2f} s of {total:.2f} s in the compiler: {given}"
    return f"{text}\n{said}\n", len(found) > 0
