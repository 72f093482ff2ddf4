"""Padding: the final state of the last real step, masks of ShortConvolution, the drop-in."""

import importlib
import importlib.util

import pytest
import torch

import causal_conv1d_mps as ccmps
from causal_conv1d_mps import _composite
from causal_conv1d_mps.nn import ShortConvolution

B, T, D, W = 3, 7, 5, 4
INF, NAN = float("inf"), float("nan")


def made(*shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator).to(dtype)


# seq_idx, then the columns of the final state: steps of x (>= 0), of the initial state (-3 .. -1),
# or None for a zero; W = 4.
FINAL = {
    "right padding": ([0, 0, -1, -1], (None, 0, 1), (-1, 0, 1)),
    "no padding": ([0, 0, 0, 0], (1, 2, 3), (1, 2, 3)),
    "all padding": ([-1, -1, -1, -1], (None, None, None), (-3, -2, -1)),
    "left padding": ([-1, -1, 0, 0], (None, 2, 3), (None, 2, 3)),
    "padding inside": ([0, -1, 0, -1], (0, None, 2), (0, None, 2)),
    "another sequence": ([0, 1, 1, -1], (None, 1, 2), (None, 1, 2)),
    "one step": ([0, -1, -1, -1], (None, None, 0), (-2, -1, 0)),
}


def final_state(x, initial, columns):
    steps = torch.cat([initial, x], dim=-1)
    zero = torch.zeros_like(x[..., 0])
    return torch.stack([zero if c is None else steps[..., c + W - 1] for c in columns], dim=-1)


@pytest.mark.parametrize("with_states", [False, True])
@pytest.mark.parametrize("case", FINAL)
def test_final_states_of_the_composition(case, with_states):
    index, *columns = FINAL[case]
    x, weight = made(1, D, 4), made(D, W)
    initial = made(1, D, W - 1, seed=9) if with_states else None
    _, found = _composite.forward(x, weight, seq_idx=torch.tensor([index]), initial_states=initial)
    given = torch.zeros(1, D, W - 1) if initial is None else initial
    assert torch.equal(found, final_state(x, given, columns[with_states]))


@pytest.mark.parametrize("with_states", [False, True])
@pytest.mark.parametrize("case", FINAL)
def test_final_states_of_every_backend(backend, case, with_states):
    index, *columns = FINAL[case]
    x, weight = made(1, D, 4), made(D, W)
    initial = made(1, D, W - 1, seed=9) if with_states else None
    device = backend.device
    _, found = ccmps.causal_conv1d_fn(
        x.to(device),
        weight.to(device),
        seq_idx=torch.tensor([index]).to(device),
        initial_states=None if initial is None else initial.to(device),
        return_final_states=True,
    )
    given = torch.zeros(1, D, W - 1) if initial is None else initial
    assert torch.equal(found.cpu(), final_state(x, given, columns[with_states]))


def test_final_states_without_a_step():
    states = made(2, D, W - 1)
    index = torch.zeros(2, 0, dtype=torch.int32)
    _, found = _composite.forward(made(2, D, 0), made(D, W), seq_idx=index, initial_states=states)
    assert torch.equal(found, states)


# --- ShortConvolution(mask=...) --------------------------------------------------------------

MASK = torch.tensor([[1, 1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0]])
DTYPES = (torch.bool, torch.int32, torch.int64, torch.float32, torch.bfloat16)


def short(**options):
    return ShortConvolution(D, W, **options).requires_grad_(False)


def reference(module, x, mask, cache, residual=None):
    """Row after row without its padding; the steps between two real ones stay where they are."""
    ys, caches = [], []
    for b in range(x.shape[0]):
        real = mask[b].nonzero().flatten().tolist()
        before = cache[b : b + 1]
        if not real:
            ys.append(torch.zeros_like(x[b : b + 1]))
            caches.append(before)
            continue
        first, end = real[0], real[-1] + 1
        if first > 0:  # the cache belongs to the first step, which is padding
            before = torch.zeros_like(before)
        added = None if residual is None else residual[b : b + 1, first:end]
        row = x[b : b + 1, first:end].where(mask[b, first:end, None] != 0, 0)
        y, after = module(row, residual=added, cache=before.clone(), output_final_state=True)
        y = y.where(mask[b, first:end, None] != 0, 0)
        ys.append(torch.nn.functional.pad(y, (0, 0, first, x.shape[1] - end)))
        caches.append(after)
    return torch.cat(ys), torch.cat(caches)


@pytest.mark.parametrize("size", [None, W - 1, W, W + 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("poison", [0.0, INF, NAN])
def test_a_mask_excludes_whatever_is_there(size, dtype, poison):
    module, x, residual = short(bias=True), made(B, T, D), made(B, T, D, seed=1)
    cache = torch.zeros(B, D, W) if size is None else made(B, D, size)
    want_y, want_cache = reference(module, x, MASK, cache, residual)
    hidden = MASK[..., None] == 0
    x, residual = x.masked_fill(hidden, poison), residual.masked_fill(hidden, poison)
    given = None if size is None else cache.clone()
    y, found = module(
        x, residual=residual, mask=MASK.to(dtype), cache=given, output_final_state=True
    )
    assert torch.equal(y, want_y) and torch.equal(found, want_cache)
    assert size is None or found is given
    assert size is not None or found.shape == (B, D, W)


def test_gaps_keep_their_distance():
    module, x = short(), made(1, T, D)
    mask = torch.tensor([[1, 0, 1, 1, 0, 1, 0]])
    y, cache = module(x, mask=mask, output_final_state=True)
    want = module(x * mask[..., None])[0] * mask[..., None]
    assert torch.equal(y, want)
    assert torch.equal(cache, (x * mask[..., None])[:, 2:6].mT)


@pytest.mark.parametrize("real", [True, False])
def test_a_mask_of_one_step_beside_a_cache(real):
    module, x, cache = short(), made(2, 1, D), made(2, D, W)
    x[1] = NAN
    before = cache.clone()
    mask = torch.tensor([[real], [False]])
    y, same = module(x, mask=mask, cache=cache)
    assert same is cache and torch.equal(cache[1], before[1]) and not y[1].any()
    own = before[:1].clone()
    want = module(x[:1], cache=own)[0] if real else torch.zeros(1, 1, D)
    assert torch.equal(y[:1], want) and torch.equal(cache[:1], own)


def test_prefill_with_a_mask_then_decoding():
    """A right-padded prompt goes on as the prompt alone does."""
    module, x, step = short(), made(2, T, D), made(2, 1, D, seed=3)
    mask = torch.tensor([[1] * T, [1] * 4 + [0] * (T - 4)])
    _, cache = module(x, mask=mask, output_final_state=True)
    y, _ = module.step(step, cache=cache)
    for b, length in enumerate((T, 4)):
        row = torch.cat([x[b : b + 1, :length], step[b : b + 1]], dim=1)
        assert torch.equal(y[b], module(row)[0][0, -1:])


def test_gradients_with_a_mask():
    module = ShortConvolution(D, W, bias=True).double()
    x, cache = made(B, T, D).double(), made(B, D, W).double()

    def call(x, cache, weight, bias):
        options = dict(mask=MASK, cache=cache, output_final_state=True)
        parameters = {"weight": weight, "bias": bias}
        return torch.func.functional_call(module, parameters, (x,), options)

    leaves = (x, cache, module.weight.detach().clone(), module.bias.detach().clone())
    assert torch.autograd.gradcheck(call, tuple(t.requires_grad_() for t in leaves))
    hidden = (MASK[..., None] == 0).expand_as(x)
    poisoned = x.detach().masked_fill(hidden, NAN).requires_grad_()
    y, later = call(poisoned, *leaves[1:])
    gradients = torch.autograd.grad(y.sum() + later.sum(), (poisoned, *leaves[1:]))
    assert all(g.isfinite().all() for g in gradients)
    assert not gradients[0][hidden].any()


WRONG_MASKS = {
    "one row": (torch.ones(1, 3), ValueError, r"\(B, T\) = \(3, 7\), got \(1, 3\)"),
    "one step": (torch.ones(B, 1), ValueError, r"= \(3, 7\), got \(3, 1\)"),
    "channels": (torch.ones(B, T, 1), ValueError, r"= \(3, 7\), got \(3, 7, 1\)"),
    "a list": ([1, 1], TypeError, "Tensor, got list"),
    "elsewhere": (torch.ones(B, T, device="meta"), ValueError, "on cpu, where x is, got .* meta"),
}


@pytest.mark.parametrize("wrong", WRONG_MASKS)
def test_a_wrong_mask_is_refused_by_name(wrong):
    mask, exception, message = WRONG_MASKS[wrong]
    with pytest.raises(exception, match=f"^mask: expected .*{message}"):
        short()(made(B, T, D), mask=mask, output_final_state=True)


def test_a_mask_compiles():
    module, x = short(), made(B, T, D)
    compiled = torch.compile(module, fullgraph=True)
    for found, want in zip(
        compiled(x, mask=MASK, output_final_state=True),
        module(x, mask=MASK, output_final_state=True),
        strict=True,
    ):
        torch.testing.assert_close(found, want)


# --- the drop-in -----------------------------------------------------------------------------


@pytest.fixture
def installed():
    if importlib.util.find_spec("causal_conv1d") is not None:
        pytest.skip("another causal_conv1d is installed")
    ccmps.install()
    yield importlib.import_module("causal_conv1d")
    ccmps.uninstall()


@pytest.mark.parametrize("activation", ["sigmoid", torch.exp, "silu", None])
@pytest.mark.parametrize("with_states", [False, True])
def test_the_drop_in_leaves_zeros_at_padding(installed, activation, with_states):
    """Also where f(0) is not 0."""
    x, weight = made(1, D, 3).requires_grad_(), made(D, W)
    index = torch.tensor([[0, 0, -1]])
    y = installed.causal_conv1d_fn(
        x, weight, None, index, activation=activation, return_final_states=with_states
    )
    y = y[0] if with_states else y
    plain = installed.causal_conv1d_fn(x[..., :2], weight, activation=activation)
    assert torch.equal(y[..., :2], plain) and not y[..., 2].any()
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert not gradient[..., 2].any() and gradient[..., :2].any()


@pytest.mark.parametrize("shape", [(3, D), (3, D, 2)])
@pytest.mark.parametrize("activation", ["sigmoid", torch.exp, "silu", None])
def test_the_drop_in_leaves_zeros_at_padded_slots(installed, activation, shape):
    x, weight, pool = made(*shape), made(D, W), made(4, D, W)
    slots, before = torch.tensor([2, -1, 0]), pool.clone()
    y = installed.causal_conv1d_update(
        x, pool, weight, activation=activation, conv_state_indices=slots
    )
    own = before[[2, 0]].clone()
    want = installed.causal_conv1d_update(x[[0, 2]], own, weight, activation=activation)
    assert torch.equal(y[[0, 2]], want) and not y[1].any()


@pytest.mark.parametrize("recorded", [False, True])
def test_the_drop_in_writes_states_only_where_they_are_returned(installed, recorded):
    x, weight = made(1, D, 3).requires_grad_(recorded), made(D, W)
    target = torch.full((1, D, W - 1), 7.0)
    installed.causal_conv1d_fn(x, weight, final_states_out=target)
    assert (target == 7).all()
    installed.causal_conv1d_fn(x, weight, return_final_states=True, final_states_out=target)
    assert torch.equal(target, x.detach())


def test_the_drop_in_says_which_version_it_provides(installed):
    assert installed.__version__.split("+")[0] == "1.7.0"
