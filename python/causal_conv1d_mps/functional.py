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
    conv_states=None,
    conv_state_indices=None,
    conv_state_out_indices=None,
    has_initial_state=None,
    pad_slot_id=-1,
    pre_gate=None,
    post_gate=None,
):
    """Depthwise causal convolution with packed sequences, states, gates and a residual.

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
        then (N, D, W-1). They may end before T: y = 0 from there on.
    residual: (B, D, T), added after the activation.
    out: the tensor to write y to (not with gradients).
    lengths: (B,) int32 or int64, from 0 to T: the steps of a row from its length on are padding,
        as with a negative seq_idx. Not with seq_idx or cu_seqlens.
    conv_states: (pool, D, S) with S >= W-1, states that x continues, changed in place; of any dtype
        but float64, which goes with float64 x. A sequence's row becomes the last S steps of what it
        held (or zeros) and x. Not with seq_idx, initial_states, return_final_states or
        final_states_out. N below is B without cu_seqlens.
    conv_state_indices: (N,) int32 or int64, the row of each sequence; None: row n. A sequence whose
        index is pad_slot_id or negative is skipped: y = 0 and no state changes.
    conv_state_out_indices: (N,) int32 or int64, the row that is written, where that is another than
        the one that is read (copy on write); pad_slot_id or negative in either: skipped. Written
        rows must be distinct, and not be read for another sequence.
    has_initial_state: (N,) bool. A sequence starts from the last W-1 columns of its row where true,
        from zeros where false; None: all false.
    pre_gate, post_gate: (B, D, T) of x's dtype, any strides. The result is
        post_gate * act(conv(pre_gate * x)) + residual, rounded once. Taps are pre_gate * x, rounded
        to x's dtype: that is what states hold, initial_states and conv_states too.
    Returns y, or (y, final_states). Differentiable in x, weight, bias, initial_states, pre_gate,
    post_gate, residual; not with conv_states.
    """
    tensors = (
        x,
        weight,
        bias,
        seq_idx,
        cu_seqlens,
        initial_states,
        lengths,
        pre_gate,
        post_gate,
        residual,
        conv_states,
        conv_state_indices,
        conv_state_out_indices,
        has_initial_state,
        out,
        final_states_out,
    )
    return convolve(tensors, activation, return_final_states, pad_slot_id)


def causal_conv1d_fwd(x, weight, bias=None, silu_activation=False):
    """The forward pass only: like causal_conv1d, and the result never requires grad."""
    with torch.no_grad():
        return causal_conv1d(x, weight, bias, "silu" if silu_activation else None)
