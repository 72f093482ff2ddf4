"""compat.sglang is called as SGLang 0.5.23's attention backends call their functions."""

import pytest
import torch
from peer import close, convolved, made, same, sequence, signature

from causal_conv1d_mps.compat import sglang
from causal_conv1d_mps.compat.sglang import triton

pytestmark = pytest.mark.usefixtures("on_backend")
D, W, ROWS = 6, 4, 8

SIGNATURES = {
    (sglang, "causal_conv1d_fn_cpu"): (
        "mixed_qkv_transposed, conv_weights, bias, activation, conv_states, has_initial_state, "
        "cache_indices, query_start_loc, seq_lens_cpu"
    ),
    (sglang, "causal_conv1d_update_cpu"): (
        "mixed_qkv, conv_states, conv_weights, bias, activation, conv_state_indices, "
        "intermediate_conv_window=None, intermediate_state_indices=None, "
        "retrieve_next_token=None, retrieve_next_sibling=None, retrieve_parent_token=None"
    ),
    (sglang, "causal_conv1d_weight_pack"): "weight",
    (sglang, "causal_conv1d_fn"): (
        "x, weight, bias=None, query_start_loc=None, cache_indices=None, has_initial_state=None, "
        "conv_states=None, activation='silu', pad_slot_id=-1, **kwargs"
    ),
    (sglang, "causal_conv1d_update"): (
        "x, conv_state, weight, bias=None, activation=None, cache_seqlens=None, "
        "conv_state_indices=None, pad_slot_id=-1"
    ),
    (triton, "causal_conv1d_fn"): (
        "x, weight, bias, conv_states, query_start_loc, seq_lens_cpu, cache_indices=None, "
        "has_initial_state=None, activation='silu', pad_slot_id=-1, validate_data=False, "
        "block_table=None, **kwargs"
    ),
    (triton, "causal_conv1d_update"): (
        "x, conv_state, weight, bias=None, activation=None, cache_seqlens=None, "
        "conv_state_indices=None, num_accept_tokens=None, intermediate_conv_window=None, "
        "intermediate_state_indices=None, retrieve_next_token=None, retrieve_next_sibling=None, "
        "retrieve_parent_token=None, pad_slot_id=-1, metadata=None, validate_data=False"
    ),
}


def indices(*values):
    return torch.tensor(values, dtype=torch.int32)


def pool(columns=W - 1):
    return made(ROWS, D, columns, seed=5)


def ids(place):
    return f"{place[0].__name__.rsplit('.', 1)[1]}.{place[1]}"


@pytest.mark.parametrize("place", SIGNATURES, ids=ids)
def test_signatures(place):
    module, name = place
    assert signature(getattr(module, name)) == SIGNATURES[place]
    assert module.PAD_SLOT_ID == -1


def as_cpu(x, weight, bias, states, bounds, lines, starts):
    return sglang.causal_conv1d_fn_cpu(
        x, weight, bias, "silu", states, starts, lines, bounds, bounds.diff().tolist()
    )


def as_cuda(x, weight, bias, states, bounds, lines, starts):
    return sglang.causal_conv1d_fn(
        x,
        weight,
        bias,
        activation="silu",
        conv_states=states,
        has_initial_state=starts,
        cache_indices=lines,
        query_start_loc=bounds,
        seq_lens_cpu=bounds.diff().tolist(),
    )


def as_triton(x, weight, bias, states, bounds, lines, starts):
    return triton.causal_conv1d_fn(
        x,
        weight,
        bias,
        conv_states=states,
        query_start_loc=bounds,
        seq_lens_cpu=bounds.diff().tolist(),
        cache_indices=lines.to(torch.int64),
        has_initial_state=starts,
        block_table=torch.zeros(4, 2, dtype=torch.int32),
    )


@pytest.mark.parametrize("prefill", [as_cpu, as_cuda, as_triton])
def test_prefill_as_gdn_backend_does(prefill):
    weight, bias, tokens = made(D, W), made(D), made(12, D)
    states, bounds, lines = pool(), indices(0, 2, 9, 12), indices(3, 6, -1)
    starts, before = torch.tensor([True, False, True]), states.clone()
    x = tokens.transpose(0, 1)
    kept = x.clone()
    y = prefill(x, weight, bias, states, bounds, lines, starts)
    assert torch.equal(x, kept) and y.shape == x.shape
    for n, line in enumerate((3, 6)):
        past = before[line] if starts[n] else torch.zeros(D, W - 1)
        expected, taps = sequence(past, x[:, bounds[n] : bounds[n + 1]], weight, bias)
        close(y[:, bounds[n] : bounds[n + 1]], expected)
        same(states[line], taps[:, -(W - 1) :])
    assert (y[:, 9:] == 0).all()
    others = [row for row in range(ROWS) if row not in (3, 6)]
    assert torch.equal(states[others], before[others])


def test_prefill_of_a_batch():
    weight, x, states = made(D, W), made(2, D, 7), pool()
    plain = sglang.causal_conv1d_fn(x, weight)
    pooled = sglang.causal_conv1d_fn_cpu(
        x, weight, None, "silu", states, None, indices(4, 2), None, None
    )
    for b, line in enumerate((4, 2)):
        expected, taps = sequence(torch.zeros(D, W - 1), x[b], weight)
        close(plain[b], expected)
        close(pooled[b], expected)
        same(states[line], taps[:, -(W - 1) :])


@pytest.mark.parametrize("shape", [(3, D), (3, D, 1), (3, D, 2)])
def test_decode_as_gdn_backend_does(shape):
    weight, bias, x = made(D, W), made(D), made(*shape)
    lines, before = indices(5, -1, 0), pool()
    results = []
    for decode in (
        lambda s: sglang.causal_conv1d_update_cpu(x, s, weight, bias, "silu", lines),
        lambda s: sglang.causal_conv1d_update(
            x, s, weight, bias, "silu", conv_state_indices=lines.to(torch.int64)
        ),
        lambda s: triton.causal_conv1d_update(x, s, weight, bias, "silu", conv_state_indices=lines),
    ):
        states = before.clone()
        results.append((decode(states), states))
        y = results[-1][0].reshape(3, D, -1)
        assert results[-1][0].shape == x.shape
        for b, line in ((0, 5), (2, 0)):
            expected, taps = sequence(before[line], x.reshape(3, D, -1)[b], weight, bias)
            close(y[b], expected)
            same(states[line], taps[:, -(W - 1) :])
        assert (y[1] == 0).all()
        assert torch.equal(states[1:5], before[1:5]) and torch.equal(states[6:], before[6:])
    assert all(torch.equal(y, results[0][0]) for y, _ in results)


def test_rows_that_are_longer_than_the_history():
    """The Triton kernel keeps it in the first columns, the CUDA one in the last."""
    weight, x, states = made(D, W), made(2, D, 1), pool(W + 2)
    last, before = states.clone(), states.clone()
    y = triton.causal_conv1d_update(x, states, weight, conv_state_indices=indices(1, 2))
    z = sglang.causal_conv1d_update(x, last, weight, conv_state_indices=indices(1, 2))
    for b in range(2):
        close(y[b], sequence(before[1 + b, :, : W - 1], x[b], weight, None, None)[0])
        close(z[b], sequence(before[1 + b], x[b], weight, None, None)[0])
    assert torch.equal(states[..., W - 1 :], before[..., W - 1 :])
    assert torch.equal(last[1:3, :, :-1], before[1:3, :, 1:])
    ring = before.clone()
    y = sglang.causal_conv1d_update(
        x, ring, weight, None, None, indices(7, 3), conv_state_indices=indices(1, 2)
    )
    for b, place in enumerate((7, 3)):
        past = before[1 + b][:, [(place + k) % (W + 2) for k in range(1 - W, 0)]]
        close(y[b], sequence(past, x[b], weight, None, None)[0])
        assert torch.equal(ring[1 + b, :, place % (W + 2)], x[b, :, 0])


def tree(parents):
    """First child and next sibling of every token, children in their order."""
    child, sibling = [-1] * len(parents), [-1] * len(parents)
    for token, parent in enumerate(parents):
        if token == 0:
            continue
        others = [t for t in range(1, token) if parents[t] == parent]
        if others:
            sibling[others[-1]] = token
        else:
            child[parent] = token
    return child, sibling


TREES = (
    (0, 0, 0, 1, 1, 3, 3, 3),
    (0, 0, 1, 2, 3, 4, 5, 6),
    (0, 0, 0, 0, 0, 0, 0, 0),
    (0, 0, 1, 1, 2, 2, 3, 0),
)


@pytest.mark.parametrize("verify", [sglang.causal_conv1d_update_cpu, triton.causal_conv1d_update])
def test_verification_of_trees_as_mamba2_does(verify):
    """EAGLE: y follows ancestors, every token leaves its window, parents are returned."""
    length, count = 8, len(TREES)
    weight, bias = made(D, W), made(D)
    x = made(count, length, D).transpose(1, 2)
    states, lines, slots = pool(), indices(5, 2, -1, 7), indices(1, 0, 2, 3)
    before = states.clone()
    window = torch.full((count + 1, length + 2, D, W - 1), 9.0)
    child, sibling = (torch.tensor(part) for part in zip(*map(tree, TREES), strict=True))
    parents = torch.full((count, length), 77)
    y = verify(
        x,
        states,
        weight,
        bias,
        "silu",
        conv_state_indices=lines,
        intermediate_conv_window=window,
        intermediate_state_indices=slots,
        retrieve_next_token=child,
        retrieve_next_sibling=sibling,
        retrieve_parent_token=parents,
    )
    assert torch.equal(parents, torch.tensor(TREES))
    for b, line in enumerate(lines.tolist()):
        slot = window[slots[b], :length]
        if line < 0:
            assert (y[b] == 0).all() and (slot == 9).all()
            continue
        for t in range(length):
            path, token = [t], t
            while token:
                token = TREES[b][token]
                path.insert(0, token)
            taps = torch.cat([before[line], x[b][:, path]], dim=1)[:, -W:]
            close(y[b, :, t : t + 1], convolved(taps, weight, bias, "silu"))
            same(slot[t], taps[:, 1:])
        # The row itself moves on by all tokens; the engine then puts an accepted window there.
        assert torch.equal(states[line], x[b][:, -(W - 1) :])
    assert (window[count] == 9).all() and (window[:, length:] == 9).all()


def test_verification_of_a_chain():
    """A linear draft without links: token t follows token t-1; any of its states can be taken."""
    length = 3
    weight, x, states = made(D, W), made(2, D, length), pool()
    before, lines = states.clone(), indices(4, 1)
    window, parents = torch.empty(2, length, D, W - 1), torch.empty(2, length, dtype=torch.int64)
    y = sglang.causal_conv1d_update_cpu(
        x,
        states,
        weight,
        None,
        "silu",
        lines,
        intermediate_conv_window=window,
        retrieve_parent_token=parents,
    )
    assert parents.tolist() == [[0, 0, 1]] * 2
    plain = before.clone()
    assert torch.equal(
        y, triton.causal_conv1d_update(x, plain, weight, None, "silu", conv_state_indices=lines)
    )
    assert torch.equal(states, plain)
    for b, line in enumerate((4, 1)):
        _, taps = sequence(before[line], x[b], weight)
        for t in range(length):
            same(window[b, t], taps[:, t + 1 : t + W])


def test_drafts_with_accepted_counts():
    weight, states = made(D, W), pool(W + 2)
    before, x, accepted = states.clone(), made(2, D, 3), indices(2, 1)
    y = triton.causal_conv1d_update(
        x, states, weight, conv_state_indices=indices(3, 6), num_accept_tokens=accepted
    )
    for b, (line, a) in enumerate(((3, 2), (6, 1))):
        past = before[line, :, a - 1 : a + W - 2]
        expected, taps = sequence(past, x[b], weight, None, None)
        close(y[b], expected)
        same(states[line, :, : W + 1], taps[:, 1:])


def test_weights_are_plain():
    weight = made(D, W)
    assert sglang.causal_conv1d_weight_pack(weight) is weight


def test_what_cannot_be_honoured_is_refused_by_name(backend):
    weight, states, x = made(D, W), pool(), made(2, D, 3)
    before, window = states.clone(), torch.zeros(2, 3, D, W - 1)
    lines = indices(1, 2)

    def update(**changed):
        given = dict(x=x, conv_state=states, weight=weight, conv_state_indices=lines)
        return triton.causal_conv1d_update(**{**given, **changed})

    def prefill(**changed):
        given = dict(x=made(D, 6), weight=weight, query_start_loc=indices(0, 2, 6))
        return sglang.causal_conv1d_fn(**{**given, **changed})

    for name, call, changed, kind in (
        ("cache_indices", prefill, dict(cache_indices=lines), ValueError),
        ("has_initial_state", prefill, dict(has_initial_state=lines > 0), ValueError),
        ("x", prefill, dict(x=x), ValueError),
        ("out", prefill, dict(out=made(D, 6)), TypeError),
        ("activation", prefill, dict(activation="gelu"), NotImplementedError),
        ("conv_states", prefill, dict(conv_states=states[..., :1]), ValueError),
        ("cache_seqlens", update, dict(cache_seqlens=lines, intermediate_conv_window=window), None),
        ("retrieve_next_sibling", update, dict(retrieve_next_token=torch.zeros(2, 3)), TypeError),
    ):
        with pytest.raises(ValueError if kind is None else kind, match=name):
            call(**changed)
        assert torch.equal(states, before), name
    if backend.device == "cpu":  # on GPUs nobody waits for values
        with pytest.raises(ValueError, match="conv_state_indices"):
            update(conv_state_indices=indices(1, ROWS))
        assert torch.equal(states, before)
