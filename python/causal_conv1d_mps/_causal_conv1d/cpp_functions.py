"""The functions without autograd, which fused training code calls inside its own backward."""

import torch

from causal_conv1d_mps import _checks, functional
from causal_conv1d_mps._autograd import differentiable_gradients, gradients
from causal_conv1d_mps._direct import is_direct

__all__ = [
    "causal_conv1d_bwd_function",
    "causal_conv1d_fwd_function",
    "causal_conv1d_update_function",
]


def _activation(silu_activation):
    return "silu" if silu_activation else None


@torch.no_grad()
def causal_conv1d_fwd_function(
    x,
    weight,
    bias,
    seq_idx,
    initial_states,
    final_states_out,
    silu_activation,
):
    """Returns out; final_states_out, if given, is written."""
    return functional.causal_conv1d_fn(
        x,
        weight,
        bias,
        seq_idx,
        initial_states,
        final_states_out=final_states_out,
        activation=_activation(silu_activation),
    )


@torch.no_grad()
def causal_conv1d_bwd_function(
    x,
    weight,
    bias,
    dout,
    seq_idx,
    initial_states,
    dfinal_states,
    dx,
    return_dinitial_states,
    silu_activation,
):
    """Returns (dx, dweight, dbias, dinitial_states); dx is the caller's tensor if given."""
    _checks.require_tensors(
        ("x", "weight", "dout"),
        x=x,
        weight=weight,
        bias=bias,
        dout=dout,
        seq_idx=seq_idx,
        initial_states=initial_states,
        dfinal_states=dfinal_states,
        dx=dx,
    )
    with_states = bool(return_dinitial_states) and initial_states is not None
    arguments = (
        dout,
        x,
        weight,
        bias,
        seq_idx,
        None,
        initial_states,
        dfinal_states,
        int(bool(silu_activation)),
        (True, True, bias is not None, with_states),
    )
    if is_direct(x, weight, bias, dout, seq_idx, initial_states, dfinal_states, dx):
        return gradients(*arguments, dx=dx)
    if dx is not None:
        _checks.target("dx", dx, x.shape, x)
    found = tuple(differentiable_gradients(*arguments))
    return found if dx is None else (dx.copy_(found[0]), *found[1:])


@torch.no_grad()
def causal_conv1d_update_function(
    x,
    conv_state,
    weight,
    bias,
    silu_activation,
    cache_seqlens,
    conv_state_indices,
):
    """Returns out; conv_state is changed in place."""
    return functional.causal_conv1d_update(
        x,
        conv_state,
        weight,
        bias,
        _activation(silu_activation),
        cache_seqlens,
        conv_state_indices,
    )
