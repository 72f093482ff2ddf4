#!/usr/bin/env python3
"""Where the host's time per call goes on CUDA: tests/cuda/host_time.py

Each row is the median time between two calls that only enqueue work, at (1, 64, 8), where the GPU
has next to nothing to do. The rows in brackets are PyTorch's own share: what any package pays.
"""

import statistics
import time

import torch

import causal_conv1d_mps as ccmps
from causal_conv1d_mps import _C
from causal_conv1d_mps._tables import arrange

CALLS = 300  # fewer than the launches that a stream queues before it makes the host wait
ROUNDS = 15


def microseconds(call):
    for _ in range(50):
        call()
    samples = []
    for _ in range(ROUNDS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(CALLS):
            call()
        samples.append(1e6 * (time.perf_counter() - start) / CALLS)
    torch.cuda.synchronize()
    return statistics.median(samples)


def main():
    x = torch.randn(1, 64, 8, device="cuda")
    weight, bias = torch.randn(64, 4, device="cuda"), torch.randn(64, device="cuda")
    step, state = torch.randn(1, 64, device="cuda"), torch.zeros(1, 64, 3, device="cuda")
    out, above, stepped = torch.empty_like(x), torch.ones_like(x), torch.empty_like(step)
    live = [t.clone().requires_grad_() for t in (x, weight, bias)]
    double = live[0] * 2
    y = ccmps.causal_conv1d(*live, "silu")
    forward = arrange("forward", x=x, weight=weight, bias=bias, out=out)
    named = dict(x=step, conv_state=state, weight=weight, bias=bias, out=stepped)
    update = arrange("update", **named)

    def grad(output, inputs):
        return torch.autograd.grad(output, inputs, above, retain_graph=True)

    rows = {
        "forward, no gradient": lambda: ccmps.causal_conv1d(x, weight, bias, "silu"),
        "  of it: _C.run": lambda: _C.run("forward", forward, 1, -1, 1),
        "  (torch.empty_like)": lambda: torch.empty_like(x),
        "  (a PyTorch kernel: relu_)": lambda: torch.relu_(out),
        "update": lambda: ccmps.causal_conv1d_update(step, state, weight, bias, "silu"),
        "  of it: _C.run, update": lambda: _C.run("update", update, 1, -1, 1),
        "forward, recording": lambda: ccmps.causal_conv1d(*live, "silu"),
        "backward": lambda: grad(y, live),
        "  (backward of x * 2)": lambda: grad(double, live[:1]),
    }
    print(f"{'host time per call':<30}{'us':>8}")
    for name, call in rows.items():
        with torch.set_grad_enabled("recording" in name):
            print(f"{name:<30}{microseconds(call):>8.2f}")


if __name__ == "__main__":
    main()
