"""Which optional arguments go together: every pair, and the tables in docs/api.md.

`python tests/python/test_combinations.py` prints them from what the library itself says.
"""

import itertools
from pathlib import Path

import pytest
import torch

import causal_conv1d_mps as ccmps
from causal_conv1d_mps._tables import ARGUMENTS

DIM, STEPS, WIDTH, STATE = 5, 6, 4, 8
FUNCTIONS = {"forward": ccmps.causal_conv1d_fn, "update": ccmps.causal_conv1d_update}
PUBLIC = {("forward", "final_states"): "final_states_out"}


def floats(*shape):
    return lambda: torch.randn(shape)


def ints(*numbers):
    return lambda: torch.tensor(numbers)


# One sequence, so that any two arguments fit each other's shapes.
VALUES = {
    "forward": {
        "x": floats(1, DIM, STEPS),
        "weight": floats(DIM, WIDTH),
        "bias": floats(DIM),
        "seq_idx": lambda: torch.zeros(1, STEPS, dtype=torch.int32),
        "cu_seqlens": ints(0, STEPS),
        "initial_states": floats(1, DIM, WIDTH - 1),
        "lengths": ints(STEPS - 1),
        "pre_gate": floats(1, DIM, STEPS),
        "post_gate": floats(1, DIM, STEPS),
        "residual": floats(1, DIM, STEPS),
        "conv_states": floats(3, DIM, STATE),
        "conv_state_indices": ints(2),
        "conv_state_out_indices": ints(1),
        "has_initial_state": ints(True),
        "out": floats(1, DIM, STEPS),
        "final_states_out": floats(1, DIM, WIDTH - 1),
        "return_final_states": lambda: True,
    },
    "update": {
        "x": floats(1, DIM, 1),
        "conv_state": floats(1, DIM, STATE),
        "weight": floats(DIM, WIDTH),
        "bias": floats(DIM),
        "cache_seqlens": ints(3),
        "conv_state_indices": ints(0),
        "num_accepted_tokens": ints(2),
        "conv_state_out_indices": ints(0),
        "cu_seqlens": ints(0, 1),
        "parents": lambda: torch.tensor([[-1]]),
        "pre_gate": floats(1, DIM, 1),
        "post_gate": floats(1, DIM, 1),
        "residual": floats(1, DIM, 1),
        "out": floats(1, DIM, 1),
        "intermediate_states": floats(1, 1, DIM, WIDTH - 1),
    },
}


def rules(operation):
    """{argument that may be left out: (what it excludes, what it needs)}, by their public names."""

    def public(name):
        return PUBLIC.get((operation, name), name)

    found = {
        public(a.name): ({public(e) for e in a.excludes}, {public(n) for n in a.needs})
        for a in ARGUMENTS[operation]
        if a.optional or a.result
    }
    if operation == "forward":  # another way to ask for them
        found["return_final_states"] = (set(), set())
        for excludes, _ in found.values():
            if "final_states_out" in excludes:
                excludes.add("return_final_states")
    for name, (excludes, _) in found.items():
        for other in excludes & found.keys():
            found[other][0].add(name)
    return found


def table(operation):
    """Markdown: x where two may not be given together."""
    known = rules(operation)
    names = [n for n, (excluded, needs) in known.items() if excluded or needs]
    rows = [["", *(f"`{name}`" for name in names)], ["---", *[":-:"] * len(names)]]
    for name in names:
        excluded, needs = known[name]
        cells = ("x" if n in excluded else "needs" if n in needs else "" for n in names)
        rows.append([f"`{name}`", *cells])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def excluded(operation, names):
    """A pair of them that excludes each other, or None."""
    known = rules(operation)
    pairs = itertools.combinations(sorted(names), 2)
    return next(((a, b) for a, b in pairs if b in known[a][0]), None)


def closed(operation, names):
    """They, and what they need."""
    return set(names).union(*(rules(operation)[name][1] for name in names))


def call(operation, names, watched):
    makers = VALUES[operation]
    optional = rules(operation)
    given = {n: make() for n, make in makers.items() if n not in optional or n in names}
    given = {n: v.bool() if n == "has_initial_state" else v for n, v in given.items()}
    if operation == "update" and "cu_seqlens" in names:  # then x is (total, D)
        steps = ("x", "pre_gate", "post_gate", "residual", "out")
        given = {n: v[..., 0] if n in steps else v for n, v in given.items()}
        given["max_seqlen"] = 1
    if watched:
        given["x"] = given["x"].as_subclass(type("Watched", (torch.Tensor,), {}))
    return FUNCTIONS[operation](**given)


PAIRS = [
    (operation, pair)
    for operation in FUNCTIONS
    for pair in itertools.combinations_with_replacement(rules(operation), 2)
]


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize(
    "operation, pair", PAIRS, ids=lambda v: v if isinstance(v, str) else "-".join(v)
)
def test_every_pair(operation, pair, watched):
    """A pair is served, or refused by both names."""
    names = closed(operation, pair)
    clash = excluded(operation, names)
    if clash is None:
        result = call(operation, names, watched)
        assert isinstance(result, tuple) == ("return_final_states" in names)
        return
    with pytest.raises(ValueError, match="expected at most one of them, got both") as error:
        call(operation, names, watched)
    came = {name.strip() for name in str(error.value).partition(":")[0].split(",")}
    assert len(came) == 2 and excluded(operation, came)


NEEDY = [
    (operation, name)
    for operation in FUNCTIONS
    for name, (_, needs) in rules(operation).items()
    if needs
]


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("operation, name", NEEDY)
def test_needs(operation, name, watched):
    (need,) = rules(operation)[name][1]
    with pytest.raises(ValueError, match=f"^{name}: expected {need} beside it, got none"):
        call(operation, {name}, watched)


@pytest.mark.parametrize("operation", FUNCTIONS)
def test_documented(operation):
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    assert table(operation) in text, f"docs/api.md needs:\n{table(operation)}"


if __name__ == "__main__":
    print(*map(table, FUNCTIONS), sep="\n\n")
