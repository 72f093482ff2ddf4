"""causal_conv1d_update against the float64 reference; the states exactly."""

import cases
import oracle
import pytest
import torch
from inputs import same_bits, storage_around, values, weights

import causal_conv1d_mps as ccmps


@pytest.mark.cases(cases.UPDATE)
def test_update(backend, case):
    arguments = case.arguments(backend.device)
    want = oracle.update(**arguments)
    around = storage_around(arguments["conv_state"])
    x = arguments["x"].clone()

    y = ccmps.causal_conv1d_update(**arguments)

    if y.numel():
        backend.check_ran("update")
    assert y.dtype == case.x_dtype and y.device == x.device
    oracle.check(y, want.y, "y")
    assert same_bits(arguments["conv_state"].cpu(), want.conv_state), "wrong conv_state"
    assert same_bits(storage_around(arguments["conv_state"]), around), "wrote outside conv_state"
    assert same_bits(arguments["x"], x)


@pytest.mark.parametrize("pad_slot_id", [-1, 2, -7])
def test_pad_slots_are_left_alone(backend, pad_slot_id):
    """An index that is negative or equal to pad_slot_id means: no sequence in this row."""
    case = cases.UpdateCase(4, 9, 2, 4, 1)
    arguments = case.arguments(backend.device)
    indices = torch.tensor([1, 2, -1, 0], dtype=torch.int32, device=backend.device)
    before = arguments["conv_state"].clone()
    arguments |= dict(conv_state_indices=indices, pad_slot_id=pad_slot_id)
    want = oracle.update(**arguments)
    y = ccmps.causal_conv1d_update(**arguments)
    oracle.check(y, want.y, "y")
    assert same_bits(arguments["conv_state"].cpu(), want.conv_state)
    assert not y[2].any() and same_bits(arguments["conv_state"][3], before[3])
    assert bool(y[1].any()) == (pad_slot_id != 2)


def test_rejected_tokens_leave_no_trace(backend):
    """Speculative decoding with calls of any length: three drafts of which two are accepted, one
    step, then four more equal the accepted tokens one by one."""
    case = cases.UpdateCase(2, 9, 4, 4, 0, mode="accepted")
    arguments = case.arguments(backend.device)
    window = torch.zeros(2, 9, case.state_len, device=backend.device)
    window[..., 3:] = 9.0
    plain = torch.zeros(2, 9, 3, device=backend.device)
    parameters = {k: arguments[k] for k in ("weight", "bias", "activation")}
    tokens = torch.randn(2, 9, 7, generator=torch.Generator().manual_seed(1)).to(backend.device)
    rejected = torch.full((2, 9, 1), 7.0, device=backend.device)

    def call(x, accepted):
        counts = torch.full((2,), accepted, dtype=torch.int32, device=backend.device)
        return ccmps.causal_conv1d_update(x, window, **parameters, num_accepted_tokens=counts)

    first = call(torch.cat([tokens[..., :2], rejected], dim=-1), 1)
    second = call(tokens[..., 2], 2)
    third = call(tokens[..., 3:], 1)

    steps = [ccmps.causal_conv1d_update(t, plain, **parameters) for t in tokens.unbind(-1)]
    got = torch.cat([first[..., :2], second.unsqueeze(-1), third], dim=-1)
    assert same_bits(got, torch.stack(steps, dim=-1))
    assert same_bits(window, tokens[..., 1:])


def test_columns_behind_a_window_stay(backend):
    """W = 2 by hand: [1, 2] with one token accepted, then [3] or [3, 4, 5]."""
    weight = torch.tensor([[1.0, 10.0]], device=backend.device)
    one = torch.ones(1, dtype=torch.int32, device=backend.device)
    for later, y, columns in (
        ([3.0], [31.0], [3.0, 2.0, 0.0, 8.0]),
        ([3.0, 4.0, 5.0], [31.0, 43.0, 54.0], [3.0, 4.0, 5.0, 8.0]),
    ):
        state = torch.tensor([[[0.0, 0.0, 0.0, 8.0]]], device=backend.device)
        first, second = (torch.tensor([[x]], device=backend.device) for x in ([1.0, 2.0], later))
        ccmps.causal_conv1d_update(first, state, weight, num_accepted_tokens=one)
        got = ccmps.causal_conv1d_update(second, state, weight, num_accepted_tokens=one)
        assert got.flatten().tolist() == y
        assert state.flatten().tolist() == columns


WINDOW_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@pytest.mark.parametrize("dtype", WINDOW_DTYPES, ids=lambda dtype: cases.NAMES[dtype])
def test_windows_against_the_accepted_tokens(backend, dtype, runs=25, steps=20):
    """An engine's loop against a float64 model that keeps nothing but the accepted tokens: calls of
    changing length, drafts accepted in part, rows of padding whose counts mean nothing."""
    if not backend.supports(dtype, dtype):
        pytest.skip(f"{backend} has no {dtype}")
    for seed in range(runs):
        generator = torch.Generator().manual_seed(seed)

        def below(n, generator=generator):
            return int(torch.randint(0, n, (), generator=generator))

        width, most, dim, batch, pool_rows = 1 + below(6), 1 + below(5), 1 + below(9), 3, 5
        pool = values((pool_rows, dim, width - 2 + most + 1 + below(3)), dtype, seed)
        history = [pool[row, :, : width - 1] for row in range(pool_rows)]
        accepted = [1] * pool_rows
        weight, bias = weights((dim, width), dtype, seed), weights((dim,), dtype, seed + 1)
        activation = (None, "silu")[seed % 2]
        device_pool = pool.clone().to(backend.device)
        for step in range(steps):
            x = values((batch, dim, 1 + below(most)), dtype, 1000 * seed + step)
            rows = torch.randperm(pool_rows, generator=generator)[:batch].tolist()
            slots = [-1 if below(5) == 0 else row for row in rows]
            counts = [(0, -3, 99)[below(3)] if s < 0 else accepted[s] for s in slots]
            before = device_pool.clone()
            y = ccmps.causal_conv1d_update(
                x.to(backend.device),
                device_pool,
                weight.to(backend.device),
                bias.to(backend.device),
                activation,
                conv_state_indices=torch.tensor(slots, device=backend.device),
                num_accepted_tokens=torch.tensor(counts, device=backend.device),
            )
            for b, slot in enumerate(slots):
                if slot < 0:
                    assert not y[b].any() and same_bits(device_pool[rows[b]], before[rows[b]])
                    continue
                tokens, length = x[b], x.shape[2]
                taps = history[slot][:, history[slot].shape[1] - (width - 1) :]
                want = oracle.forward(
                    tokens[None], weight, bias, initial_states=taps[None], activation=activation
                )
                oracle.check(y[b : b + 1], want.y, f"y of run {seed}, step {step}, row {b}")
                if width > 1:
                    window = torch.cat([taps[:, 1:], tokens], dim=-1)
                    assert same_bits(device_pool[slot, :, : window.shape[1]].cpu(), window)
                    rest = device_pool[slot, :, window.shape[1] :]
                    assert same_bits(rest, before[slot, :, window.shape[1] :])
                accepted[slot] = 1 + below(length)
                history[slot] = torch.cat([taps, tokens[:, : accepted[slot]]], dim=-1)
        if width == 1:
            assert same_bits(device_pool.cpu(), pool), "a filter without history has no state"


def test_counts_of_padding_are_not_looked_at(backend):
    case = cases.UpdateCase(3, 9, 2, 4, 1)
    arguments = case.arguments(backend.device)
    arguments["conv_state_indices"] = torch.tensor([1, -1, 0], device=backend.device)
    for name in ("cache_seqlens", "num_accepted_tokens"):
        given = dict(arguments, conv_state=arguments["conv_state"].clone())
        given[name] = torch.tensor([2, -9, 1], device=backend.device)
        want = oracle.update(**given)
        y = ccmps.causal_conv1d_update(**given)
        oracle.check(y, want.y, "y")
        assert same_bits(given["conv_state"].cpu(), want.conv_state)


@pytest.mark.parametrize("mode", ["shift", "circular", "accepted"])
@pytest.mark.parametrize("indices", [None, "padded", "forked", "shifted"])
@pytest.mark.parametrize("length", [None, 2, 7, 70])
@pytest.mark.parametrize("width", [1, 2, 4, 9])
def test_out_and_in_place(backend, mode, indices, length, width):
    """y goes to out, which may be x: the same bits and states. 70 steps are more than the vector
    kernels take at once, states of W-1 columns are shorter than the steps."""
    dtypes = [d for d in WINDOW_DTYPES if backend.supports(d, d)]
    for i, layout in enumerate(("contiguous", "channel_last", "sliced")):
        dtype = dtypes[i % len(dtypes)]
        case = cases.UpdateCase(
            3, 18, length, width, i % 2, dtype, dtype, mode=mode, indices=indices, layout=layout
        )
        plain, given, place = (case.arguments(backend.device) for _ in range(3))
        want = ccmps.causal_conv1d_update(**plain)
        out = torch.full_like(given["x"], 7.0)
        around = storage_around(place["x"])
        assert ccmps.causal_conv1d_update(**given, out=out) is out
        assert ccmps.causal_conv1d_update(**place, out=place["x"]) is place["x"]
        for y, arguments in ((out, given), (place["x"], place)):
            assert same_bits(y, want)
            assert same_bits(arguments["conv_state"], plain["conv_state"])
        assert same_bits(storage_around(place["x"]), around), "wrote outside x"
        assert same_bits(given["x"], plain["x"])


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 3, 0), (2, 0, 2)])
def test_nothing_is_not_in_place(shape):
    """Empty tensors all begin at one address."""
    (batch, dim, length), weight = shape, torch.ones(shape[1], 4)
    x, state = torch.ones(shape, dtype=torch.bfloat16), torch.ones(batch, dim, 3)
    tree = dict(
        parents=torch.full((batch, length), -1),
        intermediate_states=torch.ones(batch, length, dim, 3),
    )
    for given in ({}, tree, {"out": x}):
        y = ccmps.causal_conv1d_update(x, state, weight, **given)
        assert y.shape == shape and (state == 1).all()


def test_out_of_a_compiled_call():
    def call(x, state, weight, out):
        return ccmps.causal_conv1d_update(x, state, weight, activation="silu", out=out)

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    for inside in (False, True):
        x, state, weight = torch.randn(2, 5, 3), torch.randn(2, 5, 4), torch.randn(5, 4)
        want = call(x, kept := state.clone(), weight, None)
        out = x if inside else torch.empty_like(x)
        assert same_bits(compiled(x, state, weight, out), want)
        assert same_bits(out, want) and same_bits(state, kept)


@pytest.mark.parametrize("watched", [False, True])
def test_out_refuses_gradients(watched):
    x, state, weight = torch.randn(2, 5), torch.zeros(2, 5, 4), torch.randn(5, 4)
    if watched:
        x = x.as_subclass(type("Watched", (torch.Tensor,), {}))
    out = torch.full((2, 5), 7.0)
    with pytest.raises(RuntimeError, match=r"^out: .* requires grad"):
        ccmps.causal_conv1d_update(x, state, weight.clone().requires_grad_(), out=out)
    with pytest.raises(RuntimeError, match=r"^out: .* requires grad"):
        ccmps.causal_conv1d_update(x, state, weight, out=out.clone().requires_grad_())
    assert (out == 7).all() and not state.any()
    version = out._version
    y = ccmps.causal_conv1d_update(x, state, weight, out=out)
    assert watched or y is out
    assert same_bits(torch.Tensor(y), out)
    assert out._version > version and state.any()


def test_out_under_a_profiler():
    x, state, weight = torch.randn(2, 5), torch.zeros(2, 5, 4), torch.randn(5, 4)
    out = torch.empty(2, 5)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as shown:
        ccmps.causal_conv1d_update(x, state, weight, out=out)
    assert "causal_conv1d_mps::update" in {event.key for event in shown.key_averages()}
    assert same_bits(out, x * weight[:, -1])


def test_copy_on_write_of_a_pool(backend):
    """Three sequences go on from one cached prefix: its row stays, and each has what it would have
    had alone; without conv_state_indices row b is read."""
    case = cases.UpdateCase(1, 9, 2, 4, 1, indices="rows")
    arguments = case.arguments(backend.device)
    weight, x = arguments["weight"], torch.randn(3, 9, 2).to(backend.device)
    pool = torch.randn(6, 9, 4).to(backend.device)
    alone = pool[:1].repeat(3, 1, 1)
    want = ccmps.causal_conv1d_update(x, alone, weight)
    for rows in ([0, 0, 0], None):
        states = pool.clone()
        if rows is None:
            states[:3] = pool[0]
        before = states.clone()
        y = ccmps.causal_conv1d_update(
            x,
            states,
            weight,
            conv_state_indices=None if rows is None else torch.tensor(rows, device=backend.device),
            conv_state_out_indices=torch.tensor([3, 5, 4], device=backend.device),
        )
        assert same_bits(y, want)
        assert same_bits(states[[3, 5, 4]], alone) and same_bits(states[:3], before[:3])


def test_out_indices_of_a_compiled_call():
    def call(x, pool, weight, rows, written):
        options = dict(conv_state_indices=rows, conv_state_out_indices=written)
        return ccmps.causal_conv1d_update(x, pool, weight, **options)

    x, pool, weight = torch.randn(2, 5), torch.randn(4, 5, 3), torch.randn(5, 4)
    rows, written = torch.tensor([0, 0]), torch.tensor([1, 3])
    want = call(x, kept := pool.clone(), weight, rows, written)
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    assert same_bits(compiled(x, pool, weight, rows, written), want) and same_bits(pool, kept)


def test_operator_as_graphs_of_earlier_releases_call_it():
    x, state, weight = torch.randn(2, 5), torch.randn(2, 5, 3), torch.randn(5, 4)
    want = ccmps.causal_conv1d_update(x, kept := state.clone(), weight, activation="silu")
    update = torch.ops.causal_conv1d_mps.update
    y = update(x, state, weight, None, None, None, None, -1, 1)
    assert same_bits(y, want) and same_bits(state, kept)
