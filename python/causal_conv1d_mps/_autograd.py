"""Autograd for plain eager tensors, without the dispatcher."""

import torch

from . import _C, _backend, _composite
from ._compat import HAS_OPERATORS, is_batched_gradient, is_dynamo_compiling
from ._direct import is_direct, scratch_allocator

_empty_like = torch.empty_like


def gradients(
    dout,
    x,
    weight,
    bias,
    seq_idx,
    cu_seqlens,
    initial_states,
    dfinal_states,
    activation,
    needs,
    dx=None,
):
    """The gradients of x, weight, bias and initial_states that `needs` asks for, else None.

    dx, if given, is the tensor to write the gradient of x to.
    """
    needs_dx, needs_dweight, needs_dbias, needs_dstates = needs
    if needs_dx and dx is None:
        dx = _empty_like(x)
    dweight = _empty_like(weight) if needs_dweight else None
    dbias = _empty_like(bias) if needs_dbias else None
    dstates = _empty_like(initial_states) if needs_dstates else None
    _backend.require(x).backward(
        dout,
        x,
        weight,
        bias,
        seq_idx,
        cu_seqlens,
        initial_states,
        dfinal_states,
        dx,
        dweight,
        dbias,
        dstates,
        activation,
        scratch_allocator(x),
        torch.get_num_threads(),
    )
    return dx, dweight, dbias, dstates


def residual_gradient(dout, seq_idx):
    """The residual passes through, except at padding steps."""
    if seq_idx is None:
        return dout
    return dout.masked_fill((seq_idx < 0).unsqueeze(1), 0)


class CausalConv1dFunction(torch.autograd.Function):
    """Records a call that has run: `ready` is (y, final_states or None, activation).

    The others are none, or initial_states, residual, seq_idx and cu_seqlens: an argument costs time
    in both passes. Old-style (no setup_context): this class is only applied outside functorch.
    """

    @staticmethod
    def forward(ctx, ready, x, weight, bias, *others):
        y, final_states, ctx.activation = ready
        if others:
            initial_states, _, seq_idx, cu_seqlens = others
            ctx.save_for_backward(x, weight, bias, initial_states, seq_idx, cu_seqlens)
        else:
            ctx.save_for_backward(x, weight, bias)
        ctx.set_materialize_grads(False)
        return y if final_states is None else (y, final_states)

    @staticmethod
    def backward(ctx, dout, dfinal_states=None):
        saved, asked = ctx.saved_tensors, ctx.needs_input_grad
        if dfinal_states is None and not is_dynamo_compiling():
            found = _C.eager_backward(dout, saved, asked, ctx.activation)
            if found is not None:
                return found
        x, weight, bias, *others = saved
        initial_states, seq_idx, cu_seqlens = others or (None, None, None)
        needs = [*asked[1:4], bool(others) and asked[4]]
        dx = dweight = dbias = dstates = dresidual = None
        if dout is not None and others and asked[5]:
            dresidual = residual_gradient(dout, seq_idx)
        if dout is None:
            dout = x.new_zeros(()).expand(x.shape)
        if True in needs:
            direct = (
                not torch.is_grad_enabled()
                and is_direct(x, dout, dfinal_states, weight, bias)
                and not is_batched_gradient(dout)
                and (dfinal_states is None or not is_batched_gradient(dfinal_states))
            )
            compute = gradients if direct else differentiable_gradients
            dx, dweight, dbias, dstates = compute(
                dout,
                x,
                weight,
                bias,
                seq_idx,
                cu_seqlens,
                initial_states,
                dfinal_states,
                ctx.activation,
                needs,
            )
        return (None, dx, dweight, dbias, dstates, dresidual, None, None)[: len(asked)]


def differentiable_gradients(*arguments):
    """The same with a gradient of its own: the operator, which also every mode sees."""
    if HAS_OPERATORS:
        from . import _ops

        return _ops.gradients(*arguments)
    return _composite.gradients(*arguments)


# Function.apply only looks for functorch, which the caller has excluded; its base skips that.
apply = super(torch.autograd.Function, CausalConv1dFunction).apply

# Likewise the node that PyTorch derives from the class looks for `backward` anew at every call.
if hasattr(CausalConv1dFunction, "_backward_cls"):
    CausalConv1dFunction._backward_cls.apply = CausalConv1dFunction.backward
