from typing import Literal, overload

from torch import Tensor

__all__ = [
    "causal_conv1d",
    "causal_conv1d_fn",
    "causal_conv1d_fwd",
    "causal_conv1d_update",
    "causal_conv1d_varlen_states",
]

def causal_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None
) -> Tensor: ...
@overload
def causal_conv1d_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    seq_idx: Tensor | None = None,
    initial_states: Tensor | None = None,
    return_final_states: Literal[False] = False,
    final_states_out: Tensor | None = None,
    activation: str | None = None,
    *,
    cu_seqlens: Tensor | None = None,
    residual: Tensor | None = None,
    out: Tensor | None = None,
    lengths: Tensor | None = None,
    conv_states: Tensor | None = None,
    conv_state_indices: Tensor | None = None,
    conv_state_out_indices: Tensor | None = None,
    has_initial_state: Tensor | None = None,
    pad_slot_id: int = -1,
    pre_gate: Tensor | None = None,
    post_gate: Tensor | None = None,
) -> Tensor: ...
@overload
def causal_conv1d_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    seq_idx: Tensor | None = None,
    initial_states: Tensor | None = None,
    *,
    return_final_states: Literal[True],
    final_states_out: Tensor | None = None,
    activation: str | None = None,
    cu_seqlens: Tensor | None = None,
    residual: Tensor | None = None,
    out: Tensor | None = None,
    lengths: Tensor | None = None,
    pre_gate: Tensor | None = None,
    post_gate: Tensor | None = None,
) -> tuple[Tensor, Tensor]: ...
@overload
def causal_conv1d_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    seq_idx: Tensor | None,
    initial_states: Tensor | None,
    return_final_states: Literal[True],
    final_states_out: Tensor | None = None,
    activation: str | None = None,
    *,
    cu_seqlens: Tensor | None = None,
    residual: Tensor | None = None,
    out: Tensor | None = None,
    lengths: Tensor | None = None,
    pre_gate: Tensor | None = None,
    post_gate: Tensor | None = None,
) -> tuple[Tensor, Tensor]: ...
@overload
def causal_conv1d_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    seq_idx: Tensor | None = None,
    initial_states: Tensor | None = None,
    return_final_states: bool = False,
    final_states_out: Tensor | None = None,
    activation: str | None = None,
    *,
    cu_seqlens: Tensor | None = None,
    residual: Tensor | None = None,
    out: Tensor | None = None,
    lengths: Tensor | None = None,
    conv_states: Tensor | None = None,
    conv_state_indices: Tensor | None = None,
    conv_state_out_indices: Tensor | None = None,
    has_initial_state: Tensor | None = None,
    pad_slot_id: int = -1,
    pre_gate: Tensor | None = None,
    post_gate: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]: ...
def causal_conv1d_fwd(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, silu_activation: bool = False
) -> Tensor: ...
def causal_conv1d_update(
    x: Tensor,
    conv_state: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    cache_seqlens: Tensor | None = None,
    conv_state_indices: Tensor | None = None,
    *,
    pad_slot_id: int = -1,
    num_accepted_tokens: Tensor | None = None,
    conv_state_out_indices: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    max_seqlen: int | None = None,
    parents: Tensor | None = None,
    intermediate_states: Tensor | None = None,
    residual: Tensor | None = None,
    out: Tensor | None = None,
    pre_gate: Tensor | None = None,
    post_gate: Tensor | None = None,
) -> Tensor: ...
def causal_conv1d_varlen_states(
    x: Tensor,
    cu_seqlens: Tensor,
    state_len: int,
    *,
    initial_states: Tensor | None = None,
    positions: Tensor | None = None,
    out: Tensor | None = None,
    out_indices: Tensor | None = None,
) -> Tensor: ...
