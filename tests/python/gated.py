"""The float64 reference of calls with gates: oracle.py's of the taps, and the products around it.

A tap is the product pre_gate * x rounded to x's dtype; the activation takes its accurate form, and
each product and sum after it rounds once in the type that computes.
"""

from __future__ import annotations

import oracle
import torch
from oracle import F64, Bounded, Unit


def taps(x, pre_gate):
    """What the convolution sees, and states hold, on the CPU."""
    if pre_gate is None:
        return x.detach().cpu()
    product = x.detach().cpu().to(F64) * pre_gate.detach().cpu().to(F64)
    work = product if x.dtype == F64 else product.to(torch.float32)
    return oracle._rounded(work.to(F64), x.dtype)


def _wide(tensor):
    return None if tensor is None else tensor.detach().cpu().to(F64)


def _times(bounded, factor, unit):
    value = bounded.value * factor
    error = bounded.error * factor.abs() * 1.001 + unit.u * value.abs() + unit.tiny
    return Bounded(value, error)


def _activated(plain, given, weight, bias, initial_states=None, **others):
    """y of a call without gates. A float64 tap has all of its digits, so that the reference's own
    products round too."""
    if given.dtype != F64:
        return Bounded(plain.y.value, plain.y.error)
    where = oracle._indices(
        oracle._ids(given, others.get("seq_idx"), others.get("lengths")), others.get("cu_seqlens")
    )
    magnitude = oracle._magnitudes(
        *map(_wide, (given, weight, bias)), *where, _wide(initial_states)
    )
    return Bounded(plain.y.value, plain.y.error + 2 * Unit.of(F64).u * magnitude)


def forward(x, weight, bias=None, *, pre_gate=None, post_gate=None, residual=None, **others):
    unit, given = Unit.of(x.dtype), taps(x, pre_gate)
    plain = oracle.forward(given, weight, bias, **others)
    y = _activated(plain, given, weight, bias, **others)
    if post_gate is not None:
        y = _times(y, _wide(post_gate), unit)
    if residual is not None:
        value = y.value + _wide(residual)
        y = Bounded(value, y.error * 1.001 + unit.u * value.abs())
    ids = oracle._ids(x, others.get("seq_idx"), others.get("lengths"))
    live = oracle._live(given, *oracle._indices(ids, others.get("cu_seqlens")))
    y = Bounded(torch.where(live, y.value, 0.0), torch.where(live, y.error, 0.0))
    return oracle.Forward(y, plain.final_states)


def backward(dout, x, weight, bias=None, *, pre_gate=None, post_gate=None, **others):
    """{argument: its bounded gradient}."""
    unit, given = Unit.of(x.dtype), taps(x, pre_gate)
    work = F64 if x.dtype == F64 else torch.float32
    dact = _wide(dout) if post_gate is None else _wide(dout) * _wide(post_gate)
    found = oracle.backward(dact.to(work), given, weight, bias, **others)
    named = {"x": found.x, "weight": found.weight, "bias": found.bias}
    named["initial_states"] = found.initial_states
    if pre_gate is not None:
        named["x"] = _times(found.x, _wide(pre_gate), unit)
        named["pre_gate"] = _times(found.x, _wide(x), unit)
    if post_gate is not None:
        others.pop("dfinal_states", None)
        plain = oracle.forward(given, weight, bias, **others)
        y = _activated(plain, given, weight, bias, **others)
        named["post_gate"] = _times(y, _wide(dout), unit)
    return named
