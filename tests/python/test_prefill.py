"""causal_conv1d_fn from and into a pool of states, and packed sequences that end before x does."""

import itertools

import oracle
import pools
import pytest
import torch
from backends import ALL_DTYPES, CPU
from cases import MAIN_LAYOUTS, NAMES
from inputs import arrange, bits, same_bits, storage_around, values, weights

import causal_conv1d_mps as ccmps

D, W = 9, 4
fn = ccmps.causal_conv1d_fn


def made(backend, *shape, seed=0, dtype=torch.float32):
    return values(shape, dtype, seed).to(backend.device)


def ints(backend, *numbers):
    return torch.tensor(numbers, dtype=torch.int64, device=backend.device)


def flags(backend, *given):
    return torch.tensor(given, device=backend.device)


# --- values ----------------------------------------------------------------------------------


@pytest.mark.cases(pools.PREFILL)
def test_prefill(backend, case):
    arguments = case.arguments(backend.device)
    want = oracle.prefill(**arguments)
    pool, x = arguments["conv_states"], arguments["x"].clone()
    around = storage_around(pool)

    y = fn(**arguments)

    if y.numel():
        backend.check_ran("forward")
    assert y.dtype == x.dtype and y.device == x.device
    oracle.check(y, want.y, "y")
    assert same_bits(pool.cpu(), want.conv_state), "wrong pool"
    assert same_bits(storage_around(pool), around), "wrote outside conv_states"
    assert same_bits(arguments["x"], x)

    again, out = case.arguments(backend.device), torch.full_like(x, 7.0)
    assert fn(**again, out=out) is out
    assert same_bits(out, y) and same_bits(again["conv_states"], pool)


@pytest.mark.parametrize("layout", MAIN_LAYOUTS)
@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=NAMES.get)
def test_gather_call_scatter(backend, dtype, layout):
    """The same bits as what one would compose: gather, mask, call, scatter."""
    if not backend.supports(dtype):
        pytest.skip(f"{backend} has no {dtype}")
    x = arrange(values((3, D, 20), dtype, 1), layout, backend.device)
    weight, bias = (weights(s, dtype, 2).to(backend.device) for s in ((D, W), (D,)))
    pool = arrange(values((7, D, 5), dtype, 3), layout, backend.device)
    rows, has = ints(backend, 4, 0, 6), flags(backend, True, False, True)
    states = torch.where(has[:, None, None], pool[rows], 0)
    want = fn(x, weight, bias, initial_states=states[..., -(W - 1) :].contiguous())
    expected = pool.clone()
    expected[rows] = torch.cat([states, x], dim=-1)[..., -5:]
    longer = fn(torch.cat([states, x], dim=-1).contiguous(), weight, bias)[..., 5:]

    y = fn(x, weight, bias, conv_states=pool, conv_state_indices=rows, has_initial_state=has)

    assert same_bits(y, want) and same_bits(y[has], longer[has])
    assert same_bits(pool, expected)


@pytest.mark.parametrize("layout", MAIN_LAYOUTS)
@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=NAMES.get)
@pytest.mark.parametrize("width, state_len", [(4, 3), (4, 9), (2, 4), (9, 8)])
def test_chunks(backend, dtype, layout, width, state_len):
    """Prompts in chunks, packed or by length, then single steps: bit for bit one prefill."""
    if not backend.supports(dtype):
        pytest.skip(f"{backend} has no {dtype}")
    lengths, rows = (23, 7, 40), ints(backend, 2, 4, 0)
    prompts = [values((D, n), dtype, n) for n in lengths]
    options = dict(
        weight=weights((D, width), dtype, 1).to(backend.device),
        bias=weights((D,), dtype, 2).to(backend.device),
        activation="silu",
    )
    fresh = values((5, D, state_len), dtype, 3)

    def prefill(pool, chunks, has, by_length):
        sizes = [chunk.shape[1] for chunk in chunks]
        if by_length:
            x = torch.full((3, D, max(sizes)), 7.0, dtype=dtype)
            for row, chunk in zip(x, chunks):
                row[:, : chunk.shape[1]] = chunk
            where = dict(lengths=ints(backend, *sizes))
        else:
            x = torch.cat([*chunks, torch.full((D, 5), 7.0, dtype=dtype)], dim=-1)[None]
            where = dict(cu_seqlens=ints(backend, 0, *itertools.accumulate(sizes)))
        y = fn(
            arrange(x, layout, backend.device),
            **options,
            **where,
            conv_states=pool,
            conv_state_indices=rows,
            has_initial_state=flags(backend, *[has] * 3),
        )
        if by_length:
            return [row[:, :size] for row, size in zip(y, sizes)]
        assert not y[..., sum(sizes) :].any()
        return y[0].split([*sizes, 5], dim=-1)[:3]

    whole = arrange(fresh, layout, backend.device)
    want = prefill(whole, prompts, False, False)
    pool = arrange(fresh, layout, backend.device)
    cuts = ((0, 9, 11, 12, 22), (0, 1, 6, 6, 6), (0, 33, 34, 38, 39))  # the last step is decoded
    found = [[], [], []]
    for step in range(4):
        chunks = [p[:, c[step] : c[step + 1]] for p, c in zip(prompts, cuts)]
        for parts, y in zip(found, prefill(pool, chunks, step > 0, step % 2 == 1)):
            parts.append(y)
    last = torch.stack([p[:, -1] for p in prompts]).to(backend.device)
    y = ccmps.causal_conv1d_update(last, conv_state=pool, conv_state_indices=rows, **options)
    for n, parts in enumerate(found):
        assert same_bits(torch.cat([*parts, y[n, :, None]], dim=-1), want[n])
    assert same_bits(pool, whole)


def test_rows_and_numbers_of_padding_are_not_looked_at(backend):
    """A padded slot: y = 0, residual or not; its length and the rows that nothing reads may hold
    anything."""
    pool = made(backend, 6, D, 5, seed=1)
    pool[1] = float("nan")
    before, x = pool.clone(), made(backend, 3, D, 8)
    y = fn(
        x,
        made(backend, D, W, seed=2),
        residual=x,
        lengths=ints(backend, 5, -9, 8),
        conv_states=pool,
        conv_state_indices=ints(backend, 4, 3, 1),
        conv_state_out_indices=ints(backend, 4, 7, 1),
        has_initial_state=flags(backend, True, True, False),
        pad_slot_id=7,
    )
    assert not y[1].any() and not y[0, :, 5:].any() and y[0, :, :5].any()
    assert torch.isfinite(y).all() and same_bits(pool[1], x[2, :, -5:])
    for row in (0, 2, 3, 5):
        assert same_bits(pool[row], before[row])


def test_empty_sequences(backend):
    """The row stays, is zeroed where the sequence starts, and is copied to another that it
    writes, also where the call has no step at all."""
    weight, pool = made(backend, D, W), made(backend, 6, D, 5, seed=1)
    where = dict(
        conv_state_indices=ints(backend, 0, 1, 2, -1),
        conv_state_out_indices=ints(backend, 0, 1, 3, 4),
        has_initial_state=flags(backend, True, False, True, True),
    )
    for x, bounds in (
        (made(backend, 4, D, 0), None),
        (made(backend, 1, D, 0), ints(backend, 0, 0, 0, 0, 0)),
        (made(backend, 1, D, 6), ints(backend, 0, 0, 0, 0, 0)),
    ):
        states = pool.clone()
        y = fn(x, weight, conv_states=states, cu_seqlens=bounds, **where)
        assert y.shape == x.shape and not y.any()
        assert not states[1].any()
        assert same_bits(states[3], pool[2])
        for row in (0, 2, 4, 5):
            assert same_bits(states[row], pool[row])


@pytest.mark.parametrize("cpu", CPU, ids=str)
def test_far_rows(cpu):
    """Rows more than 2^31 elements apart, of a pool whose memory is only touched there."""
    far = 2**31 + 16
    kept = values((3, 5, 4), torch.bfloat16, 1)
    pool = torch.empty(2 * far + 20, dtype=torch.bfloat16).as_strided((3, 5, 4), (far, 4, 1))
    pool.copy_(kept)
    arguments = dict(
        x=values((2, 5, 7), torch.bfloat16, 2),
        weight=weights((5, 4), torch.float32, 3),
        conv_state_indices=torch.tensor([2, 1]),
        has_initial_state=torch.tensor([True, True]),
    )
    want = oracle.prefill(**arguments, conv_states=kept)
    with cpu.enter():
        y = fn(**arguments, conv_states=pool)
    oracle.check(y, want.y, "y")
    assert same_bits(pool, want.conv_state)


# --- packed sequences that end early -----------------------------------------------------------


@pytest.mark.parametrize("layout", MAIN_LAYOUTS)
@pytest.mark.parametrize("bounds", [(0, 7, 7, 20), (0, 0), (0,), (0, 13)], ids=str)
def test_capacity(backend, bounds, layout):
    """Beyond the last boundary nothing is read: y, dx and the residual's gradient are 0 there, and
    the rest has the bits of a call that ends where the sequences do."""
    dtypes = [d for d in ALL_DTYPES if backend.supports(d)]
    end, count = bounds[-1], len(bounds) - 1
    for dtype, activation in itertools.product(dtypes, (None, "silu")):
        x = values((1, D, 33), dtype, 1)
        x[..., end:] = float("nan")
        x, residual, dout = (
            arrange(t, layout, backend.device)
            for t in (x, *(values(x.shape, dtype, s) for s in (2, 3)))
        )
        weight, bias = (weights(s, dtype, 4).to(backend.device) for s in ((D, W), (D,)))
        states = values((count, D, W - 1), dtype, 5).to(backend.device)
        more = dict(cu_seqlens=ints(backend, *bounds), activation=activation)

        def run(x, residual, dout):
            leaves = [t.detach().requires_grad_() for t in (x, weight, bias, states, residual)]
            y, final = fn(*leaves[:3], None, *leaves[3:4], True, residual=leaves[4], **more)
            loss = [dout, torch.ones_like(final)]
            return y, final, *torch.autograd.grad((y, final), leaves, loss)

        found = run(x, residual, dout)
        want = run(*(t[..., :end] for t in (x, residual, dout)))
        for got, expected in zip(found, want):
            if got.shape == x.shape:
                assert not got[..., end:].any()
                got = got[..., :end]
            summed = got.shape in (weight.shape, bias.shape)
            if summed and not backend.kernel_prefix.startswith("cpu/"):
                torch.testing.assert_close(got, expected)  # a GPU adds in an order of T's
            else:
                assert torch.equal(bits(got), bits(expected))


def test_capacity_of_compositions():
    """Double backward and forward-mode derivatives are compositions of their own."""
    x, weight = torch.randn(1, 3, 9, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    for bounds in ((0, 2, 6), (0,)):
        cu_seqlens, end = torch.tensor(bounds), bounds[-1]

        def call(x, weight, residual, cu_seqlens=cu_seqlens):
            return fn(x, weight, activation="silu", residual=residual, cu_seqlens=cu_seqlens)

        tangents = torch.ones_like(x), torch.ones_like(weight), torch.ones_like(x)
        y, tangent = torch.func.jvp(call, (x, weight, x), tangents)
        assert torch.allclose(y, call(x, weight, x)) and not tangent[..., end:].any()
        leaves = [t.clone().requires_grad_() for t in (x, weight, x)]
        assert torch.autograd.gradcheck(call, leaves)
        assert torch.autograd.gradgradcheck(call, leaves)
