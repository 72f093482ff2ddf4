"""causal_conv1d_fn: which way a call goes, and what is around the kernel."""

import torch

from . import _autograd, _backend, _checks, _composite
from ._checks import ACTIVATIONS
from ._compat import HAS_OPERATORS, any_autocast, autocast_dtype, autocast_enabled
from ._direct import (
    any_requires_grad,
    eager_transforms_active,
    final_states_shape,
    follows_autocast,
    increment_version,
    is_direct,
    needs_composite,
    new_final_states,
)

if HAS_OPERATORS:
    from . import _functorch, _ops

_empty_like = torch.empty_like
_is_grad_enabled = torch.is_grad_enabled
_num_threads = torch.get_num_threads


def convolve(
    x,
    weight,
    bias,
    activation,
    seq_idx=None,
    cu_seqlens=None,
    initial_states=None,
    residual=None,
    out=None,
    return_final_states=False,
    final_states_out=None,
):
    """Run the call straight on the kernels if nothing watches it, else through the operators."""
    try:
        code = ACTIVATIONS[activation]
    except (KeyError, TypeError):
        code = _checks.activation_code(activation)
    if (
        not is_direct(
            x,
            weight,
            bias,
            seq_idx,
            cu_seqlens,
            initial_states,
            residual,
            out,
            final_states_out,
        )
        or (kernels := _backend.of(x)) is None
    ):
        return _convolve_watched(
            x,
            weight,
            bias,
            code,
            seq_idx,
            cu_seqlens,
            initial_states,
            residual,
            out,
            return_final_states,
            final_states_out,
        )
    if any_autocast():
        x, initial_states, residual = autocast(x, initial_states, residual)
    with_states = return_final_states or final_states_out is not None
    final_states = final_states_out
    try:
        recorded = _is_grad_enabled() and any_requires_grad(
            x, weight, bias, initial_states, residual, out, final_states_out
        )
        if recorded:
            if out is not None:
                _checks.refuse_grad_with_out()
            if final_states_out is not None:
                _check_final_states_out(final_states_out, x, weight, cu_seqlens)
                _check_recorded(final_states_out, x, weight, bias, initial_states)
        if out is not None:
            _checks.writable("out", out)
        if final_states_out is not None:
            _checks.writable("final_states_out", final_states_out)
        y = _empty_like(x) if out is None else out
        if with_states and (recorded or final_states_out is None):
            final_states = new_final_states(x, weight, cu_seqlens)
        kernels.forward(
            x,
            weight,
            bias,
            seq_idx,
            cu_seqlens,
            initial_states,
            residual,
            y,
            final_states,
            code,
            _num_threads(),
        )
        if recorded:
            y = _autograd.apply(
                (y, final_states, code),
                x,
                weight,
                bias,
                initial_states,
                residual,
                seq_idx,
                cu_seqlens,
            )
            if with_states:
                y, final_states = y
                if final_states_out is not None:
                    final_states = final_states_out.copy_(final_states)
        else:
            if out is not None:
                increment_version(out)
            if final_states_out is not None:
                increment_version(final_states_out)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        _checks.explain(
            error,
            {
                "x": x,
                "weight": weight,
                "bias": bias,
                "initial_states": initial_states,
                "residual": residual,
                "out": out,
                "final_states_out": final_states_out,
            },
            {"seq_idx": seq_idx, "cu_seqlens": cu_seqlens},
        )
        raise
    return (y, final_states) if return_final_states else y


def _convolve_watched(
    x,
    weight,
    bias,
    code,
    seq_idx,
    cu_seqlens,
    initial_states,
    residual,
    out,
    return_final_states,
    final_states_out,
):
    """The same through the registered operators, for everything that is not plain and eager."""
    differentiable = {
        "x": x,
        "weight": weight,
        "bias": bias,
        "initial_states": initial_states,
        "residual": residual,
    }
    _checks.require_tensors(
        ("x", "weight"),
        **differentiable,
        seq_idx=seq_idx,
        cu_seqlens=cu_seqlens,
        out=out,
        final_states_out=final_states_out,
    )
    recorded = _is_grad_enabled() and any_requires_grad(
        *differentiable.values(), out, final_states_out
    )
    if out is not None and recorded:
        _checks.refuse_grad_with_out()
    if any_autocast():
        x, initial_states, residual = autocast(x, initial_states, residual)
    if out is not None:
        _checks.target("out", out, x.shape, x)
        _checks.writable("out", out)
    if final_states_out is not None:
        _check_final_states_out(final_states_out, x, weight, cu_seqlens)
        _checks.writable("final_states_out", final_states_out)
        if recorded:
            _check_recorded(final_states_out, x, weight, bias, initial_states)
    with_states = return_final_states or final_states_out is not None
    if needs_composite():
        y, final_states = _composite.forward(
            x, weight, bias, seq_idx, cu_seqlens, initial_states, residual, code
        )
    else:
        operator = _functorch.forward if eager_transforms_active() else _ops.forward
        y, final_states = operator(
            x, weight, bias, seq_idx, cu_seqlens, initial_states, residual, code, with_states
        )
    if out is not None:
        y = out.copy_(y)
    if final_states_out is not None:
        final_states = final_states_out.copy_(final_states)
    return (y, final_states) if return_final_states else y


def _check_final_states_out(target, x, weight, cu_seqlens):
    """Before anything runs: here the states are copied to it, not written by the kernel."""
    shape = final_states_shape(x, weight, cu_seqlens)
    if shape is not None:
        _checks.target("final_states_out", target, shape, x)
    if target.requires_grad and _is_grad_enabled() and target.is_leaf:
        _checks.refuse_grad_in_place("final_states_out")


def _check_recorded(target, x, weight, bias, initial_states):
    saved = {"x": x, "weight": weight, "bias": bias, "initial_states": initial_states}
    _checks.recorded_target("final_states_out", target, **saved)


def autocast(x, *companions):
    """F.conv1d's rule for x; what has to share x's dtype follows, weight and bias stay."""
    device = x.device.type
    if not autocast_enabled(device) or not follows_autocast(x):
        return (x, *companions)
    dtype = autocast_dtype(device)
    return (
        x.to(dtype),
        *(t.to(dtype) if t is not None and follows_autocast(t) else t for t in companions),
    )
