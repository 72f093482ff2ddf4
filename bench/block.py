"""LFM2's short-convolution block between its two projections: two gates around a convolution.

The input is what the first projection gives, (B, T, 3 D): B, C, x beside each other; the result,
(B, T, D), is what the second one takes. The backward pass gives the projection's gradient.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch
import torch.nn.functional as F

import causal_conv1d_mps as ccmps

OPS = ("lfm2-forward", "lfm2-backward")


def copy_elements(case):
    """Three tensors in, one out; backward: four in, three out."""
    return case.B * case.D * case.T * (7 if case.op == "lfm2-backward" else 4) // 2


def make_inputs(case, normal):
    inputs = SimpleNamespace(
        projected=normal(case.B, case.T, 3 * case.D), weight=normal(case.D, 1, case.W)
    )
    if case.op == "lfm2-backward":
        inputs.dout = normal(case.B, case.T, case.D)
    return inputs


def _candidate(block):
    """`block` computes (B, T, D) from the projection and the weight."""

    def prepare(case, inputs):
        if case.op == "lfm2-forward":
            return lambda: block(inputs.projected, inputs.weight)
        leaves = [t.detach().requires_grad_() for t in (inputs.projected, inputs.weight)]
        with torch.enable_grad():
            y = block(*leaves)
        return lambda: torch.autograd.grad(y, leaves, inputs.dout, retain_graph=True)

    return prepare


@_candidate
def ours(projected, weight):
    pre_gate, post_gate, x = (part.transpose(1, 2) for part in projected.chunk(3, dim=2))
    y = ccmps.causal_conv1d_fn(x, weight, pre_gate=pre_gate, post_gate=post_gate)
    return y.transpose(1, 2)


def _as_transformers(convolve):
    """What the models do around `convolve`, which takes (B, D, T)."""

    def block(projected, weight):
        B, C, x = projected.transpose(-1, -2).chunk(3, dim=-2)
        y = C * convolve(B * x, weight)
        return y.transpose(-1, -2).contiguous()

    return _candidate(block)


@_as_transformers
def pytorch(x, weight):
    """Without any convolution package."""
    D, W = x.shape[1], weight.shape[-1]
    return F.conv1d(x, weight, padding=W - 1, groups=D)[..., : x.shape[2]]


@_as_transformers
def convolution(x, weight):
    """With this package as causal_conv1d, as install() has it."""
    return ccmps.causal_conv1d_fn(x, weight.squeeze(1))


@_as_transformers
def dao(x, weight):
    from causal_conv1d import causal_conv1d_fn

    return causal_conv1d_fn(x, weight.squeeze(1))


def verify(case, inputs, result, channels, reference, convolve, close):
    """On these channels, from taps that are rounded as they are stored."""
    parts = inputs.projected.chunk(3, dim=2)
    pre_gate, post_gate, x = (reference(part, 2).mT for part in parts)
    taps = reference(parts[0] * parts[2], 2).mT
    weight = reference(inputs.weight, 0)[:, 0]
    acc = convolve(taps, weight, None)
    size = convolve(taps.abs(), weight.abs(), None)
    if case.op == "lfm2-forward":
        got = result.index_select(2, channels.to(result.device)).mT
        return close(got, post_gate * acc, 8 * post_gate.abs() * size)

    dout = reference(inputs.dout, 2).mT

    def back(gradient, weight):
        """Of a tap, from the convolution's result: the same, from right to left."""
        return convolve(gradient.flip(-1), weight, None).flip(-1)

    W, T = case.W, case.T
    dacc = dout * post_gate
    dtap, dtap_size = back(dacc, weight), back(dacc.abs(), weight.abs())
    before = F.pad(taps, (W - 1, 0))
    terms = [dacc * before[..., k : k + T] for k in range(W)]
    growth = 2 * math.log2(max(2, case.B * T))
    expected = (
        (dtap * x, 8 * dtap_size * x.abs()),
        (dout * acc, 8 * dout.abs() * size),
        (dtap * pre_gate, 8 * dtap_size * pre_gate.abs()),
    )
    dprojected, dweight = result
    right = close(
        dweight.index_select(0, channels.to(dweight.device))[:, 0],
        torch.stack([term.sum((0, 2)) for term in terms], 1),
        growth * torch.stack([term.abs().sum((0, 2)) for term in terms], 1),
    )
    for got, (want, magnitude) in zip(dprojected.chunk(3, dim=2), expected, strict=True):
        got = got.index_select(2, channels.to(got.device)).mT
        right &= close(got, want, magnitude)
    return right
