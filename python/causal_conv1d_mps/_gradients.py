"""The gradients of a convolution where something watches: differentiable themselves."""

import torch

from . import _composite
from ._tables import DIFFERENTIATED, INPUTS
from ._watch import needs_composite

RESIDUAL = [a.name for a in INPUTS["forward"]].index("residual")


def watched_gradients(saved, dout, dfinal_states, activation, needs, operator):
    """The gradients of forward's inputs that `needs` asks for.

    operator: the backward pass's, which every mode sees, or what stands for it.
    """
    found = {}
    wanted = [place < len(needs) and needs[place] for place in DIFFERENTIATED]
    if any(wanted):
        given = torch.zeros_like(saved[0]) if dout is None else dout
        results = gradients((given, *saved, dfinal_states), activation, wanted, operator)
        found = dict(zip(DIFFERENTIATED, results, strict=True))
    if dout is not None and len(needs) > RESIDUAL and needs[RESIDUAL]:
        found[RESIDUAL] = residual_gradient(dout, saved)
    return tuple(found.get(place) for place in range(len(needs)))


def gradients(tensors, activation, wanted, operator):
    """The results of a backward pass, None for what is not wanted, in a way that PyTorch sees."""
    if needs_composite():
        found = _composite.backward(*tensors, activation)
    else:
        found = operator(*tensors, activation, wanted)
    return tuple(g if needed else None for g, needed in zip(found, wanted, strict=True))


def residual_gradient(dout, saved):
    """The residual passes through, except at padding steps."""
    named = {a.name: tensor for a, tensor in zip(INPUTS["forward"], saved, strict=False)}
    live = _composite.live_steps(named)
    return dout if live is None else dout.masked_fill(~live.unsqueeze(1), 0)
