"""The functions of SGLang 0.5.23, sglang/kernels/ops/mamba/causal_conv1d_triton.py.

seq_lens_cpu, block_table, metadata and validate_data change no value: they are accepted.
cache_seqlens, which that kernel does not read, makes the row circular, as in its CUDA twin.
"""

import torch

from causal_conv1d_mps import _checks, functional
from causal_conv1d_mps.compat._engines import activation_name, history, live, padded

__all__ = ["PAD_SLOT_ID", "causal_conv1d_fn", "causal_conv1d_update"]

PAD_SLOT_ID = -1
_NO_EFFECT = ("block_table", "seq_lens_cpu", "validate_data")


def causal_conv1d_fn(
    x,
    weight,
    bias,
    conv_states,
    query_start_loc,
    seq_lens_cpu,
    cache_indices=None,
    has_initial_state=None,
    activation="silu",
    pad_slot_id=PAD_SLOT_ID,
    validate_data=False,
    block_table=None,
    **kwargs,
):
    """Prefill of packed sequences: sglang.causal_conv1d_fn in another order. Returns (D, total)."""
    return prefill(
        x,
        weight,
        bias,
        conv_states,
        query_start_loc,
        cache_indices,
        has_initial_state,
        activation,
        pad_slot_id,
        kwargs,
    )


def prefill(
    x,
    weight,
    bias,
    conv_states,
    query_start_loc,
    cache_indices,
    has_initial_state,
    activation,
    pad_slot_id,
    kwargs,
):
    """What both forms of causal_conv1d_fn do."""
    for name in kwargs:
        if name not in _NO_EFFECT:
            raise TypeError(f"{name}: not an argument that can be honoured here")
    _checks.require_named(x=x, weight=weight)
    if x.dim() != (3 if query_start_loc is None else 2):
        raise ValueError(
            f"x: expected (D, total) with query_start_loc, else (N, D, T), got {tuple(x.shape)}"
        )
    pool = {}
    if conv_states is not None:
        indices, marks = padded("cache_indices", cache_indices, pad_slot_id)
        pool = dict(
            conv_states=history("conv_states", conv_states, weight),
            conv_state_indices=indices,
            has_initial_state=has_initial_state,
            **marks,
        )
    elif cache_indices is not None or has_initial_state is not None:
        name = "cache_indices" if has_initial_state is None else "has_initial_state"
        raise ValueError(f"{name}: expected None without conv_states")
    y = functional.causal_conv1d_fn(
        x if query_start_loc is None else x.unsqueeze(0),
        weight,
        bias,
        activation=activation_name(activation),
        cu_seqlens=query_start_loc,
        **pool,
    )
    return y.reshape(x.shape) if query_start_loc is None else y.squeeze(0)


def causal_conv1d_update(
    x,
    conv_state,
    weight,
    bias=None,
    activation=None,
    cache_seqlens=None,
    conv_state_indices=None,
    num_accept_tokens=None,
    intermediate_conv_window=None,
    intermediate_state_indices=None,
    retrieve_next_token=None,
    retrieve_next_sibling=None,
    retrieve_parent_token=None,
    pad_slot_id=PAD_SLOT_ID,
    metadata=None,
    validate_data=False,
):
    """Decoding and verification. x: (N, D) or (N, D, T). weight: (D, W). bias: (D,) or None.

    conv_state: (rows, D, S), changed in place. conv_state_indices: (N,), the row of each.
    num_accept_tokens: (N,), of the previous draft; the row is then a window, S >= W-2 + T.
    intermediate_conv_window: (slots, steps >= T, D, W-1), receives the state after
        every token in slot intermediate_state_indices[n] (N,), or n; those of padding stay, and
        have to be slots all the same.
    retrieve_next_token, retrieve_next_sibling: (N, >= T), first child and next sibling of every
        token of a tree, -1 where there is none; token 0 is the root, follows the history, and is
        the parent of a token that is nobody's child. The row moves on by all T tokens in their
        order all the same: the engine puts the accepted intermediate state in its place.
    retrieve_parent_token: (N, >= T), receives the parents, 0 for the root.
    Returns y, of x's shape.
    """
    _checks.require_named(x=x, weight=weight)
    indices, marks = padded("conv_state_indices", conv_state_indices, pad_slot_id)
    if num_accept_tokens is None and cache_seqlens is None:
        conv_state = history("conv_state", conv_state, weight)
    call = dict(
        weight=weight,
        bias=bias,
        activation=activation_name(activation),
        conv_state_indices=indices,
        num_accepted_tokens=num_accept_tokens,
        **marks,
    )
    if retrieve_next_token is None and intermediate_conv_window is None:
        return functional.causal_conv1d_update(x, conv_state, cache_seqlens=cache_seqlens, **call)
    if cache_seqlens is not None:
        raise ValueError("cache_seqlens: expected None with intermediate states or a tree")
    steps = x.unsqueeze(2) if x.dim() == 2 else x
    parents = _parents(steps, retrieve_next_token, retrieve_next_sibling)
    if retrieve_parent_token is not None:
        retrieve_parent_token[:, : steps.shape[2]] = parents.clamp(min=0)
    window = None
    if intermediate_conv_window is not None:
        _checks.require_named(x=x, intermediate_conv_window=intermediate_conv_window)
        columns = weight.shape[-1] - 1
        shape = (steps.shape[0], steps.shape[2], steps.shape[1], columns)
        window = conv_state.new_empty(shape)
    y = functional.causal_conv1d_update(
        steps, conv_state, parents=parents, intermediate_states=window, **call
    )
    # The row moves on as well, by all tokens in their order, as there.
    functional.causal_conv1d_update(steps, conv_state, **call)
    if window is not None:
        known = None if indices is None else live(indices, conv_state, pad_slot_id)
        _store(window, intermediate_conv_window, intermediate_state_indices, known)
    return y.reshape(x.shape)


def _parents(steps, next_token, next_sibling):
    """(N, T) int32: the parent of every token, -1 the history. Without links they are a chain."""
    count, _, length = steps.shape
    number = torch.arange(length, device=steps.device).expand(count, -1)
    if next_token is None:
        return (number - 1).to(torch.int32)
    _checks.require_named(
        x=steps, retrieve_next_token=next_token, retrieve_next_sibling=next_sibling
    )
    for name, links in (
        ("retrieve_next_token", next_token),
        ("retrieve_next_sibling", next_sibling),
    ):
        if links.dim() != 2 or links.shape[0] < count or links.shape[1] < length:
            raise ValueError(f"{name}: expected (N, T) or wider, got {tuple(links.shape)}")

    def pointing_at(links, default):
        """For every token the one whose link it is; a spare column takes links to nowhere."""
        links = links[:count, :length].to(torch.int64)
        place = torch.where((links >= 0) & (links < length), links, length)
        spare = torch.nn.functional.pad(default, (0, 1))
        return spare.scatter(1, place, number)[:, :length]

    eldest = pointing_at(next_sibling, number)  # first the previous sibling,
    for _ in range((length - 1).bit_length()):  # then its previous one, twice as far every time
        eldest = eldest.gather(1, eldest)
    parents = pointing_at(next_token, torch.zeros_like(number)).gather(1, eldest)
    return torch.where(number == 0, -1, parents).to(torch.int32)


def _store(states, window, slots, known):
    """states (N, T, ...) into the slots of the window, but for padded rows."""
    count, length = states.shape[:2]
    if slots is None:
        slots = torch.arange(count, device=states.device)
    _checks.require_named(intermediate_conv_window=window, intermediate_state_indices=slots)
    slots = slots[:count].to(torch.int64)
    if known is not None:
        states = torch.where(known[:, None, None, None], states, window[slots, :length])
    window[slots, :length] = states.to(window.dtype)
