"""What torch.utils.flop_counter counts for the operators: two for each tap, the activation none."""

from math import prod

from torch.utils.flop_counter import register_flop_formula

from ._ops import backward, forward, update


def _forward(x, weight, *others, **options):
    return 2 * weight[-1] * prod(x)


def _backward(
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
    **options,
):
    """One convolution each for the gradients of x and of weight; those of states come with x's."""
    return (needs[0] + needs[1]) * 2 * weight[-1] * prod(x)


def _update(x, conv_state, weight, *others, **options):
    return 2 * weight[-1] * prod(x)


def register():
    for operator, formula in ((forward, _forward), (backward, _backward), (update, _update)):
        register_flop_formula(operator.overloadpacket)(formula)
