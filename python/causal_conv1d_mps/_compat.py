"""What differs between PyTorch releases, in one place.

From PyTorch 2.5 on everything is there. Before it the registered operators are missing: calls that
PyTorch's machinery has to see are then composed of PyTorch operations.
"""

import torch

# torch.library.register_vmap is the last of what the operators need (PyTorch 2.5).
HAS_OPERATORS = hasattr(torch.library, "register_vmap")

if hasattr(torch.compiler, "is_dynamo_compiling"):
    is_dynamo_compiling = torch.compiler.is_dynamo_compiling
else:

    def is_dynamo_compiling():
        # Such a Dynamo breaks the graph at the kernel, which is right without our help.
        return False


if hasattr(torch, "get_autocast_dtype"):
    autocast_dtype = torch.get_autocast_dtype

    def autocast_enabled(device_type):
        # Where there is no autocast ("meta"), asking whether it is enabled raises.
        if is_dynamo_compiling():  # which cannot trace the question
            available = device_type in ("cpu", "cuda", "mps")
        else:
            available = torch.amp.is_autocast_available(device_type)
        return available and torch.is_autocast_enabled(device_type)
else:

    def autocast_enabled(device_type):
        if device_type == "cpu":
            return torch.is_autocast_cpu_enabled()
        return device_type == "cuda" and torch.is_autocast_enabled()

    def autocast_dtype(device_type):
        if device_type == "cpu":
            return torch.get_autocast_cpu_dtype()
        return torch.get_autocast_gpu_dtype()


def _any_autocast():
    return torch.is_autocast_enabled() or torch.is_autocast_cpu_enabled()


any_autocast = getattr(torch._C, "_is_any_autocast_enabled", _any_autocast)


def _never_batched(tensor):
    return False


# Whether a tensor is one of many that torch.autograd.grad(is_grads_batched=True) runs at once; that
# has a vmap of its own, of which functorch does not know.
is_batched_gradient = getattr(torch._C._functorch, "is_legacy_batchedtensor", _never_batched)


transforms_active = torch._C._are_functorch_transforms_active


# Tells autograd that a kernel has written into a tensor.
increment_version = torch.autograd.graph.increment_version

if hasattr(torch.Tensor, "__dlpack_c_exchange_api__"):
    # The same for a tuple of tensors, without a Python function around it (PyTorch 2.10).
    increment_versions = torch._C._increment_version
else:

    def increment_versions(tensors):
        for tensor in tensors:
            increment_version(tensor)


# Zeros that PyTorch has not allocated; forward-mode derivatives make them.
is_zero_tensor = torch._is_zerotensor


def require_operators(name):
    """Refuse a call that nothing but a registered operator can serve."""
    if not HAS_OPERATORS:
        raise NotImplementedError(
            f"{name}: under torch.compile, functorch, modes and tensor subclasses it needs "
            f"PyTorch 2.5 or newer, this is {torch.__version__}"
        )
