"""causal_conv1d_fn, causal_conv1d and causal_conv1d_fwd against the float64 reference."""

import cases
import oracle
import pytest
import torch
from inputs import empty, same_bits, storage_around

import causal_conv1d_mps as ccmps


@pytest.mark.cases(cases.FORWARD)
def test_forward(backend, case):
    arguments = case.arguments(backend.device)
    want = oracle.forward(**arguments)
    buffers = {}
    if case.out:
        shape, layout = (case.batch, case.dim, case.length), case.layout
        buffers["out"] = empty(shape, case.x_dtype, layout, backend.device)
    if case.final == "final_states_out":
        layout = case.state_layout()
        final_states_out = empty(case.state_shape, case.x_dtype, layout, backend.device)
        buffers["final_states_out"] = final_states_out
    around = {name: storage_around(buffer) for name, buffer in buffers.items()}

    wants_final = case.final is not None
    result = ccmps.causal_conv1d_fn(**arguments, **buffers, return_final_states=wants_final)

    y, final_states = result if wants_final else (result, None)
    if y.numel():
        backend.check_ran("forward")
    assert y.dtype == case.x_dtype and y.device == arguments["x"].device
    oracle.check(y, want.y, "y")
    if wants_final:
        assert final_states.dtype == case.x_dtype
        oracle.check(final_states, want.final_states, "final_states")
    for name, buffer in buffers.items():
        assert {"out": y, "final_states_out": final_states}[name] is buffer
        assert same_bits(storage_around(buffer), around[name]), f"wrote outside {name}"


@pytest.mark.parametrize("activation", [None, "silu", "swish"])
def test_the_three_forward_functions_agree(backend, activation):
    case = cases.ConvCase(2, 9, 33, 4, activation=activation)
    arguments = case.arguments(backend.device)
    y = ccmps.causal_conv1d_fn(**arguments)
    assert same_bits(y, ccmps.causal_conv1d(**arguments))
    silu_activation = arguments.pop("activation") is not None
    assert same_bits(y, ccmps.causal_conv1d_fwd(**arguments, silu_activation=silu_activation))


@pytest.mark.parametrize("layout", ["contiguous", "channel_last", "time_outermost"])
def test_y_keeps_the_memory_order_of_x(backend, layout):
    x = cases.ConvCase(2, 8, 16, 4, layout=layout).arguments(backend.device)["x"]
    y = ccmps.causal_conv1d(x, torch.ones(8, 4, device=backend.device))
    order = sorted(range(3), key=lambda i: x.stride(i))
    assert order == sorted(range(3), key=lambda i: y.stride(i))


@pytest.mark.parametrize("layout", ["contiguous", "channel_last"])
def test_inputs_are_left_alone(backend, layout):
    case = cases.ConvCase(2, 9, 33, 4, layout=layout, initial=True, residual=True)
    arguments = case.arguments(backend.device)
    before = {k: v.clone() for k, v in arguments.items() if isinstance(v, torch.Tensor)}
    ccmps.causal_conv1d_fn(**arguments, return_final_states=True)
    assert all(same_bits(arguments[k], v) for k, v in before.items())
