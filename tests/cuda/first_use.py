#!/usr/bin/env python3
"""How long the first use of CUDA kernels takes: tests/cuda/first_use.py

Each row is one call on tensors that are already on the GPU, after PyTorch's own start-up. The first
call also opens the driver and NVRTC; the others compile a kernel, backward two.
"""

import time

import torch

import causal_conv1d_mps as ccmps


def milliseconds(call):
    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start)


def gradients(x, weight):
    """A call that runs only the backward pass; the forward pass has run before."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = ccmps.causal_conv1d(x, weight, None, "silu")
    above = torch.ones_like(y)
    return lambda: torch.autograd.grad(y, (x, weight), above, retain_graph=True)


def main():
    x = torch.randn(2, 256, 512, device="cuda", dtype=torch.bfloat16)
    last = x.transpose(1, 2).contiguous().transpose(1, 2)
    weight = torch.randn(256, 4, device="cuda")
    narrow, wide = weight[:, :3].contiguous(), weight.repeat(1, 16)
    state = torch.zeros(2, 256, 3, device="cuda", dtype=torch.bfloat16)
    warm = x.clone().requires_grad_()
    torch.autograd.grad(warm * 2, warm, torch.ones_like(warm))  # PyTorch's own first gradient
    print(f"{'call':<28}{'first (ms)':>12}{'second (ms)':>13}")

    def row(name, call):
        print(f"{name:<28}{milliseconds(call):>12.1f}{milliseconds(call):>13.3f}")

    row("first call of the process", lambda: ccmps.causal_conv1d(x, weight, None, "silu"))
    row("channel-last forward", lambda: ccmps.causal_conv1d(last, weight, None, "silu"))
    row("width 3", lambda: ccmps.causal_conv1d(x, narrow))
    row("width 64", lambda: ccmps.causal_conv1d(x, wide))
    row("update", lambda: ccmps.causal_conv1d_update(x[..., 0], state, weight))
    row("backward", gradients(x, weight))
    row("channel-last backward", gradients(last, weight))


if __name__ == "__main__":
    main()
