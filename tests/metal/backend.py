"""The backend "metal" for the operation tests: CPU tensors through the MPS path and the harness.

Everything between the public function and the compiled kernel is what runs on a Mac; only the
choice of the kernels module and the function that compiles a text are swapped (and the oracle is
told that GPU kernels ran, which its check would see from the device). Importing this makes
the tests of tests/python importable.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from pathlib import Path
from unittest import mock

import harness
import torch
from harness import strict

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

import oracle
from backends import Backend

from causal_conv1d_mps import _C, _backend, _metal


def compile_checked(source):
    """torch.mps.compile_shader, and the compile with real address spaces beside it."""
    strict.check(source)
    return harness.compile_shader(source)


def compile_quickly(source):
    """As compile_checked, where traffic is not counted."""
    strict.check(source)
    return harness.compile_shader(source, optimise=False)


class ResultsWritten:
    """The kernels module, where results and scratch memory hold nothing at first: a kernel that
    reads what was not written fails, and so does one that leaves a byte of a result unwritten."""

    @staticmethod
    def forward(*arguments):
        _run_marked("forward", arguments, results=(7, 8))

    @staticmethod
    def backward(*arguments):
        def scratch(nbytes):
            return harness.uninitialised(arguments[13](nbytes))

        marked = (*arguments[:13], scratch, *arguments[14:])
        _run_marked("backward", marked, results=(8, 9, 10, 11))

    @staticmethod
    def update(*arguments):
        _run_marked("update", arguments, results=(7,))

    @staticmethod
    def varlen_states(*arguments):
        _run_marked("varlen_states", arguments, results=(2,))


def _run_marked(operation, arguments, results):
    results = [arguments[i] for i in results if arguments[i] is not None]
    for result in results:
        harness.uninitialised(result)
    getattr(_metal, operation)(*arguments)
    for result in results:
        left = harness.unwritten(result)
        assert left == 0, f"{operation} left {left} bytes of a result of {result.shape} unwritten"


@functools.cache
def _for(compile_shader, version):
    """A function of its own for each version: kernels are kept by the function that compiles."""
    return functools.partial(compile_shader)


@contextlib.contextmanager
def on_harness(compile_shader=compile_checked, kernels=ResultsWritten, **device):
    """`device` is what harness.device takes."""

    def no(*arguments):
        return None

    with (
        harness.device(**device) as current,
        oracle.device_that(flushes=current.flushes_subnormals),
        # The shortcut of CPU tensors, which these are.
        mock.patch.multiple(_C, eager_forward=no, eager_backward=no, eager_update=no),
        mock.patch.object(_backend, "of", lambda x: kernels),
        mock.patch.object(_metal, "compile_shader", _for(compile_shader, current.version)),
        mock.patch.object(oracle, "from_gpu_kernel", lambda got: True),
    ):
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
