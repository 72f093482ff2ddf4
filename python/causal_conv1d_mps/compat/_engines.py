"""What the engines' interfaces share: names of activations, marks of padding, a row's columns."""

import torch

from causal_conv1d_mps import _checks


def activation_name(activation):
    """True and False, as engines pass them, mean SiLU and none."""
    if isinstance(activation, bool):
        return "silu" if activation else None
    _checks.activation_code(activation)
    return activation


def padded(name, indices, *marks):
    """The indices and the pad_slot_id to pass on, where several numbers mark a padded sequence.

    A negative index is padding whatever pad_slot_id is.
    """
    marks = [mark for mark in marks if mark is not None]
    if indices is None:
        return None, {}
    _checks.require_named(**{name: indices})
    if not marks:
        return indices, {}
    first, *others = marks
    for other in others:
        if other != first and other >= 0:
            indices = torch.where(indices == other, first, indices)
    return indices, {"pad_slot_id": first}


def first_column(indices):
    """(N,), or None, of (N,) or (N, blocks): where there is one row per sequence."""
    return indices if indices is None or indices.dim() == 1 else indices[:, 0]


def history(name, states, weight):
    """The first W-1 columns of every row: where engines keep the last steps."""
    _checks.require_named(**{name: states})
    columns = weight.shape[-1] - 1
    if states.dim() != 3 or states.shape[2] < columns:
        raise ValueError(
            f"{name}: expected (rows, D, S) with S >= W-1 = {columns}, got {tuple(states.shape)}"
        )
    return states[..., :columns]


def live(indices, states, *marks):
    """Which sequences are no padding, as the kernels see it."""
    found = (indices >= 0) & (indices < states.shape[0])
    for mark in marks:
        if mark is not None:
            found &= indices != mark
    return found
