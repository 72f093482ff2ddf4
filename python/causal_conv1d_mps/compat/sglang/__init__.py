"""The interfaces of SGLang 0.5.23 to this operation.

Here: its CPU operators (sgl_kernel/mamba.py) and the pair that its CUDA models call
(srt/layers/attention/mamba/causal_conv1d.py). triton: kernels/ops/mamba/causal_conv1d_triton.py.

A state's last W-1 steps lie in the first W-1 columns of its row. Rows whose index is pad_slot_id
are padding: y is 0 there (SGLang leaves memory as it found it). Results are new tensors, never x.
Weights are plain (D, W): causal_conv1d_weight_pack, called once on the CPU, returns them.
"""

from causal_conv1d_mps import _checks, functional

from . import triton

__all__ = [
    "PAD_SLOT_ID",
    "causal_conv1d_fn",
    "causal_conv1d_fn_cpu",
    "causal_conv1d_update",
    "causal_conv1d_update_cpu",
    "causal_conv1d_weight_pack",
    "triton",
]

PAD_SLOT_ID = triton.PAD_SLOT_ID


def causal_conv1d_weight_pack(weight):
    """weight (D, W) as it is: the kernels read the plain layout."""
    _checks.require_named(weight=weight)
    return weight


def causal_conv1d_fn_cpu(
    mixed_qkv_transposed,
    conv_weights,
    bias,
    activation,
    conv_states,
    has_initial_state,
    cache_indices,
    query_start_loc,
    seq_lens_cpu,
):
    """Prefill. mixed_qkv_transposed: (D, total) with query_start_loc (N+1,), else (N, D, T).

    The rest as in causal_conv1d_fn; seq_lens_cpu repeats query_start_loc.
    """
    return causal_conv1d_fn(
        mixed_qkv_transposed,
        conv_weights,
        bias,
        query_start_loc,
        cache_indices,
        has_initial_state,
        conv_states,
        activation,
        seq_lens_cpu=seq_lens_cpu,
    )


def causal_conv1d_update_cpu(
    mixed_qkv,
    conv_states,
    conv_weights,
    bias,
    activation,
    conv_state_indices,
    intermediate_conv_window=None,
    intermediate_state_indices=None,
    retrieve_next_token=None,
    retrieve_next_sibling=None,
    retrieve_parent_token=None,
):
    """Decoding, and verification of drafts, trees included. mixed_qkv: (N, D) or (N, D, T).

    The rest as in triton.causal_conv1d_update. The links of a tree count only where
    intermediate_conv_window is given, as there.
    """
    links = dict(
        intermediate_state_indices=intermediate_state_indices,
        retrieve_next_token=retrieve_next_token,
        retrieve_next_sibling=retrieve_next_sibling,
        retrieve_parent_token=retrieve_parent_token,
    )
    return triton.causal_conv1d_update(
        mixed_qkv,
        conv_states,
        conv_weights,
        bias,
        activation,
        conv_state_indices=conv_state_indices,
        intermediate_conv_window=intermediate_conv_window,
        **({} if intermediate_conv_window is None else links),
    )


def causal_conv1d_fn(
    x,
    weight,
    bias=None,
    query_start_loc=None,
    cache_indices=None,
    has_initial_state=None,
    conv_states=None,
    activation="silu",
    pad_slot_id=PAD_SLOT_ID,
    **kwargs,
):
    """Prefill. x: (D, total) with query_start_loc (N+1,), else (N, D, T). weight: (D, W).

    conv_states: (rows, D, S), S >= W-1, changed in place; None convolves from zeros.
    cache_indices: (N,), the row of every sequence. has_initial_state: (N,) bool.
    activation: None, "silu", "swish", True or False. kwargs: seq_lens_cpu, block_table and
    validate_data, which change no value. Returns y, of x's shape.
    """
    return triton.prefill(
        x,
        weight,
        bias,
        conv_states,
        query_start_loc,
        cache_indices,
        has_initial_state,
        activation,
        pad_slot_id,
        kwargs,
    )


def causal_conv1d_update(
    x,
    conv_state,
    weight,
    bias=None,
    activation=None,
    cache_seqlens=None,
    conv_state_indices=None,
    pad_slot_id=PAD_SLOT_ID,
):
    """Decoding. x: (N, D) or (N, D, T). conv_state: (rows, D, S), S >= W-1, changed in place.

    cache_seqlens: (N,); the row is then a circular buffer, else its last W-1 columns come before x.
    conv_state_indices: (N,), the row of each. Returns y, of x's shape.
    """
    indices = conv_state_indices
    return functional.causal_conv1d_update(
        x,
        conv_state,
        weight,
        bias,
        triton.activation_name(activation),
        cache_seqlens,
        indices,
        **({} if indices is None or pad_slot_id is None else {"pad_slot_id": pad_slot_id}),
    )
