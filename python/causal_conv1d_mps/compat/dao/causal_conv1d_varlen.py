"""States of packed sequences."""

from causal_conv1d_mps import functional

__all__ = ["causal_conv1d_varlen_states", "causal_conv1d_varlen_states_ref"]


def causal_conv1d_varlen_states(x, cu_seqlens, state_len):
    """x: (total, dim). cu_seqlens: (batch + 1,). Returns states (batch, dim, state_len).

    A sequence that is shorter than state_len has zeros before its start.
    """
    return functional.causal_conv1d_varlen_states(x, cu_seqlens, state_len)


def causal_conv1d_varlen_states_ref(x, cu_seqlens, state_len):
    """The same by PyTorch operations, a sequence at a time."""
    bounds = cu_seqlens.tolist()
    states = x.new_zeros(len(bounds) - 1, x.shape[1], state_len)
    for state, start, end in zip(states, bounds, bounds[1:], strict=False):
        kept = x[max(start, end - state_len) : end].t()
        state[:, state_len - kept.shape[1] :] = kept
    return states
