"""The composition of PyTorch operations and the registered operators, on the operation table.

Neither runs in an ordinary call, so the tables of the kernels do not reach them.
"""

import cases
import oracle
import pytest
import torch
from inputs import same_bits, values

import causal_conv1d_mps as ccmps
from causal_conv1d_mps import _composite
from causal_conv1d_mps._tables import arrange_inputs

# How the results are returned does not matter here.
CASES = [case for case in cases.FORWARD if not case.out and case.final is None]
CASES += [case for case in cases.FORWARD if case.length < case.width and case.final]
CODES = {None: 0, "silu": 1}


def split(arguments):
    """The arguments without the activation, and its code."""
    rest = dict(arguments)
    return rest, CODES[rest.pop("activation")]


def in_float64(arguments):
    """The same numbers in float64, where only a wrong formula can be seen."""
    return {
        name: value.double() if torch.is_tensor(value) and value.is_floating_point() else value
        for name, value in arguments.items()
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_composite_forward(case):
    arguments = case.arguments()
    rest, code = split(arguments)
    assert {t.dtype for t in _composite.forward(**rest, activation=code)} == {case.x_dtype}

    arguments = in_float64(arguments)
    want = oracle.forward(**arguments)
    rest, code = split(arguments)
    y, final_states = _composite.forward(**rest, activation=code)
    torch.testing.assert_close(y, want.y.value, rtol=1e-12, atol=1e-12)
    oracle.check(final_states, want.final_states, "final_states")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_composite_backward_is_the_kernel(case):
    arguments = in_float64(case.arguments())
    arguments.pop("residual", None)
    names = [n for n in ("x", "weight", "bias", "initial_states") if n in arguments]
    leaves = [arguments[n].requires_grad_() for n in names]
    outputs = ccmps.causal_conv1d_fn(**arguments, return_final_states=True)
    cotangents = [values(out.shape, torch.float64, 5 + i) for i, out in enumerate(outputs)]
    expected = dict(zip(names, torch.autograd.grad(outputs, leaves, cotangents), strict=True))

    rest, code = split({n: v.detach() if torch.is_tensor(v) else v for n, v in arguments.items()})
    above = dict(zip(("dout", "dfinal_states"), cotangents))
    found = _composite.backward(**rest, **above, activation=code)
    for name, gradient in zip(("x", "weight", "bias", "initial_states"), found, strict=True):
        if name in expected:
            torch.testing.assert_close(gradient, expected[name], rtol=1e-9, atol=1e-9)
        else:
            assert gradient is None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_operators_give_the_bits_of_the_direct_path(case):
    rest, code = split(case.arguments())
    direct = ccmps.causal_conv1d_fn(**case.arguments(), return_final_states=True)
    operator = torch.ops.causal_conv1d_mps.forward
    found = operator(*arrange_inputs("forward", **rest), code, True)
    assert all(same_bits(f, e) for f, e in zip(found, direct, strict=True))
    assert found[0].stride() == direct[0].stride()
