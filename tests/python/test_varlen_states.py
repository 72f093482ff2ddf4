"""causal_conv1d_varlen_states: an exact copy of the last steps of every packed sequence."""

import cases
import oracle
import pytest
from inputs import same_bits

import causal_conv1d_mps as ccmps


@pytest.mark.cases(cases.VARLEN)
def test_varlen_states(backend, case):
    arguments = case.arguments(backend.device)
    states = ccmps.causal_conv1d_varlen_states(**arguments)
    if states.numel():
        backend.check_ran("varlen_states")
    assert states.device == arguments["x"].device
    assert same_bits(states.cpu(), oracle.varlen_states(**arguments))


def test_the_states_continue_every_sequence(backend):
    """They are the initial states with which update goes on."""
    packed = cases.ConvCase(1, 9, 40, 4, packing="cu_seqlens", final="returned")
    arguments = packed.arguments(backend.device)
    _, final_states = ccmps.causal_conv1d_fn(**arguments, return_final_states=True)
    states = ccmps.causal_conv1d_varlen_states(arguments["x"][0].T, arguments["cu_seqlens"], 3)
    assert same_bits(states, final_states)
