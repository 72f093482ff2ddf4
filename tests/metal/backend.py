"""The backend "metal" for the operation tests: CPU tensors through the MPS path and the harness.

Everything between the public function and the compiled kernel is what runs on a Mac; only the
choice of the kernels module and the function that compiles a text are swapped (and the oracle is
told that GPU kernels ran, which its check would see from the device). Importing this makes
the tests of tests/python importable.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from unittest import mock

import harness
import torch
from harness import strict

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

import oracle
from backends import Backend

from causal_conv1d_mps import _backend, _C, _metal


def compile_checked(source):
    """torch.mps.compile_shader, and the compile with real address spaces beside it."""
    strict.check(source)
    return harness.compile_shader(source)


def compile_quickly(source):
    """As compile_checked, where traffic is not counted."""
    strict.check(source)
    return harness.compile_shader(source, optimise=False)


@contextlib.contextmanager
def on_harness(compile_shader=compile_checked):
    def no(*arguments):
        return None

    with (
        # The shortcut of CPU tensors, which these are.
        mock.patch.multiple(_C, eager_forward=no, eager_backward=no, eager_update=no),
        mock.patch.object(_backend, "of", lambda x: _metal),
        mock.patch.object(_metal, "compile_shader", compile_shader),
        mock.patch.object(oracle, "from_gpu_kernel", lambda got: True),
    ):
        yield


METAL = Backend(
    name="metal",
    device="cpu",
    kernel_prefix="metal/mps/",
    dtypes=(torch.float32, torch.float16, torch.bfloat16),
    enter=on_harness,
)
