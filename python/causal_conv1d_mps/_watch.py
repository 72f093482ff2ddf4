"""Who watches a call, and what serves it then."""

from torch.autograd import forward_ad

from ._compat import HAS_OPERATORS, is_dynamo_compiling, transforms_active


def needs_composite():
    """Whether only a composition of PyTorch operations can serve a call that is watched."""
    if is_dynamo_compiling():
        return transforms_active()
    return forward_ad._current_level >= 0 or not HAS_OPERATORS


def eager_transforms_active():
    """Whether functorch transforms this call, outside torch.compile."""
    return not is_dynamo_compiling() and transforms_active()


def refuse_tangents(name, *tensors):
    """A dual tensor given to a function without derivatives would lose its tangent silently."""
    if is_dynamo_compiling() or forward_ad._current_level < 0:
        return
    for tensor in tensors:
        if tensor is not None and forward_ad.unpack_dual(tensor).tangent is not None:
            raise NotImplementedError(f"{name} has no forward-mode derivative")


def any_requires_grad(*tensors):
    """Whether autograd has to record an operation on these tensors (or None)."""
    return any(tensor is not None and tensor.requires_grad for tensor in tensors)
