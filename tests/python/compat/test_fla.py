"""compat.fla is called as fla-core 0.6.0 is, and returns what it returns."""

from itertools import pairwise

import pytest
import torch
from peer import close, made, sequence, signature

import causal_conv1d_mps as ccmps
from causal_conv1d_mps.compat import fla

D, W = 6, 4

SIGNATURES = {
    "causal_conv1d": (
        "x, weight=None, bias=None, residual=None, initial_state=None, output_final_state=False, "
        "activation=None, backend='triton', cu_seqlens=None, cu_seqlens_cpu=None, "
        "chunk_indices=None, cp_context=None, **kwargs"
    ),
    "causal_conv1d_update": "x, cache, residual=None, weight=None, bias=None, activation=None",
    "causal_conv1d_update_states": "x, state_len, initial_state=None, cu_seqlens=None",
}
METHODS = {
    "__init__": (
        "self, hidden_size, kernel_size, bias=False, activation='silu', backend='triton', "
        "device=None, dtype=None, **kwargs"
    ),
    "forward": (
        "self, x, residual=None, mask=None, cache=None, output_final_state=False, cu_seqlens=None, "
        "chunk_indices=None, **kwargs"
    ),
    "step": "self, x, residual, cache, output_final_state=False, cu_seqlens=None",
}


def module(bias=False, **options):
    torch.manual_seed(0)
    return fla.ShortConvolution(D, W, bias=bias, **options)


def reference(network, x, cache=None, residual=None):
    """x (B, T, D), cache (B, D, W): y and the new cache in float64."""
    weight, bias = network.weight.detach().squeeze(1), network.bias
    ys, caches = [], []
    for b, row in enumerate(x.detach()):
        before = torch.zeros(D, W) if cache is None else cache[b].detach()
        y, taps = sequence(before, row.t(), weight, bias, network.activation)
        ys.append(y.t() if residual is None else y.t() + residual[b].double())
        caches.append(taps[:, -W:])
    return torch.stack(ys), torch.stack(caches)


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    assert signature(getattr(fla, name)) == SIGNATURES[name]


@pytest.mark.parametrize("name", METHODS)
def test_signatures_of_the_module(name):
    assert signature(getattr(fla.ShortConvolution, name)) == METHODS[name]


def test_the_module_is_a_conv1d():
    network = module(bias=True, activation=None)
    assert isinstance(network, torch.nn.Conv1d)
    torch.manual_seed(0)
    twin = torch.nn.Conv1d(D, D, W, groups=D, padding=W - 1)
    assert all(torch.equal(network.state_dict()[k], v) for k, v in twin.state_dict().items())
    assert network.state_dict().keys() == twin.state_dict().keys()
    assert (network.in_channels, network.groups, network.kernel_size) == (D, D, (W,))
    assert network.hidden_size == D and network.state_size == D * W
    assert repr(module()).endswith(
        "padding=(3,), groups=6, bias=False, activation=silu, backend=triton)"
    )
    x = made(2, 9, D)
    y, cache = network(x)
    close(y, twin(x.mT).mT[:, :9])
    assert cache is None


def test_prefill_and_decode_as_an_engine_does():
    """fla's layers: a prefill that returns a cache, then one token at a time, in place."""
    network, x, residual = module(bias=True), made(2, 11, D), made(2, 11, D, seed=1)
    expected, final = reference(network, x, residual=residual)
    with torch.no_grad():
        y, cache = network(x[:, :8], residual[:, :8], output_final_state=True)
        kept, parts = cache, [y]
        for t in range(8, 11):
            y, cache = network(
                x[:, t : t + 1], residual[:, t : t + 1], cache=cache, output_final_state=True
            )
            assert cache is kept
            parts.append(y)
    close(torch.cat(parts, dim=1), expected)
    close(cache, final)
    assert kept.shape == (2, D, W)


def test_which_calls_change_the_cache_and_what_they_return():
    network, cache = module(), made(2, D, W)
    before = cache.clone()
    with torch.no_grad():
        y, returned = network(made(2, 3, D), cache=cache)
        assert returned is None and torch.equal(cache, before)
        y, returned = network(made(2, 3, D), cache=cache, output_final_state=True)
        assert returned is not cache and torch.equal(cache, before)
        close(returned, reference(network, made(2, 3, D), before)[1])
        y, returned = network(made(2, 1, D), cache=cache)
        expected, after = reference(network, made(2, 1, D), before)
        assert returned is None
        close(y, expected)
        close(cache, after)
        assert network(made(2, 1, D))[1] is None
        _, fresh = network(made(2, 1, D), output_final_state=True)
        close(fresh, reference(network, made(2, 1, D))[1])
    before = cache.clone()
    y, returned = network(made(2, 1, D), cache=cache, output_final_state=True)
    assert returned is not cache and torch.equal(cache, before), "gradients are recorded"


def test_packed_sequences():
    network, x = module(), made(1, 10, D)
    bounds = torch.tensor([0, 5, 5, 6, 10])
    cache = made(4, D, W, seed=1)
    y, final = network(
        x, cache=cache, output_final_state=True, cu_seqlens=bounds, chunk_indices=torch.zeros(4, 2)
    )
    for n, (start, end) in enumerate(pairwise(bounds)):
        expected, after = reference(network, x[:, start:end], cache[n : n + 1])
        close(y[:, start:end], expected)
        close(final[n : n + 1], after)
    with torch.no_grad():  # one step each: decoding, in place
        rows, packed = made(1, 4, D, seed=2), torch.arange(5)
        expected, after = reference(network, rows.mT.permute(2, 0, 1).reshape(4, 1, D), cache)
        y, returned = network(rows, cache=cache, output_final_state=True, cu_seqlens=packed)
    assert returned is cache
    close(y[0], expected[:, 0])
    close(cache, after)


def test_states_of_packed_sequences_reach_back():
    """A sequence that is shorter than its state goes on with what came before it."""
    x, bounds = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([0, 2, 3])
    before = torch.tensor([[[8.0, 9.0]], [[1.0, 2.0]]])
    for states in (ccmps.causal_conv1d_varlen_states, update_states):
        assert states(x, bounds, 2).tolist() == [[[1, 2]], [[0, 3]]]
        assert states(x, bounds, 2, initial_states=before).tolist() == [[[1, 2]], [[2, 3]]]
    batch = made(2, 3, D)
    assert torch.equal(fla.causal_conv1d_update_states(batch, 2), batch[:, 1:].mT)
    with pytest.raises(ValueError, match=r"^initial_state: "):
        fla.causal_conv1d_update_states(batch, 2, made(2, D, 3))


def update_states(x, cu_seqlens, state_len, initial_states=None):
    return fla.causal_conv1d_update_states(x, state_len, initial_states, cu_seqlens)


@pytest.mark.parametrize("backend", ["triton", "cuda", "mix"])
def test_seq_idx_separates_sequences(backend):
    network, x = module(), made(1, 9, D)
    ids = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1, 1]], dtype=torch.int32)
    y, state = fla.causal_conv1d(
        x, network.weight.squeeze(1), activation="silu", backend=backend, seq_idx=ids
    )
    assert state is None
    for part in (slice(0, 4), slice(4, 9)):
        close(y[:, part], reference(network, x[:, part])[0])
    both, states = fla.causal_conv1d(
        x,
        network.weight.squeeze(1),
        activation="silu",
        output_final_state=True,
        seq_idx=ids,
        cu_seqlens=torch.tensor([0, 4, 9]),
    )
    assert torch.equal(both, y)
    close(states[1:], reference(network, x[:, 4:])[1])


def test_a_mask_keeps_padding_out():
    network, x = module(), made(2, 5, D)
    x[1, :2] = torch.inf
    mask = torch.ones(2, 5)
    mask[1, :2] = 0
    before = x.clone()
    y, cache = network(x, mask=mask, output_final_state=True)
    assert torch.equal(x, before)
    expected, after = reference(network, x[1:, 2:])
    close(y[1:, 2:], expected)
    close(cache[1:], after)
    assert (y[1, :2] == 0).all()
    state = made(2, D, W)
    with torch.no_grad():
        kept = state.clone()
        _, returned = network(
            made(2, 1, D), mask=torch.tensor([[1], [0]]), cache=state, output_final_state=True
        )
    assert returned is state and torch.equal(state[1], kept[1])
    close(state[:1], reference(network, made(2, 1, D)[:1], kept)[1])


def test_gradients_flow_through_states():
    """Two chunks, the second from the first one's state, are one sequence to the gradients."""
    network, x = module(bias=True, dtype=torch.float64), made(1, 8, D, dtype=torch.float64)
    x.requires_grad_()
    first, state = network(x[:, :3], output_final_state=True)
    second, _ = network(x[:, 3:], cache=state)
    loss = torch.cat([first, second], dim=1).square().sum()
    found = torch.autograd.grad(loss, (x, *network.parameters()))
    whole, _ = network(x)
    expected = torch.autograd.grad(whole.square().sum(), (x, *network.parameters()))
    for f, e in zip(found, expected, strict=True):
        close(f, e)


def test_the_update_takes_the_layouts_of_fla():
    network = module(bias=True)
    weight, bias = network.weight.detach().squeeze(1), network.bias.detach()
    expected, after = reference(network, made(5, 1, D), made(5, D, W))
    for shape in ((5, D), (5, 1, D), (1, 5, D), (5, 1, 2, D // 2)):
        cache = made(5, D, W)
        y, returned = fla.causal_conv1d_update(
            made(5, 1, D).reshape(shape), cache, None, weight, bias, "silu"
        )
        assert y.shape == shape and returned is cache
        close(y.reshape(5, 1, D), expected)
        close(cache, after)
    heads = made(2, 3, 2, D // 2)
    y, _ = fla.causal_conv1d(heads, weight, bias)
    assert y.shape == heads.shape


def test_what_cannot_be_honoured_is_refused_by_name():
    network, x = module(), made(2, 3, D)
    weight = network.weight.squeeze(1)
    with pytest.raises(NotImplementedError, match=r"^cp_context: "):
        fla.causal_conv1d(x, weight, cp_context=object())
    with pytest.raises(TypeError, match=r"^weight: "):
        fla.causal_conv1d(x)
    with pytest.raises(TypeError, match=r"^use_triton: "):
        network(x, use_triton=True)
    with pytest.raises(TypeError, match=r"^stride: "):
        module(stride=2)
    for call in (lambda: module(backend="mps"), lambda: fla.causal_conv1d(x, weight, backend="no")):
        with pytest.raises(ValueError, match=r"^backend: "):
            call()
    with pytest.raises(ValueError, match=r"^cache: "), torch.no_grad():
        network(x[:, :1], cache=made(2, D, W - 1))
    with pytest.raises(ValueError, match=r"^initial_state: "):
        network(x, cache=made(3, D, W))
    with pytest.raises(ValueError, match=r"^mask: "):
        network(x, mask=torch.ones(2, 4))
    with pytest.raises(ValueError, match=r"^mask: "):
        network(x[:1], mask=torch.ones(1, 3), cu_seqlens=torch.tensor([0, 3]))
    with pytest.warns(UserWarning, match="use_fast_conv1d"):
        module(use_fast_conv1d=True)
