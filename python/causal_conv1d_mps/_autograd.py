"""Autograd for plain eager tensors, without the dispatcher."""

import torch

from . import _C, _checks
from ._compat import HAS_OPERATORS, is_dynamo_compiling
from ._gradients import RESIDUAL, residual_gradient, watched_gradients
from ._tables import SAVED

if HAS_OPERATORS:
    from ._ops import backward as operator
else:
    operator = None


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
            found = watched_gradients(
                saved, dout, dfinal_states, ctx.activation, needs[1:], operator
            )
            return None, *found
        if len(needs) > 4 and needs[RESIDUAL + 1] and dout is not None:
            return *found[:-1], residual_gradient(dout, saved)
        return found


_refuse_derivative = torch._C._functions.DelayedError(_checks.NOT_DIFFERENTIABLE, 1)


def without_derivative(y):
    """y, with a backward pass that says that there is none."""
    return _refuse_derivative(y.requires_grad_())


# Function.apply only looks for functorch, which the caller has excluded; its base skips that.
apply = super(torch.autograd.Function, CausalConv1dFunction).apply

# Likewise the node that PyTorch derives from the class looks for `backward` anew at every call.
if hasattr(CausalConv1dFunction, "_backward_cls"):
    CausalConv1dFunction._backward_cls.apply = CausalConv1dFunction.backward
