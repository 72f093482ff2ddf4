"""The one place that knows which module runs a device type.

A kernels module has forward, backward, update and varlen_states, with the arguments of `_C`.
"""

from . import _C, _cuda

_C.set_nvrtc_paths(_cuda.nvrtc_paths())


def of(x):
    """The kernels module for the tensor's device, or None where this package has no kernels."""
    if x.is_cpu or x.is_cuda:
        return _C
    if x.is_mps:
        # Needs PyTorch's Metal entry points, so it is imported only where there is an MPS tensor.
        from . import _metal

        return _metal
    return None


def require(x):
    """Like of(), but raises where there are no kernels."""
    kernels = of(x)
    if kernels is None:
        raise NotImplementedError(
            f"x: expected a tensor on 'cpu', 'cuda' or 'mps', got one on '{x.device}'"
        )
    return kernels
