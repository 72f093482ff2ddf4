"""The modules: their parameters, and that they compute what the functions do."""

import copy
import io
import pickle
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

import causal_conv1d_mps as ccmps
from causal_conv1d_mps.nn import CausalConv1d, ShortConvolution

B, D, T, W = 2, 6, 11, 4
MODULES = {
    "CausalConv1d": lambda **options: CausalConv1d(D, W, **options),
    "ShortConvolution": lambda **options: ShortConvolution(D, W, bias=True, **options),
}


def made(*shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator).to(dtype)


def depthwise(width=W, bias=True):
    return torch.nn.Conv1d(D, D, width, groups=D, padding=width - 1, bias=bias)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("bias", [True, False])
def test_initialised_as_conv1d_from_the_same_seed(module, bias):
    torch.manual_seed(7)
    expected = depthwise(bias=bias)
    after = torch.rand(1)
    torch.manual_seed(7)
    if module == "CausalConv1d":
        found = CausalConv1d(D, W, bias=bias)
    else:
        found = ShortConvolution(D, W, bias=bias)
    assert torch.equal(torch.rand(1), after), "the random state has moved differently"
    assert found.state_dict().keys() == expected.state_dict().keys()
    for name, value in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)


@pytest.mark.parametrize("module", MODULES)
def test_state_dict_travels_both_ways(module):
    ours, theirs = MODULES[module](), depthwise()
    ours.load_state_dict(theirs.state_dict())
    assert torch.equal(ours.weight, theirs.weight) and torch.equal(ours.bias, theirs.bias)
    fresh = depthwise()
    fresh.load_state_dict(ours.state_dict())
    assert torch.equal(fresh.weight, theirs.weight)
    flat = {"weight": theirs.weight.squeeze(1) + 1, "bias": theirs.bias}
    ours.load_state_dict(flat)
    assert torch.equal(ours.weight, theirs.weight + 1) and flat["weight"].dim() == 2
    with pytest.raises(RuntimeError, match="size mismatch"):
        ours.load_state_dict(depthwise(width=3).state_dict())


def test_inside_another_module_a_flat_weight_loads_too():
    model = torch.nn.Sequential(torch.nn.Identity(), CausalConv1d(D, W))
    state = {"1.weight": made(D, W), "1.bias": made(D)}
    model.load_state_dict(state)
    assert torch.equal(model[1].weight[:, 0], state["1.weight"])


@pytest.mark.parametrize("activation", [None, "silu", "swish"])
def test_causal_conv1d_computes_conv1d(activation):
    ours, theirs = CausalConv1d(D, W, activation=activation), depthwise()
    theirs.load_state_dict(ours.state_dict())
    x = made(B, D, T)
    expected = theirs(x)[..., :T]
    expected = expected if activation is None else F.silu(expected)
    torch.testing.assert_close(ours(x), expected)


def test_causal_conv1d_passes_everything_on():
    module = CausalConv1d(D, W, activation="silu")
    weight, bias = module.weight.squeeze(1), module.bias
    x, states, residual = made(B, D, T), made(B, D, W - 1), made(B, D, T)
    index = torch.arange(T).div(4, rounding_mode="floor").expand(B, T).contiguous()
    found = module(x, index, states, True, residual=residual)
    expected = ccmps.causal_conv1d_fn(
        x, weight, bias, index, states, True, activation="silu", residual=residual
    )
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))

    lengths = torch.arange(B) + 2
    expected = ccmps.causal_conv1d_fn(x, weight, bias, activation="silu", lengths=lengths)
    assert torch.equal(module(x, lengths=lengths), expected)

    bounds = torch.tensor([0, 3, T])
    found = module(x[:1], cu_seqlens=bounds)
    expected = ccmps.causal_conv1d_fn(x[:1], weight, bias, activation="silu", cu_seqlens=bounds)
    assert torch.equal(found, expected)


def test_causal_conv1d_step_continues_forward_bit_for_bit():
    module = CausalConv1d(D, W, activation="silu").requires_grad_(False)
    x = made(B, D, T)
    y, state = module(x[..., :5], return_final_states=True)
    steps = [module.step(x[..., t], state)[..., None] for t in range(5, 8)]
    steps.append(module.step(x[..., 8:], state))
    assert torch.equal(torch.cat([y, *steps], dim=2), module(x))


# --- ShortConvolution ------------------------------------------------------------------------


def short(**options):
    return ShortConvolution(D, W, **options).requires_grad_(False)


def test_short_convolution_is_a_transposed_causal_conv1d():
    module = ShortConvolution(D, W)
    x = made(B, T, D)
    y, cache = module(x)
    assert cache is None and y.shape == x.shape and y.is_contiguous()
    assert torch.equal(y, ccmps.causal_conv1d(x.mT, module.weight[:, 0], None, "silu").mT)


def test_mask_is_multiplied_in_and_x_is_left_alone():
    module, x = short(), made(B, T, D)
    mask = torch.ones(B, T, dtype=torch.bool)
    mask[0, :4] = False
    before = x.clone()
    y, _ = module(x, mask=mask)
    assert torch.equal(x, before)
    assert torch.equal(y, module(x * mask[..., None])[0])
    with pytest.raises(ValueError, match="mask"):
        module(x[:1], mask=mask[:1], cu_seqlens=torch.tensor([0, T]))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("with_cache", [False, True])
def test_lengths_are_a_mask(dtype, with_cache):
    """Whatever padded memory holds; a row of padding keeps its cache."""
    module, lengths = short(), torch.tensor([4, 0, T, 1][:B], dtype=dtype)
    x, residual = made(B, T, D), made(B, T, D)
    mask = torch.arange(T) < lengths[:, None]
    x[~mask] = float("nan")
    old = made(B, D, W + 1) if with_cache else None
    kept = None if old is None else old.clone()
    y, cache = module(x, residual, cache=old, output_final_state=True, lengths=lengths)
    expected, want = module(x, residual, mask, kept, True)
    assert torch.equal(y, expected) and torch.equal(cache, want)
    assert not y[~mask].any() and (cache is old or not with_cache)


def test_lengths_alone_say_what_is_padding():
    module, x, lengths = short(), made(B, T, D), torch.full((B,), T)
    cache = torch.zeros(B, D, W)
    with pytest.raises(ValueError, match="mask: cannot be combined with lengths"):
        module(x, mask=torch.ones(B, T), lengths=lengths)
    with pytest.raises(ValueError, match="cu_seqlens: cannot be combined with lengths"):
        module(x[:1], cu_seqlens=torch.tensor([0, T]), lengths=lengths[:1])
    with pytest.raises(ValueError, match="lengths: expected"):
        module(x, cache=cache, lengths=lengths + 1)
    assert not cache.any()


@pytest.mark.parametrize("lengths", [[1, 0], [0, 1]])
def test_one_step_with_lengths(lengths):
    """A row of padding: y = 0 there, and its cache stays."""
    module, x, cache = short(), made(2, 1, D), made(2, D, W)
    step, before = cache.clone(), cache.clone()
    expected, _ = module.step(x, cache=step)
    y, _ = module(x, cache=cache, lengths=torch.tensor(lengths))
    for row, live in enumerate(lengths):
        assert torch.equal(y[row], expected[row] if live else torch.zeros(1, D))
        assert torch.equal(cache[row], step[row] if live else before[row])


@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("splits", [(1, 1, 9), (5, 6), (10, 1), (3, 1, 2, 1, 4), (1,) * 11])
def test_any_split_with_a_cache_is_one_call(splits, dtype, with_residual):
    module = short(bias=True).to(dtype)
    x, residual = made(B, T, D, dtype=dtype), made(B, T, D, seed=1, dtype=dtype)

    def run(start, end, cache):
        added = residual[:, start:end] if with_residual else None
        return module(x[:, start:end], residual=added, cache=cache, output_final_state=True)

    expected, expected_cache = run(0, T, None)
    start, cache, parts = 0, None, []
    for length in splits:
        before = cache
        part, cache = run(start, start + length, cache)
        assert before is None or cache is before, "the cache is changed in place"
        parts.append(part)
        start += length
    assert torch.equal(torch.cat(parts, dim=1), expected)
    assert cache.shape == (B, D, W) and torch.equal(cache, expected_cache)


@pytest.mark.parametrize("size", [W - 1, W, W + 3])
def test_caches_of_other_sizes(size):
    module, x = short(), made(B, T, D)
    cache = torch.zeros(B, D, size)
    parts = [module(x[:, a:b], cache=cache)[0] for a, b in ((0, 2), (2, 3), (3, 8), (8, T))]
    assert torch.equal(torch.cat(parts, dim=1), module(x)[0])
    assert torch.equal(cache, x[:, -size:].mT)


@pytest.mark.parametrize("with_cache", [False, True])
def test_packed(with_cache):
    module, x = short(), made(1, T, D)
    bounds = torch.tensor([0, 5, 6, 6, T])
    rows = [x[:, a:b] for a, b in pairwise(bounds)]
    cache = made(4, D, W) if with_cache else None
    own = [cache[i : i + 1].clone() if with_cache else None for i in range(4)]
    y, found = module(x, cache=cache, cu_seqlens=bounds, output_final_state=True)
    apart = [
        module(row, cache=c, output_final_state=True) for row, c in zip(rows, own, strict=True)
    ]
    assert torch.equal(y, torch.cat([part for part, _ in apart], dim=1))
    assert torch.equal(found, torch.cat([c for _, c in apart]))
    assert (found is cache) == with_cache


@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_step(packed, with_residual):
    module = short(bias=True)
    x, residual = made(3, 1, D), made(3, 1, D, seed=1) if with_residual else None
    cache = made(3, D, W)
    expected_cache = cache.clone()
    expected, _ = module(x, residual=residual, cache=expected_cache)
    bounds = None
    if packed:
        x = x.transpose(0, 1)
        residual = None if residual is None else residual.transpose(0, 1)
        expected, bounds = expected.transpose(0, 1), torch.arange(4)
    y, same = module.step(x, residual=residual, cache=cache, cu_seqlens=bounds)
    assert y.shape == x.shape and torch.equal(y, expected)
    assert same is cache and torch.equal(cache, expected_cache)

    y, made_cache = module.step(x, residual=residual, output_final_state=True, cu_seqlens=bounds)
    assert torch.equal(made_cache[..., -1], x.reshape(3, D)) and not made_cache[..., :-1].any()
    assert module.step(x, residual=residual, cu_seqlens=bounds)[1] is None


def test_gradients_flow_through_the_cache():
    """While gradients are recorded the cache is a new tensor, part of the graph."""
    module = ShortConvolution(D, W)
    x = made(B, T, D).requires_grad_()
    whole, _ = module(x)
    expected = torch.autograd.grad(whole.square().sum(), (x, module.weight))
    first, cache = module(x[:, :4], output_final_state=True)
    second, later = module(x[:, 4:], cache=cache)
    assert later is not cache
    total = first.square().sum() + second.square().sum()
    for found, wanted in zip(torch.autograd.grad(total, (x, module.weight)), expected, strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("wanted", ["x", "bias", "cache", "residual"])
def test_a_gradient_of_one_tensor_alone_is_recorded(wanted, length):
    module = short(bias=True)
    given = {"x": made(B, length, D), "residual": made(B, length, D), "cache": made(B, D, W)}
    leaf = (module.bias if wanted == "bias" else given[wanted]).requires_grad_()
    before = given["cache"].detach().clone()
    y, later = module(**given)
    assert later is not given["cache"] and torch.equal(given["cache"], before)
    (gradient,) = torch.autograd.grad(y.square().sum(), leaf)
    assert gradient.abs().sum() > 0
    if wanted != "residual":  # the new step alone is not differentiable
        given["residual"] = None
        y, _ = module(**given)
        assert torch.autograd.grad(y.square().sum(), leaf)[0].abs().sum() > 0


@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_step_is_not_differentiable_and_says_so(with_residual, compiled):
    module = ShortConvolution(D, W)
    residual = made(B, 1, D, seed=1) if with_residual else None
    step = torch.compile(module.step, fullgraph=True) if compiled else module.step
    y, _ = step(made(B, 1, D), residual=residual, cache=torch.zeros(B, D, W))
    with pytest.raises(RuntimeError, match="causal_conv1d_update is not differentiable"):
        y.sum().backward()
    with pytest.raises(RuntimeError, match=r"^cache: .*pass cache.detach\(\)"):
        module.step(made(B, 1, D), residual, made(B, D, W).requires_grad_())


class Decoder(torch.nn.Module):
    def __init__(self, with_residual):
        super().__init__()
        self.convolution = ShortConvolution(D, W)
        self.with_residual = with_residual

    def forward(self, x, cache):
        return self.convolution.step(x, x if self.with_residual else None, cache)[0]


@pytest.mark.parametrize("with_residual", [False, True])
def test_step_is_exported(with_residual):
    decoder, x = Decoder(with_residual), made(B, 1, D)
    program = torch.export.export(decoder, (x, torch.zeros(B, D, W)))
    caches = [made(B, D, W), made(B, D, W)]
    with torch.no_grad():
        assert torch.equal(program.module()(x, caches[0]), decoder(x, caches[1]))
    assert torch.equal(*caches)


def test_step_runs_no_hooks():
    module, calls = short(), []
    module.register_forward_hook(lambda *arguments: calls.append(1))
    module.step(made(B, 1, D), residual=made(B, 1, D), cache=torch.zeros(B, D, W))
    assert not calls
    module(made(B, 1, D), residual=made(B, 1, D), cache=torch.zeros(B, D, W))
    assert calls == [1]


@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("cache_dtype", [None, torch.float32, torch.bfloat16])
def test_autocast_prefill_is_decoding_bit_for_bit(cache_dtype, with_residual):
    module, x = short(bias=True), made(B, T, D)
    residual = made(B, T, D, seed=1) if with_residual else None

    def added(start, end):
        return residual[:, start:end] if with_residual else None

    with torch.autocast("cpu", torch.bfloat16):
        whole, cache = module(x, residual=residual, output_final_state=True)
        assert whole.dtype == cache.dtype == torch.bfloat16
        state = None if cache_dtype is None else torch.zeros(B, D, W, dtype=cache_dtype)
        y, state = module(x[:, :5], added(0, 5), cache=state, output_final_state=True)
        parts = [y]
        for t in range(5, T):
            call = module.step if t % 2 else module
            y, state = call(x[:, t : t + 1], added(t, t + 1), cache=state)
            parts.append(y)
    assert {part.dtype for part in parts} == {torch.bfloat16}
    assert torch.equal(torch.cat(parts, dim=1), whole)
    assert torch.equal(state.bfloat16(), cache)


@pytest.mark.parametrize("length", [1, 3])
def test_width_one_has_an_empty_cache(length):
    module, x = ShortConvolution(D, 1).requires_grad_(False), made(B, length, D)
    y, cache = module(x, cache=torch.zeros(B, D, 0))
    assert cache.shape == (B, D, 0) and torch.equal(y, module(x)[0])


@pytest.mark.parametrize("length", [1, 3])
def test_a_wrong_cache_is_named(length):
    module, x = short(), made(B, length, D)
    wrong = (
        (made(B, D, W - 2), ValueError, rf"\({B}, {D}, S\) .*>= W-1 = {W - 1}, got"),
        (made(B + 1, D, W), ValueError, "got"),
        (made(B, D, W).double(), TypeError, "float32 .*got .*float64"),
        ([0.0], TypeError, "Tensor, got list"),
    )
    for cache, exception, message in wrong:
        with pytest.raises(exception, match=f"^cache: expected .*{message}"):
            module(x, cache=cache)
    with pytest.raises(ValueError, match=r"^cache: expected"):
        module.step(x[:, :1], cache=made(B, D, W - 2))


def test_step_takes_one_step():
    module = short()
    with pytest.raises(ValueError, match=r"^x: expected shape \(B, 1, D\), got \(2, 3, 6\)"):
        module.step(made(B, 3, D), cache=torch.zeros(B, D, W))
    with pytest.raises(ValueError, match=r"^x: expected shape \(1, 3, D\), got \(1, 2, 6\)"):
        module.step(made(1, 2, D), cu_seqlens=torch.arange(4))


def test_state_size():
    assert short().state_size == D * W


# --- both ------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES)
def test_copies(module):
    original = MODULES[module](activation="silu")
    x = made(B, T, D) if module == "ShortConvolution" else made(B, D, T)
    buffer = io.BytesIO()
    torch.save(original, buffer)
    buffer.seek(0)
    copies = (
        copy.deepcopy(original),
        pickle.loads(pickle.dumps(original)),
        torch.load(buffer, weights_only=False),
    )

    def run(m):
        return m(x)[0] if module == "ShortConvolution" else m(x)

    for made_copy in copies:
        assert made_copy.weight is not original.weight
        assert torch.equal(run(made_copy), run(original))


def test_representation():
    assert repr(CausalConv1d(8)) == "CausalConv1d(8, width=4)"
    text = "ShortConvolution(8, width=3, bias=False, activation='silu')"
    assert repr(ShortConvolution(8, 3)) == text


@pytest.mark.parametrize("module", MODULES)
def test_device_and_dtype(module):
    built = MODULES[module](device="meta", dtype=torch.bfloat16)
    assert built.weight.device.type == "meta" and built.bias.dtype == torch.bfloat16


@pytest.mark.parametrize("arguments", [(0, 4), (4, 0), (-1, 4)])
def test_sizes_are_checked(arguments):
    with pytest.raises(ValueError, match="dim, width: expected positive"):
        CausalConv1d(*arguments)


@pytest.mark.parametrize("module", MODULES)
def test_compile(module):
    built = MODULES[module](activation="silu")
    x = made(B, T, D) if module == "ShortConvolution" else made(B, D, T)
    options = {"output_final_state": True} if module == "ShortConvolution" else {}
    found, expected = torch.compile(built, fullgraph=True)(x, **options), built(x, **options)
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e)
