"""The composition of PyTorch operations and the registered operators, on the operation table.

Neither runs in an ordinary call, so the tables of the kernels do not reach them.
"""

import cases
import oracle
import pytest
import torch
from inputs import same_bits, values
from torch.autograd import forward_ad

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
    for name, gradient in zip(("x", "weight", "bias", "initial_states"), found, strict=False):
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


@pytest.mark.parametrize("other", ["seq_idx", "cu_seqlens"])
def test_what_excludes_each_other_is_refused_here_too(other):
    batch = 1 if other == "cu_seqlens" else 2
    given = dict(seq_idx=torch.zeros(batch, 4, dtype=torch.int32), cu_seqlens=torch.tensor([0, 4]))
    x, weight = torch.ones(batch, 3, 4), torch.ones(3, 2)
    lengths = torch.full((batch,), 2)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, x)
        with pytest.raises(ValueError, match=rf"^lengths, {other}: expected at most one of them"):
            ccmps.causal_conv1d_fn(dual, weight, lengths=lengths, **{other: given[other]})
        with pytest.raises(ValueError, match=r"^lengths: expected \("):
            ccmps.causal_conv1d_fn(dual, weight, lengths=lengths[:0])


def test_padded_memory_has_no_second_derivative():
    x, weight = torch.ones(1, 2, 4), torch.ones(2, 2, requires_grad=True)
    x[..., 2:] = torch.nan
    y = ccmps.causal_conv1d_fn(x, weight, lengths=torch.tensor([2]), activation="silu")
    (first,) = torch.autograd.grad(y.sum(), weight, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), weight)
    assert first.isfinite().all() and second.isfinite().all()


def test_a_gradient_of_what_is_absent_is_left_out():
    x, weight = torch.ones(1, 2, 4), torch.ones(2, 2)
    inputs = arrange_inputs("backward", dout=x, x=x, weight=weight)
    dx, dweight, dbias, *_ = torch.ops.causal_conv1d_mps.backward(
        *inputs, 0, [True, True, True, False, False, False]
    )
    assert dx.shape == x.shape and dweight.shape == weight.shape and dbias.numel() == 0
