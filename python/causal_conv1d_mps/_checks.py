"""Refusals that only PyTorch can make: what is not a strided tensor never reaches the kernels."""

import operator

import torch
from torch.overrides import has_torch_function

ACTIVATIONS = {None: 0, "silu": 1, "swish": 1}
FLOAT_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
INDEX_DTYPES = (torch.int32, torch.int64)
UPDATE_NOT_DIFFERENTIABLE = (
    "causal_conv1d_update is not differentiable; train with causal_conv1d_fn, which takes "
    "initial_states and returns final_states"
)


def activation_code(activation):
    try:
        return ACTIVATIONS[activation]
    except (KeyError, TypeError):
        raise NotImplementedError(
            f"activation: expected None, 'silu' or 'swish', got {activation!r}"
        ) from None


def require_tensors(required, **tensors):
    """TypeError unless every named argument is a tensor (or None, where it is not required)."""
    for name, value in tensors.items():
        if isinstance(value, torch.Tensor) or (value is None and name not in required):
            continue
        if not has_torch_function((value,)):
            raise TypeError(f"{name}: expected a torch.Tensor, got {type(value).__name__}")


def explain(floats, indices):
    """After a kernel has refused a call: raise what PyTorch knows about the reason, if anything.

    floats and indices map names to tensors or None; the first one of floats is the argument whose
    device the others have to share.
    """
    device = next(iter(floats.values())).device
    for name, tensor in (*floats.items(), *indices.items()):
        if tensor is None:
            continue
        kind = _unsupported_kind(tensor)
        if kind is not None:
            raise TypeError(f"{name}: expected a dense, strided, real tensor, got {kind}")
        dtypes = INDEX_DTYPES if name in indices else FLOAT_DTYPES
        if tensor.dtype not in dtypes:
            *most, last = (str(dtype).removeprefix("torch.") for dtype in dtypes)
            came = str(tensor.dtype).removeprefix("torch.")
            raise TypeError(f"{name}: expected {', '.join(most)} or {last}, got {came}")
        if tensor.device != device:
            raise ValueError(
                f"{name}: expected a tensor on {device}, where {next(iter(floats))} is, "
                f"got one on {tensor.device}"
            )


def _unsupported_kind(tensor):
    """What keeps a tensor from being plain memory of real numbers, or None."""
    if tensor.is_quantized:
        return f"a quantised tensor ({tensor.dtype})"
    if tensor.is_nested:
        return "a nested tensor"
    if tensor.layout != torch.strided:
        return f"a sparse tensor ({tensor.layout})"
    if tensor.is_complex():
        return f"a complex tensor ({tensor.dtype})"
    return None


def _integer(name, value):
    if isinstance(value, (int, torch.SymInt)):  # a symbolic length stays symbolic
        return value
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {type(value).__name__}") from None


def state_length(value):
    """value as an int that can be a length."""
    length = _integer("state_len", value)
    if length < 0:
        raise ValueError(f"state_len: expected an integer >= 0, got {length}")
    return length


def slot_id(value):
    """value as an int that fits the kernels' 64 bits."""
    number = _integer("pad_slot_id", value)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"pad_slot_id: expected a 64-bit integer, got {number}")
    return number


def target(name, tensor, shape, like):
    """Refuse a tensor that is not of this shape, and of the dtype and device of `like`."""
    if tensor.dtype != like.dtype:
        raise TypeError(f"{name}: expected {like.dtype} like x, got {tensor.dtype}")
    if tuple(tensor.shape) != tuple(shape):
        raise ValueError(f"{name}: expected shape {tuple(shape)}, got {tuple(tensor.shape)}")
    if tensor.device != like.device:
        raise ValueError(
            f"{name}: expected a tensor on {like.device}, where x is, got one on {tensor.device}"
        )


def refuse_grad_in_place(name):
    raise RuntimeError(
        f"{name}: it is changed in place, but requires grad while gradients are recorded; "
        f"pass {name}.detach()"
    )


def refuse_grad_with_out():
    raise RuntimeError(
        "out: functions with out=... arguments do not support automatic differentiation, "
        "but one of the arguments requires grad"
    )
