"""causal_conv1d_update with parents: trees of drafts."""

import decoding_runs
import pytest
import torch
from inputs import same_bits, values, weights

import causal_conv1d_mps as ccmps


@pytest.mark.parametrize("part", range(4))
def test_runs_of_an_engine(backend, part):
    """2,000 with CAUSAL_CONV1D_ALL_CASES=1."""
    for seed in decoding_runs.seeds(spread=24)[part::4]:
        decoding_runs.run_trees(backend, seed)


def given(device="cpu", *, batch=2, dim=19, nodes=5, width=4, dtype=torch.float32):
    parents = torch.tensor([[-1, 0, 0, 2, -1], [-1, -1, 1, 2, 3]], device=device)[:, :nodes]
    return dict(
        x=values((batch, dim, nodes), dtype, 1).to(device),
        conv_state=values((batch, dim, 6), dtype, 2).to(device),
        weight=weights((dim, width), dtype, 3).to(device),
        activation="silu",
        parents=parents,
    )


def states_of(arguments, **options):
    batch, dim, nodes = arguments["x"].shape
    shape = (batch, nodes, dim, arguments["weight"].shape[1] - 1)
    return torch.full(shape, 7.0, dtype=arguments["conv_state"].dtype, **options)


@pytest.mark.parametrize("dtype", decoding_runs.DTYPES, ids=str)
def test_a_path_is_a_sequence(backend, dtype):
    """y of a node, and its state, have the bits of its path decoded in one call."""
    if not backend.supports(dtype, dtype):
        pytest.skip(f"{backend} has no {dtype}")
    arguments = given(backend.device, dtype=dtype)
    nodes = states_of(arguments, device=backend.device)
    before = arguments["conv_state"].clone()
    y = ccmps.causal_conv1d_update(**arguments, intermediate_states=nodes)
    backend.check_ran("update")
    assert same_bits(arguments["conv_state"], before)
    parents = arguments.pop("parents").tolist()
    for b in range(2):
        for t in range(5):
            path = decoding_runs.path_to(t, parents[b])
            state = before[b : b + 1].clone()
            alone = arguments | dict(x=arguments["x"][b : b + 1, :, path], conv_state=state)
            want = ccmps.causal_conv1d_update(**alone)
            assert same_bits(y[b, :, t], want[0, :, -1])
            assert same_bits(nodes[b, t], state[0, :, -3:].contiguous())


def test_a_chain_is_a_plain_draft(backend):
    """Of more nodes than the vector kernels take, and of a filter with many taps."""
    for length, width in ((70, 4), (5, 1), (9, 300)):
        chain = torch.arange(-1, length - 1, device=backend.device).expand(2, length)
        x = values((2, 18, length), torch.float32, 1).to(backend.device)
        state = values((2, 18, width - 1), torch.float32, 2).to(backend.device)
        weight = weights((18, width), torch.float32, 3).to(backend.device)
        nodes = torch.full((2, length, 18, width - 1), 7.0, device=backend.device)
        y = ccmps.causal_conv1d_update(x, state, weight, parents=chain, intermediate_states=nodes)
        want = ccmps.causal_conv1d_update(x, state, weight)
        assert same_bits(y, want)
        assert same_bits(nodes[:, -1].contiguous(), state)


def test_one_node_as_a_step(backend):
    arguments = given(backend.device, nodes=1)
    arguments["x"] = arguments["x"][..., 0].contiguous()
    nodes = torch.full((2, 1, 19, 3), 7.0, device=backend.device)
    y = ccmps.causal_conv1d_update(**arguments, intermediate_states=nodes)
    assert y.shape == (2, 19)
    state = arguments["conv_state"]
    assert same_bits(nodes[:, 0, :, 2].contiguous(), arguments["x"])
    assert same_bits(nodes[:, 0, :, :2].contiguous(), state[..., -2:].contiguous())


def test_states_of_layers_in_one_tensor(backend):
    """A slice of a larger tensor whose rows of nodes follow each other; others are refused."""
    arguments = given(backend.device)
    want = states_of(arguments, device=backend.device)
    ccmps.causal_conv1d_update(**arguments, intermediate_states=want)
    layers = torch.full((3, 2, 5, 19, 3), 7.0, device=backend.device)
    version = layers._version
    ccmps.causal_conv1d_update(**arguments, intermediate_states=layers[1])
    assert layers._version > version
    assert same_bits(layers[1], want) and (layers[[0, 2]] == 7).all()
    turned = torch.full((5, 2, 19, 3), 7.0, device=backend.device).transpose(0, 1)
    with pytest.raises(ValueError, match=r"intermediate_states: .*follow each other"):
        ccmps.causal_conv1d_update(**arguments, intermediate_states=turned)
    assert (turned == 7).all()


WRONG = {
    "below -1": (dict(parents=[[-2] * 5] * 2), ValueError, "parents: .*got -2 at row 0, node 0"),
    "itself": (
        dict(parents=[[-1] * 5, [-1, 0, 2, 1, 1]]),
        ValueError,
        "parents: .*2 at row 1, node 2",
    ),
    "shape": (dict(parents=[[-1] * 4] * 2), ValueError, r"parents: .*\(B, T\) = \(2, 5\)"),
    "dimensions": (dict(parents=[-1] * 5), ValueError, r"parents: .*\(B, T\)"),
    "floats": (dict(parents=torch.zeros(2, 5)), TypeError, "parents: .*int32 or int64"),
    "elsewhere": (
        dict(parents=torch.zeros(2, 5, dtype=torch.int32, device="meta")),
        (ValueError, NotImplementedError),
        "parents",
    ),
    "circular": (dict(cache_seqlens=[1, 1]), ValueError, "parents, cache_seqlens: .*at most one"),
    "written elsewhere": (
        dict(conv_state_out_indices=[1, 0]),
        ValueError,
        "parents, conv_state_out_indices: .*one",
    ),
    "index": (dict(conv_state_indices=[0, 2]), ValueError, "conv_state_indices: .*got 2"),
    "count": (dict(num_accepted_tokens=[1, 5]), ValueError, r"num_accepted_tokens: .*= 4.*got 5"),
    "states shape": (
        dict(intermediate_states=torch.full((2, 4, 19, 3), 7.0)),
        ValueError,
        r"intermediate_states: .*\(2, 5, 19, 3\), got \(2, 4, 19, 3\)",
    ),
    "states dtype": (
        dict(intermediate_states=torch.full((2, 5, 19, 3), 7.0).half()),
        TypeError,
        "intermediate_states: .*float32 like conv_state",
    ),
    "states that overlap": (
        dict(intermediate_states=torch.full((2, 5, 19, 1), 7.0).expand(2, 5, 19, 3)),
        ValueError,
        "intermediate_states: .*without overlap",
    ),
    "no tensor": (dict(intermediate_states=7), TypeError, "intermediate_states: .*Tensor, got int"),
    "states that want gradients": (
        dict(intermediate_states=torch.full((2, 5, 19, 3), 7.0, requires_grad=True)),
        RuntimeError,
        "intermediate_states: .*requires grad",
    ),
    "states beside no weight": (
        dict(intermediate_states=torch.full((2, 5, 19, 3), 7.0), weight=torch.tensor(1.0)),
        ValueError,
        r"weight: .*\(D, W\), got \(\)",
    ),
    "states without parents": (
        dict(intermediate_states=torch.full((2, 5, 19, 3), 7.0), parents=None),
        ValueError,
        "intermediate_states: .*parents beside it",
    ),
}


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_and_nothing_written(name, watched):
    changes, error, message = WRONG[name]
    arguments = given()
    for key, value in changes.items():
        arguments[key] = torch.tensor(value) if isinstance(value, list) else value
    before, out = arguments["conv_state"].clone(), torch.full_like(arguments["x"], 7.0)
    if watched:
        arguments["weight"] = arguments["weight"].as_subclass(type("Sub", (torch.Tensor,), {}))
    with pytest.raises(error, match=message):
        ccmps.causal_conv1d_update(**arguments, out=out)
    nodes = arguments.get("intermediate_states")
    assert (out == 7).all() and same_bits(arguments["conv_state"], before)
    assert not isinstance(nodes, torch.Tensor) or (nodes == 7).all()


def test_x_itself_as_out_is_refused():
    for nodes in (1, 5):
        arguments = given(nodes=nodes)
        x = arguments["x"].clone()
        with pytest.raises(ValueError, match=r"out: .*own with parents"):
            ccmps.causal_conv1d_update(**arguments, out=arguments["x"])
        assert same_bits(arguments["x"], x)


def test_what_padding_says_is_not_looked_at(backend):
    arguments = given(backend.device)
    arguments["parents"][1] = -9
    arguments["conv_state_indices"] = torch.tensor([1, -1], device=backend.device)
    arguments["num_accepted_tokens"] = torch.tensor([1, 99], device=backend.device)
    nodes = states_of(arguments, device=backend.device)
    y = ccmps.causal_conv1d_update(**arguments, intermediate_states=nodes)
    assert y[0].any() and not y[1].any()
    assert nodes[0].any() and not nodes[1].any()


def test_several_trees_of_one_row(backend):
    """Nothing is written there, so it may be read for as many as one likes."""
    arguments = given(backend.device)
    arguments["conv_state_indices"] = torch.tensor([1, 1], device=backend.device)
    arguments["parents"][1] = arguments["parents"][0]
    arguments["x"][1] = arguments["x"][0]
    y = ccmps.causal_conv1d_update(**arguments)
    assert same_bits(y[0], y[1])


def test_compiled_batched_and_seen_by_autograd():
    plain = given()
    want_states = states_of(plain)
    want = ccmps.causal_conv1d_update(**plain, intermediate_states=want_states)
    state = plain.pop("conv_state")

    @torch.compile(fullgraph=True, backend="aot_eager")
    def call(x, state, weight, parents, nodes):
        return ccmps.causal_conv1d_update(
            x, state, weight, activation="silu", parents=parents, intermediate_states=nodes
        )

    nodes = torch.full_like(want_states, 7.0)
    version = nodes._version
    y = call(plain["x"], state, plain["weight"], plain["parents"], nodes)
    assert same_bits(y, want) and same_bits(nodes, want_states) and nodes._version > version

    nodes, version = torch.full_like(want_states, 7.0), nodes._version
    watched = plain | dict(x=plain["x"].as_subclass(type("Sub", (torch.Tensor,), {})))
    before = nodes._version
    y = ccmps.causal_conv1d_update(conv_state=state, **watched, intermediate_states=nodes)
    assert same_bits(torch.Tensor(y), want) and same_bits(nodes, want_states)
    assert nodes._version > before

    many = torch.full((2, *want_states.shape), 7.0)
    x = plain.pop("x")

    def one(x, state, nodes):
        return ccmps.causal_conv1d_update(x, state, **plain, intermediate_states=nodes)

    y = torch.vmap(one)(torch.stack([x, x]), torch.stack([state, state]), many)
    assert same_bits(y[1], want) and same_bits(many[1], want_states)
    with pytest.raises(ValueError, match=r"intermediate_states: .*batched tensor under vmap"):
        torch.vmap(one, in_dims=(0, 0, None))(
            torch.stack([x, x]), torch.stack([state, state]), nodes
        )
