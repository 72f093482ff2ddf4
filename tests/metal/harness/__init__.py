"""Runs Metal kernels on the CPU, without a Mac, and says what they do wrong (../README.md)."""

from .errors import (
    DataRaceError,
    DivergenceError,
    MemoryFaultError,
    MetalError,
    MisalignedError,
    OutOfBoundsError,
    ReadOnlyError,
    ToolchainError,
    UninitialisedReadError,
)
from .library import MetalKernel, ShaderLibrary, checks, compile_shader, count_traffic, traffic
from .memory import initialised, uninitialised, unwritten
from .modes import device
from .traffic import Traffic

__all__ = [
    "DataRaceError",
    "DivergenceError",
    "MemoryFaultError",
    "MetalError",
    "MetalKernel",
    "MisalignedError",
    "OutOfBoundsError",
    "ReadOnlyError",
    "ShaderLibrary",
    "ToolchainError",
    "Traffic",
    "UninitialisedReadError",
    "checks",
    "compile_shader",
    "count_traffic",
    "device",
    "empty",
    "initialised",
    "traffic",
    "uninitialised",
    "unwritten",
]


def empty(*size, dtype=None):
    """torch.empty whose elements a kernel must write before it reads them."""
    import torch

    return uninitialised(torch.empty(*size, dtype=dtype))
