"""A fixed part of what `make fuzz-python` runs: random calls against an independent reference."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "fuzz"))
import differential

EACH = 50


@pytest.mark.parametrize("first", range(0, 500, EACH))
def test_random_calls_have_the_bits_of_the_reference(first):
    problems = [differential.attempt(number) for number in range(first, first + EACH)]
    problems = [problem for problem in problems if problem is not None]
    assert not problems, "\n".join(problems)


def test_the_reference_is_not_the_library(monkeypatch):
    """One bit in one weight is found, and the report says how to repeat the case."""

    def spoilt(call):
        call.weight = call.weight.clone()
        call.weight.view(-1)[-1] += call.weight.view(-1)[-1].abs() + 1
        return right(call)

    right = differential.routes.forward
    monkeypatch.setattr(differential.routes, "forward", spoilt)
    found = [differential.attempt(number) for number in range(40)]
    assert any(f is not None and "\n  repeat: " in f and " --case " in f for f in found)
