"""causal_conv1d_update with cu_seqlens: rows of different lengths, one after another in x."""

import itertools

import decoding_runs
import oracle
import pytest
import torch
from inputs import arrange, same_bits, storage_around, values, weights

import causal_conv1d_mps as ccmps


@pytest.mark.parametrize("part", range(4))
def test_runs_of_an_engine(backend, part):
    """2,000 with CAUSAL_CONV1D_ALL_CASES=1."""
    for seed in decoding_runs.seeds(spread=24)[part::4]:
        decoding_runs.run_rows(backend, seed)


BOUNDS = (2, 4, 4, 11, 12)  # of 15 tokens: rows of 2, 0, 7 and 1 with padding around


def given(backend, dtype=torch.float32, *, dim=19, state_len=9, width=4, total=15):
    x = values((total, dim), dtype, 1)
    state = values((4, dim, state_len), dtype, 2)
    weight, bias = weights((dim, width), dtype, 3), weights((dim,), dtype, 4)
    named = dict(x=x, conv_state=state, weight=weight, bias=bias)
    return {name: tensor.to(backend.device) for name, tensor in named.items()} | dict(
        activation="silu",
        cu_seqlens=torch.tensor(BOUNDS, device=backend.device),
        max_seqlen=7,
    )


@pytest.mark.parametrize("layout", ["contiguous", "channel_last", "sliced", "every_other_step"])
@pytest.mark.parametrize("dtype", decoding_runs.DTYPES, ids=str)
def test_a_row_is_a_call_of_its_own(backend, dtype, layout):
    """The bits and states that each row's tokens have as (1, D, T), in any memory order."""
    if not backend.supports(dtype, dtype):
        pytest.skip(f"{backend} has no {dtype}")
    arguments = given(backend, dtype)
    x = arrange(arguments["x"].t()[None], layout, backend.device)[0].t()
    assert same_bits(x, arguments["x"])
    single = {k: arguments[k] for k in ("weight", "bias", "activation")}
    for counts in ("cache_seqlens", "num_accepted_tokens", None):
        counted = {counts: torch.tensor([1, 3, 2, 1], device=backend.device)} if counts else {}
        state, out = arguments["conv_state"].clone(), torch.full_like(x, 7.0)
        around = storage_around(x)
        y = ccmps.causal_conv1d_update(**arguments | counted | dict(x=x, conv_state=state, out=out))
        backend.check_ran("update")
        assert y is out and same_bits(storage_around(x), around)
        assert not y[: BOUNDS[0]].any() and not y[BOUNDS[-1] :].any()
        for n, (begin, end) in enumerate(itertools.pairwise(BOUNDS)):
            row = arguments["conv_state"][n : n + 1].clone()
            if begin < end:
                alone = {k: v[n : n + 1] for k, v in counted.items()}
                tokens = x[begin:end].t()[None]
                want = ccmps.causal_conv1d_update(tokens, row, **single, **alone)
                assert same_bits(y[begin:end], want[0].t())
            assert same_bits(state[n : n + 1], row)


def test_the_same_bits_in_every_batch_slot_chunk_and_draft(backend):
    """Tokens of one sequence: forward, and decoding in pieces of any size in rows of any pool."""
    tokens = values((23, 9), torch.float32, 5).to(backend.device)
    weight = weights((9, 4), torch.float32, 6).to(backend.device)
    want = ccmps.causal_conv1d_fn(tokens.t()[None], weight, activation="silu")[0].t()
    for size, slot in ((1, 0), (2, 3), (5, 1), (23, 2)):
        pool = torch.randn(4, 9, 5).to(backend.device)
        pool[slot] = 0
        found = []
        for begin in range(0, 23, size):
            piece = tokens[begin : begin + size]
            other = torch.randn(3, 9).to(backend.device)
            x = torch.cat([other[:1], piece, other[1:]])
            bounds = [0, 1, 1 + len(piece), 3 + len(piece)]
            y = ccmps.causal_conv1d_update(
                x,
                pool,
                weight,
                activation="silu",
                conv_state_indices=torch.tensor(
                    [(slot + 1) % 4, slot, (slot + 2) % 4], device=backend.device
                ),
                cu_seqlens=torch.tensor(bounds, device=backend.device),
                max_seqlen=max(2, size),
            )
            found.append(y[1 : 1 + len(piece)])
        assert same_bits(torch.cat(found), want)


@pytest.mark.parametrize("bounds", [[5], [0, 0, 0], [3, 3], [15, 15]])
def test_padding_alone(backend, bounds):
    arguments = given(backend) | dict(max_seqlen=0)
    arguments["cu_seqlens"] = torch.tensor(bounds, dtype=torch.int32, device=backend.device)
    arguments["conv_state"] = arguments["conv_state"][: len(bounds) - 1]
    before = arguments["conv_state"].clone()
    y = ccmps.causal_conv1d_update(**arguments, out=torch.full_like(arguments["x"], 7.0))
    assert not y.any() and same_bits(arguments["conv_state"], before)


def test_without_new_steps_nothing_is_written(backend):
    """Also not the row that would be written: a copy on write comes with the first token. What is
    said of such rows is not looked at."""
    arguments = given(backend)
    pool = arguments["conv_state"]
    before = pool.clone()
    rows = dict(
        conv_state_indices=torch.tensor([0, 0], device=backend.device),
        conv_state_out_indices=torch.tensor([1, 2], device=backend.device),
    )
    plain = {k: arguments[k] for k in ("weight", "bias", "activation")}
    empty = torch.empty(2, 19, 0, device=backend.device)
    y = ccmps.causal_conv1d_update(empty, pool, **plain, **rows)
    assert y.shape == empty.shape and same_bits(pool, before)
    bounds = torch.tensor([0, 3, 3], device=backend.device)
    rows["conv_state_out_indices"][1] = 1  # as for row 0, which has tokens
    for counts in (None, "num_accepted_tokens", "cache_seqlens"):
        pool.copy_(before)
        counted = {counts: torch.tensor([1, -9], device=backend.device)} if counts else {}
        x = arguments["x"][:3]
        y = ccmps.causal_conv1d_update(
            x, pool, **plain, **rows, **counted, cu_seqlens=bounds, max_seqlen=3
        )
        assert y.any(dim=1).all()
        assert not same_bits(pool[1], before[1])
        assert same_bits(pool[[0, 2, 3]], before[[0, 2, 3]])


def test_windows_are_the_states_of_every_draft(backend):
    """docs/api.md: window.unfold(-1, W-1, 1)[:, :, j] is the state after j of the new tokens."""
    weight = weights((9, 4), torch.float32, 1).to(backend.device)
    window = torch.zeros(2, 9, 7, device=backend.device)
    drafts = values((2, 9, 5), torch.float32, 2).to(backend.device)
    one = torch.ones(2, dtype=torch.int32, device=backend.device)
    ccmps.causal_conv1d_update(drafts, window, weight, num_accepted_tokens=one)
    states = window.unfold(-1, 3, 1)
    assert states.untyped_storage().data_ptr() == window.untyped_storage().data_ptr()
    for j in range(1, 6):
        after = torch.zeros(2, 9, 3, device=backend.device)
        ccmps.causal_conv1d_update(drafts[..., :j], after, weight)
        assert same_bits(states[:, :, j - 1].contiguous(), after)


def test_residual(backend):
    """Added after the activation, as in causal_conv1d_fn: the same bits, on every route."""
    for dtype in decoding_runs.DTYPES:
        if not backend.supports(dtype, dtype):
            continue
        for length in (None, 1, 5, 70):
            shape = (3, 18) if length is None else (3, 18, length)
            x, side = (values(shape, dtype, s).to(backend.device) for s in (1, 2))
            weight = weights((18, 4), dtype, 3).to(backend.device)
            state = values((3, 18, 4), dtype, 4).to(backend.device)
            want = ccmps.causal_conv1d_fn(
                x.reshape(3, 18, -1),
                weight,
                initial_states=state[..., 1:].contiguous(),
                activation="silu",
                residual=side.reshape(3, 18, -1),
            )
            kept = state.clone()
            given = dict(weight=weight, activation="silu", residual=side)
            y = ccmps.causal_conv1d_update(x, kept, **given)
            assert same_bits(y, want.reshape(shape))
            again = x.clone()
            ccmps.causal_conv1d_update(again, state, **given, out=again)
            assert same_bits(again, y) and same_bits(state, kept)


STATES = ((2, 3), (4, 4), (8, 4), (4, 2), (5, 4))


def test_states_that_are_one_access(backend, states=STATES):
    """Rows of states that are one access of 16, 8 or 4 bytes on a GPU, and such that are not."""
    for dtype in (torch.bfloat16, torch.float32):
        for columns, width in states:
            for dim, start in ((16, 0), (16, 1), (9, 0)):
                storage = values((6 * dim * columns + start,), dtype, dim)
                state = storage[start:].view(6, dim, columns).to(backend.device)
                x = values((5, dim), dtype, 2).to(backend.device)
                weight = weights((dim, width), dtype, 3).to(backend.device)
                rows = torch.tensor([4, -1, 2, 0, 5], device=backend.device)
                want = oracle.update(x, state, weight, None, "silu", conv_state_indices=rows)
                y = ccmps.causal_conv1d_update(
                    x, state, weight, None, "silu", conv_state_indices=rows
                )
                oracle.check(y, want.y, "y")
                assert same_bits(state.cpu(), want.conv_state)


# ---- Refusals ------------------------------------------------------------------------------------

WRONG = {
    "bounds below 0": (dict(cu_seqlens=[-1, 4, 4, 11, 12]), ValueError, "cu_seqlens: .*got -1"),
    "bounds beyond x": (dict(cu_seqlens=[2, 4, 4, 11, 16]), ValueError, "cu_seqlens: .*got 16"),
    "falling": (dict(cu_seqlens=[2, 4, 3, 11, 12]), ValueError, "cu_seqlens: .*got 3 after 4"),
    "too many tokens": (dict(max_seqlen=6), ValueError, "cu_seqlens: .*max_seqlen = 6.*7 in row 2"),
    "none": (dict(cu_seqlens=[]), ValueError, "cu_seqlens: .*at least one element"),
    "of two dimensions": (dict(cu_seqlens=[[0, 1]]), ValueError, r"cu_seqlens: .*\(N\+1\)"),
    "of floats": (dict(cu_seqlens=torch.zeros(5)), TypeError, "cu_seqlens: .*int32 or int64"),
    "elsewhere": (
        dict(cu_seqlens=torch.zeros(5, dtype=torch.int32, device="meta")),
        (ValueError, NotImplementedError),
        "cu_seqlens",
    ),
    "no max_seqlen": (dict(max_seqlen=None), ValueError, "max_seqlen: .*beside cu_seqlens"),
    "no cu_seqlens": (dict(cu_seqlens=None), ValueError, "max_seqlen: .*got 7 without"),
    "negative": (dict(max_seqlen=-1), ValueError, "max_seqlen: .*>= 0, got -1"),
    "no number": (dict(max_seqlen="7"), TypeError, "max_seqlen: expected an integer, got str"),
    "x of three dimensions": (dict(x=torch.ones(15, 19, 1)), ValueError, r"x: .*\(total, D\)"),
    "short pool": (dict(conv_state=torch.ones(3, 19, 9)), ValueError, r"conv_state: .*\(N, D, S\)"),
    "short window": (
        dict(num_accepted_tokens=[1, 1, 1, 1], max_seqlen=8),
        ValueError,
        "conv_state: .*W-2 . max_seqlen = 10.*got 9",
    ),
    "wrong count": (dict(num_accepted_tokens=[1, 9, 0, 1]), ValueError, "num_accepted_tokens: .*0"),
    "counts of other rows": (dict(num_accepted_tokens=[1, 1]), ValueError, r"num_acc.*\(N\) = \(4"),
    "index out of range": (dict(conv_state_indices=[0, 9, 4, 1]), ValueError, "indices: .*got 4"),
    "a live row twice": (dict(conv_state_indices=[1, 0, 1, 2]), ValueError, "conv_state_.*1 again"),
    "written twice": (dict(conv_state_out_indices=[1, 0, 1, 2]), ValueError, "out_ind.*1 again"),
    "residual shape": (dict(residual=torch.ones(14, 19)), ValueError, r"residual: .*\(total, D\)"),
    "residual dtype": (
        dict(residual=torch.ones(15, 19).double()),
        TypeError,
        "residual: .*float32 like x",
    ),
    "parents": (dict(parents=[[-1]]), ValueError, "parents, cu_seqlens: .*at most one"),
}


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_and_nothing_written(name, watched):
    changes, error, message = WRONG[name]
    arguments = given(type("Here", (), {"device": "cpu"}))
    arguments["conv_state"] = torch.full((4, 19, 9), 7.0)
    for key, value in changes.items():
        arguments[key] = torch.tensor(value) if isinstance(value, list) else value
    if isinstance(changes.get("cu_seqlens"), list) and not changes["cu_seqlens"]:
        arguments["cu_seqlens"] = torch.tensor([], dtype=torch.int64)
    out = torch.full_like(arguments["x"], 7.0)
    state = arguments["conv_state"]
    before = state.clone()
    if watched:
        arguments["weight"] = arguments["weight"].as_subclass(type("Sub", (torch.Tensor,), {}))
    with pytest.raises(error, match=message):
        ccmps.causal_conv1d_update(**arguments, out=out)
    assert (out == 7).all() and same_bits(state, before)


def test_compiled_and_batched():
    """The operator has the arguments that the plain call has."""
    here = type("Here", (), {"device": "cpu"})
    plain, watched = given(here), given(here)
    residual = torch.randn(15, 19)
    want = ccmps.causal_conv1d_update(**plain, residual=residual)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def call(x, residual, most, **tensors):
        return ccmps.causal_conv1d_update(
            x, residual=residual, max_seqlen=most, activation="silu", **tensors
        )

    others = {k: v for k, v in watched.items() if k not in ("x", "max_seqlen", "activation")}
    y = call(watched["x"], residual, 7, **others)
    assert same_bits(y, want) and same_bits(watched["conv_state"], plain["conv_state"])

    batched = given(here)
    states = batched.pop("conv_state").expand(2, -1, -1, -1).clone()
    xs = torch.stack([batched.pop("x"), torch.randn(15, 19)])
    got = torch.vmap(lambda x, s: ccmps.causal_conv1d_update(x, s, **batched, residual=residual))(
        xs, states
    )
    assert same_bits(got[0], want) and same_bits(states[0], plain["conv_state"])


def test_a_residual_that_wants_gradients():
    x, state, weight = torch.randn(2, 5), torch.zeros(2, 5, 3), torch.randn(5, 4)
    y = ccmps.causal_conv1d_update(x, state, weight, residual=torch.ones(2, 5, requires_grad=True))
    with pytest.raises(RuntimeError, match="not differentiable"):
        y.sum().backward()
