"""The public functions and the meaning of their arguments.

Shapes: B batch, D dim, T seqlen, W width, N packed sequences, S state length.
"""

import torch

from . import _C, _torch
from ._compat import HAS_OPERATORS, is_dynamo_compiling
from ._convolution import convolve
from ._states import causal_conv1d_update, causal_conv1d_varlen_states

__all__ = [
    "causal_conv1d",
    "causal_conv1d_fn",
    "causal_conv1d_fwd",
    "causal_conv1d_update",
    "causal_conv1d_varlen_states",
]

if HAS_OPERATORS:
    from . import _flops

    _flops.register()
_torch.bind()


def causal_conv1d(x, weight, bias=None, activation=None):
    """Depthwise causal convolution over the last dimension, with fused bias and activation.

    x: (B, D, T), any strides. weight: (D, W) or (D, 1, W). bias: (D,) or None.
    activation: None, "silu" or "swish".
    Returns y (B, D, T) in x's dtype and memory order. Differentiable.
    """
    if not is_dynamo_compiling():  # as convolve does, without its call
        y = _C.forward((x, weight, bias), activation, False)
        if y is not NotImplemented:
            return y
    return convolve((x, weight, bias), activation)


def causal_conv1d_fn(
    x,
    weight,
    bias=None,
    seq_idx=None,
    initial_states=None,
    return_final_states=False,
    final_states_out=None,
    activation=None,
    *,
    cu_seqlens=None,
    residual=None,
    out=None,
    lengths=None,
):
    """Depthwise causal convolution with packed sequences, states and a residual.

    x: (B, D, T), any strides. weight: (D, W) or (D, 1, W). bias: (D,) or None.
    seq_idx: (B, T) int32 or int64. A step sees only steps of its own index; a negative index is
        padding (y = 0, no gradient).
    initial_states: (B, D, W-1), the steps before x, oldest first. With seq_idx they belong to the
        sequence of the first step.
    return_final_states: also return the last W-1 steps, for the next call. With seq_idx: up to the
        last step that is not padding, of its sequence, zeros before its start; a row without such
        a step keeps its initial state.
    final_states_out: the tensor to write them to.
    activation: None, "silu" or "swish".
    cu_seqlens: (N+1,) int32 or int64, the boundaries of packed sequences (B = 1); the states are
        then (N, D, W-1).
    residual: (B, D, T), added after the activation.
    out: the tensor to write y to (not with gradients).
    lengths: (B,) int32 or int64, from 0 to T: the steps of a row from its length on are padding,
        as with a negative seq_idx. Not with seq_idx or cu_seqlens.
    Returns y, or (y, final_states). Differentiable in x, weight, bias, initial_states, residual.
    """
    tensors = (
        x,
        weight,
        bias,
        seq_idx,
        cu_seqlens,
        initial_states,
        lengths,
        residual,
        out,
        final_states_out,
    )
    return convolve(tensors, activation, return_final_states)


def causal_conv1d_fwd(x, weight, bias=None, silu_activation=False):
    """The forward pass only: like causal_conv1d, and the result never requires grad."""
    with torch.no_grad():
        return causal_conv1d(x, weight, bias, "silu" if silu_activation else None)
