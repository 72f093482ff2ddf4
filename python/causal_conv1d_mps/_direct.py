"""Decides when a call may skip the dispatcher, and allocates results.

Everything here is on the path of every eager call on a GPU (on the CPU _eager.c serves it), so each
line is counted in nanoseconds.
"""

import torch
from torch.autograd import forward_ad

from . import _C
from ._compat import HAS_OPERATORS, is_dynamo_compiling

transforms_active = torch._C._are_functorch_transforms_active
# Tells autograd that a kernel has written into a tensor.
increment_version = torch.autograd.graph.increment_version


def needs_composite():
    """Whether only a composition of PyTorch operations can serve a call that is not direct."""
    if is_dynamo_compiling():
        return transforms_active()
    return forward_ad._current_level >= 0 or not HAS_OPERATORS


def eager_transforms_active():
    """Whether functorch transforms this call, outside torch.compile."""
    return not is_dynamo_compiling() and transforms_active()


def is_direct(x, weight, *others):
    """Whether a call on these tensors may skip the dispatcher; the others may be None.

    It may if nothing has to see it (compile, functorch, a mode, a tracer, a profiler), if they are
    of classes without behaviour of their own, and if their memory holds their values: x.conj().imag
    is a view that PyTorch negates when it is read, a ZeroTensor has no memory.
    """
    return not is_dynamo_compiling() and _C.is_direct(x, weight, *others)


def refuse_tangents(name, *tensors):
    """A dual tensor given to a function without derivatives would lose its tangent silently."""
    if is_dynamo_compiling() or forward_ad._current_level < 0:
        return
    for tensor in tensors:
        if tensor is not None and forward_ad.unpack_dual(tensor).tangent is not None:
            raise NotImplementedError(f"{name} has no forward-mode derivative")


def any_requires_grad(*tensors):
    """Whether autograd has to record an operation on these tensors (or None)."""
    for tensor in tensors:  # a loop, because a generator costs more than the tests
        if tensor is not None and tensor.requires_grad:
            return True
    return False


def scratch_allocator(x):
    """The callback through which a kernel asks for scratch memory."""
    device = x.device
    return lambda nbytes: torch.empty(nbytes, dtype=torch.uint8, device=device)


def new_final_states(x, weight, cu_seqlens):
    """An uninitialised state tensor; None for wrong shapes, which the kernel will refuse."""
    shape = final_states_shape(x, weight, cu_seqlens)
    return None if shape is None else x.new_empty(shape)


def final_states_shape(x, weight, cu_seqlens):
    if x.dim() != 3 or weight.dim() not in (2, 3) or weight.shape[-1] < 1:
        return None
    sequences = x.shape[0] if cu_seqlens is None else max(cu_seqlens.numel() - 1, 0)
    return (sequences, x.shape[1], weight.shape[-1] - 1)


def follows_autocast(tensor):
    return tensor.is_floating_point() and tensor.dtype != torch.float64
