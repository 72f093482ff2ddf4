#!/usr/bin/env python3
"""The main kernels at a large shape, to run under ncu: tests/cuda/profile_kernels.py [DTYPE]"""

import sys

import torch

import causal_conv1d_mps as ccmps

BATCH, DIM, LENGTH, WIDTH = 8, 4096, 2048, 4


def main():
    dtype = getattr(torch, sys.argv[1] if len(sys.argv) > 1 else "bfloat16")
    weight = torch.randn(DIM, WIDTH, device="cuda", requires_grad=True)
    bias = torch.randn(DIM, device="cuda", requires_grad=True)
    x = torch.randn(BATCH, DIM, LENGTH, device="cuda", dtype=dtype)
    for memory in (x, x.transpose(1, 2).contiguous().transpose(1, 2)):
        leaf = memory.detach().requires_grad_()
        y = ccmps.causal_conv1d(leaf, weight, bias, activation="silu")
        torch.autograd.grad(y, (leaf, weight, bias), torch.ones_like(y))
    for rows in (64, 1024):
        state = torch.randn(rows, 8192, WIDTH - 1, device="cuda", dtype=dtype)
        x = torch.randn(rows, 8192, device="cuda", dtype=dtype)
        wide = torch.randn(8192, WIDTH, device="cuda")
        with torch.no_grad():
            ccmps.causal_conv1d_update(x, state, wide, activation="silu")
    torch.cuda.synchronize()


if __name__ == "__main__":
    main()
