"""The gated convolution of a projection (B, T, 3 D): pre_gate, post_gate and x beside each other.

Its gradient is one tensor too: three that are made apart are copied together by PyTorch, which is
nearly half of what the backward pass moves.
"""

import torch
from torch.autograd import forward_ad

from . import _C, _checks, _tables
from ._compat import any_autocast, is_dynamo_compiling, transforms_active
from ._convolution import autocast, shown
from .functional import causal_conv1d_fn

OPTIONS = ("seq_idx", "initial_states", "lengths")  # of those whose gradient is one tensor
SAVED = ("projected", "weight", "bias", *OPTIONS)


def convolve_projection(projected, weight, bias=None, activation=None, **options):
    """y (B, T, D). options: those of causal_conv1d_fn; residual as (B, D, T) there."""
    if _is_recorded_alone(projected) and _has_only(options):
        y = _Together.apply(activation, projected, weight, bias, *map(options.get, OPTIONS))
    else:
        y = convolve_parts(projected, weight, bias, activation, **options)
    return y.transpose(1, 2)


def parts_of(projected):
    """{name: (B, D, T)}, where they lie."""
    parts = (part.transpose(1, 2) for part in projected.chunk(3, dim=2))
    return dict(zip(("pre_gate", "post_gate", "x"), parts, strict=True))


def convolve_parts(projected, weight, bias, activation, **options):
    parts = parts_of(projected)
    return causal_conv1d_fn(parts.pop("x"), weight, bias, activation=activation, **parts, **options)


def _has_only(options):
    return all(value is None or name in OPTIONS for name, value in options.items())


def _is_recorded_alone(projected):
    """Whether eager autograd wants a gradient, and nothing else watches the call."""
    if is_dynamo_compiling() or not (torch.is_grad_enabled() and projected.requires_grad):
        return False
    if type(projected) is not torch.Tensor or transforms_active() or forward_ad._current_level >= 0:
        return False
    return not any_autocast() or autocast("forward", (projected,))[0] is projected


class _Together(torch.autograd.Function):
    """y (B, D, T). Old-style (no setup_context): it is only applied outside functorch."""

    @staticmethod
    def forward(ctx, activation, *saved):
        ctx.activation = activation
        ctx.save_for_backward(*saved)
        return convolve_parts(activation=activation, **dict(zip(SAVED, saved, strict=True)))

    @staticmethod
    def backward(ctx, dout):
        given = dict(zip(SAVED, ctx.saved_tensors, strict=True))
        wanted = [n for n, needed in zip(SAVED, ctx.needs_input_grad[1:], strict=True) if needed]
        found = None
        if not torch.is_grad_enabled() and not is_dynamo_compiling():
            found = _gradients(dout, given, wanted, ctx.activation)
        if found is None:  # differentiable, or where something watches
            with torch.enable_grad():
                y = convolve_parts(**given, activation=ctx.activation)
            sources = [given[name] for name in wanted]
            twice = torch.is_grad_enabled()
            results = torch.autograd.grad(y, sources, dout, create_graph=twice)
            found = dict(zip(wanted, results, strict=True))
        return None, *map(found.get, SAVED)


def _gradients(dout, given, wanted, activation):
    """By the kernels, all three parts into one tensor; None where something watches."""
    projected = given["projected"]
    inputs = {name: given[name] for name in given if name != "projected"}
    results = {f"d{name}": True for name in wanted if name != "projected"}
    if "projected" in wanted:
        dprojected = torch.empty_like(projected)
        results.update((f"d{name}", part) for name, part in parts_of(dprojected).items())
    tensors = _tables.arrange("backward", dout=dout, **parts_of(projected), **inputs, **results)
    code = _checks.activation_code(activation)
    if torch.autograd.profiler._is_profiler_enabled:
        with shown("backward"):
            made = _C.backward(tensors, code)
    else:
        made = _C.backward(tensors, code)
    if made is NotImplemented:
        return None
    rows = (row.name[1:] for row in _tables.RESULTS["backward"])
    found = {name: made for name, made in zip(rows, made, strict=True) if name in wanted}
    if "projected" in wanted:
        found["projected"] = dprojected
    return found
