"""The operators that PyTorch's own machinery sees: compile, export, functorch, modes, subclasses.

causal_conv1d_mps::forward and ::backward are pure; ::update writes its conv_state.
"""

import torch

from . import _backend, _composite, _vmap
from ._autograd import gradients as _run_gradients
from ._autograd import residual_gradient
from ._checks import UPDATE_NOT_DIFFERENTIABLE, require_device, state_length
from ._direct import (
    any_requires_grad,
    eager_transforms_active,
    increment_version,
    needs_composite,
    new_final_states,
)

NAMESPACE = "causal_conv1d_mps"

_library = torch.library.Library(NAMESPACE, "DEF")

_library.define(
    "forward(Tensor x, Tensor weight, Tensor? bias, Tensor? seq_idx, Tensor? cu_seqlens, "
    "Tensor? initial_states, Tensor? residual, int activation, bool return_final_states) "
    "-> (Tensor, Tensor)"
)
_library.define(
    "backward(Tensor dout, Tensor x, Tensor weight, Tensor? bias, Tensor? seq_idx, "
    "Tensor? cu_seqlens, Tensor? initial_states, Tensor? dfinal_states, int activation, "
    "bool[4] needs) -> (Tensor, Tensor, Tensor, Tensor)"
)
_library.define(
    "update(Tensor x, Tensor(a!) conv_state, Tensor weight, Tensor? bias, Tensor? cache_seqlens, "
    "Tensor? conv_state_indices, Tensor? num_accepted_tokens, int pad_slot_id, int activation) "
    "-> Tensor"
)
_library.define("refused_gradient(Tensor dy, Tensor like) -> Tensor")
_library.define("varlen_states(Tensor x, Tensor cu_seqlens, SymInt state_len) -> Tensor")

_operators = getattr(torch.ops, NAMESPACE)
forward = _operators.forward.default
backward = _operators.backward.default
update = _operators.update.default
varlen_states = _operators.varlen_states.default
refused_gradient = _operators.refused_gradient.default

_DEVICES = ("CPU", "CUDA", "MPS")


def _implement(name):
    def decorate(function):
        for key in _DEVICES:
            _library.impl(name, function, key)
        return function

    return decorate


def gradients(*arguments, backward=backward):
    """Like _autograd.gradients, through the operator: None for what was not asked for."""
    if needs_composite():
        return _composite.gradients(*arguments)
    results = backward(*arguments)
    return tuple(
        result if needed else None for result, needed in zip(results, arguments[-1], strict=True)
    )


# --- forward ---------------------------------------------------------------------------------


@_implement("forward")
def _forward(
    x,
    weight,
    bias,
    seq_idx,
    cu_seqlens,
    initial_states,
    residual,
    activation,
    return_final_states,
):
    y = torch.empty_like(x)
    final_states = new_final_states(x, weight, cu_seqlens) if return_final_states else None
    _backend.require(x).forward(
        x,
        weight,
        bias,
        seq_idx,
        cu_seqlens,
        initial_states,
        residual,
        y,
        final_states,
        activation,
        torch.get_num_threads(),
    )
    return y, x.new_empty(0) if final_states is None else final_states


def _check_convolution(x, weight):
    torch._check_value(x.dim() == 3, lambda: f"x: expected shape (B, D, T), got {tuple(x.shape)}")
    torch._check_value(
        weight.dim() == 2 or (weight.dim() == 3 and weight.shape[1] == 1),
        lambda: f"weight: expected shape (D, W), got {tuple(weight.shape)}",
    )
    torch._check_value(
        weight.shape[0] == x.shape[1],
        lambda: f"weight: expected {x.shape[1]} rows like x, got {tuple(weight.shape)}",
    )


def _check_floats(**tensors):
    for name, tensor in tensors.items():
        torch._check_type(
            tensor is None or tensor.is_floating_point(),
            lambda name=name, tensor=tensor: (
                f"{name}: expected a floating-point tensor, got {tensor.dtype}"
            ),
        )


def _check_devices(x, **tensors):
    for name, tensor in tensors.items():
        if tensor is not None:
            require_device(name, tensor, x.device, "x")


@torch.library.register_fake(f"{NAMESPACE}::forward", lib=_library)
def _forward_fake(
    x,
    weight,
    bias,
    seq_idx,
    cu_seqlens,
    initial_states,
    residual,
    activation,
    return_final_states,
):
    _check_floats(x=x, weight=weight, bias=bias)
    _check_devices(
        x,
        weight=weight,
        bias=bias,
        seq_idx=seq_idx,
        cu_seqlens=cu_seqlens,
        initial_states=initial_states,
        residual=residual,
    )
    _check_convolution(x, weight)
    if not return_final_states:
        return torch.empty_like(x), x.new_empty(0)
    sequences = x.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
    return torch.empty_like(x), x.new_empty((sequences, x.shape[1], weight.shape[-1] - 1))


def forward_context(ctx, inputs, output):
    x, weight, bias, seq_idx, cu_seqlens, initial_states, _, activation, with_states = inputs
    ctx.save_for_backward(x, weight, bias, seq_idx, cu_seqlens, initial_states)
    ctx.activation = activation
    ctx.with_states = with_states
    ctx.set_materialize_grads(False)


def forward_gradient(ctx, dout, dfinal_states, backward=backward):
    x, weight, bias, seq_idx, cu_seqlens, initial_states = ctx.saved_tensors
    asked = ctx.needs_input_grad
    needs = [asked[0], asked[1], asked[2], asked[5]]
    dx = dweight = dbias = dstates = dresidual = None
    if dout is not None and asked[6]:
        dresidual = residual_gradient(dout, seq_idx)
    if any(needs):
        dx, dweight, dbias, dstates = gradients(
            torch.zeros_like(x) if dout is None else dout,
            x,
            weight,
            bias,
            seq_idx,
            cu_seqlens,
            initial_states,
            dfinal_states if ctx.with_states else None,
            ctx.activation,
            needs,
            backward=backward,
        )
    return dx, dweight, dbias, None, None, dstates, dresidual, None, None


# --- backward --------------------------------------------------------------------------------


@_implement("backward")
def _backward(
    dout, x, weight, bias, seq_idx, cu_seqlens, initial_states, dfinal_states, activation, needs
):
    results = _run_gradients(
        dout, x, weight, bias, seq_idx, cu_seqlens, initial_states, dfinal_states, activation, needs
    )
    return tuple(x.new_empty(0) if result is None else result for result in results)


@torch.library.register_fake(f"{NAMESPACE}::backward", lib=_library)
def _backward_fake(
    dout, x, weight, bias, seq_idx, cu_seqlens, initial_states, dfinal_states, activation, needs
):
    _check_devices(
        x,
        dout=dout,
        weight=weight,
        bias=bias,
        seq_idx=seq_idx,
        cu_seqlens=cu_seqlens,
        initial_states=initial_states,
        dfinal_states=dfinal_states,
    )
    return tuple(
        torch.empty_like(like) if needed else x.new_empty(0)
        for like, needed in zip((x, weight, bias, initial_states), needs, strict=True)
    )


def backward_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:8])
    ctx.activation, ctx.needs = inputs[8], inputs[9]


def backward_gradient(ctx, *cotangents):
    """Double backward: the pullback of the composite expression of the backward pass."""
    saved = ctx.saved_tensors
    names = ("dout", "x", "weight", "bias", "initial_states", "dfinal_states")
    places = (0, 1, 2, 3, 6, 7)
    primals = {
        name: saved[place]
        for name, place in zip(names, places, strict=True)
        if saved[place] is not None
    }
    fixed = {"seq_idx": saved[4], "cu_seqlens": saved[5], "activation": ctx.activation}

    def asked(*tensors):
        results = _composite.backward(**dict(zip(primals, tensors, strict=True)), **fixed)
        return tuple(r for r, needed in zip(results, ctx.needs, strict=True) if needed)

    _, pullback = torch.func.vjp(asked, *primals.values())
    incoming = tuple(c for c, needed in zip(cotangents, ctx.needs, strict=True) if needed)
    found = dict(zip(primals, pullback(incoming), strict=True))
    by_place = {place: found.get(name) for name, place in zip(names, places, strict=True)}
    return (*(by_place.get(place) for place in range(8)), None, None)


# --- update ----------------------------------------------------------------------------------


@_implement("update")
def _update(
    x,
    conv_state,
    weight,
    bias,
    cache_seqlens,
    conv_state_indices,
    num_accepted_tokens,
    pad_slot_id,
    activation,
):
    y = torch.empty_like(x)
    _backend.require(x).update(
        x,
        conv_state,
        weight,
        bias,
        cache_seqlens,
        conv_state_indices,
        num_accepted_tokens,
        y,
        pad_slot_id,
        activation,
        torch.get_num_threads(),
    )
    return y


@torch.library.register_fake(f"{NAMESPACE}::update", lib=_library)
def _update_fake(
    x,
    conv_state,
    weight,
    bias,
    cache_seqlens,
    conv_state_indices,
    num_accepted_tokens,
    pad_slot_id,
    activation,
):
    torch._check_value(
        x.dim() in (2, 3), lambda: f"x: expected shape (B, D) or (B, D, T), got {tuple(x.shape)}"
    )
    _check_floats(x=x, conv_state=conv_state, weight=weight, bias=bias)
    _check_devices(
        x,
        conv_state=conv_state,
        weight=weight,
        bias=bias,
        cache_seqlens=cache_seqlens,
        conv_state_indices=conv_state_indices,
        num_accepted_tokens=num_accepted_tokens,
    )
    return torch.empty_like(x)


class WithoutDerivative(torch.autograd.Function):
    """y as it is: what update returns depends on the sources, but its backward pass is refused."""

    @staticmethod
    def forward(ctx, y, *sources):
        ctx.save_for_backward(*sources)
        return y.view_as(y)

    @staticmethod
    def backward(ctx, dy):
        # An operator, because a compiler runs this function long before a gradient is needed.
        refused = [
            refused_gradient(dy, source) if needed else None
            for source, needed in zip(ctx.saved_tensors, ctx.needs_input_grad[1:], strict=True)
        ]
        return None, *refused


@_implement("refused_gradient")
def _refused_gradient(dy, like):
    raise RuntimeError(UPDATE_NOT_DIFFERENTIABLE)


@torch.library.register_fake(f"{NAMESPACE}::refused_gradient", lib=_library)
def _refused_gradient_fake(dy, like):
    return torch.empty_like(like)


def _update_under_autograd(keyset, *arguments):
    with torch._C._AutoDispatchBelowAutograd():
        y = update.redispatch(keyset & torch._C._after_autograd_keyset, *arguments)
    sources = (arguments[0], *arguments[2:4])
    if torch.is_grad_enabled() and any_requires_grad(*sources) and not eager_transforms_active():
        return WithoutDerivative.apply(y, *sources)
    return y


def _update_bumping_version(keyset, *arguments):
    increment_version(arguments[1])
    with torch._C._AutoDispatchBelowADInplaceOrView():
        return update.redispatch(keyset & torch._C._after_ADInplaceOrView_keyset, *arguments)


# --- varlen_states ---------------------------------------------------------------------------


@_implement("varlen_states")
def _varlen_states(x, cu_seqlens, state_len):
    state_len = state_length(state_len)
    sequences = max(cu_seqlens.numel() - 1, 0)
    states = x.new_empty((sequences, x.shape[-1], state_len))
    _backend.require(x).varlen_states(x, cu_seqlens, states, torch.get_num_threads())
    return states


@torch.library.register_fake(f"{NAMESPACE}::varlen_states", lib=_library)
def _varlen_states_fake(x, cu_seqlens, state_len):
    state_len = state_length(state_len)
    torch._check_value(x.dim() == 2, lambda: f"x: expected shape (total, D), got {tuple(x.shape)}")
    _check_devices(x, cu_seqlens=cu_seqlens)
    return x.new_empty((cu_seqlens.shape[0] - 1, x.shape[1], state_len))


def _varlen_states_below_autograd(keyset, *arguments):
    with torch._C._AutoDispatchBelowAutograd():
        return varlen_states.redispatch(keyset & torch._C._after_autograd_keyset, *arguments)


# --- registration ----------------------------------------------------------------------------

torch.library.register_autograd(
    f"{NAMESPACE}::forward", forward_gradient, setup_context=forward_context, lib=_library
)
torch.library.register_autograd(
    f"{NAMESPACE}::backward", backward_gradient, setup_context=backward_context, lib=_library
)
_library.impl("update", _update_under_autograd, "Autograd", with_keyset=True)
_library.impl("update", _update_bumping_version, "ADInplaceOrView", with_keyset=True)
_library.impl("varlen_states", _varlen_states_below_autograd, "Autograd", with_keyset=True)

for _operator, _rule in (
    (forward, _vmap.forward_rule(forward)),
    (backward, _vmap.backward_rule(backward)),
    (update, _vmap.looping_rule(update, written=1)),
    (varlen_states, _vmap.looping_rule(varlen_states)),
):
    torch.library.register_vmap(_operator, _rule, lib=_library)
