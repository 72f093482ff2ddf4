"""Derivatives: gradcheck, double backward, functorch transforms, what is (not) computed."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import forward_ad

import causal_conv1d_mps as ccmps
from causal_conv1d_mps import _C

B, D, T, W = 2, 3, 6, 4
SEQ_IDX = torch.tensor([[0, 0, 0, 1, 1, -1], [3, 3, 1, 3, 2, 2]])
CU_SEQLENS = torch.tensor([0, 2, 2, 6])


def tensors(*shapes, dtype=torch.float64, device="cpu", grad=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    return [t.to(device, dtype).requires_grad_(grad) for t in made]


def convolution(x, weight, bias):
    return ccmps.causal_conv1d(x, weight, bias, "silu")


def in_pytorch(x, weight, bias):
    y = F.conv1d(x, weight[:, None], bias, padding=weight.shape[1] - 1, groups=x.shape[1])
    return F.silu(y[..., : x.shape[2]])


CALLS = {
    "plain": lambda x, w, b, s, r: ccmps.causal_conv1d(x, w, b),
    "silu": lambda x, w, b, s, r: ccmps.causal_conv1d(x, w, b, "silu"),
    "no bias": lambda x, w, b, s, r: ccmps.causal_conv1d(x, w, None, "silu"),
    "channel-last": lambda x, w, b, s, r: ccmps.causal_conv1d(x.mT.contiguous().mT, w, b, "silu"),
    "everything": lambda x, w, b, s, r: ccmps.causal_conv1d_fn(
        x, w, b, None, s, True, activation="silu", residual=r
    ),
    "seq_idx": lambda x, w, b, s, r: ccmps.causal_conv1d_fn(
        x, w, b, SEQ_IDX.to(x.device), s, True, activation="silu", residual=r
    ),
    "final states alone": lambda x, w, b, s, r: ccmps.causal_conv1d_fn(x, w, b, None, s, True)[1],
    "shorter than the width": lambda x, w, b, s, r: ccmps.causal_conv1d_fn(
        x[..., :2], w, b, None, s, True, activation="silu"
    ),
}


def check_twice(call, inputs):
    """First and second derivatives, forward mode, and several cotangents at once."""
    batched = dict(atol=1e-6, check_batched_grad=True)
    assert torch.autograd.gradcheck(call, inputs, check_forward_ad=True, **batched)
    assert torch.autograd.gradgradcheck(call, inputs, **batched)


@pytest.mark.parametrize("call", CALLS)
def test_gradcheck_twice(backend, call):
    if not backend.supports(torch.float64):
        pytest.skip(f"{backend} has no float64, in which derivatives are checked")
    shapes = ((B, D, T), (D, W), (D,), (B, D, W - 1), (B, D, T))
    inputs = tensors(*shapes, device=backend.device)
    check_twice(CALLS[call], inputs)


@pytest.mark.parametrize("with_states", [False, True])
def test_gradcheck_twice_packed(backend, with_states):
    if not backend.supports(torch.float64):
        pytest.skip(f"{backend} has no float64, in which derivatives are checked")

    def call(x, weight, bias, states):
        return ccmps.causal_conv1d_fn(
            x,
            weight,
            bias,
            initial_states=states if with_states else None,
            return_final_states=True,
            activation="silu",
            cu_seqlens=CU_SEQLENS.to(x.device),
        )

    inputs = tensors((1, D, T), (D, W), (D,), (3, D, W - 1), device=backend.device)
    check_twice(call, inputs)


def test_third_derivative():
    (weight,) = tensors((D, W))
    x, bias = tensors((B, D, T), (D,), grad=False)

    def third(function):
        value = function(x, weight, bias).sum()
        for _ in range(3):
            (gradient,) = torch.autograd.grad(value, weight, create_graph=True)
            value = gradient.square().sum()
        return value

    torch.testing.assert_close(third(convolution), third(in_pytorch))


def test_functorch_derivatives():
    inputs = tensors((B, D, T), (D, W), (D,), grad=False)
    everything = (0, 1, 2)
    for transform in (torch.func.jacrev, torch.func.jacfwd):
        found = transform(convolution, argnums=everything)(*inputs)
        expected = transform(in_pytorch, argnums=everything)(*inputs)
        for name, f, e in zip(("x", "weight", "bias"), found, expected, strict=True):
            torch.testing.assert_close(f, e, msg=lambda m, name=name: f"{transform} {name}: {m}")


@pytest.mark.parametrize("outer", [torch.func.jacfwd, torch.func.jacrev])
def test_functorch_hessian(outer):
    x, weight, bias = tensors((B, D, T), (D, W), (D,), grad=False)

    def hessian(function):
        return outer(torch.func.jacrev(lambda w: function(x, w, bias).sin().sum()))(weight)

    torch.testing.assert_close(hessian(convolution), hessian(in_pytorch))


def test_functorch_inside_ordinary_autograd():
    """torch.func.grad over tensors that an outer graph records."""
    x, weight, bias = tensors((B, D, T), (D, W), (D,))

    def outer(function):
        inner = torch.func.grad(lambda value: function(value, weight, bias).sin().sum())(x)
        return torch.autograd.grad(inner.square().sum(), (x, weight, bias))

    for found, expected in zip(outer(convolution), outer(in_pytorch), strict=True):
        torch.testing.assert_close(found, expected)


def test_vectorized_jacobian():
    inputs = tuple(tensors((B, D, T), (D, W), (D,)))
    jacobian = torch.autograd.functional.jacobian
    found = jacobian(convolution, inputs, vectorize=True)
    for f, e in zip(found, jacobian(convolution, inputs), strict=True):
        torch.testing.assert_close(f, e)


def test_forward_mode():
    primals = tensors((B, D, T), (D, W), (D,), grad=False)
    tangents = tensors((B, D, T), (D, W), (D,), grad=False, seed=1)
    for found, expected in zip(
        torch.func.jvp(convolution, tuple(primals), tuple(tangents)),
        torch.func.jvp(in_pytorch, tuple(primals), tuple(tangents)),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("create_graph", [False, True])
def test_forward_mode_through_the_backward_pass(create_graph):
    """The graph is older than the tangent, which comes in with the cotangent."""
    inputs = tensors((B, D, T), (D, W), (D,))
    cotangent, tangent = tensors((B, D, T), (B, D, T), grad=False, seed=1)

    def tangents(function, create_graph):
        y = function(*inputs)
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(cotangent, tangent)
            found = torch.autograd.grad(y, inputs, dual, create_graph=create_graph)
            return [forward_ad.unpack_dual(gradient).tangent for gradient in found]

    # F.silu has this derivative only with create_graph.
    wanted = tangents(in_pytorch, create_graph=True)
    for found, expected in zip(tangents(convolution, create_graph), wanted, strict=True):
        torch.testing.assert_close(found, expected)


def test_tangents_are_refused_where_they_would_be_lost():
    x, state, weight, tangent = tensors((B, D), (B, D, W), (D, W), (B, D), grad=False)
    before = state.clone()
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, tangent)
        with pytest.raises(NotImplementedError, match=r"causal_conv1d_update .*forward-mode"):
            ccmps.causal_conv1d_update(dual, state, weight)
        with pytest.raises(NotImplementedError, match=r"varlen_states .*forward-mode"):
            ccmps.causal_conv1d_varlen_states(dual, torch.tensor([0, B]), 3)
        assert torch.equal(state, before)
        y = ccmps.causal_conv1d_update(x, state, weight)  # without a tangent nothing is lost
    assert torch.equal(y, ccmps.causal_conv1d_update(x, before, weight))
    with pytest.raises(NotImplementedError, match="forward-mode"):
        torch.func.jvp(lambda v: ccmps.causal_conv1d_update(v, state, weight), (x,), (tangent,))


@pytest.mark.parametrize(
    "in_dims", [(0, 0, 0), (0, None, None), (None, 0, None), (None, None, 0), (2, 1, 1)]
)
def test_vmap(in_dims):
    shapes = ((B, D, T), (D, W), (D,))
    batched = tensors(*((5, *shape) for shape in shapes), grad=False)
    inputs = [
        t[0] if dim is None else t.movedim(0, dim) for t, dim in zip(batched, in_dims, strict=True)
    ]

    def loss(x, weight, bias):
        return convolution(x, weight, bias).sin().sum()

    gradient = torch.func.grad(loss, argnums=(0, 1, 2))
    found = torch.vmap(convolution, in_dims)(*inputs)
    found_gradients = torch.vmap(gradient, in_dims)(*inputs)
    for i in range(5):
        sample = [b[0] if d is None else b[i] for b, d in zip(batched, in_dims, strict=True)]
        assert torch.equal(found[i], convolution(*sample))
        for f, e in zip(found_gradients, gradient(*sample), strict=True):
            torch.testing.assert_close(f[i], e)


@pytest.mark.parametrize("index_batched", [False, True])
def test_vmap_with_states_and_indices(index_batched):
    x, states, weight = tensors((4, B, D, T), (4, B, D, W - 1), (D, W), grad=False)
    index = torch.stack([SEQ_IDX.roll(i, dims=1) for i in range(4)])
    index_dim = 0 if index_batched else None

    def call(x, states, index):
        return ccmps.causal_conv1d_fn(x, weight, None, index, states, True)

    found = torch.vmap(call, (0, 0, index_dim))(x, states, index if index_batched else index[0])
    for i in range(4):
        expected = call(x[i], states[i], index[i] if index_batched else index[0])
        for f, e in zip(found, expected, strict=True):
            assert torch.equal(f[i], e)


def test_vmap_over_update_and_varlen_states():
    x, state, weight = tensors((3, B, D), (3, B, D, W), (D, W), grad=False)
    expected_state = state.clone()
    expected = [
        ccmps.causal_conv1d_update(x[i], expected_state[i], weight, activation="silu")
        for i in range(3)
    ]

    def step(x, state):
        return ccmps.causal_conv1d_update(x, state, weight, activation="silu")

    assert torch.equal(torch.vmap(step)(x, state), torch.stack(expected))
    assert torch.equal(state, expected_state)
    with pytest.raises(ValueError, match="conv_state"):
        torch.vmap(step, (0, None))(x, state[0])

    (rows,) = tensors((3, T, D), grad=False)
    found = torch.vmap(lambda r: ccmps.causal_conv1d_varlen_states(r, CU_SEQLENS, 3))(rows)
    for i in range(3):
        assert torch.equal(found[i], ccmps.causal_conv1d_varlen_states(rows[i], CU_SEQLENS, 3))


@pytest.mark.parametrize("batched", [False, True])
def test_vmap_over_rows_of_a_pool(batched):
    """The indices of written rows come last among the operator's arguments."""
    x, pools, weight = tensors((3, B, D), (3, 4, D, W), (D, W), grad=False)
    written = torch.tensor([[1, 3], [3, 1], [2, 3]]) if batched else torch.tensor([1, 3])
    rows, kept = torch.tensor([0, 0]), pools.clone()

    def step(x, pool, written):
        options = dict(conv_state_indices=rows, conv_state_out_indices=written)
        return ccmps.causal_conv1d_update(x, pool, weight, **options)

    found = torch.vmap(step, (0, 0, 0 if batched else None))(x, pools, written)
    each = written if batched else written.expand(3, 2)
    want = torch.stack([step(x[i], kept[i], each[i]) for i in range(3)])
    assert torch.equal(found, want) and torch.equal(pools, kept)


def test_vmap_over_no_samples():
    x, weight, states = tensors((0, B, D, T), (0, D, W), (0, B, D, W), grad=False)
    assert torch.vmap(convolution, (0, 0, None))(x, weight, None).shape == x.shape
    assert torch.vmap(convolution, (0, None, None))(x, torch.ones(D, W), None).shape == x.shape
    gradient = torch.func.grad(lambda x, w: convolution(x, w, None).sum(), argnums=(0, 1))
    found = torch.vmap(gradient)(x, weight)
    assert [f.shape for f in found] == [x.shape, weight.shape]
    assert torch.vmap(ccmps.causal_conv1d_update)(x[..., 0], states, weight).shape == (0, B, D)
    bounds = torch.empty(0, 3, dtype=torch.int32)
    rows = torch.vmap(lambda r, b: ccmps.causal_conv1d_varlen_states(r, b, 3))(x[:, 0].mT, bounds)
    assert rows.shape == (0, 2, D, 3)


@pytest.mark.parametrize("wanted", ["x", "weight", "bias", "initial_states", "residual"])
def test_only_what_is_needed_is_computed(wanted, monkeypatch):
    names = ("x", "weight", "bias", "initial_states", "residual")
    made = tensors((B, D, T), (D, W), (D,), (B, D, W - 1), (B, D, T), grad=False)
    inputs = dict(zip(names, made, strict=True))
    inputs[wanted].requires_grad_()
    kernel, computed = _C.gradients, []

    def recorded(*arguments):
        found = kernel(*arguments)
        computed.append([place for place, gradient in enumerate(found) if gradient is not None])
        return found

    monkeypatch.setattr(_C, "gradients", recorded)
    y = ccmps.causal_conv1d_fn(**inputs)
    assert y.requires_grad
    y.sum().backward()
    assert inputs[wanted].grad is not None
    places = dict(x=[1], weight=[2], bias=[3], initial_states=[6], residual=[])
    assert computed == [places[wanted]]


@pytest.mark.parametrize("packing", ["states", "seq_idx"])
def test_residual_gradient(packing):
    x, weight, residual = tensors((B, D, T), (D, W), (B, D, T))
    index = SEQ_IDX if packing == "seq_idx" else None
    y = ccmps.causal_conv1d_fn(x, weight, seq_idx=index, residual=residual)
    (gradient,) = torch.autograd.grad(y.sum(), residual)
    live = torch.ones_like(residual) if index is None else (index >= 0)[:, None].expand(B, D, T)
    assert torch.equal(gradient, live.to(gradient.dtype))


def test_final_states_out_carries_gradients():
    x, weight = tensors((B, D, T), (D, W))
    target = torch.full((B, D, W - 1), 7.0, dtype=x.dtype)
    y, states = ccmps.causal_conv1d_fn(x, weight, return_final_states=True, final_states_out=target)
    assert states is target and states.requires_grad
    (found,) = torch.autograd.grad(states.square().sum(), x, retain_graph=True)
    expected = torch.zeros_like(x)
    expected[..., -(W - 1) :] = 2 * x.detach()[..., -(W - 1) :]
    assert torch.equal(found, expected)
    assert torch.autograd.grad(y.sum(), x)[0].abs().sum() > 0


def test_out_refuses_gradients_and_says_so():
    x, weight = tensors((B, D, T), (D, W))
    with pytest.raises(RuntimeError, match=r"^out: .* requires grad"):
        ccmps.causal_conv1d_fn(x, weight, out=torch.empty_like(x))
    with torch.no_grad():
        out = torch.empty_like(x)
        assert ccmps.causal_conv1d_fn(x, weight, out=out) is out


@pytest.mark.parametrize("watched", [False, True])
def test_written_tensors_that_require_grad_are_refused(watched):
    x, weight, step, state = tensors((B, D, T), (D, W), (B, D), (B, D, W), grad=False)
    if watched:
        x, step = (t.as_subclass(type("Watched", (torch.Tensor,), {})) for t in (x, step))
    out = torch.full((B, D, T), 7.0, dtype=weight.dtype, requires_grad=True)
    final = torch.full((B, D, W - 1), 7.0, dtype=weight.dtype, requires_grad=True)
    before = state.clone()
    with pytest.raises(RuntimeError, match=r"^out: .* requires grad"):
        ccmps.causal_conv1d_fn(x, weight, out=out)
    with pytest.raises(RuntimeError, match=r"^final_states_out: .*final_states_out.detach\(\)"):
        ccmps.causal_conv1d_fn(x, weight, final_states_out=final)
    with pytest.raises(RuntimeError, match=r"^conv_state: .*pass conv_state.detach\(\)"):
        ccmps.causal_conv1d_update(step, state.requires_grad_(), weight)
    assert (out == 7).all() and (final == 7).all() and torch.equal(state, before)
    with torch.no_grad():
        ccmps.causal_conv1d_fn(x, weight, out=out, final_states_out=final)
        ccmps.causal_conv1d_update(step, state, weight)
    assert not (out == 7).any() and not torch.equal(state, before)


def test_transforms_refuse_gradients_of_what_changes_states():
    """Instead of zeros."""
    x, steps, states, weight = tensors((B, D, 5), (B, D), (B, D, W), (D, W), grad=False)
    scale = torch.tensor(2.0, dtype=x.dtype)

    def prefill(x, weight):
        return ccmps.causal_conv1d_fn(x, weight, conv_states=states.clone()).sum()

    def update(x, weight):
        return ccmps.causal_conv1d_update(x, states.clone(), weight).sum()

    for function, given in ((prefill, x), (update, steps)):
        for argument in (0, 1):
            with pytest.raises(RuntimeError, match="causal_conv1d_update is not differentiable"):
                torch.func.grad(function, argument)(given, weight)
        gradient = torch.func.grad(lambda scale, f=function, g=given: scale * f(g, weight))(scale)
        assert torch.equal(gradient, function(given, weight))


def test_update_refuses_backward_but_not_grad_mode():
    x, state, weight = tensors((B, D), (B, D, W), (D, W), grad=False)
    y = ccmps.causal_conv1d_update(x, state, weight.requires_grad_())
    with pytest.raises(RuntimeError, match="causal_conv1d_update is not differentiable"):
        y.sum().backward()


def test_written_tensors_get_a_new_version():
    """Autograd has to notice that a saved tensor was overwritten by a kernel."""
    x, state, weight = tensors((B, D), (B, D, W), (D, W), grad=False)
    scale = torch.ones_like(state, requires_grad=True)
    product = scale * state
    ccmps.causal_conv1d_update(x, state, weight)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


def test_saved_tensors_are_checked_too():
    x, weight = tensors((B, D, T), (D, W))
    y = ccmps.causal_conv1d(x, weight)
    with torch.no_grad():
        weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_lazily_negated_tensors():
    """x.conj().imag is a view that PyTorch negates when it is read."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn((B, D, T), dtype=torch.complex64, generator=generator)
    weight, bias = tensors((D, W), (D,), dtype=torch.float32)
    x = z.conj().imag
    assert x.is_neg()
    assert torch.equal(
        ccmps.causal_conv1d(x, weight, bias, "silu"),
        ccmps.causal_conv1d(-z.imag, weight, bias, "silu"),
    )
    tap = torch.randn((D, W), dtype=torch.complex64, generator=generator).conj().imag
    assert torch.equal(ccmps.causal_conv1d(x, tap, bias), ccmps.causal_conv1d(x, tap.clone(), bias))
    y = ccmps.causal_conv1d(-z.imag, weight, bias)
    found = torch.autograd.grad(y, weight, x, retain_graph=True)[0]
    assert torch.equal(found, torch.autograd.grad(y, weight, x.clone())[0])


@pytest.mark.parametrize("negated", [(B, D, T), (D, W), (D,)])
def test_saved_tensors_that_come_back_as_lazily_negated_views(negated):
    inputs = tensors((B, D, T), (D, W), (D,))

    def unpack(kept):
        return torch._neg_view(-kept) if kept.shape == negated else kept

    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, unpack):
        y = convolution(*inputs)
    found = torch.autograd.grad(y.sum(), inputs)
    for f, e in zip(found, torch.autograd.grad(convolution(*inputs).sum(), inputs), strict=True):
        assert torch.equal(f, e)


def test_checkpointing():
    x, weight, bias = tensors((B, D, T), (D, W), (D,))
    y = torch.utils.checkpoint.checkpoint(convolution, x, weight, bias, use_reentrant=False)
    found = torch.autograd.grad(y.sum(), (x, weight, bias))
    expected = torch.autograd.grad(convolution(x, weight, bias).sum(), (x, weight, bias))
    for f, e in zip(found, expected, strict=True):
        assert torch.equal(f, e)
