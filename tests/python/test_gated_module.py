"""nn.GatedShortConvolution: what LFM2's block computes between its projections, however called."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from causal_conv1d_mps.nn import GatedShortConvolution, ShortConvolution

B, D, T, W = 3, 6, 11, 3
NAN = float("nan")
MASK = torch.ones(B, T, dtype=torch.bool)
MASK[0, :4] = MASK[1, 8:] = MASK[2] = False


def made(*shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator).to(dtype)


def gated(**options):
    torch.manual_seed(1)
    return GatedShortConvolution(D, W, **options).requires_grad_(False)


def taps(projected):
    pre_gate, _, x = projected.chunk(3, dim=2)
    return (pre_gate * x).mT


def written_out(module, projected):
    """LFM2's block as transformers writes it."""
    pre_gate, post_gate, x = projected.mT.chunk(3, dim=1)
    y = F.conv1d(pre_gate * x, module.weight, module.bias, padding=W - 1, groups=D)[..., :T]
    return (post_gate * (F.silu(y) if module.activation else y)).mT


@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("bias", [False, True])
def test_is_the_block(bias, activation):
    module = GatedShortConvolution(D, W, bias, activation)
    projected = made(B, T, 3 * D).requires_grad_()
    y, cache = module(projected)
    assert cache is None and y.is_contiguous()
    expected = written_out(module, projected)
    torch.testing.assert_close(y, expected)
    leaves = (projected, *module.parameters())
    for found, wanted in zip(
        torch.autograd.grad(y.square().sum(), leaves),
        torch.autograd.grad(expected.square().sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_bfloat16_rounds_a_tap_and_the_result():
    module = gated().bfloat16()
    projected = made(B, T, 3 * D, dtype=torch.bfloat16)
    rows = F.pad(taps(projected).float(), (W - 1, 0))
    weight = module.weight[:, 0].float()
    acc = sum(weight[:, k, None] * rows[..., k : k + T] for k in range(W))
    exact = (projected.chunk(3, dim=2)[1].mT.float() * acc).mT
    y, _ = module(projected)
    torch.testing.assert_close(y.float(), exact, rtol=2**-8, atol=1e-6)


def test_a_projection_of_ones_is_the_plain_module():
    """Gates of 1: a ShortConvolution of x, with the same cache."""
    module, plain = gated(bias=True), ShortConvolution(D, W, True, None)
    plain.load_state_dict(module.state_dict())
    x, ones = made(B, T, D), torch.ones(B, T, 2 * D)
    y, cache = module(torch.cat([ones, x], dim=2), output_final_state=True)
    with torch.no_grad():
        expected, expected_cache = plain(x, output_final_state=True)
    assert torch.equal(y, expected) and torch.equal(cache, expected_cache)


@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("splits", [(5, 6), (10, 1), (3, 1, 2, 1, 4), (1,) * 11])
def test_any_split_with_a_cache_is_one_call(splits, dtype, with_residual):
    module = gated(bias=True, activation="silu").to(dtype)
    projected, residual = made(B, T, 3 * D, dtype=dtype), made(B, T, D, seed=1, dtype=dtype)

    def run(start, end, cache):
        added = residual[:, start:end] if with_residual else None
        return module(projected[:, start:end], added, cache=cache, output_final_state=True)

    expected, expected_cache = run(0, T, None)
    start, cache, parts = 0, None, []
    for length in splits:
        before = cache
        part, cache = run(start, start + length, cache)
        assert before is None or cache is before, "the cache is changed in place"
        parts.append(part)
        start += length
    assert torch.equal(torch.cat(parts, dim=1), expected)
    assert torch.equal(cache, expected_cache)
    assert torch.equal(cache, taps(projected)[..., -W:])


@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_step(packed, with_residual):
    module = gated(bias=True)
    projected, cache = made(B, 1, 3 * D), made(B, D, W)
    residual = made(B, 1, D, seed=1) if with_residual else None
    own = cache.clone()
    expected, _ = module(projected, residual, cache=own)
    bounds = None
    if packed:
        projected, expected = projected.mT.reshape(1, B, 3 * D), expected.reshape(1, B, D)
        residual = None if residual is None else residual.reshape(1, B, D)
        bounds = torch.arange(B + 1)
    y, same = module.step(projected, residual, cache, cu_seqlens=bounds)
    assert torch.equal(y, expected) and same is cache and torch.equal(cache, own)
    assert torch.equal(
        cache[..., -1:], taps(projected).reshape(D, B).T[..., None] if packed else taps(projected)
    )


@pytest.mark.parametrize("kind", ["mask", "lengths", "seq_idx", "cu_seqlens"])
@pytest.mark.parametrize("with_cache", [False, True])
def test_packing_and_padding(kind, with_cache):
    """Row by row; whatever memory at padding holds."""
    module, projected = gated(bias=True, activation="silu"), made(B, T, 3 * D)
    rows = B
    if kind == "mask":
        option, spans = MASK, [[(0, 4, 11)], [(1, 0, 8)], []]
    elif kind == "lengths":
        option, spans = torch.tensor([7, T, 0]), [[(0, 0, 7)], [(1, 0, 11)], []]
    elif kind == "seq_idx":
        option = torch.tensor([[0] * 11, [4] * 5 + [5] * 6, [-1] * 11])
        spans = [[(0, 0, 11)], [(1, 0, 5), (1, 5, 11)], []]
    else:
        projected, rows = projected[:1], 4
        option, spans = torch.tensor([0, 5, 6, 6, 9]), [[(0, 0, 5)], [(0, 5, 6)], [], [(0, 6, 9)]]
    old = made(rows, D, W) if with_cache else torch.zeros(rows, D, W)
    y_want, cache_want = torch.zeros(projected.shape[0], T, D), old.clone()
    real = torch.zeros(projected.shape[:2], dtype=torch.bool)
    for row, parts in enumerate(spans):
        for place, (b, start, end) in enumerate(parts):
            # What a row held before it is seen by its first step alone.
            seen = place == 0 and (start == 0 or kind == "cu_seqlens")
            own = old[row : row + 1].clone() if seen else torch.zeros(1, D, W)
            part = projected[b : b + 1, start:end]
            y_want[b, start:end], cache_want[row] = (r[0] for r in module(part, cache=own))
            real[b, start:end] = True
    projected = projected.masked_fill(~real[..., None], NAN)
    given = old.clone() if with_cache else None
    y, cache = module(projected, cache=given, output_final_state=True, **{kind: option})
    assert torch.equal(y, y_want) and torch.equal(cache, cache_want)
    assert (cache is given) == with_cache


def test_gradients_with_padding_and_a_cache():
    module = GatedShortConvolution(D, W, bias=True, activation="silu").double()
    projected, cache = made(B, T, 3 * D).double(), made(B, D, W).double()

    def call(projected, cache, weight, bias):
        parameters = {"weight": weight, "bias": bias}
        options = dict(mask=MASK, cache=cache, output_final_state=True)
        return torch.func.functional_call(module, parameters, (projected,), options)

    leaves = (projected, cache, module.weight.detach().clone(), module.bias.detach().clone())
    assert torch.autograd.gradcheck(call, tuple(t.requires_grad_() for t in leaves))
    hidden = ~MASK[..., None].expand_as(projected)
    poisoned = projected.detach().masked_fill(hidden, NAN).requires_grad_()
    y, later = call(poisoned, *leaves[1:])
    gradients = torch.autograd.grad(y.sum() + later.sum(), (poisoned, *leaves[1:]))
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert not gradients[0][hidden].any()


def test_gradients_flow_through_the_cache():
    module, projected = GatedShortConvolution(D, W), made(B, T, 3 * D).requires_grad_()
    leaves = (projected, module.weight)
    expected = torch.autograd.grad(module(projected)[0].square().sum(), leaves)
    cache, total = None, 0.0
    for start, end in pairwise((0, 4, 5, T)):
        y, later = module(projected[:, start:end], cache=cache, output_final_state=True)
        assert later is not cache
        cache, total = later, total + y.square().sum()
    for found, wanted in zip(torch.autograd.grad(total, leaves), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_under_autocast_decoding_goes_on_as_prefill():
    module, projected = gated(bias=True), made(B, T, 3 * D)
    with torch.autocast("cpu", torch.bfloat16):
        whole, _ = module(projected)
        y, cache = module(projected[:, :5], output_final_state=True)
        parts = [y]
        for t in range(5, T):
            call = module.step if t % 2 else module
            parts.append(call(projected[:, t : t + 1], cache=cache)[0])
    assert whole.dtype == cache.dtype == torch.bfloat16
    assert torch.equal(torch.cat(parts, dim=1), whole)


def test_one_says_what_is_padding():
    module, projected = gated(), made(B, T, 3 * D)
    with pytest.raises(ValueError, match="mask: cannot be combined with seq_idx"):
        module(projected, mask=MASK, seq_idx=torch.zeros(B, T, dtype=torch.int32))
    with pytest.raises(ValueError, match="seq_idx: expected"):
        module(projected, seq_idx=torch.zeros(B, T + 1, dtype=torch.int32))


def test_compile():
    module, projected = GatedShortConvolution(D, W), made(B, T, 3 * D)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    for found, expected in zip(
        compiled(projected, output_final_state=True),
        module(projected, output_final_state=True),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


def test_second_derivatives():
    module = GatedShortConvolution(D, W, bias=True, activation="silu").double()
    projected = made(2, 4, 3 * D).double()

    def call(projected, weight, bias):
        parameters = {"weight": weight, "bias": bias}
        return torch.func.functional_call(module, parameters, (projected,))[0]

    leaves = (projected, module.weight.detach().clone(), module.bias.detach().clone())
    assert torch.autograd.gradgradcheck(call, tuple(t.requires_grad_() for t in leaves))


@pytest.mark.parametrize("frozen", ["projected", "weight", "bias"])
def test_only_the_gradients_that_are_needed(frozen):
    module, projected = GatedShortConvolution(D, W, bias=True), made(B, T, 3 * D).requires_grad_()
    leaves = {"projected": projected, "weight": module.weight, "bias": module.bias}
    expected = torch.autograd.grad(module(projected)[0].square().sum(), list(leaves.values()))
    expected = dict(zip(leaves, expected, strict=True))
    leaves.pop(frozen).requires_grad_(False)
    found = torch.autograd.grad(module(projected)[0].square().sum(), list(leaves.values()))
    for name, gradient in zip(leaves, found, strict=True):
        assert torch.equal(gradient, expected[name]), name


def test_the_gradient_of_the_projection_is_one_tensor():
    """Written by the kernels in the projection's own order, not put together of three."""
    module = GatedShortConvolution(D, W)
    projected = made(B, T, 3 * D).requires_grad_()
    y, _ = module(projected)
    with torch.profiler.profile() as recorded:
        (gradient,) = torch.autograd.grad(y, projected, torch.ones_like(y))
    names = {event.name for event in recorded.events()}
    assert "causal_conv1d_mps::backward" in names
    assert not names & {"aten::cat", "aten::copy_", "aten::clone"}
    assert gradient.is_contiguous()


def test_vmap_and_forward_derivatives():
    module, projected = gated(activation="silu"), made(4, B, T, 3 * D)
    call = torch.func.vmap(lambda p: module(p)[0])
    expected = torch.stack([module(p)[0] for p in projected])
    torch.testing.assert_close(call(projected), expected)
    tangent = made(B, T, 3 * D, seed=5)
    _, found = torch.func.jvp(lambda p: module(p)[0], (projected[0],), (tangent,))
    _, wanted = torch.func.jvp(lambda p: written_out(module, p), (projected[0],), (tangent,))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
