"""Gives the C code of a plain eager call what it needs of PyTorch (_eager.c)."""

import torch
from torch.autograd import forward_ad
from torch.utils._device import DeviceContext

from . import _C, _autograd
from ._compat import any_autocast
from ._direct import transforms_active


def _another_than_default_device():
    """torch.set_default_device is a function mode too, which only factory functions heed."""
    modes = map(torch._C._get_function_stack_at, range(torch._C._len_torch_function_stack()))
    return any(type(mode) is not DeviceContext for mode in modes)


def bind():
    _C.bind_torch(
        {
            "Tensor": torch.Tensor,
            "Parameter": torch.nn.Parameter,
            "empty_like": torch.empty_like,
            # torch.autograd.graph.increment_version without its own call.
            "increment_version": torch._C._increment_version,
            "record": _autograd.apply,
            "is_neg": torch.Tensor.is_neg,
            "inference_mode": torch.is_inference_mode_enabled,
            "forward_ad": forward_ad,
            "profiler": torch.autograd.profiler,
            "transforms_active": transforms_active,
            "dispatch_modes": torch._C._len_torch_dispatch_stack,
            "function_modes": torch._C._is_torch_function_mode_enabled,
            "another_than_default_device": _another_than_default_device,
            "tracing": torch._C._is_tracing,
            "autocast": any_autocast,
            "grad_enabled": torch.is_grad_enabled,
            "num_threads": torch.get_num_threads,
        }
    )
