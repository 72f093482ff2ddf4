"""The functions of the compiled module causal_conv1d_cuda: results go into the caller's tensors.

Arguments are positional, as there. cpp_functions has the same with results returned.
"""

import torch

from causal_conv1d_mps import functional
from causal_conv1d_mps.compat.dao.cpp_functions import activation_name, causal_conv1d_bwd_function

__all__ = ["causal_conv1d_bwd", "causal_conv1d_fwd", "causal_conv1d_update"]


@torch.no_grad()
def causal_conv1d_fwd(
    x, weight, bias, seq_idx, initial_states, out, final_states_out, silu_activation, /
):
    """Writes out (batch, dim, seqlen) and, if given, final_states_out (batch, dim, width - 1)."""
    functional.causal_conv1d_fn(
        x,
        weight,
        bias,
        seq_idx,
        initial_states,
        final_states_out=final_states_out,
        activation=activation_name(silu_activation),
        out=out,
    )


@torch.no_grad()
def causal_conv1d_bwd(
    x,
    weight,
    bias,
    dout,
    seq_idx,
    initial_states,
    dfinal_states,
    dx,
    dweight,
    dbias,
    dinitial_states,
    silu_activation,
    /,
):
    """Writes dx and dinitial_states; adds to dweight (dim, width) and dbias (dim,), float32."""
    _, found_weight, found_bias, found_states = causal_conv1d_bwd_function(
        x,
        weight,
        bias,
        dout,
        seq_idx,
        initial_states,
        dfinal_states,
        dx,
        dinitial_states is not None,
        silu_activation,
    )
    dweight.add_(found_weight)
    if dbias is not None and found_bias is not None:
        dbias.add_(found_bias)
    if dinitial_states is not None and found_states is not None:
        dinitial_states.copy_(found_states)


@torch.no_grad()
def causal_conv1d_update(
    x, conv_state, weight, bias, out, silu_activation, cache_seqlens, conv_state_indices, /
):
    """Writes out, of x's shape (batch, dim, seqlen); conv_state is changed in place."""
    functional.causal_conv1d_update(
        x,
        conv_state,
        weight,
        bias,
        activation_name(silu_activation),
        cache_seqlens,
        conv_state_indices,
        out=out,
    )
