"""The reference itself: right (against F.conv1d and F.silu in float64), and tight.

Tight: a plain float32 sketch of the operation passes, and the same sketch with any one planted
fault is refused, in every dtype.
"""

import oracle
import pytest
import torch
import torch.nn.functional as F
from inputs import segment_ids, values, weights

F32, F16, BF16, F64 = torch.float32, torch.float16, torch.bfloat16, torch.float64
CHECKED = (F32, F16, BF16)


def problem(dtype=F64, batch=2, dim=5, length=33, width=4):
    x = values((batch, dim, length), dtype, 1)
    weight, bias = weights((dim, width), dtype, 2), weights((dim,), dtype, 3)
    return x, weight, bias


def conv1d(x, weight, bias, activation=None, past=None):
    dim, width = weight.shape
    x = F.pad(x, (width - 1, 0)) if past is None else torch.cat([past, x], dim=-1)
    y = F.conv1d(x, weight.unsqueeze(1), bias, groups=dim)
    return F.silu(y) if activation else y


def near(a, b):
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [F16, BF16])
def test_bounds_are_rounded_once(dtype):
    """A number beyond a tie by less than float32 can hold goes to its own side."""
    ulp = torch.finfo(dtype).eps
    numbers = torch.tensor(
        [n + ulp / 2 + s for n in (1.0, 1 + ulp) for s in (-1e-12, 1e-12)], dtype=F64
    )
    expected = torch.tensor([1.0, 1 + ulp, 1 + ulp, 1 + 2 * ulp]).to(dtype)
    assert torch.equal(oracle._rounded(numbers, dtype), expected)


# The reference is right.


@pytest.mark.parametrize("width", [1, 2, 4, 9])
@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("with_states", [False, True])
def test_reference_is_conv1d(activation, width, with_states):
    x, weight, bias = problem(width=width)
    past = values((2, 5, width - 1), F64, 4) if with_states else None
    residual = values(x.shape, F64, 5)
    dout = values(x.shape, F64, 6)
    got = oracle.forward(x, weight, bias, initial_states=past, activation=activation)
    near(got.y.value, conv1d(x, weight, bias, activation, past))
    whole = torch.cat([torch.zeros(2, 5, width - 1) if past is None else past, x], dim=-1)
    near(got.final_states.value, whole[..., x.shape[2] :])

    leaves = [t.requires_grad_() for t in (x, weight, bias, residual, past) if t is not None]
    want = torch.autograd.grad(conv1d(x, weight, bias, activation, past) + residual, leaves, dout)
    given = dict(initial_states=past, residual=residual, activation=activation)
    got = oracle.backward(dout, x, weight, bias, **given)
    names = ("x", "weight", "bias", "residual", "initial_states")
    for name, gradient in zip(names, want):
        near(getattr(got, name).value, gradient)


def test_reference_counts_taps_of_the_same_sequence_only():
    x, weight, bias = problem(batch=3)
    seq_idx = segment_ids(3, 33, torch.int32, 9)
    assert (seq_idx < 0).any()
    got = oracle.forward(x, weight, bias, seq_idx=seq_idx, activation="silu").y.value
    for sequence in seq_idx.unique():
        mine = (seq_idx == sequence).unsqueeze(1)
        alone = conv1d(torch.where(mine, x, 0.0), weight, bias, "silu")
        near(torch.where(mine, got, 0.0), torch.where(mine & (sequence >= 0), alone, 0.0))


def test_reference_states_are_of_the_last_step_that_is_no_padding():
    x, weight, bias = problem(batch=5, length=6)
    past = values((5, 5, 3), F64, 4)
    ids = ([0, 0, -1, -1, -1, -1], [-1, -1, 0, 0, 0, 0], [0, 0, 0, -1, 0, -2], [-1] * 6)
    seq_idx = torch.tensor([*ids, [0, 0, 1, 1, -1, -1]])
    dfinal = values((5, 5, 3), F64, 5)
    given = dict(seq_idx=seq_idx, initial_states=past)
    got = oracle.forward(x, weight, bias, **given).final_states.value
    zero = torch.zeros(5, 1, dtype=F64)
    near(got[0], torch.cat([past[0, :, 2:], x[0, :, :2]], 1))
    near(got[1], x[1, :, 3:])
    near(got[2], torch.cat([x[2, :, 2:3], zero, x[2, :, 4:5]], 1))
    near(got[3], past[3])
    near(got[4], torch.cat([zero, x[4, :, 2:4]], 1))
    back = oracle.backward(torch.zeros_like(x), x, weight, bias, **given, dfinal_states=dfinal)
    near(back.initial_states.value[0], torch.cat([zero, zero, dfinal[0, :, :1]], 1))
    near(back.x.value[0, :, :3], torch.cat([dfinal[0, :, 1:], zero], 1))
    near(back.initial_states.value[3], dfinal[3])
    empty = oracle.forward(x[..., :0], weight, bias, seq_idx=seq_idx[:, :0], initial_states=past)
    near(empty.final_states.value, past)


def test_reference_packs_sequences():
    x, weight, bias = problem(batch=1)
    bounds = torch.tensor([0, 2, 2, 17, 33])
    past = values((4, 5, 3), F64, 4)
    got = oracle.forward(x, weight, bias, cu_seqlens=bounds, initial_states=past)
    for n in range(4):
        part = x[..., bounds[n] : bounds[n + 1]]
        if part.shape[2]:
            near(
                got.y.value[..., bounds[n] : bounds[n + 1]],
                conv1d(part, weight, bias, None, past[n : n + 1]),
            )
        whole = torch.cat([past[n : n + 1], part], dim=-1)
        near(got.final_states.value[n], whole[0, :, part.shape[2] :])


@pytest.mark.parametrize("mode", ["shift", "circular"])
def test_reference_update_continues_a_sequence(mode):
    x, weight, bias = problem(length=20)
    state, begin = torch.zeros(2, 5, 6, dtype=F64), 0
    for length in (1, 3, 5, 2, 6, 3):
        step = x[..., begin : begin + length]
        where = dict(cache_seqlens=torch.full((2,), begin)) if mode == "circular" else {}
        got = oracle.update(step, state, weight, bias, "silu", **where)
        whole = conv1d(x, weight, bias, "silu")
        near(got.y.value, whole[..., begin : begin + length])
        state, begin = got.conv_state, begin + length
    order = [(begin - 6 + j) % 6 for j in range(6)] if mode == "circular" else range(6)
    assert torch.equal(state[..., list(order)], x[..., begin - 6 : begin])


def test_reference_update_reads_accepted_tokens_only():
    x, weight, bias = problem(length=9)
    back = weight.shape[1] - 1
    window = values((2, 5, back + 5), F64, 4)
    start = window[..., :back].clone()
    once = dict(num_accepted_tokens=torch.tensor([1, 1]))
    window = oracle.update(x[..., :3], window, weight, bias, **once).conv_state
    given = dict(num_accepted_tokens=torch.tensor([1, 3]))
    got = oracle.update(x[..., 3:7], window, weight, bias, **given)
    for b, kept in enumerate((1, 3)):
        tokens = torch.cat([x[b : b + 1, :, :kept], x[b : b + 1, :, 3:7]], dim=-1)
        want = oracle.update(tokens, start[b : b + 1], weight, bias)
        near(got.y.value[b : b + 1], want.y.value[..., kept:])
        whole = torch.cat([start[b], tokens[0]], dim=-1)
        assert torch.equal(got.conv_state[b, :, : back + 3], whole[:, -(back + 3) :])
        assert torch.equal(got.conv_state[b, :, back + 3 :], window[b, :, back + 3 :])


# The bounds are tight: one planted fault at a time in a float32 sketch.


def chain(x, weight, bias, fault):
    """acc by float32 fma's (float64 holds the product of two float32 exactly)."""
    width = weight.shape[1]
    weight, bias = weight.double().clone(), bias.double().clone()
    padded = F.pad(x.double(), (width - 1, 0))
    if fault == "no_bias":
        bias.zero_()
    if fault == "drop_oldest_tap":
        weight[:, 0] = 0
    if fault == "drop_newest_tap":
        weight[:, -1] = 0
    if fault == "swap_taps":
        weight[:, [0, 1]] = weight[:, [1, 0]]
    if fault == "shift_by_one":
        padded = padded.roll(1, dims=-1)
    if fault == "lose_a_halo":  # the first step after a block edge reads nothing before the edge
        padded = padded.clone()
        padded[..., 16] = 0
    acc = bias[:, None].expand(x.shape).float()
    for k in range(width):
        product = weight[:, k, None] * padded[..., k : k + x.shape[2]]
        if fault == "round_products":
            product = product.bfloat16().double()
        acc = (product + acc.double()).float()
        if fault == "round_partial_sums":
            acc = acc.bfloat16().float()
    return acc, padded


def sketch_forward(x, weight, bias, fault=None):
    acc, _ = chain(x, weight, bias, fault)
    if fault == "round_acc":
        acc = acc.bfloat16().float()
    y = acc / (1 + torch.exp(-acc))
    if fault == "no_activation":
        y = acc
    if fault == "rough_exp":  # 1e-4 relative
        y = acc / (1 + torch.exp(-acc) * 1.0001)
    if fault == "truncate":
        mask = {F16: -(1 << 13), BF16: -(1 << 16), F32: -(1 << 3)}[x.dtype]
        y = (y.view(torch.int32) & mask).view(F32)
    return y.to(x.dtype)


FORWARD_FAULTS = ("no_bias", "drop_oldest_tap", "drop_newest_tap", "swap_taps", "shift_by_one")
FORWARD_FAULTS += ("lose_a_halo", "round_products", "round_partial_sums", "round_acc")
FORWARD_FAULTS += ("no_activation", "rough_exp", "truncate")


@pytest.mark.parametrize("dtype", CHECKED)
def test_forward_bound_accepts_the_definition(dtype):
    given = problem(dtype, dim=64, length=257)
    oracle.check(sketch_forward(*given), oracle.forward(*given, activation="silu").y)


@pytest.mark.parametrize("dtype", CHECKED)
@pytest.mark.parametrize("fault", FORWARD_FAULTS)
def test_forward_bound_refuses(fault, dtype):
    given = problem(dtype, dim=64)
    with pytest.raises(AssertionError, match="elements are wrong"):
        got = sketch_forward(*given, fault)
        oracle.check(got, oracle.forward(*given, activation="silu").y)


def sketch_backward(dout, x, weight, bias, fault=None):
    (batch, dim, length), width = x.shape, weight.shape[1]
    acc, padded = chain(x, weight, bias, fault)
    s = 1 / (1 + torch.exp(-acc))
    dpre = dout.float() * s * (1 + acc * (1 - s))
    if fault == "no_x_term":
        dpre = dout.float() * s
    if fault == "no_activation":
        dpre = dout.float()
    if fault == "round_dpre":
        dpre = dpre.bfloat16().float()
    dx = torch.zeros(batch, dim, length + width - 1, dtype=F64)
    for k in range(width):
        tap = k if fault != "flip_taps" else width - 1 - k
        dx[..., k : k + length] += weight[:, tap, None].double() * dpre.double()
        dx = dx.float().double()
    dx = dx[..., width - 1 :]
    terms = [dpre.double() * padded[..., k : k + length] for k in range(width)]
    if fault == "skip_a_step":
        terms = [t[..., :-1] for t in terms]
    if fault == "skip_a_sample":
        terms = [t[1:] for t in terms]
    dweight = torch.stack([t.sum((0, 2)) for t in terms], dim=-1)
    if fault == "round_terms":
        dweight = torch.stack([t.bfloat16().double().sum((0, 2)) for t in terms], dim=-1)
    return dx.to(x.dtype), dweight.float().to(weight.dtype), dpre.double().sum((0, 2)).float()


BACKWARD_FAULTS = {
    "no_x_term": "x weight bias",
    "no_activation": "x weight bias",
    "no_bias": "x weight bias",
    "swap_taps": "x weight bias",
    "round_dpre": "x weight bias",
    "shift_by_one": "x weight bias",
    "flip_taps": "x",
    "skip_a_step": "weight",
    "skip_a_sample": "weight",
    "round_terms": "weight",
}


def backward_verdicts(dtype, fault=None):
    """The names of the gradients that the oracle refuses. Weights are float32."""
    x, weight, bias = problem(dtype, dim=64, length=65)
    weight, bias = weight.float(), bias.float()
    dout = values(x.shape, dtype, 8)
    want = oracle.backward(dout, x, weight, bias, activation="silu")
    refused = set()
    for name, got in zip(("x", "weight", "bias"), sketch_backward(dout, x, weight, bias, fault)):
        try:
            oracle.check(got, getattr(want, name), name)
        except AssertionError:
            refused.add(name)
    return refused


@pytest.mark.parametrize("dtype", CHECKED)
def test_backward_bounds_accept_the_definition(dtype):
    assert backward_verdicts(dtype) == set()


@pytest.mark.parametrize("dtype", CHECKED)
@pytest.mark.parametrize("fault", BACKWARD_FAULTS)
def test_backward_bounds_refuse(fault, dtype):
    assert backward_verdicts(dtype, fault) >= set(BACKWARD_FAULTS[fault].split())


def test_weight_bound_refuses_a_running_sum():
    """The error of a naive float32 sum grows with its length; the bound with its logarithm."""
    x = torch.full((1, 1, 200_000), 0.1)
    dout = torch.full_like(x, 0.7)
    want = oracle.backward(dout, x, torch.ones(1, 1), torch.zeros(1)).bias
    running = torch.tensor(dout.flatten().numpy().cumsum(dtype="float32")[-1:])
    oracle.check(dout.sum((0, 2)), want)
    with pytest.raises(AssertionError):
        oracle.check(running, want)
