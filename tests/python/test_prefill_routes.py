"""causal_conv1d_fn from and into a pool of states: what PyTorch sees of it, and what is refused."""

import oracle
import pytest
import torch
from inputs import same_bits, values

import causal_conv1d_mps as ccmps
from causal_conv1d_mps._tables import arrange_inputs

D, W = 9, 4
fn = ccmps.causal_conv1d_fn


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
