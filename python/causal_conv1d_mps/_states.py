"""causal_conv1d_update and causal_conv1d_varlen_states: what works on states, without gradients.

A call runs straight on the kernel if nothing watches it, else through the registered operator.
"""

import torch

from . import _C, _autograd, _checks
from ._compat import HAS_OPERATORS, any_autocast, is_dynamo_compiling, require_operators
from ._convolution import autocast, shown
from ._watch import any_requires_grad, refuse_tangents

if HAS_OPERATORS:
    from . import _ops


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
    conv_state_out_indices=None,
    cu_seqlens=None,
    max_seqlen=None,
    parents=None,
    intermediate_states=None,
    residual=None,
    out=None,
    pre_gate=None,
    post_gate=None,
):
    """Decoding: convolve new steps after the ones kept in conv_state, and keep them there too.

    x: (B, D) or (B, D, T). conv_state: (B or pool, D, S) with S >= W-1, changed in place; of any
        dtype but float64, which goes with float64 x.
    weight: (D, W) or (D, 1, W). bias: (D,) or None.
    cache_seqlens: (B,); conv_state is then a circular buffer written from cache_seqlens % S.
        Without it the state shifts left.
    conv_state_indices: (B,), the row of conv_state that belongs to each row of x; a row whose
        index is pad_slot_id or negative is skipped: y = 0 and no state changes. pad_slot_id is
        refused without them.
    num_accepted_tokens: (B,), speculative decoding: how many of the previous call's tokens were
        accepted (1 after a prefill into columns 0 .. W-2), whatever its T was. The row is a window:
        a says that columns a-1 .. a+W-3 come before x; then columns 0 .. W-3+T hold the last W-2 of
        them and x. S >= W-2 + T.
    conv_state_out_indices: (B,), the row of conv_state that is written, where that is another than
        the one that is read (copy on write); a row whose index is pad_slot_id or negative in
        either is skipped. Written rows must be distinct, and not be read for another row of x. A
        row without new steps is not written.
    cu_seqlens, max_seqlen: (N+1,) and an int, rows of different lengths: x is (total, D), row n has
        its tokens cu_seqlens[n] .. cu_seqlens[n+1]-1, at most max_seqlen of them, and (B,) is (N,)
        above. A row without tokens leaves its state as it is. y is 0 for tokens of no row, before
        cu_seqlens[0] and from cu_seqlens[N] on. S >= W-2 + max_seqlen with num_accepted_tokens.
    parents: (B, T), a tree of drafts: step parents[b, t] < t comes before step t, and conv_state
        before a step whose parent is -1: its last W-1 columns, those from a-1 on with
        num_accepted_tokens a. conv_state is left as it is. Not with cache_seqlens, cu_seqlens or
        conv_state_out_indices.
    intermediate_states: (B, T, D, W-1) of conv_state's dtype, is given the state after each step of
        a tree, zeros in rows that are skipped.
    residual: of x's shape, added after the activation.
    out: the tensor to write y to, of x's shape; x itself will do, without parents. Not where
        gradients are recorded.
    pre_gate, post_gate: of x's shape and dtype, any strides: y is
        post_gate * act(conv(pre_gate * x)) + residual, and the state keeps pre_gate * x.
    Returns y, of x's shape. Not differentiable.
    """
    if intermediate_states is not None:
        intermediate_states = _checks.node_states(intermediate_states, x, weight)
    tensors = (
        x,
        conv_state,
        weight,
        bias,
        cache_seqlens,
        conv_state_indices,
        num_accepted_tokens,
        conv_state_out_indices,
        cu_seqlens,
        parents,
        pre_gate,
        post_gate,
        residual,
        out,
        intermediate_states,
    )
    if not is_dynamo_compiling():
        if out is not None and torch.autograd.profiler._is_profiler_enabled:
            with shown("update"):
                y = _C.update(tensors, activation, pad_slot_id, max_seqlen)
        else:
            y = _C.update(tensors, activation, pad_slot_id, max_seqlen)
        if y is not NotImplemented:
            return y
    code = _checks.activation_code(activation)
    indices = conv_state_out_indices if conv_state_indices is None else conv_state_indices
    pad_slot_id = _checks.meaningful_slot_id(pad_slot_id, indices)
    max_seqlen = _checks.packed_length(max_seqlen, cu_seqlens)
    _checks.require_tensors("update", tensors)
    if intermediate_states is not None:
        _checks.writable_state("intermediate_states", intermediate_states)
    sources = (x, weight, bias, pre_gate, post_gate, residual)
    refuse_tangents("causal_conv1d_update", conv_state, *sources)
    recorded = torch.is_grad_enabled() and any_requires_grad(*sources, out)
    if any_autocast():
        tensors = autocast("update", tensors)
    _checks.check_targets("update", tensors, recorded, copied=True)
    require_operators("causal_conv1d_update")
    *inputs, _, node_states = tensors
    y = _ops.update(*_ops.update_arguments(inputs, pad_slot_id, code, node_states, max_seqlen))
    return y if out is None else out.copy_(y)


def causal_conv1d_varlen_states(
    x,
    cu_seqlens,
    state_len,
    *,
    initial_states=None,
    positions=None,
    out=None,
    out_indices=None,
):
    """The last state_len steps of every packed sequence, or those before any of its steps.

    x: (total, D). cu_seqlens: (N+1,); may begin after 0 and end before total.
    initial_states: (N, D, at least state_len), the steps before each sequence, oldest first; of
        any dtype but float64, which goes with float64 x. None: zeros.
    positions: (M,), how many steps of x lie before each state that is wanted, from cu_seqlens[0]
        to cu_seqlens[-1]. The state is of the sequence of its last step: at a boundary, of the
        sequence that ends there. At cu_seqlens[0]: the first sequence's initial state.
        None: the sequences' ends, M = N.
    out: the tensor to write the states to, (M, D, state_len), or with out_indices a pool
        (rows, D, state_len) of which other rows stay; its dtype is its own, as that of
        initial_states, and steps are rounded once when they are stored.
    out_indices: (M,), the row of out for each state, each row once; a state with a negative one
        is skipped, and its position is not looked at. On GPUs an index or a position out of range
        skips its state as well (one of zeros without out_indices).
    Returns out, or states (M, D, state_len) of x's dtype. Not differentiable.
    """
    tensors = (x, cu_seqlens, initial_states, positions, out_indices, out)
    state_len = _checks.states_target(out, out_indices, state_len)
    if not is_dynamo_compiling():
        if out is not None and torch.autograd.profiler._is_profiler_enabled:
            with shown("varlen_states"):
                states = _C.varlen_states(tensors, state_len)
        else:
            states = _C.varlen_states(tensors, state_len)
        if states is not NotImplemented:
            return states
    _checks.require_tensors("varlen_states", tensors)
    state_len = _checks.state_length(state_len)
    require_operators("causal_conv1d_varlen_states")
    refuse_tangents("causal_conv1d_varlen_states", x, initial_states, out)
    _checks.check_targets("varlen_states", tensors, False)
    if out is None:
        return _ops.varlen_states(x, cu_seqlens, state_len, initial_states, positions)
    _ops.store_states(*tensors)
    return out


def without_derivative(y, *sources):
    """y, with a backward pass that says that there is none if a source asks for gradients."""
    if not (torch.is_grad_enabled() and any_requires_grad(*sources)):
        return y
    if HAS_OPERATORS:
        return _ops.WithoutDerivative.apply(y, *sources)
    return _autograd.without_derivative(y)
