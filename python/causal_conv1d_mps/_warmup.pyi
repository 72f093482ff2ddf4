from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch

class Compiled(NamedTuple):
    kernel: str
    call: str
    seconds: float

def warmup(
    dim: int,
    width: int = 4,
    dtype: torch.dtype = ...,
    device: torch.device | str | None = None,
    layouts: Literal["BDT", "BTD"] | Sequence[Literal["BDT", "BTD"]] = ...,
    training: bool = True,
    decoding: bool = True,
    *,
    bias: bool = True,
    activation: str | None = "silu",
    weight_dtype: torch.dtype | None = None,
    progress: bool | Callable[[Compiled], object] = False,
) -> list[Compiled]: ...
