"""The operators that PyTorch's own machinery sees: compile, export, functorch, modes, subclasses.

causal_conv1d_mps::forward and ::backward are pure; ::update writes its conv_state, and ::prefill,
which is forward from and into a pool, its conv_states; ::store_states is ::varlen_states into the
caller's tensor. An operator's arguments are its operation's inputs (_tables.py), then numbers, then
inputs of later releases.
"""

import torch
from torch._functorch.utils import enable_single_level_autograd_function

from . import _C, _composite, _tables, _vmap
from ._checks import NOT_DIFFERENTIABLE, new_states, require_device, state_length
from ._compat import increment_version
from ._gradients import watched_gradients
from ._tables import INPUTS, OPERATORS, PURE, RESULTS, SAVED, schema
from ._watch import any_requires_grad, eager_transforms_active

NAMESPACE = "causal_conv1d_mps"

_library = torch.library.Library(NAMESPACE, "DEF")

_PYTORCH_THREADS = -(2**31)  # call.h

UPDATE_ADDED = (
    "conv_state_out_indices",
    "cu_seqlens",
    "parents",
    "pre_gate",
    "post_gate",
    "residual",
)
UPDATE_OTHERS = ("Tensor(b!)? intermediate_states=None", "SymInt max_seqlen=0")

for _name, _numbers, _results, *_added in (
    ("forward", ["int activation", "bool return_final_states"], "(Tensor, Tensor)"),
    ("backward", ["int activation", "bool[6] needs"], f"({', '.join(['Tensor'] * 6)})"),
    ("prefill", ["int pad_slot_id", "int activation"], "Tensor"),
    ("update", ["int pad_slot_id", "int activation"], "Tensor", UPDATE_ADDED, UPDATE_OTHERS),
    ("varlen_states", ["SymInt state_len"], "Tensor", ("initial_states", "positions")),
    ("store_states", [], "()"),
):
    _library.define(schema(_name, OPERATORS[_name], _numbers, _results, *_added))
_library.define("refused_gradient(Tensor dy, Tensor like) -> Tensor")

_operators = getattr(torch.ops, NAMESPACE)
forward = _operators.forward.default
backward = _operators.backward.default
prefill = _operators.prefill.default
update = _operators.update.default
varlen_states = _operators.varlen_states.default
store_states = _operators.store_states.default
refused_gradient = _operators.refused_gradient.default

_DEVICES = ("CPU", "CUDA", "MPS")


def _implement(name):
    def decorate(function):
        for key in _DEVICES:
            _library.impl(name, function, key)
        return function

    return decorate


def _fake(name):
    return torch.library.register_fake(f"{NAMESPACE}::{name}", lib=_library)


def _check(operation, tensors):
    """What a fake tensor can be asked: dtypes of what is computed with, and devices."""
    x = _tables.named(operation, tensors)["x"][1]
    for argument, tensor in zip(INPUTS[operation], tensors, strict=False):
        if tensor is None:
            continue
        torch._check_type(
            not argument.is_numbers or tensor.is_floating_point(),
            lambda argument=argument, tensor=tensor: (
                f"{argument.name}: expected a floating-point tensor, got {tensor.dtype}"
            ),
        )
        require_device(argument.name, tensor, x.device, "x")


# --- forward ---------------------------------------------------------------------------------


@_implement("forward")
def _forward(*arguments):
    *inputs, activation, with_states = arguments
    no_pool = [None] * (len(INPUTS["forward"]) - PURE)
    y, states = _C.run("forward", (*inputs, *no_pool, True, with_states or None), activation)
    return y, y.new_empty(0) if states is None else states


@_fake("forward")
def _forward_fake(*arguments):
    *inputs, _, with_states = arguments
    x, weight, _, _, cu_seqlens, *_ = inputs
    _check_convolution(inputs)
    return torch.empty_like(x), x.new_empty(
        _states_shape(x, weight, cu_seqlens) if with_states else 0
    )


def _check_convolution(inputs):
    x, weight, *_ = inputs
    _check("forward", inputs)
    torch._check_value(x.dim() == 3, lambda: f"x: expected shape (B, D, T), got {tuple(x.shape)}")
    torch._check_value(
        weight.dim() == 2 or (weight.dim() == 3 and weight.shape[1] == 1),
        lambda: f"weight: expected shape (D, W), got {tuple(weight.shape)}",
    )
    torch._check_value(
        weight.shape[0] == x.shape[1],
        lambda: f"weight: expected {x.shape[1]} rows like x, got {tuple(weight.shape)}",
    )


def _states_shape(x, weight, cu_seqlens):
    sequences = x.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
    return (sequences, x.shape[1], weight.shape[-1] - 1)


def forward_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:SAVED])
    ctx.activation, ctx.with_states = inputs[-2:]
    ctx.set_materialize_grads(False)


def forward_gradient(ctx, dout, dfinal_states, backward=backward):
    dfinal_states = dfinal_states if ctx.with_states else None
    needs = ctx.needs_input_grad
    return watched_gradients(
        ctx.saved_tensors, dout, dfinal_states, ctx.activation, needs, backward
    )


# --- backward --------------------------------------------------------------------------------


@_implement("backward")
def _backward(*arguments):
    *inputs, activation, needs = arguments
    wanted = (needed or None for needed in needs)
    results = _C.run("backward", (*inputs, *wanted), activation)
    return tuple(inputs[0].new_empty(0) if result is None else result for result in results)


@_fake("backward")
def _backward_fake(*arguments):
    *inputs, _, needs = arguments
    _check("backward", inputs)
    return tuple(
        torch.empty_like(inputs[result.like])
        if needed and inputs[result.like] is not None
        else inputs[0].new_empty(0)
        for result, needed in zip(RESULTS["backward"], needs, strict=True)
    )


def backward_context(ctx, inputs, output):
    *tensors, ctx.activation, ctx.needs = inputs
    ctx.save_for_backward(*tensors)


def backward_gradient(ctx, *cotangents):
    """Double backward: the pullback of the composite expression of the backward pass."""
    rows = INPUTS["backward"]
    given = {a: t for a, t in zip(rows, ctx.saved_tensors, strict=True) if t is not None}
    primals = {a.name: t for a, t in given.items() if a.differentiable}
    fixed = {a.name: t for a, t in given.items() if not a.differentiable}
    found = [
        needed and rows[result.like] in given  # as in the backward pass
        for result, needed in zip(RESULTS["backward"], ctx.needs, strict=True)
    ]

    def asked(*tensors):
        named = dict(zip(primals, tensors, strict=True))
        results = _composite.backward(**named, **fixed, activation=ctx.activation)
        return tuple(r for r, there in zip(results, found, strict=True) if there)

    _, pullback = torch.func.vjp(asked, *primals.values())
    incoming = tuple(c for c, there in zip(cotangents, found, strict=True) if there)
    pulled = dict(zip(primals, pullback(incoming), strict=True))
    return (*(pulled.get(a.name) for a in rows), None, None)


# --- prefill ---------------------------------------------------------------------------------


@_implement("prefill")
def _prefill(*arguments):
    *inputs, pad_slot_id, activation = arguments
    y, _ = _C.run("forward", (*inputs, True, None), activation, pad_slot_id)
    return y


@_fake("prefill")
def _prefill_fake(*arguments):
    _check_convolution(arguments[: len(INPUTS["forward"])])
    return torch.empty_like(arguments[0])


# --- update ----------------------------------------------------------------------------------


def update_arguments(inputs, pad_slot_id, activation, node_states, max_seqlen):
    """In the operator's order, from inputs in the table's."""
    first = len(inputs) - len(UPDATE_ADDED)
    numbers = (pad_slot_id, activation)
    return (*inputs[:first], *numbers, *inputs[first:], node_states, max_seqlen)


def _from_operator(arguments):
    """What update_arguments is given; the dispatcher leaves out what has its default."""
    first, added = len(INPUTS["update"]) - len(UPDATE_ADDED), len(UPDATE_ADDED)
    later = list(arguments[first + 2 :])
    later += [None] * (added + 1 - len(later)) + [0] * (len(later) < added + 2)
    *inputs, node_states, max_seqlen = later
    return (*arguments[:first], *inputs), *arguments[first : first + 2], node_states, max_seqlen


@_implement("update")
def _update(*arguments):
    inputs, pad_slot_id, activation, node_states, max_seqlen = _from_operator(arguments)
    tensors = (*inputs, True, node_states)
    return _C.run("update", tensors, activation, pad_slot_id, _PYTORCH_THREADS, max_seqlen)[0]


@_fake("update")
def _update_fake(*arguments):
    x = arguments[0]
    torch._check_value(
        x.dim() in (2, 3), lambda: f"x: expected shape (B, D) or (B, D, T), got {tuple(x.shape)}"
    )
    inputs, *_ = _from_operator(arguments)
    _check("update", inputs)
    return torch.empty_like(x)


# --- operators that change a state -------------------------------------------------------------


class WithoutDerivative(torch.autograd.Function):
    """y as it is: what they return depends on the sources, but its backward pass is refused."""

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


def _without_derivative_in_transform(y, *sources):
    """The same for functorch, whose layer the dispatcher has entered already: not once more."""
    with enable_single_level_autograd_function():
        return super(torch.autograd.Function, WithoutDerivative).apply(y, *sources)


@_implement("refused_gradient")
def _refused_gradient(dy, like):
    raise RuntimeError(NOT_DIFFERENTIABLE)


@torch.library.register_fake(f"{NAMESPACE}::refused_gradient", lib=_library)
def _refused_gradient_fake(dy, like):
    return torch.empty_like(like)


def _change_state(operator):
    """Below autograd, which hears that the operator has changed states, and has no derivative."""
    rows = operator._schema.arguments
    name = operator._schema.name.split("::")[1]
    numbers = {a.name for rows in INPUTS.values() for a in rows if a.differentiable}
    sources = [place for place, a in enumerate(rows) if a.name in numbers]
    states = [place for place, a in enumerate(rows) if a.alias_info and a.alias_info.is_write]

    def given(places, arguments):  # the dispatcher leaves out what has its default
        found = [arguments[place] for place in places if place < len(arguments)]
        return [tensor for tensor in found if tensor is not None]

    def under_autograd(keyset, *arguments):
        with torch._C._AutoDispatchBelowAutograd():
            y = operator.redispatch(keyset & torch._C._after_autograd_keyset, *arguments)
        read = given(sources, arguments)
        if y is None or not torch.is_grad_enabled() or not any_requires_grad(*read):
            return y
        if eager_transforms_active():
            return _without_derivative_in_transform(y, *read)
        return WithoutDerivative.apply(y, *read)

    def bumping_version(keyset, *arguments):
        for state in given(states, arguments):
            increment_version(state)
        with torch._C._AutoDispatchBelowADInplaceOrView():
            return operator.redispatch(keyset & torch._C._after_ADInplaceOrView_keyset, *arguments)

    _library.impl(name, under_autograd, "Autograd", with_keyset=True)
    _library.impl(name, bumping_version, "ADInplaceOrView", with_keyset=True)


# --- varlen_states ---------------------------------------------------------------------------


@_implement("varlen_states")
def _varlen_states(x, cu_seqlens, state_len, initial_states=None, positions=None):
    states = new_states(x, None, cu_seqlens, state_len, positions)
    return _C.run("varlen_states", (x, cu_seqlens, initial_states, positions, None, states))[0]


@_fake("varlen_states")
def _varlen_states_fake(x, cu_seqlens, state_len, initial_states=None, positions=None):
    state_len = state_length(state_len)
    _check_packed(x, cu_seqlens, initial_states, positions, None)
    count = cu_seqlens.shape[0] - 1 if positions is None else positions.shape[0]
    return x.new_empty((count, x.shape[1], state_len))


def _check_packed(*inputs):
    x = inputs[0]
    torch._check_value(x.dim() == 2, lambda: f"x: expected shape (total, D), got {tuple(x.shape)}")
    _check("varlen_states", inputs)


@_implement("store_states")
def _store_states(*tensors):
    _C.run("varlen_states", tensors)


@_fake("store_states")
def _store_states_fake(*tensors):
    *inputs, states = tensors
    _check_packed(*inputs)
    require_device("out", states, inputs[0].device, "x")


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
for _operator in (prefill, update, store_states):
    _change_state(_operator)
_library.impl("varlen_states", _varlen_states_below_autograd, "Autograd", with_keyset=True)

for _operator, _rule in (
    (forward, _vmap.folding_rule(forward, "forward")),
    (backward, _vmap.folding_rule(backward, "backward")),
    (prefill, _vmap.looping_rule(prefill, "forward")),
    (update, _vmap.looping_rule(update, "update")),
    (varlen_states, _vmap.looping_rule(varlen_states, "varlen_states")),
    (store_states, _vmap.looping_rule(store_states, "varlen_states")),
):
    torch.library.register_vmap(_operator, _rule, lib=_library)
