"""The interface of Dao-AILab's causal_conv1d 1.7.0.

Imported as causal_conv1d_mps.compat.dao, or, after causal_conv1d_mps.install(), as causal_conv1d:
code that calls it runs unchanged, and the work is done by causal_conv1d_mps.
"""

from causal_conv1d_mps.dropin import PROVIDED_VERSION as __version__

from .causal_conv1d_interface import (
    CausalConv1dFn,
    causal_conv1d_fn,
    causal_conv1d_ref,
    causal_conv1d_update,
    causal_conv1d_update_ref,
)
from .causal_conv1d_varlen import causal_conv1d_varlen_states, causal_conv1d_varlen_states_ref

__all__ = [
    "CausalConv1dFn",
    "__version__",
    "causal_conv1d_fn",
    "causal_conv1d_ref",
    "causal_conv1d_update",
    "causal_conv1d_update_ref",
    "causal_conv1d_varlen_states",
    "causal_conv1d_varlen_states_ref",
]
