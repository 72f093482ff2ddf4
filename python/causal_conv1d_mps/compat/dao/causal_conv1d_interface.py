"""The main functions and their references.

An activation that no kernel fuses is applied after the kernel.
"""

from functools import partial

import torch
import torch.nn.functional as F

from causal_conv1d_mps import _checks, _composite, functional
from causal_conv1d_mps._checks import ACTIVATIONS

__all__ = [
    "CausalConv1dFn",
    "causal_conv1d_fn",
    "causal_conv1d_ref",
    "causal_conv1d_update",
    "causal_conv1d_update_ref",
]


def _quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


_UNFUSED = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "leaky_relu": F.leaky_relu,
    "mish": F.mish,
    "quick_gelu": _quick_gelu,
    "relu": F.relu,
    "relu6": F.relu6,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "tanh": torch.tanh,
}


def _split(activation):
    """The activation that the kernel applies, and the function to apply to its result."""
    if callable(activation):
        return None, activation
    if activation is None or (isinstance(activation, str) and activation in ACTIVATIONS):
        return activation, None
    if isinstance(activation, str) and activation in _UNFUSED:
        return None, _UNFUSED[activation]
    known = ", ".join(repr(name) for name in (*ACTIVATIONS, *_UNFUSED))
    raise NotImplementedError(
        f"activation: expected a function or one of {known}; got {activation!r}"
    )


def _activated(function, y, live):
    """function(y), but 0 at padding, where a fused activation leaves 0 too."""
    return function(y) if live is None else torch.where(live, function(y), 0)


def causal_conv1d_fn(
    x,
    weight,
    bias=None,
    seq_idx=None,
    initial_states=None,
    return_final_states=False,
    final_states_out=None,
    activation=None,
):
    """x: (batch, dim, seqlen). weight: (dim, width). bias: (dim,). seq_idx: (batch, seqlen).

    initial_states, final_states_out: (batch, dim, width - 1); final_states_out is written only if
        final states are to be returned.
    activation: what causal_conv1d_mps fuses is fused; others are applied to the result.
    Returns out (batch, dim, seqlen), or (out, final_states).
    """
    fused, unfused = _split(activation)
    result = functional.causal_conv1d_fn(
        x,
        weight,
        bias,
        seq_idx,
        initial_states,
        return_final_states,
        final_states_out if return_final_states else None,
        fused,
    )
    if unfused is None:
        return result
    y, *final_states = result if return_final_states else (result,)
    live = None if seq_idx is None else (seq_idx >= 0)[:, None]
    y = _activated(unfused, y, live)
    return (y, *final_states) if return_final_states else y


def causal_conv1d_update(
    x,
    conv_state,
    weight,
    bias=None,
    activation=None,
    cache_seqlens=None,
    conv_state_indices=None,
):
    """x: (batch, dim) or (batch, dim, seqlen). conv_state: (batch or pool, dim, state_len).

    cache_seqlens, conv_state_indices: (batch,), int32.
    activation: what causal_conv1d_mps fuses is fused; others are applied to the result.
    Returns out, of x's shape; conv_state is changed in place.
    """
    fused, unfused = _split(activation)
    y = functional.causal_conv1d_update(
        x, conv_state, weight, bias, fused, cache_seqlens, conv_state_indices
    )
    if unfused is None:
        return y
    live = None
    if conv_state_indices is not None:
        live = (conv_state_indices >= 0) & (conv_state_indices < conv_state.shape[0])
        live = live.view(-1, *[1] * (y.dim() - 1))
    return _activated(unfused, y, live)


class CausalConv1dFn:
    """CausalConv1dFn.apply(...) is causal_conv1d_fn(...).

    No torch.autograd.Function, whose backward pass would have no derivative.
    """

    apply = staticmethod(causal_conv1d_fn)


def causal_conv1d_ref(
    x,
    weight,
    bias=None,
    initial_states=None,
    return_final_states=False,
    final_states_out=None,
    activation=None,
    seq_idx=None,
):
    """causal_conv1d_fn by PyTorch operations, on any device; note the place of seq_idx."""
    y, final_states = _composite.forward(
        x,
        weight,
        bias,
        seq_idx,
        initial_states=initial_states,
        activation=_checks.activation_code(activation),
    )
    if not return_final_states:
        return y
    return y, final_states if final_states_out is None else final_states_out.copy_(final_states)


def causal_conv1d_update_ref(x, conv_state, weight, bias=None, activation=None, cache_seqlens=None):
    """causal_conv1d_update by PyTorch operations, on any device."""
    code = _checks.activation_code(activation)
    steps = x.unsqueeze(2) if x.dim() == 2 else x
    size, length, before = conv_state.shape[2], steps.shape[2], weight.shape[1] - 1
    if cache_seqlens is None:
        past = conv_state[..., size - before :].clone()
        conv_state.copy_(torch.cat([conv_state, steps], dim=2)[..., length:])
    else:
        place = cache_seqlens.to(torch.int64)[:, None, None]

        def columns(first, count):
            number = torch.arange(first, first + count, device=x.device)
            return ((place + number) % size).expand(-1, x.shape[1], -1)

        past = conv_state.gather(2, columns(-before, before))
        kept = min(length, size)  # of more steps than columns the last ones stay
        last = steps[..., length - kept :].to(conv_state.dtype)
        conv_state.scatter_(2, columns(length - kept, kept), last)
    y, _ = _composite.forward(steps, weight, bias, initial_states=past, activation=code)
    return y.reshape(x.shape)
