from typing import Literal, overload

import torch
from torch import Tensor

__all__ = ["CausalConv1d", "GatedShortConvolution", "ShortConvolution"]

class _Depthwise(torch.nn.Module):
    dim: int
    width: int
    activation: str | None
    weight: torch.nn.Parameter
    bias: torch.nn.Parameter | None
    def __init__(
        self,
        dim: int,
        width: int,
        bias: bool,
        activation: str | None,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None: ...
    def reset_parameters(self) -> None: ...
    def extra_repr(self) -> str: ...

class CausalConv1d(_Depthwise):
    def __init__(
        self,
        dim: int,
        width: int = 4,
        bias: bool = True,
        activation: str | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...
    @overload
    def forward(
        self,
        x: Tensor,
        seq_idx: Tensor | None = None,
        initial_states: Tensor | None = None,
        return_final_states: Literal[False] = False,
        *,
        cu_seqlens: Tensor | None = None,
        residual: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor: ...
    @overload
    def forward(
        self,
        x: Tensor,
        seq_idx: Tensor | None = None,
        initial_states: Tensor | None = None,
        *,
        return_final_states: Literal[True],
        cu_seqlens: Tensor | None = None,
        residual: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]: ...
    @overload
    def forward(
        self,
        x: Tensor,
        seq_idx: Tensor | None = None,
        initial_states: Tensor | None = None,
        return_final_states: bool = False,
        *,
        cu_seqlens: Tensor | None = None,
        residual: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]: ...
    def step(
        self,
        x: Tensor,
        conv_state: Tensor,
        *,
        cache_seqlens: Tensor | None = None,
        conv_state_indices: Tensor | None = None,
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

class ShortConvolution(_Depthwise):
    def __init__(
        self,
        hidden_size: int,
        kernel_size: int = 4,
        bias: bool = False,
        activation: str | None = "silu",
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...
    @property
    def state_size(self) -> int: ...
    def forward(
        self,
        x: Tensor,
        residual: Tensor | None = None,
        mask: Tensor | None = None,
        cache: Tensor | None = None,
        output_final_state: bool = False,
        cu_seqlens: Tensor | None = None,
        *,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]: ...
    def step(
        self,
        x: Tensor,
        residual: Tensor | None = None,
        cache: Tensor | None = None,
        output_final_state: bool = False,
        cu_seqlens: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]: ...

class GatedShortConvolution(ShortConvolution):
    def __init__(
        self,
        dim: int,
        width: int = 3,
        bias: bool = False,
        activation: str | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None: ...
    def forward(
        self,
        x: Tensor,
        residual: Tensor | None = None,
        mask: Tensor | None = None,
        cache: Tensor | None = None,
        output_final_state: bool = False,
        cu_seqlens: Tensor | None = None,
        *,
        lengths: Tensor | None = None,
        seq_idx: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]: ...
