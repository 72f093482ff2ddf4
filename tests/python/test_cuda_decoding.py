"""Ragged decoding and trees on CUDA: graphs whose index values change, and such that mean nothing.

Skipped, and says so, where there is no GPU."""

import itertools

import pytest
import torch
from inputs import same_bits
from test_cuda import captured, fenced, gpu, untouched

import causal_conv1d_mps as ccmps

WILD = (-(2**31), 2**31 - 1, -1, 10**6, 0, 5, 3, 2**30)


def ints(values):
    return torch.tensor(values, dtype=torch.int32, device="cuda")


@gpu
@pytest.mark.parametrize("kind", [None, "num_accepted_tokens", "cache_seqlens"])
def test_a_graph_of_ragged_rows_follows_its_indices(kind):
    """One capture of a batch's capacity; boundaries, rows and counts change between replays."""
    pool, weight = torch.randn(8, 9, 7, device="cuda"), torch.randn(9, 4, device="cuda")
    x = torch.randn(12, 9, device="cuda")
    bounds, read, written = ints([0, 3, 6, 9]), ints([0, 1, 2]), ints([0, 1, 2])
    counts = ints([1, 1, 1])

    def call(pool):
        return ccmps.causal_conv1d_update(
            x,
            pool,
            weight,
            activation="silu",
            conv_state_indices=read,
            conv_state_out_indices=written,
            cu_seqlens=bounds,
            max_seqlen=5,
            **({kind: counts} if kind else {}),
        )

    call(pool.clone())
    graph, y = captured(lambda: call(pool))
    for cu, rows, targets, accepted in (
        ([0, 5, 5, 12], [5, 5, 5], [4, 6, 7], [1, 2, 3]),  # row 2 has 7 tokens: padding
        ([1, 2, 4, 9], [4, -1, 7], [4, 3, 7], [5, 1, 1]),
        ([0, 1, 1, 1], [6, 1, 0], [6, 99, -1], [2, 1, 1]),
        ([4, 6, 8, 99], [3, 2, 1], [3, 2, 1], [4, 9, 1]),
    ):
        for tensor, values in zip((bounds, read, written, counts), (cu, rows, targets, accepted)):
            tensor.copy_(torch.tensor(values))
        before = pool.clone()
        graph.replay()
        assert same_bits(y, call(before)) and same_bits(pool, before)


@gpu
def test_a_graph_of_a_tree_follows_its_parents():
    pool, weight = torch.randn(8, 9, 7, device="cuda"), torch.randn(9, 4, device="cuda")
    x, nodes = torch.randn(2, 9, 5, device="cuda"), torch.zeros(2, 5, 9, 3, device="cuda")
    parents, rows, counts = ints([[-1] * 5] * 2), ints([0, 1]), ints([1, 1])

    def call(nodes):
        return ccmps.causal_conv1d_update(
            x,
            pool,
            weight,
            conv_state_indices=rows,
            num_accepted_tokens=counts,
            parents=parents,
            intermediate_states=nodes,
        )

    call(nodes)
    graph, y = captured(lambda: call(nodes))
    for tree, row, accepted in (
        ([[-1, 0, 1, 2, 3], [-1, 0, 0, 2, 2]], [3, 3], [1, 4]),
        ([[-1, 0, 9, 2, -7], [-1, -1, -1, 1, 0]], [7, -1], [2, 99]),
    ):
        for tensor, values in zip((parents, rows, counts), (tree, row, accepted)):
            tensor.copy_(torch.tensor(values))
        before, again = pool.clone(), torch.full_like(nodes, 7.0)
        graph.replay()
        assert same_bits(y, call(again)) and same_bits(nodes, again) and same_bits(pool, before)


@gpu
@pytest.mark.parametrize("inside", [False, True])
def test_wild_boundaries_stay_inside_the_tensors(inside):
    triples = itertools.product((-(2**31), -3, 0, 7, 40, 41, 2**31 - 1), repeat=3)
    for bounds in [*triples, WILD]:
        rows = len(bounds) - 1
        x, whole_x = fenced(torch.randn(40, 9))
        out, whole_out = fenced(torch.zeros(40, 9))
        state, whole_state = fenced(torch.randn(rows, 9, 13))
        weight = torch.randn(9, 4, device="cuda")
        for name in (None, "cache_seqlens", "num_accepted_tokens"):
            ccmps.causal_conv1d_update(
                x,
                state,
                weight,
                cu_seqlens=ints(bounds),
                max_seqlen=11,
                out=x if inside else out,
                **({name: ints([1] * rows)} if name else {}),
            )
        torch.cuda.synchronize()
        assert all(map(untouched, (whole_x, whole_out, whole_state)))


@gpu
def test_wild_parents_stay_inside_the_tensors():
    values, picked = ints(WILD), torch.randint(len(WILD), (16, 5, 8), device="cuda")
    for parents in values[picked]:
        x, whole_x = fenced(torch.randn(5, 9, 8))
        out, whole_out = fenced(torch.zeros(5, 9, 8))
        state, whole_state = fenced(torch.randn(5, 9, 7))
        nodes, whole_nodes = fenced(torch.zeros(5, 8, 9, 3))
        before = state.clone()
        ccmps.causal_conv1d_update(
            x,
            state,
            torch.randn(9, 4, device="cuda"),
            parents=parents,
            intermediate_states=nodes,
            out=out,
        )
        torch.cuda.synchronize()
        assert all(map(untouched, (whole_x, whole_out, whole_state, whole_nodes)))
        assert same_bits(state, before)
