"""The same functions with prefix caching's block tables, as vLLM had them up to 0.32.0.

A sequence has a row of cache_indices: its blocks, of block_size_to_align tokens each. Its state is
read from block initial_state_idx and written to block block_idx_last_scheduled_token; the blocks
from block_idx_first_scheduled_token up to there receive the states at their ends. Without
block_idx_last_scheduled_token all of that is off, and the first block counts.
"""

import torch

from causal_conv1d_mps import _checks, functional
from causal_conv1d_mps.compat import _engines

from . import NULL_BLOCK_ID, PAD_SLOT_ID, decode, prefill

__all__ = ["causal_conv1d_fn", "causal_conv1d_update"]


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
    block_idx_first_scheduled_token=None,
    block_idx_last_scheduled_token=None,
    initial_state_idx=None,
    num_computed_tokens=None,
    block_size_to_align=0,
    metadata=None,
    validate_data=False,
):
    """Prefill, as in vllm.causal_conv1d_fn. cache_indices: (N, blocks).

    block_idx_first_scheduled_token, block_idx_last_scheduled_token, initial_state_idx: (N,),
    columns of cache_indices. num_computed_tokens: (N,), tokens before x. Returns y (D, total).
    """
    call = (x, weight, bias, conv_states, query_start_loc)
    options = (has_initial_state, activation, pad_slot_id, null_block_id)
    if block_idx_last_scheduled_token is None:
        return prefill(*call, _engines.first_column(cache_indices), None, *options)
    _checks.require_named(
        x=x,
        cache_indices=cache_indices,
        block_idx_first_scheduled_token=block_idx_first_scheduled_token,
        block_idx_last_scheduled_token=block_idx_last_scheduled_token,
        initial_state_idx=initial_state_idx,
        num_computed_tokens=num_computed_tokens,
    )
    if block_size_to_align < 1:
        raise ValueError(
            f"block_size_to_align: expected the tokens of a block, got {block_size_to_align}"
        )
    read = _column(cache_indices, initial_state_idx)
    write = _column(cache_indices, block_idx_last_scheduled_token)
    states = _engines.history("conv_states", conv_states, weight)
    live = _engines.live(read, states, pad_slot_id, null_block_id)
    before = states[torch.where(live, read, 0).to(torch.int64)]
    if has_initial_state is None:
        before.zero_()
    else:
        before = torch.where(has_initial_state[:, None, None], before, 0)
    y = prefill(*call, read, write, *options)

    # The ends of the blocks that these tokens complete, a column of cache_indices each.
    block = torch.arange(cache_indices.shape[1], device=x.device)
    ends = (block + 1) * block_size_to_align - num_computed_tokens[:, None]
    wanted = live[:, None] & (block >= block_idx_first_scheduled_token[:, None])
    wanted &= block < block_idx_last_scheduled_token[:, None]
    rows = torch.where(wanted, cache_indices, -1)  # a negative one is skipped
    functional.causal_conv1d_varlen_states(
        x.t(),
        query_start_loc,
        states.shape[2],
        initial_states=before,
        positions=(query_start_loc[:-1, None] + ends).flatten(),
        out=states,
        out_indices=rows.flatten(),
    )
    return y


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
    block_idx_last_scheduled_token=None,
    initial_state_idx=None,
    validate_data=False,
    out=None,
):
    """Decoding, as in vllm.causal_conv1d_update. conv_state_indices: (N, blocks).

    block_idx_last_scheduled_token, initial_state_idx: (N,), its columns that are written and read.
    """
    call = (x, conv_state, weight, bias, activation)
    packed = (num_accepted_tokens, query_start_loc, max_query_len, null_block_id, out)
    if block_idx_last_scheduled_token is None:
        return decode(*call, _engines.first_column(conv_state_indices), None, *packed)
    _checks.require_named(
        x=x,
        conv_state_indices=conv_state_indices,
        block_idx_last_scheduled_token=block_idx_last_scheduled_token,
        initial_state_idx=initial_state_idx,
    )
    read = _column(conv_state_indices, initial_state_idx)
    write = _column(conv_state_indices, block_idx_last_scheduled_token)
    return decode(*call, read, write, *packed)


def _column(indices, number):
    return indices.gather(1, number.to(torch.int64)[:, None]).squeeze(1)
