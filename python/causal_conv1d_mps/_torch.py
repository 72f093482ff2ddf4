"""What the C code needs of PyTorch (torch.c), and when PyTorch's machinery has to see a call."""

import torch
from torch.autograd import forward_ad
from torch.utils._device import DeviceContext

from . import _C, _autograd, _checks, _convolution, _cuda, _metal
from ._compat import any_autocast, increment_versions, transforms_active

_C.set_nvrtc_paths(_cuda.nvrtc_paths())


def _another_than_default_device():
    """torch.set_default_device is a function mode too, which only factory functions heed."""
    modes = map(torch._C._get_function_stack_at, range(torch._C._len_torch_function_stack()))
    return any(type(mode) is not DeviceContext for mode in modes)


def bind(**others):
    """Give it all to the C code, with others in the place of some."""
    answers = {
        "Tensor": torch.Tensor,
        "Parameter": torch.nn.Parameter,
        "empty_like": torch.empty_like,
        "empty": torch.empty,
        "uint8": torch.uint8,
        "new_states": _checks.new_states,
        "increment_version": increment_versions,
        "record": _autograd.apply,
        "without_derivative": _autograd.without_derivative,
        "activation": _checks.activation_code,
        "slot_id": _checks.meaningful_slot_id,
        "max_seqlen": _checks.packed_length,
        "autocast": _convolution.autocast,
        "check_targets": _checks.check_targets,
        "explain": _checks.explain,
        "compile": _metal.compile_kernel,
        "kernels": _metal.kernels,
        "launched_device": "mps",
        "is_neg": torch.Tensor.is_neg,
        "inference_mode": torch.is_inference_mode_enabled,
        "forward_ad": forward_ad,
        "profiler": torch.autograd.profiler,
        "transforms_active": transforms_active,
        "dispatch_modes": torch._C._len_torch_dispatch_stack,
        "function_modes": torch._C._is_torch_function_mode_enabled,
        "another_than_default_device": _another_than_default_device,
        "tracing": torch._C._is_tracing,
        "any_autocast": any_autocast,
        "grad_enabled": torch.is_grad_enabled,
        "num_threads": torch.get_num_threads,
    }
    _C.bind_torch({**answers, **others})
