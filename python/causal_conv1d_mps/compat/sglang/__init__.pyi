from collections.abc import Sequence

from torch import Tensor

from . import triton

__all__ = [
    "PAD_SLOT_ID",
    "causal_conv1d_fn",
    "causal_conv1d_fn_cpu",
    "causal_conv1d_update",
    "causal_conv1d_update_cpu",
    "causal_conv1d_weight_pack",
    "triton",
]

PAD_SLOT_ID: int

def causal_conv1d_weight_pack(weight: Tensor) -> Tensor: ...
def causal_conv1d_fn_cpu(
    mixed_qkv_transposed: Tensor,
    conv_weights: Tensor,
    bias: Tensor | None,
    activation: str | bool | None,
    conv_states: Tensor,
    has_initial_state: Tensor | None,
    cache_indices: Tensor | None,
    query_start_loc: Tensor,
    seq_lens_cpu: Sequence[int] | None,
) -> Tensor: ...
def causal_conv1d_update_cpu(
    mixed_qkv: Tensor,
    conv_states: Tensor,
    conv_weights: Tensor,
    bias: Tensor | None,
    activation: str | bool | None,
    conv_state_indices: Tensor | None,
    intermediate_conv_window: Tensor | None = None,
    intermediate_state_indices: Tensor | None = None,
    retrieve_next_token: Tensor | None = None,
    retrieve_next_sibling: Tensor | None = None,
    retrieve_parent_token: Tensor | None = None,
) -> Tensor: ...
def causal_conv1d_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    query_start_loc: Tensor | None = None,
    cache_indices: Tensor | None = None,
    has_initial_state: Tensor | None = None,
    conv_states: Tensor | None = None,
    activation: str | bool | None = "silu",
    pad_slot_id: int | None = -1,
    **kwargs: object,
) -> Tensor: ...
def causal_conv1d_update(
    x: Tensor,
    conv_state: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | bool | None = None,
    cache_seqlens: Tensor | None = None,
    conv_state_indices: Tensor | None = None,
    pad_slot_id: int | None = -1,
) -> Tensor: ...
