"""causal_conv1d_update and causal_conv1d_varlen_states: what works on states, without gradients.

A call runs straight on the kernel if nothing watches it, else through the registered operator.
"""

import torch

from . import _C, _backend, _checks
from ._checks import ACTIVATIONS
from ._compat import (
    HAS_OPERATORS,
    any_autocast,
    autocast_enabled,
    is_dynamo_compiling,
    require_operators,
)
from ._direct import (
    any_requires_grad,
    follows_autocast,
    increment_version,
    is_direct,
    refuse_tangents,
)

if HAS_OPERATORS:
    from . import _ops

_empty_like = torch.empty_like
_is_grad_enabled = torch.is_grad_enabled
_num_threads = torch.get_num_threads

_NOT_DIFFERENTIABLE = torch._C._functions.DelayedError(_checks.UPDATE_NOT_DIFFERENTIABLE, 1)


def causal_conv1d_update(
    x,
    conv_state,
    weight,
    bias=None,
    activation=None,
    cache_seqlens=None,
    conv_state_indices=None,
    *,
    pad_slot_id=-1,
    num_accepted_tokens=None,
):
    """Decoding: convolve new steps after the ones kept in conv_state, and keep them there too.

    x: (B, D) or (B, D, T). conv_state: (B or pool, D, S) with S >= W-1, changed in place.
    weight: (D, W) or (D, 1, W). bias: (D,) or None.
    cache_seqlens: (B,); conv_state is then a circular buffer written from cache_seqlens % S.
        Without it the state shifts left.
    conv_state_indices: (B,), the row of conv_state that belongs to each row of x; a row whose
        index is pad_slot_id or negative is skipped: y = 0 and no state changes. pad_slot_id is
        refused without them.
    num_accepted_tokens: (B,), speculative decoding: the state is read as if only that many of the
        previous call's steps had been kept.
    Returns y, of x's shape. Not differentiable.
    """
    if not is_dynamo_compiling():
        y = _C.eager_update(
            x,
            conv_state,
            weight,
            bias,
            cache_seqlens,
            conv_state_indices,
            num_accepted_tokens,
            pad_slot_id,
            activation,
        )
        if y is not None:
            return y
    try:
        code = ACTIVATIONS[activation]
    except (KeyError, TypeError):
        code = _checks.activation_code(activation)
    if conv_state_indices is None and pad_slot_id != -1:
        _checks.meaningful_slot_id(pad_slot_id, None)
    if (
        conv_state is not None
        and is_direct(
            x,
            weight,
            bias,
            conv_state,
            cache_seqlens,
            conv_state_indices,
            num_accepted_tokens,
        )
        and (kernels := _backend.of(x)) is not None
    ):
        if conv_state.requires_grad:
            refuse_recorded("conv_state", conv_state)
        if conv_state.is_inference():
            _checks.writable("conv_state", conv_state)
        if any_autocast():
            x = _like_state(x, conv_state)
        y = _empty_like(x)
        try:
            kernels.update(
                x,
                conv_state,
                weight,
                bias,
                cache_seqlens,
                conv_state_indices,
                num_accepted_tokens,
                y,
                pad_slot_id,
                code,
                _num_threads(),
            )
        except (TypeError, RuntimeError, BufferError, OverflowError) as error:
            _checks.slot_id(pad_slot_id)
            _checks.explain(
                error,
                {"x": x, "conv_state": conv_state, "weight": weight, "bias": bias},
                {
                    "cache_seqlens": cache_seqlens,
                    "conv_state_indices": conv_state_indices,
                    "num_accepted_tokens": num_accepted_tokens,
                },
            )
            raise
        increment_version(conv_state)
        return without_derivative(y, x, weight, bias) if _is_grad_enabled() else y
    _checks.require_tensors(
        ("x", "conv_state", "weight"),
        x=x,
        conv_state=conv_state,
        weight=weight,
        bias=bias,
        cache_seqlens=cache_seqlens,
        conv_state_indices=conv_state_indices,
        num_accepted_tokens=num_accepted_tokens,
    )
    pad_slot_id = _checks.slot_id(pad_slot_id)
    refuse_recorded("conv_state", conv_state)
    _checks.writable_state("conv_state", conv_state)
    refuse_tangents("causal_conv1d_update", x, conv_state, weight, bias)
    if any_autocast():
        x = _like_state(x, conv_state)
    require_operators("causal_conv1d_update")
    return _ops.update(
        x,
        conv_state,
        weight,
        bias,
        cache_seqlens,
        conv_state_indices,
        num_accepted_tokens,
        pad_slot_id,
        code,
    )


def causal_conv1d_varlen_states(x, cu_seqlens, state_len):
    """The last state_len steps of every packed sequence, zeros before its start.

    x: (total, D). cu_seqlens: (N+1,). Returns states (N, D, state_len). Not differentiable.
    """
    _checks.require_tensors(("x", "cu_seqlens"), x=x, cu_seqlens=cu_seqlens)
    state_len = _checks.state_length(state_len)
    if not is_direct(x, cu_seqlens) or (kernels := _backend.of(x)) is None:
        require_operators("causal_conv1d_varlen_states")
        refuse_tangents("causal_conv1d_varlen_states", x)
        return _ops.varlen_states(x, cu_seqlens, state_len)
    try:
        states = x.new_empty((max(cu_seqlens.numel() - 1, 0), *x.shape[1:], state_len))
        kernels.varlen_states(x, cu_seqlens, states, _num_threads())
    except (TypeError, RuntimeError, BufferError) as error:
        _checks.explain(error, {"x": x}, {"cu_seqlens": cu_seqlens})
        raise
    return states


def refuse_recorded(name, state):
    """A state changes in place, which a recorded tensor would not survive unnoticed."""
    if state.requires_grad and _is_grad_enabled():
        _checks.refuse_grad_in_place(name)


def without_derivative(y, *sources):
    """y, with a backward pass that says that there is none if a source asks for gradients."""
    if not (_is_grad_enabled() and any_requires_grad(*sources)):
        return y
    if HAS_OPERATORS and not is_direct(y, y, *sources):
        return _ops.WithoutDerivative.apply(y, *sources)
    return _NOT_DIFFERENTIABLE(y.requires_grad_())


def _like_state(x, conv_state):
    """In decoding the dtype is the state's: prefill has stored it under the same autocast."""
    if autocast_enabled(x.device.type) and follows_autocast(x):
        return x.to(conv_state.dtype)
    return x
