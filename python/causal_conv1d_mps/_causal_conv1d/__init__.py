"""causal_conv1d, provided by causal_conv1d_mps.install().

These functions have the names and parameters of Dao-AILab's package, so that code that calls them
runs unchanged; the work is done by causal_conv1d_mps.
"""

from causal_conv1d_mps.dropin import PROVIDED_VERSION as __version__

from .causal_conv1d_interface import causal_conv1d_fn, causal_conv1d_update
from .causal_conv1d_varlen import causal_conv1d_varlen_states

__all__ = [
    "__version__",
    "causal_conv1d_fn",
    "causal_conv1d_update",
    "causal_conv1d_varlen_states",
]
