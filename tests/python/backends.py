"""What the cases run on: a registry of backends.

A backend is a name, the device of its tensors, the dtypes that it computes, and a context manager
that puts it in charge. To add one, append it in `_found`: the tests learn of it from here alone.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch

from causal_conv1d_mps import _C, _metal

ALL_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


_DOUBLE = """
#include <metal_stdlib>
using namespace metal;
kernel void twice(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
    x[i] = x[i] * 2.0f;
}
"""


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
    probe_subnormals: bool = False  # whether it may flush those of float32; the others keep them

    def __str__(self):
        return self.name

    def supports(self, *dtypes):
        return all(dtype in self.dtypes for dtype in dtypes)

    @functools.cached_property
    def flushes_subnormals(self):
        """Whether float32 subnormals are taken and given as zeros, by trying. (cached_property
        writes the instance's dictionary, which a frozen class has too.)"""
        if not self.probe_subnormals:
            return False
        with self.enter():
            x = torch.tensor([2.0**-130, 2.0**-100], device=self.device)
            _metal.compile_shader(_DOUBLE).twice(x, threads=2, group_size=2)
            subnormal, normal = x.cpu().tolist()
        assert normal == 2.0**-99 and subnormal in (0, 2.0**-129)
        return subnormal == 0

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
    missing = _metal.missing()
    if missing is None:
        try:
            torch.ones(1, device="mps")
        except RuntimeError as error:  # virtual Macs have a GPU without memory
            missing = f"PyTorch finds a device, and cannot use it: {error}"
    return Backend(
        "mps",
        "mps",
        "metal/mps/",
        dtypes=(torch.float32, torch.float16, torch.bfloat16),
        missing=missing,
        backward_on_this_thread=False,
        probe_subnormals=True,
    )


def _found():
    yield from (_cpu(name) for name in _C.implementations())
    yield _cuda()
    yield _mps()


BACKENDS = {backend.name: backend for backend in _found()}
CPU = [backend for backend in BACKENDS.values() if backend.kernel_prefix.startswith("cpu/")]
