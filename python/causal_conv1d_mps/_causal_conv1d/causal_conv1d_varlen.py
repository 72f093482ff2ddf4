"""States of packed sequences."""

from causal_conv1d_mps import causal_conv1d_varlen_states

__all__ = ["causal_conv1d_varlen_states"]
