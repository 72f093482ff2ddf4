"""Autograd for plain eager tensors, without the dispatcher."""

import torch

from . import _C, _checks, _composite
from ._compat import is_dynamo_compiling
from ._tables import DIFFERENTIATED, INPUTS, SAVED
from ._watch import needs_composite

_SEQ_IDX = [a.name for a in INPUTS["forward"]].index("seq_idx")
_RESIDUAL = [a.name for a in INPUTS["forward"]].index("residual")


class CausalConv1dFunction(torch.autograd.Function):
    """Records a call that has run: `ready` is (y, final_states or None, activation).

    inputs: x, weight and bias, or all of the operation's: an argument costs time in both passes.
    Old-style (no setup_context): this class is only applied outside functorch.
    """

    @staticmethod
    def forward(ctx, ready, *inputs):
        y, final_states, ctx.activation = ready
        ctx.save_for_backward(*inputs[:SAVED])
        ctx.set_materialize_grads(False)
        return y if final_states is None else (y, final_states)

    @staticmethod
    def backward(ctx, dout, dfinal_states=None):
        saved, needs, found = ctx.saved_tensors, ctx.needs_input_grad, NotImplemented
        if not is_dynamo_compiling():
            given = saved[0].new_zeros(()).expand(saved[0].shape) if dout is None else dout
            found = _C.gradients(saved, given, dfinal_states, needs, ctx.activation)
        if found is NotImplemented:
            saved = (*saved, *[None] * (SAVED - len(saved)))
            found = watched_gradients(saved, dout, dfinal_states, ctx.activation, needs[1:])
            return None, *found
        if len(needs) > 4 and needs[_RESIDUAL + 1] and dout is not None:
            return *found[:-1], residual_gradient(dout, saved)
        return found


def watched_gradients(saved, dout, dfinal_states, activation, needs, backward=None):
    """The gradients of forward's inputs that `needs` asks for, differentiable themselves.

    They come from the operator, which every mode sees, or from what backward stands for it.
    """
    found = {}
    wanted = [place < len(needs) and needs[place] for place in DIFFERENTIATED]
    if any(wanted):
        given = torch.zeros_like(saved[0]) if dout is None else dout
        results = gradients((given, *saved, dfinal_states), activation, wanted, backward)
        found = dict(zip(DIFFERENTIATED, results, strict=True))
    if dout is not None and len(needs) > _RESIDUAL and needs[_RESIDUAL]:
        found[_RESIDUAL] = residual_gradient(dout, saved)
    return tuple(found.get(place) for place in range(len(needs)))


def gradients(tensors, activation, wanted, backward=None):
    """The results of a backward pass, None for what is not wanted, in a way that PyTorch sees."""
    if needs_composite():
        found = _composite.backward(*tensors, activation)
    else:
        from . import _ops

        found = (backward or _ops.backward)(*tensors, activation, wanted)
    return tuple(g if needed else None for g, needed in zip(found, wanted, strict=True))


def residual_gradient(dout, saved):
    """The residual passes through, except at padding steps."""
    seq_idx = saved[_SEQ_IDX]
    if seq_idx is None:
        return dout
    return dout.masked_fill((seq_idx < 0).unsqueeze(1), 0)


_refuse_derivative = torch._C._functions.DelayedError(_checks.UPDATE_NOT_DIFFERENTIABLE, 1)


def without_derivative(y):
    """y, with a backward pass that says that there is none."""
    return _refuse_derivative(y.requires_grad_())


# Function.apply only looks for functorch, which the caller has excluded; its base skips that.
apply = super(torch.autograd.Function, CausalConv1dFunction).apply

# Likewise the node that PyTorch derives from the class looks for `backward` anew at every call.
if hasattr(CausalConv1dFunction, "_backward_cls"):
    CausalConv1dFunction._backward_cls.apply = CausalConv1dFunction.backward
