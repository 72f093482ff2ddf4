"""The backend "metal" for the operation tests: CPU tensors through the MPS path and the harness.

Everything between the public function and the compiled kernel is what runs on a Mac; only the
device whose kernels PyTorch launches and the function that compiles a text are swapped (and the
oracle is told that GPU kernels ran, which its check would see from the device). Importing this
makes the tests of tests/python importable.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from pathlib import Path
from unittest import mock

import harness
import torch
from harness import strict

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

import oracle
from backends import Backend

from causal_conv1d_mps import _C, _checks, _metal, _tables, _torch


def compile_checked(source):
    """torch.mps.compile_shader, and the compile with real address spaces beside it."""
    strict.check(source)
    return harness.compile_shader(source)


def compile_quickly(source):
    """As compile_checked, where traffic is not counted."""
    strict.check(source)
    return harness.compile_shader(source, optimise=False)


_NAMES = ("forward", "update", "varlen_states", "backward", "gradients", "run")
_CALLS = {name: getattr(_C, name) for name in _NAMES}


class _ResultsWritten:
    """The binding, where results and scratch memory hold nothing at first: a kernel that reads what
    was not written fails, and so does a call that leaves a byte of a result unwritten."""

    def __init__(self):
        self._calls = threading.local()  # what the calls that are on have made
        self._calls.made = []

    def bound(self):
        return dict(
            empty_like=self._marking(torch.empty_like),
            new_states=self._marking(_checks.new_states),
            empty=lambda *size, **options: harness.uninitialised(torch.empty(*size, **options)),
        )

    def _marking(self, make):
        def made(*arguments):
            result = make(*arguments)
            if result is not None:
                self._calls.made.append(harness.uninitialised(result))
            return result

        return made

    def watching(self):
        """A patch of the functions that make calls."""
        return mock.patch.multiple(_C, **{name: self._watching(name) for name in _CALLS})

    def _watching(self, name):
        function = _CALLS[name]

        def run(*arguments):
            operation, tensors = arguments[:2] if name == "run" else (name, arguments[0])
            given = _given_results(operation, tensors)
            outer, self._calls.made = getattr(self._calls, "made", []), []
            for result in given:
                harness.uninitialised(result)
            found = NotImplemented
            try:
                found = function(*arguments)
            finally:
                made, self._calls.made = self._calls.made, outer
                copied = [r for r in given if r.requires_grad or found is NotImplemented]
                for result in copied:  # not written by a kernel
                    harness.initialised(result)
            for result in made + given if found is not NotImplemented else ():
                left = harness.unwritten(result)
                what = f"{operation} left {left} bytes of a result of {tuple(result.shape)}"
                assert left == 0, f"{what} unwritten"
            return found

        return run


def _given_results(operation, tensors):
    """What the caller has given a call to write its results to, and nothing else: no pool, whose
    other rows stay."""
    pairs = list(zip(_tables.ARGUMENTS.get(operation, ()), tensors))
    if any(a.name == "out_indices" and tensor is not None for a, tensor in pairs):
        return []
    read = {id(tensor) for a, tensor in pairs if not a.result}
    return [
        tensor
        for a, tensor in pairs
        if a.result and isinstance(tensor, torch.Tensor) and id(tensor) not in read
    ]


@functools.cache
def _kernels_of(compile_shader, version):
    """Kernels are kept by the function that compiles them."""
    return {}


_bound = [{}]  # what the contexts that are on have bound, the innermost last


@contextlib.contextmanager
def on_harness(compile_shader=compile_checked, *, marked=True, **device):
    """`device` is what harness.device takes. marked: with the marks of _ResultsWritten."""
    results = _ResultsWritten()
    with contextlib.ExitStack() as stack:
        current = stack.enter_context(harness.device(**device))
        kernels = _kernels_of(compile_shader, current.version)
        for context in (
            oracle.device_that(flushes=current.flushes_subnormals),
            mock.patch.multiple(_metal, compile_shader=compile_shader, kernels=kernels),
            mock.patch.object(oracle, "from_gpu_kernel", lambda got: True),
            results.watching() if marked else mock.patch.multiple(_C, **_CALLS),
        ):
            stack.enter_context(context)
        stack.callback(lambda: (_bound.pop(), _torch.bind(**_bound[-1])))
        _bound.append(dict(launched_device="cpu", kernels=kernels))
        _bound[-1].update(results.bound() if marked else {})
        _torch.bind(**_bound[-1])
        yield


# What the operation table runs on: a device that keeps subnormals, and the text that only Metal 3.2
# and later see; and one that flushes them, as Apple's do, and the text of an older system.
DEVICES = {
    "metal": dict(version="3.2", flushes_subnormals=False),
    "metal-flushing": dict(version="3.1", flushes_subnormals=True),
}


def _metal_on(name, device):
    return Backend(
        name=name,
        device="cpu",
        kernel_prefix="metal/mps/",
        dtypes=(torch.float32, torch.float16, torch.bfloat16),
        enter=functools.partial(on_harness, compile_quickly, **device),
        probe_subnormals=True,
    )


BOTH_METALS = METAL, METAL_FLUSHING = [_metal_on(*named) for named in DEVICES.items()]
