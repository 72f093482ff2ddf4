"""Which device stands for the Apple GPU, and what the system says about it."""

import contextlib
import subprocess
import sys
from pathlib import Path

import torch

from .markdown import Missing

ROOT = Path(__file__).resolve().parent.parent.parent


def missing(options):
    """Why there is no Apple GPU, or None."""
    if options.backend == "harness":
        return None
    sys.path.insert(0, str(ROOT / "tests" / "python"))
    from backends import BACKENDS  # those of the tests

    why = BACKENDS["mps"].missing
    return None if why is None else f"mps cannot be used: {why}"


@contextlib.contextmanager
def in_use(options):
    """Gives the device of tensors that the Metal kernels compute."""
    why = missing(options)
    if why:
        raise Missing(why)
    if options.backend == "mps":
        yield "mps"
        return
    sys.path.insert(0, str(ROOT / "tests" / "metal"))
    from backend import METAL_FLUSHING

    with METAL_FLUSHING.enter():
        yield "cpu"


def wait(device):
    if device == "mps":
        torch.mps.synchronize()


def command(*words):
    """What it prints, or "" where there is no such command."""
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
