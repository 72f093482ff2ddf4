"""The interface of vLLM 0.33.0 (vllm/model_executor/layers/mamba/ops/causal_conv1d.py).

A state's last W-1 steps lie in the first W-1 columns of its row; the columns after them are for
drafts. metadata and validate_data cannot change a value: they are accepted.
block_tables has these functions as they were up to 0.32, with prefix caching.

Where vLLM leaves memory as it found it, y is 0: at padding, and behind the last sequence. x is not
rounded to the states' dtype. A sequence of no steps without an initial state zeroes its row.
Without num_accepted_tokens, packed sequences of different lengths each shift by their own.
"""

from causal_conv1d_mps import _checks, functional
from causal_conv1d_mps.compat import _engines

__all__ = ["NULL_BLOCK_ID", "PAD_SLOT_ID", "causal_conv1d_fn", "causal_conv1d_update"]

PAD_SLOT_ID = -1
NULL_BLOCK_ID = 0


def causal_conv1d_fn(
    x,
    weight,
    bias,
    conv_states,
    query_start_loc,
    cache_indices=None,
    has_initial_state=None,
    activation="silu",
    pad_slot_id=PAD_SLOT_ID,
    null_block_id=NULL_BLOCK_ID,
    metadata=None,
    validate_data=False,
):
    """Prefill of packed sequences. x: (D, total). weight: (D, W). bias: (D,) or None.

    conv_states: (rows, D, S), S >= W-1, changed in place. query_start_loc: (N+1,).
    cache_indices: (N,), the row of every sequence; pad_slot_id and null_block_id mark padding.
    has_initial_state: (N,) bool; without it every sequence starts from zeros.
    activation: None, "silu", "swish", True or False. Returns y (D, total).
    """
    return prefill(
        x,
        weight,
        bias,
        conv_states,
        query_start_loc,
        cache_indices,
        None,
        has_initial_state,
        activation,
        pad_slot_id,
        null_block_id,
    )


def causal_conv1d_update(
    x,
    conv_state,
    weight,
    bias=None,
    activation=None,
    conv_state_indices=None,
    num_accepted_tokens=None,
    query_start_loc=None,
    max_query_len=-1,
    null_block_id=NULL_BLOCK_ID,
    validate_data=False,
    out=None,
):
    """Decoding. x: (N, D), (N, D, T), or (total, D) with query_start_loc (N+1,) and max_query_len.

    conv_state: (rows, D, S), changed in place. weight: (D, W). bias: (D,) or None.
    conv_state_indices: (N,), or (N, blocks) for its first column; null_block_id marks padding.
    num_accepted_tokens: (N,), of the previous draft (1 after a prefill); the row is then a window,
        S >= W-2 + T.
    out: the tensor to write y to; None writes it to x, or, beside a conv_state of another dtype, to
        a new tensor, as in vLLM. Returns y, of x's shape.
    """
    return decode(
        x,
        conv_state,
        weight,
        bias,
        activation,
        _engines.first_column(conv_state_indices),
        None,
        num_accepted_tokens,
        query_start_loc,
        max_query_len,
        null_block_id,
        out,
    )


def prefill(
    x,
    weight,
    bias,
    conv_states,
    query_start_loc,
    read,
    write,
    has_initial_state,
    activation,
    pad_slot_id,
    null_block_id,
):
    """causal_conv1d_fn from the rows `read` (N,) to the rows `write` (N,), or to the same."""
    _checks.require_named(x=x, weight=weight, query_start_loc=query_start_loc)
    if x.dim() != 2:
        raise ValueError(f"x: expected (D, total), got {tuple(x.shape)}")
    indices, marks = _engines.padded("cache_indices", read, null_block_id, pad_slot_id)
    return functional.causal_conv1d_fn(
        x.unsqueeze(0),
        weight,
        bias,
        activation=_engines.activation_name(activation),
        cu_seqlens=query_start_loc,
        conv_states=_engines.history("conv_states", conv_states, weight),
        conv_state_indices=indices,
        conv_state_out_indices=write,
        has_initial_state=has_initial_state,
        **marks,
    ).squeeze(0)


def decode(
    x,
    conv_state,
    weight,
    bias,
    activation,
    read,
    write,
    num_accepted_tokens,
    query_start_loc,
    max_query_len,
    null_block_id,
    out,
):
    """causal_conv1d_update from the rows `read` (N,) to the rows `write` (N,), or the same."""
    _checks.require_named(x=x, weight=weight, conv_state=conv_state)
    indices, marks = _engines.padded("conv_state_indices", read, null_block_id)
    if read is None:  # sequence n has row n; rows after them stay
        count = x.shape[0] if query_start_loc is None else query_start_loc.shape[0] - 1
        conv_state = conv_state[:count]
    if num_accepted_tokens is None:
        conv_state = _engines.history("conv_state", conv_state, weight)
    packed = {}
    if query_start_loc is not None:
        if indices is not None:  # as in vLLM, they say how many sequences there are
            query_start_loc = query_start_loc[: indices.shape[0] + 1]
        if max_query_len < 1:
            raise ValueError(
                "max_query_len: expected the length of the longest sequence with query_start_loc, "
                f"got {max_query_len}"
            )
        packed = {"cu_seqlens": query_start_loc, "max_seqlen": max_query_len}
    return functional.causal_conv1d_update(
        x,
        conv_state,
        weight,
        bias,
        _engines.activation_name(activation),
        conv_state_indices=indices,
        conv_state_out_indices=write,
        num_accepted_tokens=num_accepted_tokens,
        out=x if out is None and x.dtype == conv_state.dtype else out,
        **packed,
        **marks,
    )
