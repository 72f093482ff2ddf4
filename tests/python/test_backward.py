"""Gradients of causal_conv1d_fn against float64 autograd over the reference."""

import cases
import oracle
import pytest
import torch
from inputs import EXPANDED, same_bits

import causal_conv1d_mps as ccmps

INPUTS = ("x", "weight", "bias", "initial_states", "residual")


def gradients(case, device, names=INPUTS):
    """The arguments, what came from above, and the gradients of the named inputs."""
    arguments = case.arguments(device)
    leaves = {n: arguments[n].detach().requires_grad_() for n in names if n in arguments}
    wants_final = case.final is not None
    result = ccmps.causal_conv1d_fn(**{**arguments, **leaves}, return_final_states=wants_final)
    outputs = result if wants_final else (result,)
    layout = "contiguous" if case.layout in EXPANDED else case.layout
    above = [case.tensor(outputs[0].shape, 5, device, layout)]
    if wants_final:
        above.append(case.tensor(outputs[1].shape, 6, device, case.state_layout()))
    found = torch.autograd.grad(outputs, list(leaves.values()), above)
    return arguments, above, dict(zip(leaves, found))


@pytest.mark.cases(cases.BACKWARD)
def test_backward(backend, case):
    arguments, above, found = gradients(case, backend.device)
    if backend.backward_on_this_thread and arguments["x"].numel():
        backend.check_ran("backward")
    dfinal_states = above[1] if len(above) == 2 else None
    want = oracle.backward(above[0], **arguments, dfinal_states=dfinal_states)
    for name, gradient in found.items():
        assert gradient.dtype == arguments[name].dtype
        oracle.check(gradient, getattr(want, name), f"gradient of {name}")


@pytest.mark.parametrize("name", INPUTS)
def test_each_gradient_alone_has_the_same_bits(backend, name):
    case = cases.ConvCase(2, 9, 33, 4, packing="seq_idx", initial=True, final="returned")
    case = cases.replace(case, residual=True)
    together = gradients(case, backend.device)[2]
    alone = gradients(case, backend.device, [name])[2]
    assert same_bits(alone[name], together[name])


@pytest.mark.parametrize("output", ["y", "final_states"])
def test_gradient_through_one_output_only(backend, output):
    case = cases.ConvCase(2, 9, 33, 4, initial=True)
    arguments = case.arguments(backend.device)
    x = arguments["x"].requires_grad_()
    y, final_states = ccmps.causal_conv1d_fn(**arguments, return_final_states=True)
    (dx,) = torch.autograd.grad(y.sum() if output == "y" else final_states.sum(), x)
    dout = torch.full_like(y, float(output == "y"))
    dfinal_states = torch.full_like(final_states, float(output == "final_states"))
    want = oracle.backward(dout, **arguments, dfinal_states=dfinal_states)
    oracle.check(dx, want.x, "gradient of x")


def test_no_gradient_flows_from_padding(backend):
    case = cases.ConvCase(2, 9, 33, 4, packing="seq_idx", residual=True, initial=True)
    arguments = case.arguments(backend.device)
    padding = (arguments["seq_idx"] < 0).unsqueeze(1)
    x = arguments["x"].requires_grad_()
    y = ccmps.causal_conv1d_fn(**arguments)
    (dx,) = torch.autograd.grad(y, x, padding.expand_as(y).to(y.dtype) * 1e3)
    assert padding.any() and not dx.any()


@pytest.mark.parametrize("layout", ["contiguous", "channel_last"])
@pytest.mark.parametrize("batch, length", [(1, 200_000), (400, 500)])
def test_long_sums_do_not_drift(backend, batch, length, layout):
    """Equal terms of one sign: a running float32 sum is wrong by thousands of epsilons here."""
    case = cases.ConvCase(batch, 1, length, 4, layout=layout, activation=None)
    arguments = case.arguments(backend.device)
    arguments["x"].fill_(0.1)
    leaves = [arguments[n].requires_grad_() for n in ("weight", "bias")]
    y = ccmps.causal_conv1d_fn(**arguments)
    dout = torch.full_like(y, 0.7)
    found = torch.autograd.grad(y, leaves, dout)
    want = oracle.backward(dout, **arguments)
    oracle.check(found[0], want.weight, "gradient of weight")
    oracle.check(found[1], want.bias, "gradient of bias")
