"""compat.vllm is called as vLLM 0.33.0's models call their functions; states as vLLM keeps them."""

from itertools import accumulate
from types import SimpleNamespace

import pytest
import torch
from peer import close, drawn, made, same, sequence, signature

from causal_conv1d_mps.compat import vllm

pytestmark = pytest.mark.usefixtures("on_backend")
D, W, ROWS = 6, 4, 8

SIGNATURES = {
    "causal_conv1d_fn": (
        "x, weight, bias, conv_states, query_start_loc, cache_indices=None, "
        "has_initial_state=None, activation='silu', pad_slot_id=-1, null_block_id=0, "
        "metadata=None, validate_data=False"
    ),
    "causal_conv1d_update": (
        "x, conv_state, weight, bias=None, activation=None, conv_state_indices=None, "
        "num_accepted_tokens=None, query_start_loc=None, max_query_len=-1, null_block_id=0, "
        "validate_data=False, out=None"
    ),
}


def indices(*values):
    return torch.tensor(values, dtype=torch.int32)


def pool(columns=W - 1, dtype=torch.float32, rows=ROWS):
    """As vLLM allocates it: the channels of a column side by side."""
    return made(rows, columns, D, dtype=dtype, seed=5).transpose(1, 2)


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    assert signature(getattr(vllm, name)) == SIGNATURES[name]
    assert (vllm.PAD_SLOT_ID, vllm.NULL_BLOCK_ID) == (-1, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("columns", [W - 1, W + 3])
def test_prefill_as_mamba_mixer2_does(dtype, columns):
    """Two sequences that start, one that goes on, padding, and tokens of nobody behind them."""
    weight, bias = made(D, W), made(D)
    tokens = made(20, D, dtype=dtype)
    bounds, lines = indices(0, 7, 9, 15, 15, 16), indices(3, 5, 1, 0, -1)
    starts = torch.tensor([False, True, False, True, True])
    states = pool(columns, dtype)
    before = states.clone()
    y = vllm.causal_conv1d_fn(
        tokens.transpose(0, 1),
        weight,
        bias,
        activation="silu",
        conv_states=states,
        has_initial_state=starts,
        cache_indices=lines,
        metadata=SimpleNamespace(nums_dict=None, batch_ptr=None, token_chunk_offset_ptr=None),
        query_start_loc=bounds,
    )
    assert y.shape == (D, 20) and y.dtype == dtype
    for n, line in enumerate(lines.tolist()[:3]):
        past = before[line, :, : W - 1] if starts[n] else torch.zeros(D, W - 1)
        x = tokens[bounds[n] : bounds[n + 1]].t()
        expected, taps = sequence(past, x, weight, bias)
        close(y[:, bounds[n] : bounds[n + 1]], expected)
        same(states[line, :, : W - 1], taps[:, -(W - 1) :])
    assert (y[:, 15:] == 0).all()
    live = torch.zeros(ROWS, columns, dtype=torch.bool)
    live[[3, 5, 1], : W - 1] = True
    kept = ~live[:, None].expand(-1, D, -1)
    assert torch.equal(states[kept], before[kept])


def test_chunks_are_the_whole_sequence():
    """A prompt in chunks through the pool, then steps: bit for bit one call."""
    weight, bias, tokens = made(D, W), made(D), made(30, D)
    states, whole_states = pool(), pool()
    lines = indices(2)
    whole = vllm.causal_conv1d_fn(
        tokens.t(), weight, bias, whole_states, indices(0, 30), lines, torch.tensor([False])
    )
    parts = []
    for start, end in ((0, 1), (1, 2), (2, 11), (11, 25)):
        parts.append(
            vllm.causal_conv1d_fn(
                tokens[start:end].t(),
                weight,
                bias,
                states,
                indices(0, end - start),
                lines,
                torch.tensor([start > 0]),
            )
        )
    for t in range(25, 30):
        step = tokens[t : t + 1].clone()
        parts.append(
            vllm.causal_conv1d_update(
                step, states, weight, bias, "silu", conv_state_indices=lines
            ).t()
        )
    assert torch.equal(torch.cat(parts, dim=1), whole)
    assert torch.equal(states, whole_states)


@pytest.mark.parametrize("activation", ["silu", "swish", True, False, None])
def test_decode_as_mamba_mixer_does(activation):
    """x is overwritten and returned; the null block is padding."""
    weight, bias, states = made(D, W), made(D), pool(W + 2)
    before = states.clone()
    x = made(4, D)
    given, lines = x.clone(), indices(6, 0, 2, 0)
    y = vllm.causal_conv1d_update(given, states, weight, bias, activation, conv_state_indices=lines)
    assert y.data_ptr() == given.data_ptr()
    kind = "silu" if activation in ("silu", "swish", True) else None
    for b, line in ((0, 6), (2, 2)):
        expected, taps = sequence(before[line, :, : W - 1], x[b, :, None], weight, bias, kind)
        close(y[b, :, None], expected)
        same(states[line, :, : W - 1], taps[:, -(W - 1) :])
    assert torch.equal(states[..., W - 1 :], before[..., W - 1 :])
    untouched = [r for r in range(ROWS) if r not in (6, 2)]
    assert torch.equal(states[untouched], before[untouched])
    out = torch.empty_like(x)
    again = before.clone()
    y2 = vllm.causal_conv1d_update(
        x, again, weight, bias, activation, conv_state_indices=lines, out=out
    )
    assert y2.data_ptr() == out.data_ptr() and torch.equal(y2, y) and torch.equal(again, states)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_speculative_decoding_as_gdn_attention_does(dtype):
    """Drafts of changing length, packed, with a block table for indices, 12 steps."""
    weight = made(D, W, dtype=dtype)
    longest = 4
    states = pool(W - 1 + longest - 1, dtype)
    table = torch.tensor([[4, 7], [0, 0], [1, 3]], dtype=torch.int32)
    history = {0: states[4, :, : W - 1].double(), 2: states[1, :, : W - 1].double()}
    accepted = indices(1, 9, 1)  # nobody looks at a padded row's
    generator = torch.Generator("cpu").manual_seed(3)
    for step in range(12):
        lengths = drawn(generator, 0, longest + 1, 3)
        bounds = indices(0, *accumulate(lengths))
        tokens = made(int(bounds[-1]) + 2, D, dtype=dtype, seed=step)
        x = tokens.clone()
        y = vllm.causal_conv1d_update(
            x,
            states,
            weight,
            None,  # no bias
            "silu",
            conv_state_indices=table,
            num_accepted_tokens=accepted,
            query_start_loc=bounds,
            max_query_len=longest,
            validate_data=False,
        )
        assert y.data_ptr() == x.data_ptr()
        for b in history:
            if lengths[b] == 0:
                continue
            draft = tokens[bounds[b] : bounds[b + 1]].t()
            # What was accepted of the previous draft is past; the rest never happened.
            expected, taps = sequence(history[b], draft, weight)
            close(y[bounds[b] : bounds[b + 1]].t(), expected, dtype)
            (accepted[b],) = drawn(generator, 1, lengths[b] + 1, 1)
            history[b] = taps[:, : W - 1 + accepted[b]][:, -(W - 1) :]


def test_a_batch_of_drafts_and_no_indices():
    weight, states = made(D, W), pool(W + 1, rows=2)
    before, x = states.clone(), made(2, D, 3)
    y = vllm.causal_conv1d_update(x.clone(), states, weight, num_accepted_tokens=indices(1, 2))
    for b, a in enumerate((1, 2)):
        expected, _ = sequence(before[b, :, a - 1 : a + W - 2], x[b], weight, None, None)
        close(y[b], expected)
    kept = before.clone()
    y = vllm.causal_conv1d_update(x.clone(), kept, weight)
    for b in range(2):
        expected, taps = sequence(before[b, :, : W - 1], x[b], weight, None, None)
        close(y[b], expected)
        same(kept[b, :, : W - 1], taps[:, -(W - 1) :])


def test_states_of_another_dtype():
    weight, tokens = made(D, W), made(5, D, dtype=torch.bfloat16)
    states = pool()
    y = vllm.causal_conv1d_fn(tokens.t(), weight, None, states, indices(0, 5), indices(3))
    assert y.dtype == torch.bfloat16
    close(y, sequence(torch.zeros(D, W - 1), tokens.t(), weight)[0])
    assert torch.equal(states[3].t(), tokens[-3:].float())
    given = made(2, D, 3, dtype=torch.bfloat16)
    x, before = given.clone(), states.clone()
    y = vllm.causal_conv1d_update(x, states, weight, conv_state_indices=indices(3, 1))
    assert y.dtype == torch.bfloat16 and torch.equal(x, given)
    for b, row in enumerate((3, 1)):
        close(y[b], sequence(before[row], given[b], weight, None, None)[0])


def test_rows_without_indices():
    weight, states = made(D, W), pool()
    before = states.clone()
    y = vllm.causal_conv1d_update(made(2, D), states, weight)
    packed = vllm.causal_conv1d_update(
        made(2, D), before.clone(), weight, query_start_loc=indices(0, 1, 2), max_query_len=1
    )
    for b in range(2):
        close(y[b, :, None], sequence(before[b], made(2, D)[b, :, None], weight, None, None)[0])
    assert torch.equal(y, packed) and torch.equal(states[2:], before[2:])


def test_other_marks_of_padding():
    weight, tokens = made(D, W), made(6, D)
    states = pool()
    before = states.clone()
    bounds = indices(0, 2, 4, 6)
    y = vllm.causal_conv1d_fn(
        tokens.t(), weight, None, states, bounds, indices(7, 0, 5), pad_slot_id=7, null_block_id=5
    )
    assert (y[:, :2] == 0).all() and (y[:, 4:] == 0).all() and (y[:, 2:4] != 0).any()
    assert torch.equal(states[1:], before[1:]) and not torch.equal(states[0], before[0])
    x = made(2, D)
    y = vllm.causal_conv1d_update(
        x.clone(), states, weight, conv_state_indices=indices(0, 2), null_block_id=None
    )
    assert (y != 0).any(dim=1).all(), "nothing is padding"


def test_what_cannot_be_honoured_is_refused_by_name(backend):
    weight, states, tokens = made(D, W), pool(), made(6, D)
    before = states.clone()

    def prefill(**changed):
        given = dict(
            x=tokens.t(),
            weight=weight,
            bias=None,
            conv_states=states,
            query_start_loc=indices(0, 6),
            cache_indices=indices(1),
        )
        return vllm.causal_conv1d_fn(**{**given, **changed})

    def update(**changed):
        given = dict(x=made(1, D), conv_state=states, weight=weight, conv_state_indices=indices(1))
        return vllm.causal_conv1d_update(**{**given, **changed})

    for name, call, changed, kind in (
        ("x", prefill, dict(x=tokens.t()[None]), ValueError),
        ("conv_states", prefill, dict(conv_states=None), TypeError),
        ("conv_states", prefill, dict(conv_states=states[..., : W - 2]), ValueError),
        ("query_start_loc", prefill, dict(query_start_loc=None), TypeError),
        ("activation", prefill, dict(activation="gelu"), NotImplementedError),
        ("has_initial_state", prefill, dict(has_initial_state=indices(1)), TypeError),
        ("activation", update, dict(activation="relu"), NotImplementedError),
        ("conv_state", update, dict(conv_state=None, conv_state_indices=None), TypeError),
        ("max_query_len", update, dict(query_start_loc=indices(0, 1)), ValueError),
        ("out", update, dict(out=made(2, D)), ValueError),
    ):
        with pytest.raises(kind, match=name):
            call(**changed)
        assert torch.equal(states, before), name
    if backend.device == "cpu":  # on GPUs nobody waits for values
        with pytest.raises(ValueError, match="conv_state_indices"):
            prefill(cache_indices=indices(ROWS))
        with pytest.raises(ValueError, match="num_accepted_tokens"):
            update(num_accepted_tokens=indices(3))
        assert torch.equal(states, before)
