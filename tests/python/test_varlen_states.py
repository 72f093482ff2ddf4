"""causal_conv1d_varlen_states: an exact copy of steps of packed sequences."""

import cases
import oracle
import pytest
import torch
from inputs import same_bits
from torch.utils._python_dispatch import TorchDispatchMode

import causal_conv1d_mps as ccmps

ROWS, D, T, S = 7, 9, 40, 3


@pytest.mark.cases(cases.VARLEN)
def test_varlen_states(backend, case):
    arguments = case.arguments(backend.device)
    want = oracle.varlen_states(**arguments)
    states = ccmps.causal_conv1d_varlen_states(**arguments)
    if case.state_len and case.dim and case.sequences and case.positions != 0:
        backend.check_ran("varlen_states")
    assert states.device == arguments["x"].device
    assert states is arguments["out"] if case.pool else states.dtype == case.dtype
    assert same_bits(states.cpu(), want)


def test_the_states_continue_every_sequence(backend):
    """They are the initial states with which update goes on."""
    packed = cases.ConvCase(1, 9, 40, 4, packing="cu_seqlens", final="returned")
    arguments = packed.arguments(backend.device)
    _, final_states = ccmps.causal_conv1d_fn(**arguments, return_final_states=True)
    states = ccmps.causal_conv1d_varlen_states(arguments["x"][0].T, arguments["cu_seqlens"], 3)
    assert same_bits(states, final_states)


def made(device, *shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(device, dtype)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_a_boundary_belongs_to_the_sequence_that_ends_there(backend, dtype):
    """Also among empty sequences, where packing begins late and ends early."""
    bounds = torch.tensor([3, 3, 11, 11, 11, 20, 31, 31], dtype=dtype)
    positions = torch.tensor([31, 3, 11, 12, 20, 4, 30, 21, 11], dtype=dtype)
    x, initial = made(backend.device, T, D), made(backend.device, 7, D, S + 4)
    arguments = dict(initial_states=initial, positions=positions.to(backend.device))
    states = ccmps.causal_conv1d_varlen_states(x, bounds.to(backend.device), S, **arguments)
    assert same_bits(states.cpu(), oracle.varlen_states(x, bounds, S, **arguments))
    assert same_bits(states[1].cpu(), initial[0, :, 4:].cpu())  # before any step: the first one's
    assert same_bits(states[2].cpu(), x[8:11].T.cpu())


def test_states_of_blocks_resume_the_sequence(backend):
    """What prefix caching needs: from each block's state on, y has the bits of the whole pass."""
    x, weight = made(backend.device, T, D), made(backend.device, D, S + 1)
    bounds = torch.tensor([0, 25, T], device=backend.device)
    y = ccmps.causal_conv1d_fn(x.T[None], weight, activation="silu", cu_seqlens=bounds)
    ends = torch.tensor([8, 16, 24, 33], device=backend.device)
    blocks = ccmps.causal_conv1d_varlen_states(x, bounds, S, positions=ends)
    for state, begin, end in zip(blocks, ends.tolist(), (25, 25, 25, T), strict=True):
        rest = ccmps.causal_conv1d_fn(
            x[begin:end].T[None], weight, activation="silu", initial_states=state[None]
        )
        assert same_bits(rest, y[..., begin:end])


def test_other_rows_of_the_pool_stay(backend):
    """As does what lies around the columns that are given, also where nothing is wanted."""
    x, bounds = made(backend.device, T, D), torch.tensor([0, 25, T], device=backend.device)
    pool = torch.full((ROWS, D, S + 2), 7.0, device=backend.device)
    rows = torch.tensor([5, -2], device=backend.device)
    version = pool._version
    kept = ccmps.causal_conv1d_varlen_states(x, bounds, S, out=pool[..., :S], out_indices=rows)
    assert kept.data_ptr() == pool.data_ptr() and pool._version > version
    assert same_bits(pool[5, :, :S].T, x[22:25])
    pool[5, :, :S] = 7
    assert torch.equal(pool, torch.full_like(pool, 7))
    none = torch.full_like(rows, -1)
    ccmps.causal_conv1d_varlen_states(x, bounds, S, out=pool[..., :S], out_indices=none)
    assert torch.equal(pool, torch.full_like(pool, 7))


def test_positions_of_skipped_states_are_not_looked_at(backend):
    x, bounds = made(backend.device, T, D), torch.tensor([2, 25], device=backend.device)
    pool = torch.zeros(2, D, S, device=backend.device)
    ccmps.causal_conv1d_varlen_states(
        x,
        bounds,
        S,
        positions=torch.tensor([10**9, 9, -5], device=backend.device),
        out=pool,
        out_indices=torch.tensor([-1, 1, -1], device=backend.device),
    )
    assert same_bits(pool[1].T, x[6:9]) and not pool[0].any()


def test_one_position_for_many_rows(backend):
    """Expanded indices; without steps, without channels."""
    x, bounds = made(backend.device, T, D), torch.tensor([0, 25, T], device=backend.device)
    same = torch.tensor([9], device=backend.device).expand(4)
    for width in (D, 0):
        states = ccmps.causal_conv1d_varlen_states(x[:, :width], bounds, S, positions=same)
        assert same_bits(states, x[6:9, :width].T.expand(4, width, S))
    nothing = ccmps.causal_conv1d_varlen_states(
        x[:0], bounds * 0, S, positions=same * 0, initial_states=made(backend.device, 2, D, S)
    )
    assert same_bits(nothing, made(backend.device, 2, D, S)[:1].expand(4, D, S))


@pytest.mark.parametrize("outer", [None, torch.no_grad])
def test_a_pool_that_requires_grad_is_refused(outer):
    x, bounds = made("cpu", T, D), torch.tensor([0, T])
    pool = torch.zeros(1, D, S, requires_grad=True)
    if outer is None:
        with pytest.raises(RuntimeError, match="out: it is changed in place"):
            ccmps.causal_conv1d_varlen_states(x, bounds, S, out=pool)
        assert not pool.any()
        return
    with outer():
        ccmps.causal_conv1d_varlen_states(x, bounds, S, out=pool)
    assert torch.equal(pool.detach()[0].T, x[T - S :])


class Passing(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


def test_the_caller_s_pool_under_a_compiler_a_profiler_and_vmap():
    x, bounds = made("cpu", T, D), torch.tensor([0, 25, T])
    want = ccmps.causal_conv1d_varlen_states(x, bounds, S, positions=bounds)
    rows = torch.tensor([4, 0, 2])

    def call(x, pool):
        return ccmps.causal_conv1d_varlen_states(
            x, bounds, S, positions=bounds, out=pool, out_indices=rows
        )

    def profiled(x, pool):
        with torch.profiler.profile():
            return call(x, pool)

    def watched(x, pool):
        with Passing():
            return call(x, pool)

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    for way in (compiled, profiled, watched):
        pool = torch.zeros(6, D, S)
        version = pool._version
        states = way(x, pool)
        assert same_bits(states, pool) and pool._version > version
        assert same_bits(pool[rows], want)
    pools = torch.zeros(2, 6, D, S)
    torch.vmap(call)(torch.stack([x, 2 * x]), pools)
    assert same_bits(pools[0, rows], want) and same_bits(pools[1, rows], 2 * want)
    with pytest.raises(ValueError, match="out: expected a batched tensor"):
        torch.vmap(call, (0, None))(x[None], pools[0])
