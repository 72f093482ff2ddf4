"""pre_gate and post_gate of causal_conv1d_fn and causal_conv1d_update."""

import itertools

import gated
import oracle
import pytest
import torch
from backends import ALL_DTYPES
from cases import MAIN_LAYOUTS, NAMES, ConvCase
from inputs import arrange, bits, same_bits, values, weights

import causal_conv1d_mps as ccmps
from causal_conv1d_mps._tables import arrange_inputs

D, W = 9, 4
fn, step = ccmps.causal_conv1d_fn, ccmps.causal_conv1d_update
GATES = [("pre_gate",), ("post_gate",), ("pre_gate", "post_gate")]


@pytest.fixture(autouse=True)
def has_gates(request):
    found = "backend" in request.fixturenames and request.getfixturevalue("backend")
    if found and not found.kernel_prefix.startswith("cpu/"):
        pytest.skip(f"{found} refuses gates")


def case_list():
    """A spread over everything that a call may have."""
    shapes = (
        (2, 9, 70, 4),
        (2, 35, 20, 3),
        (1, 5, 130, 2),
        (2, 6, 40, 5),
        (3, 70, 9, 4),
        (1, 2, 33, 1),
    )
    layouts = (*MAIN_LAYOUTS, "sliced", "sliced_time", "time_outermost", "every_other_step")
    packings = (None, "seq_idx", "cu_seqlens", "lengths")
    everything = itertools.product(
        packings, (None, "silu"), (False, True), (False, True), ALL_DTYPES
    )
    for i, (packing, activation, initial, residual, dtype) in enumerate(everything):
        batch, dim, length, width = shapes[(i + i // 4) % len(shapes)]
        parameter = dtype if i % 3 else torch.float32
        case = ConvCase(
            1 if packing == "cu_seqlens" else batch,
            dim,
            length,
            width,
            dtype,
            parameter,
            parameter if i % 2 else None,
            layouts[(i + i // 7) % len(layouts)],
            activation,
            packing,
            initial,
            residual=residual,
        )
        yield case, GATES[(i + i // 5) % 3]
    yield ConvCase(1, 3, 2500, 4, torch.bfloat16, activation=None), GATES[2]  # several windows
    yield ConvCase(1, 200, 150, 4, layout="channel_last"), GATES[2]
    yield ConvCase(1, 20, 300, 100, layout="channel_last"), GATES[2]
    yield ConvCase(2, 2, 40, 300), GATES[2]


CASES = [pytest.param(*pair, id=f"{pair[0].id}-{'+'.join(pair[1])}") for pair in case_list()]


def gates_of(case, names, device):
    shape = (case.batch, case.dim, case.length)
    return {n: case.tensor(shape, 20 + i, device) for i, n in enumerate(names)}


# --- values ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case, names", CASES)
def test_forward_and_backward(backend, case, names):
    if not backend.supports(*case.dtypes):
        pytest.skip(f"{backend} has not all dtypes")
    given = case.arguments(backend.device) | gates_of(case, names, backend.device)
    floats = {n: t for n, t in given.items() if getattr(t, "is_floating_point", bool)()}
    for tensor in floats.values():
        tensor.requires_grad_()

    y, final_states = fn(**given, return_final_states=True)

    if y.numel():
        backend.check_ran("forward")
    want = gated.forward(**given)
    oracle.check(y, want.y, "y")
    oracle.check(final_states, want.final_states, "final_states")

    dout = case.tensor(y.shape, 30, backend.device)
    dfinal = case.tensor(final_states.shape, 31, backend.device, "contiguous")
    found = torch.autograd.grad((y, final_states), list(floats.values()), (dout, dfinal))
    residual = given.pop("residual", None)
    wanted = gated.backward(dout, **given, dfinal_states=dfinal)
    for name, gradient in zip(floats, found):
        if name == "residual":
            assert residual is not None and gradient.shape == residual.shape
        else:
            oracle.check(gradient, wanted[name], f"d{name}")


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=NAMES.get)
def test_taps_are_rounded_products(backend, dtype):
    """The same bits as a call without a gate on pre_gate * x, and multiplied by the other."""
    if not backend.supports(dtype):
        pytest.skip(f"{backend} has no {dtype}")
    x, pre, post, residual = (values((2, D, 50), dtype, i).to(backend.device) for i in range(4))
    weight = weights((D, W), dtype, 5).to(backend.device)
    taps = gated.taps(x, pre).to(backend.device)
    want = fn(taps, weight, residual=residual, activation="silu")
    assert same_bits(fn(x, weight, residual=residual, activation="silu", pre_gate=pre), want)
    if dtype in (torch.float32, torch.float64):
        got = fn(x, weight, activation="silu", post_gate=post, residual=residual)
        assert same_bits(got, fn(x, weight, activation="silu") * post + residual)


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=NAMES.get)
def test_layouts_and_threads(backend, dtype):
    if not backend.supports(dtype):
        pytest.skip(f"{backend} has no {dtype}")
    tensors = [values((2, 67, 300), dtype, i) for i in range(5)]
    weight = weights((67, W), dtype, 5).to(backend.device)

    def run(layouts):
        x, pre, post, residual, dout = (
            arrange(t, layout, backend.device) for t, layout in zip(tensors, layouts)
        )
        leaves = [t.requires_grad_() for t in (x, pre, post)]
        y = fn(x, weight, activation="silu", pre_gate=pre, post_gate=post, residual=residual)
        return [bits(t) for t in (y, *torch.autograd.grad(y, leaves, dout))]

    want = run(["contiguous"] * 5)
    mixed = ["contiguous", "channel_last", "time_outermost", "sliced", "contiguous"]
    for layouts in (["channel_last"] * 5, ["sliced"] * 5, ["batch_innermost"] * 5, mixed):
        assert all(map(torch.equal, run(layouts), want)), layouts
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert all(map(torch.equal, run(["contiguous"] * 5), want))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("layout", MAIN_LAYOUTS)
def test_expanded_gates(backend, layout):
    x = arrange(values((2, D, 40), torch.float32, 0), layout, backend.device)
    weight = weights((D, W), torch.float32, 5).to(backend.device)
    gate = values((2, 1, 40), torch.float32, 1).to(backend.device)
    wide = gate.expand(2, D, 40)
    want = fn(x, weight, pre_gate=wide.contiguous(), post_gate=wide.contiguous())
    assert same_bits(fn(x, weight, pre_gate=wide, post_gate=wide), want)


# --- decoding --------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", MAIN_LAYOUTS)
@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=NAMES.get)
@pytest.mark.parametrize("names", GATES, ids="+".join)
@pytest.mark.parametrize("activation", [None, "silu"])
def test_prefill_is_decode(backend, dtype, layout, names, activation):
    if not backend.supports(dtype):
        pytest.skip(f"{backend} has no {dtype}")
    batch, length = 3, 20
    x, residual, *gates = (
        arrange(values((batch, D, length), dtype, i), layout, backend.device) for i in range(4)
    )
    given = dict(zip(names, gates)) | {"residual": residual}
    weight = weights((D, W), dtype, 5).to(backend.device)
    want, states = fn(x, weight, activation=activation, return_final_states=True, **given)

    def part(begin, end):
        return {n: t[..., begin:end] for n, t in given.items()}

    start, pool = 7, torch.zeros(batch, D, W + 1, dtype=dtype, device=backend.device)
    head = fn(x[..., :start], weight, activation=activation, conv_states=pool, **part(0, start))
    parts, circular, window = [head], pool.clone(), pool.clone()
    for t0, t1 in itertools.pairwise([start, 8, 9, 12, 13, length]):
        parts.append(step(x[..., t0:t1], pool, weight, None, activation, **part(t0, t1)))
    assert same_bits(torch.cat(parts, -1), want)
    assert same_bits(pool[..., -(W - 1) :], states)
    assert same_bits(states.cpu(), gated.taps(x, given.get("pre_gate"))[..., -(W - 1) :])

    for t in range(start, length):
        where = torch.full((batch,), t - start, dtype=torch.int32, device=backend.device)
        one = {n: v[..., 0] for n, v in part(t, t + 1).items()}
        out = x[..., t].clone()
        y = step(out, circular, weight, None, activation, cache_seqlens=where, out=out, **one)
        assert same_bits(y, want[..., t])
    accepted = torch.tensor([3] * batch, device=backend.device)
    y = step(
        x[..., start : start + 2],
        window,
        weight,
        None,
        activation,
        num_accepted_tokens=accepted,
        **part(start, start + 2),
    )
    assert same_bits(y, want[..., start : start + 2])


def test_update_of_ragged_rows_and_trees(backend):
    dtype, device = torch.bfloat16, backend.device
    x, pre, post = (values((7, D), dtype, i).to(device) for i in range(3))
    weight, pool = weights((D, W), dtype, 3).to(device), values((4, D, W - 1), dtype, 4).to(device)
    bounds, rows = torch.tensor([0, 2, 2, 5], device=device), torch.tensor([3, 0, 1], device=device)
    given = dict(conv_state_indices=rows, cu_seqlens=bounds, max_seqlen=3)
    ragged, single = pool.clone(), pool.clone()
    y = step(x, ragged, weight, None, "silu", pre_gate=pre, post_gate=post, **given)
    assert not y[5:].any()
    for (begin, end), row in zip(itertools.pairwise(bounds.tolist()), rows.tolist()):
        if begin == end:
            continue
        part = [t[begin:end].t()[None] for t in (x, pre, post)]
        state = single[row : row + 1]
        want = step(part[0], state, weight, None, "silu", pre_gate=part[1], post_gate=part[2])
        assert same_bits(y[begin:end], want[0].t())
    assert same_bits(ragged, single)

    x, pre, post = (t[:3].t()[None] for t in (x, pre, post))
    nodes = torch.empty(1, 3, D, W - 1, dtype=dtype, device=device)
    parents = torch.tensor([[-1, 0, 1]], device=device)
    state = pool[:1].clone()
    chain = step(
        x, state, weight, parents=parents, pre_gate=pre, post_gate=post, intermediate_states=nodes
    )
    assert same_bits(state, pool[:1])
    assert same_bits(step(x, state, weight, pre_gate=pre, post_gate=post), chain)
    assert same_bits(nodes[:, -1], state)


def test_pools(backend):
    """From and into a pool of another dtype, packed: the taps are what it is given."""
    x, pre, post = (values((1, D, 30), torch.bfloat16, i).to(backend.device) for i in range(3))
    weight = weights((D, W), torch.bfloat16, 3).to(backend.device)
    bounds = torch.tensor([0, 2, 17, 28], device=backend.device)
    given = dict(
        cu_seqlens=bounds,
        conv_state_indices=torch.tensor([4, 1, -1], device=backend.device),
        has_initial_state=torch.tensor([True, True, False], device=backend.device),
        activation="silu",
    )
    pool = values((5, D, 6), torch.float32, 4).to(backend.device)
    expected = pool.clone()
    zero = torch.zeros_like(x)
    plain = fn(
        gated.taps(x, pre).to(x.device), weight, conv_states=expected, residual=zero, **given
    )
    y = fn(x, weight, conv_states=pool, pre_gate=pre, residual=zero, **given)
    assert same_bits(pool, expected) and same_bits(y, plain)
    y = fn(x, weight, conv_states=pool.clone(), post_gate=post, **given)
    assert not y[..., 17:].any()


# --- padding ---------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [*MAIN_LAYOUTS, "time_outermost"])
@pytest.mark.parametrize("packing", ["seq_idx", "cu_seqlens", "lengths"])
@pytest.mark.parametrize("composite", [False, True])
def test_padding_hides_nan(backend, packing, layout, composite):
    """y is 0 at padding and no gradient comes from it, whatever lies there."""
    length, live = 40, torch.arange(40) < 31
    where = {
        "seq_idx": torch.where(live, 3, -1)[None].to(torch.int32),
        "cu_seqlens": torch.tensor([0, 11, 31]),
        "lengths": torch.tensor([31]),
    }[packing].to(backend.device)
    live = live.to(backend.device)
    made = [values((1, D, length), torch.float32, i).to(backend.device) for i in range(5)]
    weight = weights((D, W), torch.float32, 5).to(backend.device).requires_grad_()

    def run(fill):
        x, pre, post, residual, dout = (
            arrange(torch.where(live, t, fill), layout, backend.device) for t in made
        )
        leaves = [weight, *(t.requires_grad_() for t in (x, pre, post))]
        y = fn(
            x,
            weight,
            activation="silu",
            pre_gate=pre,
            post_gate=post,
            residual=residual,
            **{packing: where},
        )
        dout = dout.requires_grad_(composite)
        return [y, *torch.autograd.grad(y, leaves, dout, create_graph=composite)], leaves

    (got, leaves), (want, _) = run(float("nan")), run(0.0)
    for g, w in zip(got, want):
        assert same_bits(g, w) and (g.shape == weight.shape or not g[..., 31:].any())
    if composite:
        again = torch.autograd.grad(sum(g.square().sum() for g in got[1:]), leaves)
        assert all(torch.isfinite(g).all() for g in again)


# --- PyTorch ---------------------------------------------------------------------------------


def doubles(*shapes):
    generator = torch.Generator().manual_seed(len(shapes))
    return [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]


@pytest.mark.parametrize("packing", [None, "seq_idx", "cu_seqlens", "lengths"])
def test_gradcheck(packing):
    where = {
        "seq_idx": torch.tensor([[0, 0, 1, -1, 1, 1]]),
        "cu_seqlens": torch.tensor([0, 2, 5]),
        "lengths": torch.tensor([4]),
    }
    rows = 2 if packing == "cu_seqlens" else 1
    shape = (1, 3, 6)
    tensors = doubles(shape, (3, 3), (3,), (rows, 3, 2), shape, shape, shape)

    def call(x, weight, bias, states, pre, post, residual):
        return fn(
            x,
            weight,
            bias,
            initial_states=states,
            activation="silu",
            pre_gate=pre,
            post_gate=post,
            residual=residual,
            return_final_states=True,
            **({packing: where[packing]} if packing else {}),
        )

    leaves = [t.requires_grad_() for t in tensors]
    assert torch.autograd.gradcheck(call, leaves)
    assert torch.autograd.gradgradcheck(call, leaves)


def test_forward_mode_and_vmap():
    x, weight, pre, post, tangent = doubles((2, 3, 6), (3, 3), (2, 3, 6), (2, 3, 6), (2, 3, 6))

    def call(x, pre, post):
        return fn(x, weight, activation="silu", pre_gate=pre, post_gate=post)

    def by_hand(x, pre, post):
        taps = torch.nn.functional.pad(pre * x, (2, 0))
        acc = torch.nn.functional.conv1d(taps, weight[:, None], groups=3)
        return post * acc * torch.sigmoid(acc)

    for found, want in zip(
        torch.func.jvp(call, (x, pre, post), (tangent, x, pre)),
        torch.func.jvp(by_hand, (x, pre, post), (tangent, x, pre)),
    ):
        torch.testing.assert_close(found, want)
    many = [torch.stack([t, t.flip(0), t * 2]) for t in (x, pre, post)]
    want = torch.stack([call(*row) for row in zip(*many)])
    assert torch.equal(torch.vmap(call)(*many), want)
    assert torch.equal(
        torch.vmap(call, in_dims=(None, 0, None))(x, many[1], post),
        torch.stack([call(x, gate, post) for gate in many[1]]),
    )
    loss = torch.func.grad(lambda *t: call(*t).square().sum(), argnums=(0, 1, 2))
    for found, each in zip(torch.vmap(loss)(*many), zip(*map(loss, *many))):
        torch.testing.assert_close(found, torch.stack(each))


@pytest.mark.parametrize("grad, pooled", [(False, False), (True, False), (False, True)])
def test_opcheck(grad, pooled):
    shape = (2, 3, 6)
    x, weight, pre, post = (
        t.float().requires_grad_(grad) for t in doubles(shape, (3, 3), shape, shape)
    )
    named = dict(x=x, weight=weight, pre_gate=pre, post_gate=post)
    operators = torch.ops.causal_conv1d_mps
    if pooled:
        pool = torch.zeros(2, 3, 2)
        inputs = arrange_inputs("prefill", **named, conv_states=pool)
        torch.library.opcheck(operators.prefill.default, (*inputs, -1, 1))
        state = torch.zeros(2, 3, 2)
        one = [t.detach()[..., :1] for t in (x, pre, post)]
        inputs = (one[0], state, weight.detach(), None, None, None, None, -1, 1)
        torch.library.opcheck(operators.update.default, (*inputs, None, None, None, one[1], one[2]))
        return
    torch.library.opcheck(operators.forward.default, (*arrange_inputs("forward", **named), 1, True))
    dout = torch.ones_like(x).requires_grad_(grad)
    inputs = arrange_inputs("backward", dout=dout, **named)
    needs = [True, True, False, False, True, True]
    torch.library.opcheck(operators.backward.default, (*inputs, 1, needs))


def test_compile():
    def call(x, weight, pre, post, state):
        y, last = fn(
            x * 2, weight, pre_gate=pre, post_gate=post, activation="silu", return_final_states=True
        )
        one = [t.detach()[..., 0] for t in (x, pre)]
        return y.sin(), last, step(one[0], state, weight.detach(), pre_gate=one[1])

    shape = (2, 3, 6)
    tensors = [t.float().requires_grad_() for t in doubles(shape, (3, 3), shape, shape)]
    results = []
    for function in (torch.compile(call, fullgraph=True), call):
        state = torch.zeros(2, 3, 2)
        y, last, one = function(*tensors, state)
        loss = y.square().sum() + last.sum()
        results.append([y, last, one, state, *torch.autograd.grad(loss, tensors)])
    for found, want in zip(*results):
        torch.testing.assert_close(found, want)


def test_update_is_not_differentiable():
    x, weight, gate = (t.float() for t in doubles((2, 3), (3, 3), (2, 3)))
    y = step(x, torch.zeros(2, 3, 2), weight, post_gate=gate.requires_grad_())
    with pytest.raises(RuntimeError, match="causal_conv1d_update is not differentiable"):
        y.sum().backward()


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pre_gate", "post_gate"])
def test_bad_input(name):
    x, weight, state = torch.ones(2, 3, 6), torch.ones(3, 3), torch.zeros(2, 3, 2)
    for gate, error, message in (
        (
            torch.ones(2, 3, 5),
            ValueError,
            rf"{name}: expected shape \(B, D, T\) = \(2, 3, 6\), got \(2, 3, 5\)",
        ),
        (torch.ones(3, 6), ValueError, rf"{name}: expected shape"),
        (x.half(), TypeError, rf"{name}: expected float32 like x, got float16"),
        (x.int(), TypeError, rf"{name}: expected float32"),
        (x.to("meta"), ValueError, rf"{name}: expected a tensor on cpu"),
        ([1.0], TypeError, rf"{name}: expected a torch.Tensor, got list"),
    ):
        for call in (
            lambda gate: fn(x, weight, **{name: gate}),
            lambda gate: fn(x, weight, conv_states=state, **{name: gate}),
            lambda gate: step(x, state, weight, **{name: gate}),
        ):
            with pytest.raises(error, match=message):
                call(gate)
    assert not state.any()
    with pytest.raises(ValueError, match=f"out: .* overlaps {name}"):
        gate = torch.ones(2, 3, 6)
        fn(x, weight, out=gate, **{name: gate})
    with pytest.raises(ValueError, match=f"conv_state: .* overlaps {name}"):
        memory = torch.ones(2, 3, 8)
        step(x, memory[..., :6], weight, **{name: memory[..., 2:]})


def test_autocast():
    x, weight, pre, post = (t.float() for t in doubles((2, 3, 6), (3, 3), (2, 3, 6), (2, 3, 6)))
    with torch.autocast("cpu", torch.bfloat16):
        y = fn(x, weight, pre_gate=pre, post_gate=post)
    half = [t.bfloat16() for t in (x, pre, post)]
    assert same_bits(y, fn(half[0], weight, pre_gate=half[1], post_gate=half[2]))
