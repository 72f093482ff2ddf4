"""What the cases run on: a registry of backends.

A backend is a name, the device of its tensors, the dtypes that it computes, and a context manager
that puts it in charge. To add one, append it in `_found`: the tests learn of it from here alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch

from causal_conv1d_mps import _C

ALL_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def _nothing():
    return contextlib.nullcontext()


@dataclass(frozen=True)
class Backend:
    name: str
    device: str
    kernel_prefix: str
    dtypes: tuple = ALL_DTYPES
    enter: Callable[[], contextlib.AbstractContextManager] = _nothing
    last_kernel: Callable[[], str] = _C.last_kernel
    missing: str | None = None  # why it cannot run here
    backward_on_this_thread: bool = True  # so that last_kernel sees it
    keeps_subnormals: bool = True  # of float32; some GPUs flush them to zero

    def __str__(self):
        return self.name

    def supports(self, *dtypes):
        return all(dtype in self.dtypes for dtype in dtypes)

    def check_ran(self, operation):
        """Fail unless this backend ran `operation` last on this thread."""
        kernel = self.last_kernel()
        assert kernel.startswith(self.kernel_prefix) and operation in kernel, (
            f"expected {self.kernel_prefix}...{operation}, ran {kernel!r}"
        )


def _cpu(implementation):
    @contextlib.contextmanager
    def forced():
        _C.set_implementation(implementation)
        try:
            yield
        finally:
            _C.set_implementation(None)

    prefix = f"cpu/{implementation}/"
    return Backend(f"cpu-{implementation}", "cpu", prefix, enter=forced)


def _cuda():
    here = {b["name"]: b for b in _C.backends()}.get("cuda")
    missing = None
    if not torch.cuda.is_available():
        missing = "no CUDA device, or a PyTorch without CUDA"
    elif here is None or not here["available"]:
        missing = f"the library has no CUDA here: {here and here['detail']}"
    return Backend("cuda", "cuda", "cuda/", missing=missing, backward_on_this_thread=False)


def _mps():
    missing = None
    if not torch.backends.mps.is_available():
        missing = "no Apple GPU, or a PyTorch without MPS"
    elif not hasattr(torch.mps, "compile_shader"):
        missing = f"PyTorch {torch.__version__} has no torch.mps.compile_shader; 2.7 has"
    return Backend(
        "mps",
        "mps",
        "metal/mps/",
        dtypes=(torch.float32, torch.float16, torch.bfloat16),
        missing=missing,
        backward_on_this_thread=False,
        keeps_subnormals=False,
    )


def _found():
    yield from (_cpu(name) for name in _C.implementations())
    yield _cuda()
    yield _mps()


BACKENDS = {backend.name: backend for backend in _found()}
CPU = [backend for backend in BACKENDS.values() if backend.kernel_prefix.startswith("cpu/")]
