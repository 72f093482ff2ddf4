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
from causal_conv1d_mps._tables import arrange_inputs

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


# --- what PyTorch sees -------------------------------------------------------------------------


def pooled(**changes):
    arguments = dict(
        x=values((2, 5, 8), torch.float32, 1),
        weight=values((5, W), torch.float32, 2),
        bias=values((5,), torch.float32, 3),
        conv_states=values((4, 5, 6), torch.float32, 4),
        conv_state_indices=torch.tensor([3, 1]),
        has_initial_state=torch.tensor([True, False]),
        activation="silu",
    )
    return arguments | changes


def operator_arguments(**changes):
    arguments = pooled(**changes)
    del arguments["activation"]
    return (*arrange_inputs("prefill", **arguments), -1, 1)


class Watched(torch.Tensor):
    pass


ROUTES = {
    "eager": lambda a: fn(**a),
    "into out": lambda a: fn(**a, out=torch.empty_like(a["x"])),
    "operator": lambda a: torch.ops.causal_conv1d_mps.prefill(
        *arrange_inputs("prefill", **{k: v for k, v in a.items() if k != "activation"}), -1, 1
    ),
    "subclass": lambda a: fn(**a | dict(x=a["x"].as_subclass(Watched))),
    "profiled": lambda a: profiled(lambda: fn(**a))[0],
    "compiled": lambda a: torch.compile(fn, fullgraph=True, backend="aot_eager")(**a),
    "inductor": lambda a: torch.compile(fn, fullgraph=True)(**a),
}


def profiled(call, **options):
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], **options
    ) as profile:
        result = call()
    return result, profile


@pytest.mark.parametrize("route", ROUTES)
def test_every_route(route):
    """The same bits, and autograd hears that the pool has changed."""
    arguments, plain = pooled(), pooled()
    want = fn(**plain)
    version = arguments["conv_states"]._version
    y = ROUTES[route](arguments)
    assert same_bits(torch.Tensor(y), want)
    assert same_bits(arguments["conv_states"], plain["conv_states"])
    assert arguments["conv_states"]._version > version


@pytest.mark.parametrize("route", [r for r in ROUTES if r not in ("into out", "operator")])
def test_no_gradients(route):
    arguments = pooled()
    arguments["weight"].requires_grad_()
    y = ROUTES[route](arguments)
    assert y.requires_grad
    with pytest.raises(RuntimeError, match="nor is causal_conv1d_fn with conv_states"):
        y.sum().backward()
    with torch.no_grad():
        assert not fn(**arguments).requires_grad
    before = arguments["conv_states"].clone()
    leaf = arguments | dict(conv_states=before.clone().requires_grad_())
    with pytest.raises(
        RuntimeError, match=r"conv_states: it is changed in place, but requires grad"
    ):
        ROUTES[route](leaf)
    assert same_bits(leaf["conv_states"].detach(), before)
    with pytest.raises(RuntimeError, match=r"^out: .*requires grad"):
        fn(**arguments, out=torch.empty_like(y))


def test_opcheck():
    operator = torch.ops.causal_conv1d_mps.prefill.default
    for arguments in (
        operator_arguments(),
        operator_arguments(conv_states=torch.randn(4, 5, 6)[..., 2:], has_initial_state=None),
    ):
        results = torch.library.opcheck(operator, arguments)
        assert len(results) == 4 and set(results.values()) == {"SUCCESS"}


def test_profiler_shows_the_operator():
    arguments = pooled()
    for more in ({}, dict(out=torch.empty_like(arguments["x"]))):
        _, profile = profiled(lambda more=more: fn(**arguments, **more))
        assert "causal_conv1d_mps::prefill" in {event.key for event in profile.key_averages()}


def test_compiled_calls_never_copy_the_pool():
    """Nothing of the pool's size is allocated, also where a slice of it is the state."""
    pool = torch.randn(1024, 5, 64)
    size = pool.nbytes // 2

    def layer(x, weight, pool, rows):
        first = fn(x, weight, conv_states=pool[..., :3], conv_state_indices=rows)
        return fn(first * 2, weight, conv_states=pool, conv_state_indices=rows)

    def largest(call):
        _, profile = profiled(call, profile_memory=True)
        events = profile.profiler.kineto_results.events()
        return max((e.nbytes() for e in events if e.name() == "[memory]"), default=0)

    assert largest(pool.clone) >= size, "the measure sees no allocation"
    x, weight, rows = torch.randn(2, 5, 8), torch.randn(5, 4), torch.tensor([7, 900])
    eager = pool.clone()
    want = layer(x, weight, eager, rows)
    for backend in ("inductor", "aot_eager"):
        compiled, given = torch.compile(layer, fullgraph=True, backend=backend), pool.clone()
        assert same_bits(compiled(x, weight, given, rows), want) and same_bits(given, eager)
        if backend == "inductor":
            assert largest(lambda c=compiled, g=given: c(x, weight, g, rows)) < size


def test_vmap():
    arguments = pooled()
    pools_ = torch.stack([arguments["conv_states"], arguments["conv_states"] + 1])
    xs = torch.stack([arguments["x"], arguments["x"] * 2])
    want, alone = [], pools_.clone()
    for x, pool in zip(xs, alone):
        want.append(fn(**arguments | dict(x=x, conv_states=pool)))

    def call(x, pool):
        return fn(**arguments | dict(x=x, conv_states=pool))

    assert same_bits(torch.vmap(call)(xs, pools_), torch.stack(want))
    assert same_bits(pools_, alone)
    with pytest.raises(ValueError, match=r"^conv_states: expected a batched tensor under vmap"):
        torch.vmap(call, (0, None))(xs, arguments["conv_states"])


def test_autocast_follows_conv1d_and_leaves_the_pool():
    """x is rounded as without a pool; the pool keeps its dtype, which holds it exactly."""
    arguments, plain = pooled(), pooled()
    half = {k: arguments[k].to(torch.bfloat16) for k in ("x",)}
    want = fn(**plain | half)
    with torch.autocast("cpu", torch.bfloat16):
        y = fn(**arguments)
    assert y.dtype == torch.bfloat16 and same_bits(y, want)
    assert same_bits(arguments["conv_states"], plain["conv_states"])


def test_forward_mode_is_refused():
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(pooled()["x"], torch.ones(2, 5, 8))
        with pytest.raises(NotImplementedError, match="causal_conv1d_fn with conv_states has no"):
            fn(**pooled(x=dual))


# --- refusals ----------------------------------------------------------------------------------


def wrong(message, exception=ValueError, **changes):
    return changes, exception, message


WRONG = {
    "seq_idx": wrong("conv_states, seq_idx: .* at most one", seq_idx=torch.zeros(2, 8).int()),
    "initial_states": wrong(
        "conv_states, initial_states: .* at most one", initial_states=torch.zeros(2, 5, 3)
    ),
    "return_final_states": wrong(
        "conv_states, return_final_states: .* at most one", return_final_states=True
    ),
    "final_states_out": wrong(
        "conv_states, final_states_out: .* at most one", final_states_out=torch.zeros(2, 5, 3)
    ),
    "indices alone": wrong("conv_state_indices: expected conv_states beside it", conv_states=None),
    "flags alone": wrong(
        "has_initial_state: expected conv_states beside it",
        conv_states=None,
        conv_state_indices=None,
    ),
    "out indices alone": wrong(
        "conv_state_out_indices: expected conv_states beside it",
        conv_states=None,
        conv_state_indices=None,
        has_initial_state=None,
        conv_state_out_indices=torch.tensor([0, 1]),
    ),
    "slot id alone": wrong(
        "pad_slot_id: expected conv_state_indices beside it", conv_state_indices=None, pad_slot_id=3
    ),
    "slot id": wrong("pad_slot_id: expected an integer", TypeError, pad_slot_id=1.5),
    "state short": wrong("conv_states: .*S >= W-1 = 3, got 2", conv_states=torch.zeros(4, 5, 2)),
    "state dim": wrong(
        r"conv_states: expected .*\(pool, D, S\) = \(4, 5, 6\), got \(4, 6, 6\)",
        conv_states=torch.zeros(4, 6, 6),
    ),
    "state 2-d": wrong(r"conv_states: expected .*, got \(4, 5\)", conv_states=torch.zeros(4, 5)),
    "state float64": wrong(
        "conv_states: expected float32, float16 or bfloat16",
        TypeError,
        conv_states=torch.zeros(4, 5, 6).double(),
    ),
    "state expanded": wrong(
        "conv_states: expected memory without overlap",
        conv_states=torch.zeros(1, 5, 6).expand(4, 5, 6),
    ),
    "few rows": wrong(
        "conv_states: expected at least B = 2 rows without conv_state_indices, got 1",
        conv_states=torch.zeros(1, 5, 6),
        conv_state_indices=None,
    ),
    "indices long": wrong(
        r"conv_state_indices: expected shape .*\(2,\), got \(3,\)",
        conv_state_indices=torch.tensor([0, 1, 2]),
    ),
    "indices of floats": wrong(
        "conv_state_indices: expected int32 or int64", TypeError, conv_state_indices=torch.zeros(2)
    ),
    "flags of integers": wrong(
        "has_initial_state: expected bool, got int32",
        TypeError,
        has_initial_state=torch.ones(2).int(),
    ),
    "flags short": wrong(
        r"has_initial_state: expected shape .*\(2,\), got \(1,\)",
        has_initial_state=torch.tensor([True]),
    ),
}
WRONG_VALUES = {
    "beyond": wrong(
        "conv_state_indices: .*below the pool's 4 rows, got 4 at element 1",
        conv_state_indices=torch.tensor([0, 4]),
    ),
    "twice": wrong(
        "conv_state_indices: .*once, got 3 again at element 1",
        conv_state_indices=torch.tensor([3, 3]),
    ),
    "one for all": wrong(
        "conv_state_indices: .*once, got 2 again", conv_state_indices=torch.tensor([2]).expand(2)
    ),
    "written twice": wrong(
        "conv_state_out_indices: .*once, got 1 again at element 1",
        conv_state_out_indices=torch.tensor([1, 1]),
    ),
    "read for another": wrong(
        "conv_state_out_indices: .*no row that is read for another sequence, got 3, .* element 0",
        conv_state_out_indices=torch.tensor([0, 3]),
    ),
    "length": wrong("lengths: .*0 to T = 8, got 9 at element 0", lengths=torch.tensor([9, 3])),
}


def refuse(changes, exception, message):
    arguments = pooled(**changes)
    kept = {k: v.clone() for k, v in arguments.items() if isinstance(v, torch.Tensor)}
    out = torch.full_like(arguments["x"], 7.0)
    with pytest.raises(exception, match=f"^{message}"):
        fn(**arguments, out=out)
    for name, tensor in kept.items():
        assert same_bits(arguments[name].cpu().float(), tensor.float()), name
    assert (out == 7).all()


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments(name, watched):
    changes, exception, message = WRONG[name]
    if watched:
        changes = changes | dict(x=pooled()["x"].as_subclass(Watched))
    refuse(changes, exception, message)


@pytest.mark.parametrize("name", WRONG_VALUES)
def test_wrong_values(name):
    refuse(*WRONG_VALUES[name])


def test_a_sequence_that_starts_reads_no_row():
    """So its row may be written for another one."""
    arguments = pooled(conv_state_out_indices=torch.tensor([1, 0]))
    want = oracle.prefill(**arguments)
    y = fn(**arguments)
    oracle.check(y, want.y)
    assert same_bits(arguments["conv_states"], want.conv_state)
