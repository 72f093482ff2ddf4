"""The functions without autograd, which fused training code calls inside its own backward."""

import torch

from causal_conv1d_mps import _C, _checks, _tables, functional
from causal_conv1d_mps._autograd import operator
from causal_conv1d_mps._compat import is_dynamo_compiling
from causal_conv1d_mps._gradients import gradients

__all__ = [
    "causal_conv1d_bwd_function",
    "causal_conv1d_fwd_function",
    "causal_conv1d_update_function",
]


def activation_name(silu_activation):
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
        activation=activation_name(silu_activation),
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
    with_states = bool(return_dinitial_states) and initial_states is not None
    inputs = _tables.arrange_inputs(
        "backward",
        dout=dout,
        x=x,
        weight=weight,
        bias=bias,
        seq_idx=seq_idx,
        initial_states=initial_states,
        dfinal_states=dfinal_states,
    )
    wanted = (True, True, bias is not None, with_states, False, False)
    activation = int(bool(silu_activation))
    if not is_dynamo_compiling():
        results = [needed or None for needed in wanted]
        results[0] = True if dx is None else dx
        found = _C.backward((*inputs, *results), activation)
        if found is not NotImplemented:
            return found[:4]
    _checks.require_tensors("backward", (*inputs, dx))
    if dx is not None:
        _checks.target("dx", dx, x.shape, x)
    found = gradients(inputs, activation, wanted, operator)[:4]
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
        activation_name(silu_activation),
        cache_seqlens,
        conv_state_indices,
    )
