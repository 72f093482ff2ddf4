"""A kernel call's arguments, by the rules of torch.mps.compile_shader."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import torch

from .errors import MetalError

SET_BYTES_LIMIT = 4096  # of Metal's setBytes
INT64 = range(-(2**63), 2**63)

# arg_casts -> how one number is packed. An integer is truncated to the width, as a C++ cast does.
_INTEGER_CASTS = {"int32": 4, "int16": 2, "int8": 1, "uint8": 1}
_FLOAT_CASTS = {"fp16": torch.float16, "bf16": torch.bfloat16}


class Casts:
    """arg_casts: None, one name for every argument, or a dict from argument index to name."""

    def __init__(self, arg_casts: str | dict[int, str] | None):
        if arg_casts is None:
            self._default, self._by_index = "", {}
        elif isinstance(arg_casts, str):
            self._default, self._by_index = arg_casts, {}
        elif isinstance(arg_casts, dict):
            self._default, self._by_index = "", dict(arg_casts)
        else:
            raise MetalError(f"Unexpected caster arg type {type(arg_casts).__name__}")

    def of(self, index: int) -> str:
        return self._by_index.get(index, self._default)


def _pack(values: Sequence[int] | Sequence[float], is_float: bool, cast: str) -> bytes:
    if not cast:
        return struct.pack(f"<{len(values)}{'f' if is_float else 'q'}", *values)
    if cast in _FLOAT_CASTS:
        tensor = torch.tensor(values, dtype=torch.float32 if is_float else torch.int64)
        return tensor.to(_FLOAT_CASTS[cast]).view(torch.uint8).numpy().tobytes()
    if cast in _INTEGER_CASTS:
        width = _INTEGER_CASTS[cast]
        mask = (1 << 8 * width) - 1
        return b"".join((int(v) & mask).to_bytes(width, "little") for v in values)
    raise MetalError(f"Unsupported cast instruction {cast}")


def _number_kind(value: object, index: int) -> bool:
    """Whether the number is a float; bool counts as an integer, as Python has it."""
    if isinstance(value, float):
        return True
    if isinstance(value, int):
        return False
    raise MetalError(
        f"Unsupported argument type: argument {index} is {type(value).__name__}; expected a "
        "tensor, a number, or a list or tuple of numbers"
    )


def bytes_of(value: object, index: int, casts: Casts) -> bytes:
    """What setBytes gets for an argument that is not a tensor."""
    if isinstance(value, (list, tuple)):
        if not value:
            raise MetalError("Empty list/tuple can not be an argument to metal kernel")
        values = list(value)
    else:
        values = [value]
    if isinstance(values[0], torch.Tensor):
        raise MetalError(f"argument {index}: the harness does not bind lists of tensors")
    is_float = _number_kind(values[0], index)
    for item in values[1:]:
        if _number_kind(item, index) and not is_float:
            raise MetalError(f"argument {index}: a list that starts with an integer holds {item!r}")
    if not is_float and not all(item in INT64 for item in values):
        raise MetalError(f"argument {index}: an integer does not fit in 64 bits")
    packed = _pack(values, is_float, casts.of(index))
    if len(packed) > SET_BYTES_LIMIT:
        raise MetalError(
            f"argument {index}: {len(packed)} bytes, but setBytes takes at most {SET_BYTES_LIMIT}; "
            "pass a tensor"
        )
    return packed


def check_tensor(tensor: torch.Tensor, index: int) -> None:
    if tensor.device.type != "cpu":
        raise MetalError(f"argument {index}: the harness runs on CPU tensors, not {tensor.device}")
    if tensor.layout != torch.strided:
        raise MetalError(f"argument {index}: a tensor of layout {tensor.layout} cannot be bound")
    if tensor.dtype in (torch.float64, torch.complex128):
        raise MetalError(f"argument {index}: MPS has no {tensor.dtype}")


def dimensions(value: object, name: str) -> list[int] | None:
    """threads or group_size: an int, or one to three of them."""
    if value is None:
        return None
    sizes = [value] if isinstance(value, int) else list(value)
    if not 0 < len(sizes) < 4 or not all(isinstance(n, int) and n >= 0 for n in sizes):
        raise MetalError(f"{name} must be one to three non-negative integers, not {value!r}")
    return sizes
