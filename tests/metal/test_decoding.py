"""Decoding with rows of different lengths and with trees, on the Metal kernels: the runs of an
engine, and index tensors that hold anything."""

import itertools

import backend
import decoding_runs
import harness
import pytest
import test_ragged
import test_tree
import torch
from inputs import same_bits, values, weights

import causal_conv1d_mps as ccmps

ALL = range(200) if decoding_runs.EVERYTHING else range(3)


@pytest.fixture
def metal():
    with backend.on_harness(backend.compile_quickly):
        yield backend.METAL


def test_rows_of_an_engine(metal):
    """A few of the 2,000; 200 with CAUSAL_CONV1D_ALL_CASES=1."""
    for seed in ALL:
        decoding_runs.run_rows(metal, seed)


def test_trees_of_an_engine(metal):
    for seed in ALL:
        decoding_runs.run_trees(metal, seed)


def test_rows_as_on_a_cpu(metal):
    """Bits of rows, padding, residuals and of states that are one access."""
    for dtype, layout in ((torch.float32, "sliced"), (torch.bfloat16, "contiguous")):
        test_ragged.test_a_row_is_a_call_of_its_own(metal, dtype, layout)
    for bounds in ([5], [0, 0, 0], [3, 3]):
        test_ragged.test_padding_alone(metal, bounds)
    test_ragged.test_without_new_steps_nothing_is_written(metal)
    test_ragged.test_states_that_are_one_access(metal, states=((4, 4), (2, 3)))


def test_trees_as_on_a_cpu(metal):
    test_tree.test_a_path_is_a_sequence(metal, torch.bfloat16)
    test_tree.test_a_chain_is_a_plain_draft(metal)
    test_tree.test_one_node_as_a_step(metal)
    test_tree.test_what_padding_says_is_not_looked_at(metal)


@pytest.mark.parametrize("length", [None, 5])
def test_residuals(metal, length):
    """In both kernels, in packs and without; forward has them too."""
    for dtype, dim in ((torch.bfloat16, 16), (torch.float16, 9)):
        shape = (3, dim) if length is None else (3, dim, length)
        x, side = (values(shape, dtype, seed) for seed in (1, 2))
        weight, state = weights((dim, 4), dtype, 3), values((3, dim, 4), dtype, 4)
        want = ccmps.causal_conv1d_fn(
            x.reshape(3, dim, -1),
            weight,
            initial_states=state[..., 1:].contiguous(),
            activation="silu",
            residual=side.reshape(3, dim, -1),
        )
        y = ccmps.causal_conv1d_update(x, state, weight, activation="silu", residual=side)
        assert same_bits(y, want.reshape(shape))


WILD = [-(2**31), 2**31 - 1, -1, 10**6, 0, 5, 3, 2**30]
BOUNDS = [
    [0, 50, 20, 40],
    [-9, 10, 20, 40],
    [0, 10, 20, 10**6],
    [5, 10, 20, 30],
    [40, 30, 20, 0],
    [3],
    WILD,
    [2**62, -(2**62), 0, 2**63 - 1, -(2**63)],
]


COUNTS = ("cache_seqlens", "num_accepted_tokens")


def update_between(bounds, dtype, inside, counts=None):
    n = len(bounds) - 1
    x, state, weight = torch.randn(40, 9), torch.randn(n, 9, 13), torch.randn(9, 4)
    return ccmps.causal_conv1d_update(
        x,
        state,
        weight,
        cu_seqlens=torch.tensor(bounds).to(dtype),
        max_seqlen=11,
        out=x if inside else None,
        **({} if counts is None else {counts: torch.ones(n, dtype=dtype)}),
    )


@pytest.mark.parametrize(
    ("counts", "inside"), [(None, False), (COUNTS[0], True), (COUNTS[1], False), (COUNTS[1], True)]
)
def test_boundaries_that_hold_anything(metal, counts, inside):
    """All of y is written, and nothing else: the harness sees what is left, and accesses outside.
    Rows that lie over each other write one place of y twice, whose value nobody promises."""
    for bounds in BOUNDS:
        with harness.checks(races=False):
            update_between(bounds, torch.int64, inside, counts)
    for pair in itertools.product((-(2**31), -3, 0, 7, 39, 40, 41, 2**31 - 1), repeat=2):
        update_between(pair, torch.int32, inside, counts)


def test_rows_with_bad_boundaries_are_padding(metal):
    """Row 1 has more tokens than max_seqlen, row 3 ends behind x: y = 0 and their states stay."""
    x, state, weight = torch.rand(12, 9) + 1, torch.rand(4, 9, 3) + 1, torch.rand(9, 4) + 1
    before = state.clone()
    cu_seqlens = torch.tensor([1, 3, 7, 9, 14])
    y = ccmps.causal_conv1d_update(x, state, weight, cu_seqlens=cu_seqlens, max_seqlen=3)
    assert y.any(dim=1).tolist() == [t in (1, 2, 7, 8) for t in range(12)]
    moved = [not torch.equal(a, b) for a, b in zip(state, before, strict=True)]
    assert moved == [True, False, True, False]


def test_nodes_below_a_bad_parent(metal):
    """y and the state of a node are 0 where its W-1 earlier taps pass a bad parent."""
    parents = [[-1, 0, 2, 2, 3, 4], [-1, -2, 1, 2, 3, -1], [7, -1, 1, 2**40, 2, -(2**40)]]
    x, state, weight = torch.rand(3, 9, 6) + 1, torch.rand(3, 9, 5) + 1, torch.rand(9, 3) + 1
    before, nodes = state.clone(), torch.full((3, 6, 9, 2), 7.0)
    y = ccmps.causal_conv1d_update(
        x, state, weight, parents=torch.tensor(parents), intermediate_states=nodes
    )
    for b, row in enumerate(parents):
        for t in range(6):
            node, passes = t, False
            for _ in range(2):
                if node >= 0:
                    passes = passes or not -1 <= row[node] < node
                    node = -1 if passes else row[node]
            assert bool(y[b, :, t].any()) != passes, (b, t)
            assert bool(nodes[b, t].any()) != passes, (b, t)
    assert torch.equal(state, before)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_parents_that_hold_anything(metal, dtype):
    wild = [min(max(v, torch.iinfo(dtype).min), torch.iinfo(dtype).max) for v in (*WILD, 2**62)]
    generator = torch.Generator().manual_seed(1)
    x, state, weight = torch.randn(5, 9, 8), torch.randn(5, 9, 7), torch.randn(9, 4)
    for _ in range(4):
        picked = torch.randint(len(wild), (5, 8), generator=generator)
        nodes = torch.full((5, 8, 9, 3), 7.0)
        ccmps.causal_conv1d_update(
            x,
            state,
            weight,
            parents=torch.tensor(wild, dtype=dtype)[picked],
            intermediate_states=nodes,
            num_accepted_tokens=torch.tensor(wild, dtype=dtype)[picked[:, 0]],
            conv_state_indices=torch.tensor(wild, dtype=dtype)[picked[:, 1]],
        )
