"""compat.vllm.block_tables: vLLM 0.32.0's functions with prefix caching's block tables."""

import pytest
import torch
from peer import close, drawn, made, same, sequence, signature

from causal_conv1d_mps.compat.vllm import block_tables

pytestmark = pytest.mark.usefixtures("on_backend")
D, W, SIZE, ROWS = 6, 4, 8, 24

SIGNATURES = {
    "causal_conv1d_fn": (
        "x, weight, bias, conv_states, query_start_loc, cache_indices=None, "
        "has_initial_state=None, activation='silu', pad_slot_id=-1, null_block_id=0, "
        "block_idx_first_scheduled_token=None, block_idx_last_scheduled_token=None, "
        "initial_state_idx=None, num_computed_tokens=None, block_size_to_align=0, metadata=None, "
        "validate_data=False"
    ),
    "causal_conv1d_update": (
        "x, conv_state, weight, bias=None, activation=None, conv_state_indices=None, "
        "num_accepted_tokens=None, query_start_loc=None, max_query_len=-1, null_block_id=0, "
        "block_idx_last_scheduled_token=None, initial_state_idx=None, validate_data=False, out=None"
    ),
}


def indices(*values):
    return torch.tensor(values, dtype=torch.int32)


def blocks(computed, scheduled):
    """As vLLM's metadata counts them: the last computed, the first and the last scheduled block."""
    last_computed = ((computed + SIZE - 1) // SIZE - 1).clamp(min=0)
    first = (computed + SIZE) // SIZE - 1
    last = (computed + scheduled + SIZE - 1) // SIZE - 1
    return last_computed.to(torch.int32), first.to(torch.int32), last.to(torch.int32)


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    assert signature(getattr(block_tables, name)) == SIGNATURES[name]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chunks_leave_the_states_of_every_block(dtype):
    """Three prompts in chunks: a state at the end of every block, and at the last token."""
    weight, bias = made(D, W), made(D)
    lengths = (3 * SIZE, 2 * SIZE + 5, 30)
    tokens = [made(n, D, dtype=dtype, seed=k) for k, n in enumerate(lengths)]
    wholes = [sequence(torch.zeros(D, W - 1), t.t(), weight, bias) for t in tokens]
    # 0 is the null block; the last sequence of the batch is padding.
    table = torch.cat([torch.arange(1, 13).reshape(3, 4), torch.zeros(1, 4)]).to(torch.int32)
    states = made(ROWS, W - 1, D, dtype=dtype).transpose(1, 2)
    before = states.clone()
    done, generator = torch.zeros(3, dtype=torch.int64), torch.Generator("cpu").manual_seed(1)
    while (left := torch.tensor(lengths) - done).any():
        steps = left.minimum(torch.tensor(drawn(generator, 1, 2 * SIZE, 3)))
        live = torch.cat([steps, torch.tensor([2])])
        computed = torch.cat([done, torch.tensor([0])])
        bounds = torch.cat([torch.zeros(1, dtype=torch.int64), live.cumsum(0)]).to(torch.int32)
        parts = [t[d : d + s] for t, d, s in zip(tokens, done, steps, strict=True)]
        x = torch.cat([*parts, made(2, D, dtype=dtype)])
        read, first, last = blocks(computed, live)
        y = block_tables.causal_conv1d_fn(
            x.t(),
            weight,
            bias,
            activation="silu",
            conv_states=states,
            has_initial_state=computed > 0,
            cache_indices=table,
            block_idx_first_scheduled_token=first,
            block_idx_last_scheduled_token=last,
            initial_state_idx=read,
            num_computed_tokens=computed.to(torch.int32),
            block_size_to_align=SIZE,
            query_start_loc=bounds,
        )
        for n in range(3):
            expected = wholes[n][0][:, done[n] : done[n] + steps[n]]
            close(y[:, bounds[n] : bounds[n + 1]], expected, dtype)
        done += steps
        for n, count in enumerate(done.tolist()):
            if count == 0:
                continue
            ends = [*range(SIZE, count + 1, SIZE), count]
            for end in ends:
                row = int(table[n, (end + SIZE - 1) // SIZE - 1])
                steps_before = wholes[n][1][:, end : end + W - 1]  # W-1 zeros come first
                same(states[row], steps_before)
    assert torch.equal(states[0], before[0]) and torch.equal(states[13:], before[13:])


def test_a_step_copies_the_state_into_the_next_block():
    weight, states = made(D, W), made(ROWS, D, W - 1)
    before, x = states.clone(), made(2, D)
    table = torch.tensor([[3, 5], [7, 9]], dtype=torch.int32)
    y = block_tables.causal_conv1d_update(
        x.clone(),
        states,
        weight,
        conv_state_indices=table,
        block_idx_last_scheduled_token=indices(1, 0),
        initial_state_idx=indices(0, 0),
    )
    for b, (read, write) in enumerate(((3, 5), (7, 7))):
        expected, taps = sequence(before[read], x[b, :, None], weight, None, None)
        close(y[b, :, None], expected)
        same(states[write], taps[:, -(W - 1) :])
    assert torch.equal(states[3], before[3]), "the full block keeps its state"


def test_without_block_tables_the_first_block_counts():
    weight, states, tokens = made(D, W), made(ROWS, D, W - 1), made(5, D)
    table = torch.tensor([[4, 8]], dtype=torch.int32)
    y = block_tables.causal_conv1d_fn(tokens.t(), weight, None, states, indices(0, 5), table)
    close(y, sequence(torch.zeros(D, W - 1), tokens.t(), weight)[0])
    assert torch.equal(states[4], tokens[-(W - 1) :].t())
    y = block_tables.causal_conv1d_update(
        tokens[:1].clone(), states, weight, conv_state_indices=table
    )
    assert torch.equal(states[4, :, -1], tokens[0])


def test_what_is_missing_is_refused_by_name():
    weight, states, tokens = made(D, W), made(ROWS, D, W - 1), made(5, D)
    before = states.clone()
    given = dict(
        block_idx_first_scheduled_token=indices(0),
        block_idx_last_scheduled_token=indices(0),
        initial_state_idx=indices(0),
        num_computed_tokens=indices(0),
        block_size_to_align=SIZE,
    )
    for name, value, kind in (
        ("block_idx_first_scheduled_token", None, TypeError),
        ("initial_state_idx", None, TypeError),
        ("num_computed_tokens", None, TypeError),
        ("block_size_to_align", 0, ValueError),
    ):
        with pytest.raises(kind, match=f"^{name}: "):
            block_tables.causal_conv1d_fn(
                tokens.t(),
                weight,
                None,
                states,
                indices(0, 5),
                torch.tensor([[4, 8]], dtype=torch.int32),
                **{**given, name: value},
            )
        assert torch.equal(states, before)
