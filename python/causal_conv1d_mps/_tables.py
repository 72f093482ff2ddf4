"""The arguments of every operation, as the C code lists them (table.c).

A call's tensors travel as one tuple in this order: inputs, then results. Schemas, checks, saved
tensors, gradients, vmap rules and names in errors derive from it.
"""

from typing import NamedTuple

from . import _C


class Argument(NamedTuple):
    name: str
    kind: str  # "x" of x's dtype, "p" a parameter, "s" a state, "i" an index, "b" a bool
    channel: int  # the axis of the channels, or -1
    optional: bool
    differentiable: bool
    written: bool
    result: bool
    like: int  # of a result: the place of the input that it is like, or -1
    excludes: tuple  # names of arguments that may not be given beside it
    needs: tuple  # names of those that have to be

    @property
    def is_numbers(self):
        return self.kind not in "ib"


ARGUMENTS = {name: [Argument(*row) for row in rows] for name, rows in _C.tables().items()}
INPUTS = {name: [a for a in rows if not a.result] for name, rows in ARGUMENTS.items()}
RESULTS = {name: [a for a in rows if a.result] for name, rows in ARGUMENTS.items()}

# Those of forward without a pool of states come first there.
PURE = next(i for i, a in enumerate(INPUTS["forward"]) if a.written)

# The inputs of each operator: forward and varlen_states have one that is pure, and one that writes
# to the caller's tensors.
OPERATORS = {
    **INPUTS,
    "forward": INPUTS["forward"][:PURE],
    "prefill": [a._replace(optional=a.optional and not a.written) for a in INPUTS["forward"]],
    "varlen_states": [a for a in INPUTS["varlen_states"] if a.name != "out_indices"],
    "store_states": [*INPUTS["varlen_states"], *RESULTS["varlen_states"]],
}

# What the backward pass reads of the forward pass comes first there.
SAVED = sum(a in INPUTS["backward"] for a in INPUTS["forward"])
# Whose gradients it gives, by their place in the forward pass.
DIFFERENTIATED = [
    INPUTS["forward"].index(INPUTS["backward"][gradient.like]) for gradient in RESULTS["backward"]
]


def named(operation, tensors):
    """{name: (argument, tensor)} of those that are there."""
    pairs = zip(ARGUMENTS[operation], tensors, strict=False)
    return {a.name: (a, tensor) for a, tensor in pairs if tensor is not None}


def arrange(operation, **tensors):
    """These tensors in the operation's order, None where there is none."""
    return _arrange(ARGUMENTS[operation], tensors)


def arrange_inputs(operator, **tensors):
    """The same of the inputs alone, as an operator takes them."""
    return _arrange(OPERATORS[operator], tensors)


def _arrange(rows, tensors):
    unknown = tensors.keys() - {a.name for a in rows}
    if unknown:
        raise TypeError(f"unknown arguments: {', '.join(sorted(unknown))}")
    return tuple(tensors.get(a.name) for a in rows)


def schema(operator, inputs, numbers, results, added=(), others=()):
    """The operator's, of these inputs of an operation and these numbers.

    added: inputs that an earlier release did not have. They come last, so that a graph that was
    compiled then still calls it right, and others after them.
    """
    types = {(False, False): "Tensor", (True, False): "Tensor?", (False, True): "Tensor(a!)"}
    named = {a.name: f"{types[a.optional, a.written]} {a.name}" for a in inputs}
    later = [f"{named.pop(name)}=None" for name in added]
    return f"{operator}({', '.join([*named.values(), *numbers, *later, *others])}) -> {results}"
