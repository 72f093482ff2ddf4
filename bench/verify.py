"""Check our results against a float64 reference before anything is timed."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from . import block, serving
from .candidates import make_inputs, ours

EPS32 = torch.finfo(torch.float32).eps
# A case larger than this is checked on some of its channels, spread evenly: channels do not mix.
MAX_ELEMENTS = {"cpu": 2**22, "cuda": 2**25}


def _convolve(x, weight, bias):
    """sum_k weight[d, k] x[b, d, t - (W-1) + k] + bias, step by step."""
    W, T = weight.shape[1], x.shape[-1]
    padded = F.pad(x, (W - 1, 0))
    acc = sum(weight[:, k, None] * padded[..., k : k + T] for k in range(W))
    return acc if bias is None else acc + bias[:, None]


def _close(got, expected, magnitude):
    """Whether got is expected up to one rounding and `magnitude` float32 rounding units."""
    eps = torch.finfo(got.dtype).eps
    tiny = torch.finfo(got.dtype).tiny
    error = (got.to(expected.device, torch.float64) - expected).abs()
    return bool((error <= eps * expected.abs() + EPS32 * magnitude + tiny).all())


def _channels(case, device):
    limit = MAX_ELEMENTS["cuda" if device == "cuda" else "cpu"]
    keep = max(1, min(case.D, limit // max(1, case.B * case.T)))
    return torch.linspace(0, case.D - 1, keep).round().long()


def verify(case, device):
    """True if our result for this case is right."""
    inputs = make_inputs(case, device)
    where = device if device == "cuda" else "cpu"  # Apple GPUs have no float64
    channels = _channels(case, device)

    def reference(tensor, dim):
        if tensor is None:
            return None
        picked = tensor.index_select(dim, channels.to(tensor.device))
        return picked.to(where).to(torch.float64)

    if case.op in serving.OPS:
        before = inputs.pool.clone()
        result = ours(case, inputs)()
        tools = reference, _convolve, _close
        return serving.verify(case, inputs, result, before, channels, *tools)
    if case.op in block.OPS:
        tools = reference, _convolve, _close
        return block.verify(case, inputs, ours(case, inputs)(), channels, *tools)
    x, weight, bias = reference(inputs.x, 1), reference(inputs.weight, 0), reference(inputs.bias, 0)
    if case.op == "update":
        state = reference(inputs.state, 1)
    result = ours(case, inputs)()

    if case.op == "update":
        window = torch.cat([state, x.unsqueeze(-1)], dim=-1)
        moved = reference(inputs.state, 1)
        acc = _convolve(window, weight, bias)[..., -1]
        magnitude = _convolve(window.abs(), weight.abs(), None if bias is None else bias.abs())
        expected = F.silu(acc) if case.activation else acc
        got = result.index_select(1, channels.to(result.device))
        return torch.equal(moved, window[..., 1:]) and _close(got, expected, 8 * magnitude[..., -1])

    acc_magnitude = _convolve(x.abs(), weight.abs(), None if bias is None else bias.abs())
    if case.op == "forward":
        acc = _convolve(x, weight, bias)
        expected = F.silu(acc) if case.activation else acc
        got = result.index_select(1, channels.to(result.device))
        return _close(got, expected, 8 * acc_magnitude)

    leaves = [x, weight] + ([] if bias is None else [bias])
    for leaf in leaves:
        leaf.requires_grad_()
    acc = _convolve(*leaves, *([None] if bias is None else []))
    dout = reference(inputs.dout, 1)
    gradients = torch.autograd.grad(F.silu(acc) if case.activation else acc, leaves, dout)
    with torch.no_grad():
        # How far dpre can be off, in float32 units: its own rounding, and acc's through silu'.
        dpre = dout.abs() * (2 + acc_magnitude)
        W, T = case.W, case.T
        taps = F.pad(x.abs(), (W - 1, 0))
        after = F.pad(dpre, (0, W - 1))
        growth = 2 * math.log2(max(2, case.B * T))
        magnitudes = [
            8 * sum(weight.abs()[:, k, None] * after[..., W - 1 - k :][..., :T] for k in range(W)),
            growth * torch.stack([(dpre * taps[..., k : k + T]).sum((0, 2)) for k in range(W)], 1),
            growth * dpre.sum((0, 2)),
        ]
    return all(
        _close(got.index_select(dim, channels.to(got.device)), expected, magnitude)
        for got, expected, magnitude, dim in zip(
            result, gradients, magnitudes, (1, 0, 0), strict=False
        )
    )
