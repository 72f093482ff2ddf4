"""Autograd under functorch transforms (torch.func.grad, vjp, jacrev, vmap over them).

functorch asks for this style of autograd.Function, and does not use the gradient that an
operator registers.
"""

import torch

from . import _ops, _vmap


class _Forward(torch.autograd.Function):
    forward = staticmethod(_ops.forward)
    setup_context = staticmethod(_ops.forward_context)

    @staticmethod
    def backward(ctx, *gradients):
        return _ops.forward_gradient(ctx, *gradients, backward=_Backward.apply)

    @staticmethod
    def vmap(info, in_dims, *arguments):
        return _vmap.folding_rule(_Forward.apply, "forward")(info, in_dims, *arguments)


class _Backward(torch.autograd.Function):
    forward = staticmethod(_ops.backward)
    setup_context = staticmethod(_ops.backward_context)
    backward = staticmethod(_ops.backward_gradient)

    @staticmethod
    def vmap(info, in_dims, *arguments):
        return _vmap.folding_rule(_Backward.apply, "backward")(info, in_dims, *arguments)


forward = _Forward.apply
