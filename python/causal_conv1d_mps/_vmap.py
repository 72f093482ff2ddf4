"""vmap rules: a vmapped call becomes one call with more channels, or a loop where it cannot.

Channels are independent and own their weights, so folding the vmapped dimension into the channel
dimension is right whichever tensors are batched. Index tensors have no channel dimension; a call
with batched ones is a loop over the samples.
"""

import torch

from ._checks import public_name
from ._tables import INPUTS, RESULTS


def _fold(tensor, dim, size, axis):
    if dim is None:
        tensor = tensor.unsqueeze(axis)
        shape = [-1] * tensor.dim()
        shape[axis] = size
        tensor = tensor.expand(shape)
    else:
        tensor = tensor.movedim(dim, axis)
    return tensor.flatten(axis, axis + 1)


def _is_batched(argument, dim):
    return isinstance(argument, torch.Tensor) and dim is not None


def _without_samples(operator, in_dims, arguments):
    """Empty results, whose shapes the operator tells for a sample without data."""

    def described(argument, dim):
        if not isinstance(argument, torch.Tensor):
            return argument
        shape = [n for axis, n in enumerate(argument.shape) if axis != dim]
        return torch.empty(shape, dtype=argument.dtype, device="meta")

    results = operator(*map(described, arguments, in_dims))
    if results is None:
        return None, None
    device = arguments[0].device
    if isinstance(results, torch.Tensor):
        return torch.empty((0, *results.shape), dtype=results.dtype, device=device), 0
    empty = (torch.empty((0, *r.shape), dtype=r.dtype, device=device) for r in results)
    return tuple(empty), (0,) * len(results)


def _loop(operator, size, in_dims, arguments):
    if size == 0:
        return _without_samples(operator, in_dims, arguments)
    samples = [
        operator(
            *(
                argument.select(dim, i) if _is_batched(argument, dim) else argument
                for argument, dim in zip(arguments, in_dims, strict=True)
            )
        )
        for i in range(size)
    ]
    if samples[0] is None:
        return None, None
    if isinstance(samples[0], torch.Tensor):
        return torch.stack(samples), 0
    return tuple(torch.stack(parts) for parts in zip(*samples, strict=True)), (0,) * len(samples[0])


def folding_rule(operator, operation):
    """The rule of an operator, from the axis of the channel dimension of its operation's tensors.

    `channels` maps an argument's place to that axis; places not in it hold index tensors. The
    operator changes no argument: it takes none that is written.
    """
    inputs = enumerate(INPUTS[operation])
    channels = {place: a.channel for place, a in inputs if a.channel >= 0 and not a.written}
    results = [a.channel for a in RESULTS[operation]]

    def rule(info, in_dims, *arguments):
        size = info.batch_size
        indices_batched = any(
            _is_batched(argument, dim) and place not in channels
            for place, (argument, dim) in enumerate(zip(arguments, in_dims, strict=True))
        )
        if indices_batched or size == 0:
            return _loop(operator, size, in_dims, arguments)
        folded = [
            _fold(argument, dim, size, channels[place])
            if place in channels and argument is not None
            else argument
            for place, (argument, dim) in enumerate(zip(arguments, in_dims, strict=True))
        ]
        outputs, out_dims = [], []
        for output, axis in zip(operator(*folded), results, strict=True):
            # An empty vector stands for a result that was not asked for.
            present = output.dim() > 1 or output.numel() > 0
            outputs.append(output.unflatten(axis, (size, -1)) if present else output)
            out_dims.append(axis if present else None)
        return tuple(outputs), tuple(out_dims)

    return rule


def looping_rule(operator, operation):
    """The rule of an operator that runs sample by sample."""

    def rule(info, in_dims, *arguments):
        for argument, dim, given in zip(
            operator._schema.arguments, in_dims, arguments, strict=False
        ):
            written = argument.alias_info is not None and argument.alias_info.is_write
            if written and dim is None and given is not None:
                name = public_name(operation, argument.name)
                raise ValueError(
                    f"{name}: expected a batched tensor under vmap, because each sample changes it"
                )
        return _loop(operator, info.batch_size, in_dims, arguments)

    return rule
