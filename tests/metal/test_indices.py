"""Index tensors that hold anything, or change while a kernel runs: no kernel leaves its tensors.

The harness sees every access. Values are those that the host cannot check, as on a GPU.
"""

from unittest import mock

import backend
import cases
import harness
import pytest
import torch
from test_backward import test_backward as check_backward
from test_forward import test_forward as check_forward

import causal_conv1d_mps as ccmps

WILD = [-(2**31), 2**31 - 1, -1, 10**6, -7, 41, 3, 2**30]
BOUNDS = [
    [0, 50, 20, 40],
    [-9, 10, 20, 40],
    [0, 10, 20, 10**6],
    [5, 10, 20, 30],
    [40, 30, 20, 0],
    WILD,
    [2**62, -(2**62), 0, 2**63 - 1, -(2**63)],
]
INDEX_READ = "LOAD(cc1d_seq_t, "
# Every read is off by another -48 to 48, as if another stream wrote meanwhile.
CHANGING = f"""#define CHANGING(type, p) \\
    ((type)(LOAD(type, p) + (type)(__builtin_readcyclecounter() % 97) - 48))
{INDEX_READ}"""


def changing(source):
    """The text in which an index may differ each time that it is read. (Not Metal: not strict.)"""
    assert INDEX_READ in source or "#define CC1D_SEQ 0" in source
    macro = CHANGING.removesuffix(INDEX_READ)
    return harness.compile_shader(macro + source.replace(INDEX_READ, "CHANGING(cc1d_seq_t, "))


def every_kernel(layout, width, rows, **packing):
    """Forward with states, and every gradient."""
    x = torch.randn(rows, 9, 40)
    if layout == "channel_last":
        x = x.transpose(1, 2).contiguous().transpose(1, 2)
    sequences = len(packing["cu_seqlens"]) - 1 if "cu_seqlens" in packing else rows
    leaves = [
        tensor.requires_grad_()
        for tensor in (x, torch.randn(9, width), torch.randn(sequences, 9, width - 1))
    ]
    results = ccmps.causal_conv1d_fn(
        leaves[0],
        leaves[1],
        initial_states=leaves[2],
        activation="silu",
        return_final_states=True,
        **packing,
    )
    torch.autograd.grad(results, leaves, [torch.ones_like(t) for t in results])


@pytest.fixture(params=[backend.compile_quickly, changing], ids=["constant", "changing"])
def metal(request):
    with backend.on_harness(request.param):
        yield


@pytest.mark.parametrize("width", [4, 9])
@pytest.mark.parametrize("layout", ["contiguous", "channel_last"])
def test_sequence_bounds(metal, layout, width):
    for bounds in BOUNDS:
        every_kernel(layout, width, 1, cu_seqlens=torch.tensor(bounds, dtype=torch.int64))
        if bounds is WILD:
            every_kernel(layout, width, 1, cu_seqlens=torch.tensor(bounds, dtype=torch.int32))
    wild = torch.tensor(WILD)
    x, states = torch.randn(40, 9), torch.randn(len(WILD) - 1, 9, 6)
    ccmps.causal_conv1d_varlen_states(x, wild, 5, initial_states=states)
    positions = torch.tensor([*WILD, *range(-2, 43), 2**62, -(2**62)])
    rows = torch.full_like(positions, 2**40)
    rows[: len(WILD)], rows[torch.tensor([9, 20, 31, 45])] = wild, torch.tensor([0, 1, 2, 4])
    for listed in (rows, rows.flip(0), rows.roll(17).clamp(-9, 99).int()):
        pool = torch.randn(5, 9, 5, dtype=torch.bfloat16)
        wanted = dict(initial_states=states, positions=positions, out=pool, out_indices=listed)
        for bounds in BOUNDS:
            starts = states[:1].expand(len(bounds) - 1, 9, 6)
            bounds = torch.tensor(bounds)
            ccmps.causal_conv1d_varlen_states(x, bounds, 5, **wanted | {"initial_states": starts})


@pytest.mark.parametrize("width", [4, 9])
@pytest.mark.parametrize("layout", ["contiguous", "channel_last"])
def test_sequence_ids(metal, layout, width):
    generator = torch.Generator().manual_seed(1)
    wild = torch.tensor(WILD)[torch.randint(len(WILD), (3, 40), generator=generator)]
    wild[1, 5:] = -(2**31)
    wild[2] = -1
    for dtype in (torch.int32, torch.int64):
        every_kernel(layout, width, 3, seq_idx=wild.to(dtype))


def test_positions_in_no_sequence_are_padding():
    """Rows keep what they hold; states that the call makes itself are zeros there."""
    x, bounds = torch.randn(40, 9), torch.tensor([3, 10, 10, 30])
    positions = torch.tensor([2, 3, 10, 31, 30, -1, 2**40])
    rows, pool = torch.tensor([0, 1, 7, 2, 3, 4, 5]), torch.full((6, 9, 2), 7.0)
    with backend.on_harness(backend.compile_quickly):
        states = ccmps.causal_conv1d_varlen_states(x, bounds, 2, positions=positions)
        wanted = dict(positions=positions, out=pool, out_indices=rows)
        ccmps.causal_conv1d_varlen_states(x, bounds, 2, **wanted)
        ccmps.causal_conv1d_varlen_states(x, bounds[:1], 2, **wanted)  # without a sequence
    assert torch.equal(states[2].T, x[8:10]) and torch.equal(states[4].T, x[28:30])
    assert not states[[0, 1, 3, 5, 6]].any()
    want = torch.full_like(pool, 7)
    want[1], want[3] = 0, states[4]
    assert torch.equal(pool, want)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_positions_and_state_rows(dtype):
    values = torch.tensor([0, 1, 4, *WILD]).to(dtype)
    rows = len(values)
    state, weight = torch.randn(rows, 9, 7), torch.randn(9, 4)
    for x in (torch.randn(rows, 9), torch.randn(rows, 9, 3)):
        with backend.on_harness(backend.compile_quickly):
            ccmps.causal_conv1d_update(x, state, weight, conv_state_indices=values)
            ccmps.causal_conv1d_update(x, state, weight, conv_state_out_indices=values)
            ccmps.causal_conv1d_update(x, state, weight, cache_seqlens=values)
            ccmps.causal_conv1d_update(x, state, weight, num_accepted_tokens=values)
    if dtype == torch.int64:
        huge = torch.tensor([2**63 - 1, -(2**63), 2**40 + 3])
        x, state = torch.randn(3, 9, 3), torch.randn(3, 9, 7)
        with backend.on_harness(backend.compile_quickly):
            names = ("conv_state_indices", "cache_seqlens", "num_accepted_tokens")
            for name in (*names, "conv_state_out_indices"):
                ccmps.causal_conv1d_update(x, state, weight, **{name: huge})


ROW_READ = "cc1d_state_row((cc1d_i64)LOAD("
SOMETIMES_FAR = ROW_READ.replace("LOAD(", "(__builtin_readcyclecounter() % 3 ? 0 : 999) + LOAD(")


def other_rows(source):
    """The text in which a row may be out of range at one read and not at another."""
    assert source.count(ROW_READ) == 1
    return changing(source.replace(ROW_READ, SOMETIMES_FAR))


@pytest.mark.parametrize("compiled", [backend.compile_quickly, other_rows], ids=["same", "other"])
@pytest.mark.parametrize("layout", ["contiguous", "channel_last"])
def test_rows_of_a_pool(compiled, layout):
    """Rows, bounds and lengths that hold anything: what is not named stays as it is."""
    given = [0, 1, 4, *WILD]
    count = len(given)
    has = torch.tensor([True, True, False] * count)[:count]
    unread = torch.full((count,), -1)
    for width, dtype in ((4, torch.int64), (9, torch.int32)):
        wild = torch.tensor(given).to(dtype)
        for rows, named in (
            (3, dict(conv_state_indices=wild)),
            (12, dict(conv_state_out_indices=wild)),
            (12, dict(conv_state_indices=wild, conv_state_out_indices=unread)),
        ):
            pool = torch.randn(rows, 9, width + 1)
            for where in (
                dict(),
                dict(lengths=wild),
                dict(cu_seqlens=torch.tensor([0, 5, 40, 20, 20, 9, 30, 31, 32, 33, 40, 37])),
                dict(cu_seqlens=torch.tensor([3, *given])),
            ):
                x = torch.randn(1 if "cu_seqlens" in where else count, 9, 40)
                if layout == "channel_last":
                    x = x.transpose(1, 2).contiguous().transpose(1, 2)
                states, weight = pool.clone(), torch.randn(9, width)
                with backend.on_harness(compiled):
                    ccmps.causal_conv1d_fn(
                        x, weight, conv_states=states, has_initial_state=has, **named, **where
                    )
                kept = [row for row in range(rows) if row not in given]
                assert torch.equal(states[kept], pool[kept])


def test_accepted_counts_outside_the_window_are_padding():
    """The steps of this call do not matter: a window of 7 columns and W = 4 allows 1 to 5."""
    counts = torch.tensor([0, 1, 5, 6, -1, 2**31 - 1])
    x, state, weight = torch.randn(6, 9, 3), torch.randn(6, 9, 7), torch.randn(9, 4)
    before = state.clone()
    with backend.on_harness(backend.compile_quickly):
        y = ccmps.causal_conv1d_update(x, state, weight, num_accepted_tokens=counts)
    live = [False, True, True, False, False, False]
    assert [bool(row.any()) for row in y] == live
    assert [not torch.equal(a, b) for a, b in zip(state, before)] == live


def test_an_unclamped_bound_would_be_found():
    """The text without its last check reads outside: what the tests above look for is seen."""

    def unclamped(source):
        clamp = "return i >= 0 && i < width - 1 ? "
        return harness.compile_shader(source.replace(clamp, "return true ? "))

    with backend.on_harness(unclamped), pytest.raises(harness.OutOfBoundsError):
        every_kernel("contiguous", 4, 1, cu_seqlens=torch.tensor([0, 50, 20, 40]))


@pytest.mark.parametrize("real", [1300, 1290, 700, 257, 3, 1])
@pytest.mark.parametrize("layout", ["contiguous", "channel_last"])
def test_padding_over_several_segments(layout, real):
    """Rows that several teams or runs share, whose last real step lies in the segment of one."""
    case = cases.ConvCase(
        2, 3, 1300, 4, layout=layout, packing="seq_idx", initial=True, final="returned"
    )
    arguments = case.arguments()
    steps = torch.arange(1300)
    ids = torch.where(steps < real, steps * 2 // real, -1)
    ids = torch.stack([ids, ids.roll(-2)])  # the second row starts later in its sequence
    with (
        mock.patch.object(cases.ConvCase, "arguments", lambda *_: arguments | dict(seq_idx=ids)),
        backend.on_harness(backend.compile_quickly),
    ):
        check_forward(backend.METAL, case)
        check_backward(backend.METAL, case)
