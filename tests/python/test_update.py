"""causal_conv1d_update against the float64 reference; the states exactly."""

import cases
import oracle
import pytest
import torch
from inputs import same_bits, storage_around

import causal_conv1d_mps as ccmps


@pytest.mark.cases(cases.UPDATE)
def test_update(backend, case):
    arguments = case.arguments(backend.device)
    want = oracle.update(**arguments)
    around = storage_around(arguments["conv_state"])
    x = arguments["x"].clone()

    y = ccmps.causal_conv1d_update(**arguments)

    if y.numel():
        backend.check_ran("update")
    assert y.dtype == case.x_dtype and y.device == x.device
    oracle.check(y, want.y, "y")
    assert same_bits(arguments["conv_state"].cpu(), want.conv_state), "wrong conv_state"
    assert same_bits(storage_around(arguments["conv_state"]), around), "wrote outside conv_state"
    assert same_bits(arguments["x"], x)


@pytest.mark.parametrize("pad_slot_id", [-1, 2, -7])
def test_pad_slots_are_left_alone(backend, pad_slot_id):
    """An index that is negative or equal to pad_slot_id means: no sequence in this row."""
    case = cases.UpdateCase(4, 9, 2, 4, 1)
    arguments = case.arguments(backend.device)
    indices = torch.tensor([1, 2, -1, 0], dtype=torch.int32, device=backend.device)
    before = arguments["conv_state"].clone()
    arguments |= dict(conv_state_indices=indices, pad_slot_id=pad_slot_id)
    want = oracle.update(**arguments)
    y = ccmps.causal_conv1d_update(**arguments)
    oracle.check(y, want.y, "y")
    assert same_bits(arguments["conv_state"].cpu(), want.conv_state)
    assert not y[2].any() and same_bits(arguments["conv_state"][3], before[3])
    assert bool(y[1].any()) == (pad_slot_id != 2)


def test_rejected_tokens_leave_no_trace(backend):
    """Speculative decoding: three drafts of which two are accepted, then three more, equals the
    five accepted tokens and the last three one by one."""
    case = cases.UpdateCase(2, 9, 3, 4, 0, mode="accepted")
    arguments = case.arguments(backend.device)
    state = torch.zeros_like(arguments["conv_state"])
    plain = torch.zeros(2, 9, 3, device=backend.device)
    parameters = {k: arguments[k] for k in ("weight", "bias", "activation")}
    tokens = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(1)).to(backend.device)

    drafts = torch.cat([tokens[..., :2], torch.full_like(tokens[..., :1], 7.0)], dim=-1)
    ccmps.causal_conv1d_update(drafts, state, **parameters)
    accepted = torch.full((2,), 2, dtype=torch.int32, device=backend.device)
    y = ccmps.causal_conv1d_update(
        tokens[..., 2:5], state, **parameters, num_accepted_tokens=accepted
    )

    steps = [ccmps.causal_conv1d_update(t, plain, **parameters) for t in tokens.unbind(-1)]
    assert same_bits(y, torch.stack(steps[2:5], dim=-1))
