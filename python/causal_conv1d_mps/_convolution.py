"""causal_conv1d_fn: which way a call goes, and what is around the operators."""

import torch

from . import _C, _checks, _composite, _tables
from ._compat import (
    HAS_OPERATORS,
    any_autocast,
    autocast_dtype,
    autocast_enabled,
    is_dynamo_compiling,
    require_operators,
)
from ._watch import (
    any_requires_grad,
    eager_transforms_active,
    needs_composite,
    refuse_tangents,
)

if HAS_OPERATORS:
    from . import _functorch, _ops

INPUTS = len(_tables.INPUTS["forward"])


def convolve(tensors, activation, return_final_states=False, pad_slot_id=-1):
    """Straight to the kernels if nothing watches the call, else through the operators.

    tensors: those of "forward" in _tables; the tuple may end early.
    """
    if not is_dynamo_compiling():
        if torch.autograd.profiler._is_profiler_enabled and _writes(tensors):
            operator = "forward" if tensors[_tables.PURE] is None else "prefill"
            with shown(operator):
                found = _C.forward(tensors, activation, return_final_states, pad_slot_id)
        else:
            found = _C.forward(tensors, activation, return_final_states, pad_slot_id)
        if found is not NotImplemented:
            return found
    return _convolve_watched(tensors, activation, return_final_states, pad_slot_id)


def _writes(tensors):
    return any(tensor is not None for tensor in tensors[INPUTS:])


def shown(operator):
    """A profiler shows operators; a call that writes to the caller's tensors runs without one."""
    return torch.profiler.record_function(f"causal_conv1d_mps::{operator}")


def _convolve_watched(tensors, activation, return_final_states, pad_slot_id):
    activation = _checks.activation_code(activation)
    given = {name: tensor for name, (_, tensor) in _tables.named("forward", tensors).items()}
    indices = given.get("conv_state_indices", given.get("conv_state_out_indices"))
    pad_slot_id = _checks.meaningful_slot_id(pad_slot_id, indices)
    _checks.require_tensors("forward", tensors)
    _checks.refuse_unfit("forward", tensors, return_final_states)
    pooled = "conv_states" in given
    if pooled:
        names = [a.name for a in _tables.INPUTS["forward"] if a.is_numbers]
        refuse_tangents("causal_conv1d_fn with conv_states", *map(given.get, names))
    recorded = torch.is_grad_enabled() and any_requires_grad(
        *(t for a, t in _tables.named("forward", tensors).values() if a.is_numbers)
    )
    if any_autocast():
        tensors = autocast("forward", tensors)
    _checks.check_targets("forward", tensors, recorded, copied=True)
    tensors = (*tensors, *[None] * (len(_tables.ARGUMENTS["forward"]) - len(tensors)))
    *inputs, out, final_states_out = tensors
    if pooled:
        require_operators("causal_conv1d_fn with conv_states")
        y = _ops.prefill(*inputs, pad_slot_id, activation)
        return y if out is None else out.copy_(y)
    inputs = inputs[: _tables.PURE]
    if needs_composite():
        y, final_states = _composite.forward(*inputs, activation)
    else:
        operator = _functorch.forward if eager_transforms_active() else _ops.forward
        with_states = bool(return_final_states) or final_states_out is not None
        y, final_states = operator(*inputs, activation, with_states)
    if out is not None:
        y = out.copy_(y)
    if final_states_out is not None:
        final_states = final_states_out.copy_(final_states)
    return (y, final_states) if return_final_states else y


def autocast(operation, tensors):
    """F.conv1d's rule for x; what has to share x's dtype follows, parameters stay.

    In decoding the dtype is the state's: prefill has stored it under the same autocast. A prefill
    computes as without a pool, whose dtype is its own.
    """
    x = tensors[0]
    if not autocast_enabled(x.device.type) or not _follows_autocast(x):
        return tensors
    dtype = autocast_dtype(x.device.type)
    inputs = _tables.INPUTS[operation]
    for argument, tensor in zip(inputs, tensors, strict=False):
        dtype = tensor.dtype if (operation, argument.kind) == ("update", "s") else dtype
    cast = [
        tensor.to(dtype)
        if argument.kind == "x" and tensor is not None and _follows_autocast(tensor)
        else tensor
        for argument, tensor in zip(inputs, tensors, strict=False)
    ]
    return (*cast, *tensors[len(cast) :])


def _follows_autocast(tensor):
    return tensor.is_floating_point() and tensor.dtype != torch.float64
