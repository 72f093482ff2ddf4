"""Elements more than 2^31 apart. The memory between them is never touched, so it costs nothing."""

import oracle
import pytest
import torch
from backends import CPU
from inputs import segment_ids, values, weights

import causal_conv1d_mps as ccmps

FAR = 2**31 + 16  # elements: beyond 32 bits in bytes and in elements
BF16 = torch.bfloat16
STRIDES = {
    "batch": (FAR, 40, 1),
    "dim": (40, FAR // 2, 1),
    "time": (1, 2, FAR // 16),
    "channel_last": (FAR, 1, 5),
}


def far_apart(tensor, strides):
    reach = sum((n - 1) * stride for n, stride in zip(tensor.shape, strides))
    view = torch.empty(reach + 1, dtype=tensor.dtype).as_strided(tensor.shape, strides)
    return view.copy_(tensor)


@pytest.mark.parametrize("cpu", CPU, ids=str)
@pytest.mark.parametrize("strides", STRIDES.values(), ids=STRIDES)
def test_forward_and_backward(cpu, strides):
    shape = (2, 3, 20)
    x, dout, out = (far_apart(values(shape, BF16, i), strides) for i in range(3))
    weight, bias = weights((3, 4), torch.float32, 4), weights((3,), torch.float32, 5)
    more = dict(activation="silu", seq_idx=segment_ids(2, 20, torch.int32, 6))
    with cpu.enter():
        y = ccmps.causal_conv1d_fn(x, weight, bias, **more, out=out)
        leaves = [t.detach().requires_grad_() for t in (x, weight, bias)]
        found = torch.autograd.grad(ccmps.causal_conv1d_fn(*leaves, **more), leaves, dout)
    oracle.check(y, oracle.forward(x, weight, bias, **more).y, "y")
    want = oracle.backward(dout, x, weight, bias, **more)
    for name, gradient in zip(("x", "weight", "bias"), found):
        oracle.check(gradient, getattr(want, name), f"gradient of {name}")


@pytest.mark.parametrize("cpu", CPU, ids=str)
@pytest.mark.parametrize("circular", [False, True])
def test_update_of_far_rows(cpu, circular):
    pool = far_apart(values((3, 5, 4), BF16, 1), (FAR // 2, 4, 1))
    x, weight = values((2, 5), BF16, 2), weights((5, 4), torch.float32, 3)
    more = dict(conv_state_indices=torch.tensor([2, 1]))
    if circular:
        more["cache_seqlens"] = torch.tensor([2**40 + 3, 6])
    want = oracle.update(x, pool, weight, **more)
    with cpu.enter():
        y = ccmps.causal_conv1d_update(x, pool, weight, **more)
    oracle.check(y, want.y, "y")
    oracle.check_exact(pool, want.conv_state, "conv_state")


@pytest.mark.parametrize("cpu", CPU, ids=str)
def test_varlen_states_of_far_rows(cpu):
    x = far_apart(values((9, 3), BF16, 1), (FAR // 4, 1))
    bounds = torch.tensor([0, 4, 9])
    with cpu.enter():
        states = ccmps.causal_conv1d_varlen_states(x, bounds, 3)
    oracle.check_exact(states, oracle.varlen_states(x, bounds, 3), "states")
