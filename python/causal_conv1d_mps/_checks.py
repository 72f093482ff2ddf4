"""Refusals that only PyTorch can make: what is not a strided tensor never reaches the kernels."""

import operator
import re

import torch
from torch.fx import Proxy

from . import _C, _tables
from ._compat import is_batched_gradient, is_dynamo_compiling, is_zero_tensor

ACTIVATIONS = {None: 0, **_C.activations()}
FLOAT_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
DTYPES = {"i": (torch.int32, torch.int64), "b": (torch.bool,)}  # by kind
NOT_DIFFERENTIABLE = (
    "causal_conv1d_update is not differentiable, nor is causal_conv1d_fn with conv_states; "
    "train with causal_conv1d_fn, which takes initial_states and returns final_states"
)

# What the kernels write to where it lies, on every route.
STATES = {
    a.name for rows in _tables.ARGUMENTS.values() for a in rows if a.kind == "s" and a.written
}


def activation_code(activation):
    try:
        return ACTIVATIONS[activation]
    except (KeyError, TypeError):
        *most, last = map(repr, ACTIVATIONS)
        raise NotImplementedError(
            f"activation: expected {', '.join(most)} or {last}, got {activation!r}"
        ) from None


def require_tensors(operation, tensors):
    """Refuse what no operator would refuse by name, in a call that goes through the operators."""
    arguments = _tables.ARGUMENTS[operation]
    named = {
        public_name(operation, argument.name): value
        for argument, value in zip(arguments, tensors, strict=False)
        if not (value is None and (argument.optional or argument.result))
    }
    require_named(**dict(sorted(named.items(), key=lambda item: item[0] != "x")))


def refuse_unfit(operation, tensors, return_final_states=False):
    """Refuse what excludes each other, or lacks what it is said of, before an operator is asked."""
    given = _tables.named(operation, tensors)
    if return_final_states:
        given.setdefault("final_states", (None, None))
    for name, (argument, _) in given.items():
        for other in argument.excludes if argument else ():
            if other in given:
                wanted = given[other][1] is None
                other = "return_final_states" if wanted else public_name(operation, other)
                raise ValueError(f"{name}, {other}: expected at most one of them, got both")
        for other in argument.needs if argument else ():
            if other not in given:
                raise ValueError(f"{name}: expected {other} beside it, got none")


def require_named(**tensors):
    """The same of any tensors. The first one is the one whose device counts."""
    device = None
    for name, value in tensors.items():
        if isinstance(value, Proxy):  # torch.fx.symbolic_trace: stands for any tensor
            continue
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"{name}: expected a torch.Tensor, got {type(value).__name__}")
        if value.is_nested:
            raise _not_plain(name, "a nested tensor")
        device = value.device if device is None else device
        require_device(name, value, device, next(iter(tensors)))


def require_device(name, tensor, device, where):
    if tensor.device != device:
        raise ValueError(
            f"{name}: expected a tensor on {device}, where {where} is, got one on {tensor.device}"
        )


def _not_plain(name, kind):
    return TypeError(f"{name}: expected a dense, strided, real tensor, got {kind}")


def explain(operation, tensors, error):
    """After the kernels have refused a call: raise what PyTorch knows about the reason.

    NotImplemented where it is for the operators to say: another device, a vmap of autograd's own.
    """
    given = _tables.named(operation, tensors)
    if "x" not in given or not all(isinstance(t, torch.Tensor) for _, t in given.values()):
        return None
    x = given["x"][1]
    if not (x.is_cpu or x.is_cuda or x.is_mps):
        return NotImplemented
    if any(is_batched_gradient(tensor) for _, tensor in given.values()):
        return NotImplemented
    for index in (False, True):
        for name, (argument, tensor) in given.items():
            if argument.is_numbers != index:
                _explain_one(public_name(operation, name), argument, tensor, x, error)
    names = {name: public_name(operation, name) for name in given}
    if operation == "forward":
        names.setdefault("final_states", "return_final_states")
    for name, public in names.items():
        message = re.sub(rf"\b{name}\b", public, str(error))
        if message != str(error):
            raise type(error)(message) from error
    return None


def public_name(operation, name):
    """The kernels know a caller's tensor for the states by another name."""
    other = {("forward", "final_states"): "final_states_out", ("varlen_states", "states"): "out"}
    return other.get((operation, name), name)


def _explain_one(name, argument, tensor, x, error):
    kind = _unsupported_kind(tensor)
    if kind is not None:
        raise _not_plain(name, kind) from error
    dtypes = DTYPES.get(argument.kind, FLOAT_DTYPES)
    if tensor.dtype not in dtypes:
        *most, last = (str(dtype).removeprefix("torch.") for dtype in dtypes)
        came = str(tensor.dtype).removeprefix("torch.")
        expected = f"{', '.join(most)} or {last}" if most else last
        raise TypeError(f"{name}: expected {expected}, got {came}") from error
    require_device(name, tensor, x.device, "x")


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
    if is_zero_tensor(tensor):
        return "a ZeroTensor, which has no memory"
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
    if isinstance(length, int) and length >= 2**63:
        raise ValueError(f"state_len: expected a 64-bit integer, got {length}")
    return length


def slot_id(value):
    """value as an int that fits the kernels' 64 bits."""
    number = _integer("pad_slot_id", value)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"pad_slot_id: expected a 64-bit integer, got {number}")
    return number


def meaningful_slot_id(value, conv_state_indices):
    """The same, refused where there is nothing that it could be compared with."""
    number = slot_id(value)
    if number != -1 and conv_state_indices is None:
        raise ValueError(
            f"pad_slot_id: expected conv_state_indices beside it, got {number} without them"
        )
    return number


def packed_length(max_seqlen, cu_seqlens):
    """max_seqlen as an int: given if, and only if, cu_seqlens are. 0 without them."""
    if cu_seqlens is None:
        if max_seqlen is not None:
            raise ValueError(
                f"max_seqlen: expected cu_seqlens beside it, got {max_seqlen} without them"
            )
        return 0
    if max_seqlen is None:
        raise ValueError("max_seqlen: expected an integer beside cu_seqlens, got None")
    length = _integer("max_seqlen", max_seqlen)
    if isinstance(length, int) and not 0 <= length < 2**63:
        raise ValueError(f"max_seqlen: expected a 64-bit integer >= 0, got {length}")
    return length


def node_states(states, x, weight):
    """(B, T, D, W-1) as the kernels take it: (B * T, D, W-1), the same memory."""
    require_named(intermediate_states=states)
    sized = all(isinstance(t, torch.Tensor) for t in (x, weight)) and weight.dim() > 0
    if sized and x.dim() in (2, 3):
        length = x.shape[2] if x.dim() == 3 else 1
        shape = (x.shape[0], length, x.shape[1], weight.shape[-1] - 1)
        if tuple(states.shape) != shape:
            raise ValueError(
                f"intermediate_states: expected shape (B, T, D, W-1) = {shape}, got "
                f"{tuple(states.shape)}"
            )
    if states.dim() != 4:
        raise ValueError(
            f"intermediate_states: expected shape (B, T, D, W-1), got {tuple(states.shape)}"
        )
    try:
        return states.view(states.shape[0] * states.shape[1], *states.shape[2:])
    except RuntimeError:
        raise ValueError(
            "intermediate_states: expected rows of nodes that follow each other (a view as "
            f"(B * T, D, W-1)), got strides {states.stride()}"
        ) from None


def writable(name, tensor):
    """Refuse a tensor that PyTorch would not let a kernel write, before anything is written."""
    if is_dynamo_compiling():
        return
    if tensor.is_inference() and not torch.is_inference_mode_enabled():
        raise RuntimeError(
            f"{name}: expected a tensor that may change in place, got an inference tensor outside "
            f"inference mode; pass {name}.clone()"
        )
    if is_zero_tensor(tensor):
        raise _not_plain(name, "a ZeroTensor, which has no memory")


def writable_state(name, tensor):
    """The same for a tensor that is read and written where it lies."""
    if not is_dynamo_compiling() and tensor.is_neg():
        raise ValueError(
            f"{name}: expected memory that holds the values, got a negative view of it; "
            f"pass {name}.resolve_neg()"
        )
    writable(name, tensor)


def recorded_target(name, tensor, **saved):
    """Refuse memory that the backward pass will read: what is written there would be lost to it."""
    for other, value in saved.items():
        if value is not None and _shares_storage(tensor, value):
            raise ValueError(
                f"{name}: expected memory of its own while gradients are recorded, got memory of "
                f"the same storage as {other}"
            )


def _shares_storage(tensor, other):
    if tensor is other or is_dynamo_compiling():
        return tensor is other
    try:
        begin = tensor.untyped_storage().data_ptr()
        return begin != 0 and begin == other.untyped_storage().data_ptr()
    except RuntimeError:  # a subclass or a transform without storage
        return False


def check_targets(operation, tensors, recorded, copied=False):
    """Refuse what the caller wants written where PyTorch would not let it, before anything is.

    recorded: whether autograd is to know of the call. copied: whether the results will be copied
    there, not written by the kernels.
    """
    given = {name: tensor for name, (_, tensor) in _tables.named(operation, tensors).items()}
    for name in [name for name in given if name in STATES]:
        public = public_name(operation, name)
        refuse_recorded(public, given[name])
        writable_state(public, given[name])
    out, states = given.pop("out", None), given.pop("final_states", None)
    if out is not None and recorded:
        refuse_grad_with_out()
    if out is not None:
        if copied:
            target("out", out, given["x"].shape, given["x"])
        writable("out", out)
    if states is not None:
        if copied or recorded:
            _states_target(states, given)
        writable("final_states_out", states)
        if recorded:
            recorded_target("final_states_out", states, **given)


def _states_target(states, given):
    """Before anything runs: the states are copied there, not written by the kernel."""
    shape = states_shape(given["x"], given["weight"], given.get("cu_seqlens"))
    if shape is not None:
        target("final_states_out", states, shape, given["x"])
    if states.is_leaf:
        refuse_recorded("final_states_out", states)


def states_shape(x, weight, cu_seqlens):
    """Of the final states; None for wrong shapes, which the kernels refuse."""
    if x.dim() != 3 or weight.dim() not in (2, 3) or weight.shape[-1] < 1:
        return None
    sequences = x.shape[0] if cu_seqlens is None else max(cu_seqlens.numel() - 1, 0)
    return (sequences, x.shape[1], weight.shape[-1] - 1)


def new_states(x, weight, cu_seqlens, state_len=None, positions=None):
    """Uninitialised final states, or those of varlen_states, which has no weight."""
    if weight is None:
        return _new_varlen_states(x, cu_seqlens, state_len, positions)
    shape = states_shape(x, weight, cu_seqlens)
    return None if shape is None else x.new_empty(shape)


def _new_varlen_states(x, cu_seqlens, state_len, positions):
    count = max(cu_seqlens.numel() - 1, 0) if positions is None else positions.numel()
    return x.new_empty((count, *x.shape[1:], state_length(state_len)))


def states_target(out, out_indices, state_len):
    """state_len, which a caller's tensor has to agree with."""
    if out is None:
        if out_indices is not None:
            raise ValueError("out: expected a tensor beside out_indices, got None")
        return state_len
    length = state_length(state_len)
    if isinstance(out, torch.Tensor) and out.dim() == 3 and out.shape[2] != length:
        raise ValueError(f"out: expected states of state_len = {length} steps, got {out.shape[2]}")
    return length


def refuse_recorded(name, state):
    """A state changes in place, which a recorded tensor would not survive unnoticed."""
    if state.requires_grad and torch.is_grad_enabled():
        refuse_grad_in_place(name)


def target(name, tensor, shape, like):
    """Refuse a tensor that is not of this shape, and of the dtype and device of `like`."""
    if tensor.dtype != like.dtype:
        raise TypeError(f"{name}: expected {like.dtype} like x, got {tensor.dtype}")
    if tuple(tensor.shape) != tuple(shape):
        raise ValueError(f"{name}: expected shape {tuple(shape)}, got {tuple(tensor.shape)}")
    require_device(name, tensor, like.device, "x")


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
