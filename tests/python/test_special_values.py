"""NaN, infinity, subnormals, signed zeros, and the activation over its whole range.

The comparison for what is not finite is F.silu(F.conv1d(...)) on the CPU in float32 or float64.
"""

import oracle
import pytest
import torch
import torch.nn.functional as F
from inputs import arrange, same_bits, values, weights

import causal_conv1d_mps as ccmps

NAN, INF = float("nan"), float("inf")
SPECIAL = (NAN, INF, -INF, 1e-40, -1e-40, -0.0, 3e38, -3e38)
SMALLEST = 2.0**-126  # normal number of float32
SIXTEEN_BIT = (torch.float16, torch.bfloat16)
LAYOUTS = ("contiguous", "channel_last")


def through_update(x, weight, activation):
    state = x.new_zeros(x.shape[0], x.shape[1], weight.shape[1] - 1)
    return ccmps.causal_conv1d_update(x, state, weight, None, activation)


def through_forward(x, weight, activation):
    return ccmps.causal_conv1d(x, weight, None, activation)


def activated(backend, x, layout="contiguous", activation="silu", function=through_forward):
    """activation(x), by a convolution of width 1 with weight 1, in rows of 256 steps."""
    rows = arrange(x.reshape(1, -1, 256), layout, backend.device)
    one = torch.ones(rows.shape[1], 1, device=backend.device, dtype=torch.float32)
    return function(rows, one, activation).cpu().reshape(-1)


def every_16_bit_value(dtype):
    return torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)


def ordinal(x):
    """Neighbouring 16-bit floating-point numbers map to neighbouring integers; -0 to 0."""
    integers = x.view(torch.int16).to(torch.int32)
    return torch.where(integers < 0, -(integers & 0x7FFF), integers)


@pytest.mark.parametrize("function", [through_forward, through_update])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", SIXTEEN_BIT)
def test_silu_of_every_16_bit_value(backend, dtype, layout, function):
    x = every_16_bit_value(dtype)
    y = activated(backend, x, layout, function=function)
    finite = x.isfinite()
    want = oracle.silu(x.double()).to(dtype)
    distance = (ordinal(y) - ordinal(want)).abs()
    if backend.flushes_subnormals:
        # A float32 result that is subnormal may be a zero (with its sign, unless x is one: 0 + -0
        # is +0). Every other result has the full accuracy: of the normal ones of 16 bits all but
        # two, which are below 2^-126 by less than their rounding.
        small = oracle.silu(x.double()).float().abs() < SMALLEST
        excepted = small & (want.double().abs() >= SMALLEST)
        assert excepted.sum() == (2 if dtype == torch.bfloat16 else 0)
        flushed = x.double().abs() < SMALLEST
        zero = small & (y == 0) & (flushed | (y.signbit() == x.signbit()))
        distance = torch.where(zero, 0, distance)
    distance = distance[finite]
    assert distance.max() <= 1, f"{x[finite][distance.argmax()]}: {distance.max()} ulp"
    assert y[x == INF].isposinf().all()
    assert y[x.isnan() | (x == -INF)].isnan().all()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", SIXTEEN_BIT)
def test_every_16_bit_value_passes_through(backend, dtype, layout):
    """Subnormals too, if the device keeps them. (0 + -0 is +0: the sign of zero does not count.)"""
    x = every_16_bit_value(dtype)
    y = activated(backend, x, layout, activation=None)
    assert y[x.isnan()].isnan().all()
    wanted = ~x.isnan()
    if backend.flushes_subnormals:  # those of float32: all of float16's are normal there
        wanted &= (x.double().abs() >= SMALLEST) | (y != 0)
    assert torch.equal(y[wanted], x[wanted])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", SIXTEEN_BIT)
def test_a_residual_that_cancels_silu_leaves_float32_accuracy(dtype, layout):
    """What silu loses below 16 bits is not seen in its own result, but in a difference."""
    x = every_16_bit_value(dtype)
    x = torch.where(x.abs() < 50, x, torch.zeros_like(x))
    rows = arrange(x.reshape(1, -1, 256), layout, "cpu")
    one = torch.ones(rows.shape[1], 1)
    residual = -ccmps.causal_conv1d(rows, one, None, "silu")
    y = ccmps.causal_conv1d_fn(rows, one, activation="silu", residual=residual)
    want = oracle.forward(rows, one, activation="silu", residual=residual)
    assert want.y.brief is None
    oracle.check(y, want.y, "y")


def dense_sweep(dtype):
    dense = torch.linspace(-120, 120, 2**19)
    edges = [torch.linspace(a, b, 2**15) for a, b in ((-104.5, -87), (87, 104.5), (-1e-3, 1e-3))]
    powers = torch.ldexp(torch.ones(256), torch.arange(-149, 107))
    return torch.cat([dense, *edges, powers, -powers]).to(dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_silu_over_its_range(backend, dtype, layout):
    """Within two units in the last place; and 2^-123, where a device flushes subnormals."""
    if not backend.supports(dtype):
        pytest.skip(f"{backend} has no {dtype}")
    x = dense_sweep(dtype)
    exact = torch.zeros_like(x, dtype=torch.float64)
    want = oracle.bounded_activation(x.double(), exact, "silu", oracle.Unit.of(dtype))
    oracle.check(activated(backend, x, layout), want, "silu")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_slope_of_silu_over_its_range(backend, layout):
    x = dense_sweep(torch.float32).reshape(1, -1, 256)
    rows = arrange(x, layout, backend.device).requires_grad_()
    one = torch.ones(x.shape[1], 1, device=backend.device)
    y = ccmps.causal_conv1d(rows, one, activation="silu")
    (dx,) = torch.autograd.grad(y, rows, torch.ones_like(y))
    want = oracle.backward(torch.ones_like(x), x, one, activation="silu")
    oracle.check(dx, want.x, "slope")


def conv1d(x, weight, bias, activation):
    """F.silu(F.conv1d(...)) in float32, rounded to x's dtype."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    x32, weight = x.to(dtype), weight.to(dtype).unsqueeze(1)
    y = F.conv1d(F.pad(x32, (3, 0)), weight, bias.to(dtype), groups=x.shape[1])
    return (F.silu(y) if activation else y).to(x.dtype)


@pytest.mark.parametrize("place", ["x", "weight", "bias"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("activation", [None, "silu"])
def test_special_values_behave_as_in_conv1d(backend, activation, layout, place):
    """One special value per channel among ordinary ones; forward and every gradient."""
    for dtype in backend.dtypes:
        x = values((2, 17, 40), dtype, 1).clamp(-8, 8)
        weight, bias = weights((17, 4), torch.float32, 2), weights((17,), torch.float32, 3)
        special = torch.tensor(SPECIAL)
        dict(x=x[1, :, 20], weight=weight[:, 2], bias=bias)[place][: len(SPECIAL)] = special
        leaves = [arrange(x, layout, backend.device), weight.clone(), bias.clone()]
        leaves = [t.to(backend.device).requires_grad_() for t in leaves]
        y = ccmps.causal_conv1d(*leaves, activation)
        dout = values(x.shape, dtype, 4).clamp(-4, 4).to(backend.device)
        dx, dweight, dbias = torch.autograd.grad(y, leaves, dout)
        found = dict(y=y, dx=dx[..., :37], dweight=dweight, dbias=dbias)

        plain = [t.requires_grad_() for t in (x, weight, bias)]
        want = conv1d(*plain, activation)
        dx, *rest = torch.autograd.grad(want, plain, dout.cpu())
        # The last W-1 steps of dx also count steps after the end, as 0: 0 * NaN shows there.
        tolerance = 2e-2 if dtype in SIXTEEN_BIT else 1e-4
        for (name, a), b in zip(found.items(), (want, dx[..., :37], *rest)):
            torch.testing.assert_close(
                a.cpu(),
                b,
                rtol=tolerance,
                atol=tolerance,
                equal_nan=True,
                msg=lambda text: f"{name}, {dtype}: {text}",
            )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("length", [8, 9, 40])
def test_there_are_no_steps_after_the_last(backend, layout, length):
    """Where one would overflow: it sees the last taps with other weights."""
    x = torch.zeros(1, 4, length)
    x[..., -1] = 3e38
    weight = torch.tensor([[10, 10, 10, 0.1]] * 4)
    leaves = [arrange(x, layout, backend.device), weight.to(backend.device)]
    leaves = [t.requires_grad_() for t in leaves]
    y = ccmps.causal_conv1d(*leaves, None, "silu")
    dx, dweight = torch.autograd.grad(y, leaves, torch.ones_like(y))
    want = oracle.backward(torch.ones_like(x), x, weight, activation="silu")
    oracle.check(dx, want.x, "gradient of x")
    oracle.check(dweight, want.weight, "gradient of weight")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("activation", [None, "silu"])
def test_float32_subnormals_survive(backend, activation, layout):
    if backend.flushes_subnormals:
        pytest.skip(f"{backend} flushes float32 subnormals")
    x = values((2, 9, 33), torch.float32, 1).clamp(-1, 1) * 1e-39
    weight = weights((9, 4), torch.float32, 2)
    y = ccmps.causal_conv1d(
        arrange(x, layout, backend.device), weight.to(backend.device), None, activation
    )
    oracle.check(y, oracle.forward(x, weight, activation=activation).y)
    assert (y != 0).float().mean() > 0.9


def test_sign_of_zero(backend):
    """-0 comes out where the definition gives it: bias -0, taps -0, positive weights."""
    x = torch.full((1, 2, 9), -0.0).to(backend.device)  # some devices fill with +0
    weight, bias = torch.ones(2, 4, device=backend.device), x[0, :, 0]
    y = ccmps.causal_conv1d(x, weight, bias)
    padded = torch.arange(9) < 3  # the taps before the first step are +0
    assert torch.equal(torch.signbit(y).cpu(), (~padded).expand(1, 2, 9))
    y = ccmps.causal_conv1d(x, weight, bias, "silu")
    assert torch.equal(torch.signbit(y).cpu(), (~padded).expand(1, 2, 9))


# What is excluded stays out, even when it is NaN.


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_sequences_do_not_leak(backend, layout):
    seq_idx = torch.tensor([[0] * 7 + [1] * 9 + [-1] * 5 + [2] * 6], device=backend.device)
    x = values((1, 9, 27), torch.float32, 1)
    x[..., 7:16] = NAN
    poisoned = arrange(x, layout, backend.device).requires_grad_()
    clean = arrange(x.nan_to_num(), layout, backend.device).requires_grad_()
    weight = weights((9, 4), torch.float32, 2).to(backend.device)
    clear = torch.tensor([*range(7), *range(16, 27)], device=backend.device)
    pair = [
        ccmps.causal_conv1d_fn(x, weight, seq_idx=seq_idx, activation="silu")
        for x in (poisoned, clean)
    ]
    y, want = (t.index_select(2, clear) for t in pair)
    assert same_bits(y, want)
    dout = torch.ones_like(y)
    dx, want = (torch.autograd.grad(*z, dout)[0] for z in ((y, poisoned), (want, clean)))
    assert same_bits(dx.index_select(2, clear), want.index_select(2, clear))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_padding_does_not_leak(backend, layout):
    """NaN in x, in the residual and in the gradient from above, all at padding steps."""
    seq_idx = torch.tensor([[0] * 9 + [-1] * 8 + [1] * 9], device=backend.device)
    padding = seq_idx.unsqueeze(1) < 0

    def run(fill):
        def tensor(seed):
            ordinary = values((1, 9, 26), torch.float32, seed).to(backend.device)
            return arrange(torch.where(padding, fill, ordinary), layout, backend.device)

        leaves = dict(
            x=tensor(1),
            weight=weights((9, 4), torch.float32, 2).to(backend.device),
            bias=weights((9,), torch.float32, 3).to(backend.device),
            residual=tensor(4),
        )
        leaves = {name: leaf.requires_grad_() for name, leaf in leaves.items()}
        y = ccmps.causal_conv1d_fn(**leaves, seq_idx=seq_idx, activation="silu")
        return y, *torch.autograd.grad(y, list(leaves.values()), tensor(5))

    for got, want in zip(run(NAN), run(0.0)):
        assert got.isfinite().all() and same_bits(got, want)


def test_pad_slots_do_not_leak(backend):
    x = torch.full((2, 5), NAN, device=backend.device)
    state = torch.full((2, 5, 3), NAN, device=backend.device)
    indices = torch.tensor([-1, -1], dtype=torch.int32, device=backend.device)
    weight = torch.ones(5, 4, device=backend.device)
    y = ccmps.causal_conv1d_update(x, state, weight, conv_state_indices=indices)
    assert torch.equal(y, torch.zeros_like(y)) and state.isnan().all()


def test_initial_states_of_another_sequence_do_not_leak(backend):
    seq_idx = torch.tensor([[4, 5, 5, 5, 5]], device=backend.device)
    x = values((1, 3, 5), torch.float32, 1).to(backend.device)
    states = torch.full((1, 3, 3), NAN, device=backend.device)
    weight = torch.ones(3, 4, device=backend.device)
    y, final_states = ccmps.causal_conv1d_fn(
        x, weight, seq_idx=seq_idx, initial_states=states, return_final_states=True
    )
    assert y[..., 0].isnan().all() and y[..., 1:].isfinite().all()
    assert same_bits(final_states, x[..., 2:])
