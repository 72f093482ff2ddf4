"""Depthwise causal 1D convolution with fused bias and SiLU, for PyTorch on Apple, CPU and CUDA.

Usage::

    import causal_conv1d_mps as ccmps
    y = ccmps.causal_conv1d(x, weight, bias, activation="silu")
"""

from . import nn
from ._fuse import fuse, unfuse
from ._info import __version__, backends, info
from ._warmup import warmup
from .dropin import install, uninstall
from .functional import (
    causal_conv1d,
    causal_conv1d_fn,
    causal_conv1d_fwd,
    causal_conv1d_update,
    causal_conv1d_varlen_states,
)

__all__ = [
    "__version__",
    "backends",
    "causal_conv1d",
    "causal_conv1d_fn",
    "causal_conv1d_fwd",
    "causal_conv1d_update",
    "causal_conv1d_varlen_states",
    "fuse",
    "info",
    "install",
    "nn",
    "unfuse",
    "uninstall",
    "warmup",
]
