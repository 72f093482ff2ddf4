"""Inputs of a case, and what is timed on them: ours, PyTorch, a copy, other packages.

A candidate is a function of (case, inputs) that prepares everything and returns a closure without
arguments; calling the closure is what is timed.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
import torch.nn.functional as F

import causal_conv1d_mps as ccmps

from . import block, serving
from .shapes import DTYPES


def make_inputs(case, device, seed=0):
    dtype = DTYPES[case.dtype]
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, dtype=dtype):
        # Drawn once for a block of at most a million elements and repeated: fast on every device.
        count = 1
        for size in shape:
            count *= size
        block = torch.randn(min(count, 1_000_003), generator=generator).to(device, dtype)
        repeats = -(-count // max(block.numel(), 1))
        return block.repeat(repeats)[:count].view(shape)

    def sequence():
        if case.layout == "BTD":
            return normal(case.B, case.T, case.D).transpose(1, 2)
        return normal(case.B, case.D, case.T)

    if case.op in block.OPS:
        return block.make_inputs(case, normal)
    weight_dtype = torch.float32 if case.float32_weights and case.dtype != "fp64" else dtype
    if case.op in serving.OPS:
        inputs = serving.make_inputs(case, normal, device, generator)
        inputs.weight = normal(case.D, case.W, dtype=weight_dtype)
        inputs.bias = normal(case.D, dtype=weight_dtype) if case.bias else None
        return inputs
    inputs = SimpleNamespace(
        x=normal(case.B, case.D) if case.op == "update" else sequence(),
        weight=normal(case.D, case.W, dtype=weight_dtype),
        bias=normal(case.D, dtype=weight_dtype) if case.bias else None,
    )
    if case.op == "backward":
        inputs.dout = sequence()
    if case.op == "update":
        inputs.state = normal(case.B, case.D, case.S)
    return inputs


def _gradients(function, inputs, case):
    """A closure that runs only the backward pass of function(x, weight, bias)."""
    leaves = [inputs.x, inputs.weight, inputs.bias]
    leaves = [None if leaf is None else leaf.detach().requires_grad_() for leaf in leaves]
    y = function(*leaves)
    wanted = [leaf for leaf in leaves if leaf is not None]
    return lambda: torch.autograd.grad(y, wanted, inputs.dout, retain_graph=True)


def _forward_or_backward(function, inputs, case):
    if case.op == "backward":
        return _gradients(function, inputs, case)
    return lambda: function(inputs.x, inputs.weight, inputs.bias)


def ours(case, inputs):
    if case.op in serving.OPS:
        return serving.ours(case, inputs)
    if case.op in block.OPS:
        return block.ours(case, inputs)
    if case.op == "update":
        return lambda: ccmps.causal_conv1d_update(
            inputs.x, inputs.state, inputs.weight, inputs.bias, case.activation
        )

    def function(x, weight, bias):
        return ccmps.causal_conv1d(x, weight, bias, case.activation)

    return _forward_or_backward(function, inputs, case)


def pytorch(case, inputs):
    """What one writes without this package: F.conv1d, the step by step form for decoding."""
    if case.op in serving.OPS:
        return serving.pytorch(case, inputs)
    if case.op in block.OPS:
        return block.pytorch(case, inputs)
    dtype = inputs.x.dtype
    weight = inputs.weight.to(dtype)
    bias = None if inputs.bias is None else inputs.bias.to(dtype)

    def activate(y):
        return F.silu(y) if case.activation else y

    if case.op == "update":

        def step():
            window = torch.cat([inputs.state, inputs.x.unsqueeze(-1)], dim=-1)
            inputs.state.copy_(window[..., 1:])
            y = (window[..., -case.W :] * weight).sum(-1)
            return activate(y if bias is None else y + bias)

        return step

    def function(x, weight, bias):
        y = F.conv1d(x, weight, bias, padding=case.W - 1, groups=case.D)
        return activate(y[..., : case.T])

    cast = SimpleNamespace(**{**vars(inputs), "weight": weight.unsqueeze(1), "bias": bias})
    return _forward_or_backward(function, cast, case)


def copy(case, inputs):
    like = inputs.projected if case.op in block.OPS else inputs.x
    source = torch.zeros(case.copy_elements, dtype=like.dtype, device=like.device)
    target = torch.zeros_like(source)
    return lambda: target.copy_(source)


def dao(case, inputs):
    """Dao-AILab's causal_conv1d."""
    from causal_conv1d import causal_conv1d_fn, causal_conv1d_update

    if case.op == "update":
        return lambda: causal_conv1d_update(
            inputs.x, inputs.state, inputs.weight, inputs.bias, case.activation
        )

    def function(x, weight, bias):
        return causal_conv1d_fn(x, weight, bias, activation=case.activation)

    return _forward_or_backward(function, inputs, case)


def fla(case, inputs):
    """flash-linear-attention's Triton kernels; their layout is (B, T, D)."""
    try:
        from fla.modules.conv import causal_conv1d
    except ImportError:
        from fla.modules.convolution import causal_conv1d

    def function(x, weight, bias):
        return causal_conv1d(x.transpose(1, 2), weight, bias, activation=case.activation)[
            0
        ].transpose(1, 2)

    return _forward_or_backward(function, inputs, case)


def peers(case, device):
    """Other packages that import here and offer this case."""
    found = {"forward": serving.forward} if case.op == "prefill" else {}
    if case.op in block.OPS:
        found["convolution"] = block.convolution
    if device != "cuda" or case.dtype == "fp64" or case.op in serving.OPS:
        return found
    try:
        import causal_conv1d

        # Not when this package stands in for it.
        if "causal_conv1d_mps" not in (getattr(causal_conv1d, "__file__", None) or ""):
            found["dao"] = block.dao if case.op in block.OPS else dao
    except ImportError:
        pass
    try:
        import fla as _package  # noqa: F401

        if case.layout == "BTD" and case.op in ("forward", "backward"):
            found["fla"] = fla
    except ImportError:
        pass
    return found
