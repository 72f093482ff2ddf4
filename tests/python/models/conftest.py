"""Fixtures for the tests with real models."""

from collections import Counter

import pytest

import causal_conv1d_mps as ccmps
from causal_conv1d_mps import _C


@pytest.fixture(autouse=True)
def dropin():
    """`import causal_conv1d` finds this package while a modeling file is imported."""
    ccmps.install(force=True)
    yield
    ccmps.uninstall()


@pytest.fixture
def kernel_calls(monkeypatch):
    """How often each kernel of the library has run."""
    calls = Counter()

    def counted(name, kernel):
        def run(*arguments):
            result = kernel(*arguments)
            # An eager call that takes the general way goes on to the kernel's own function.
            if not (name.startswith("eager_") and result is None):
                calls[name.removeprefix("eager_")] += 1
            return result

        return run

    for operation in ("forward", "backward", "update"):
        for name in (operation, f"eager_{operation}"):
            monkeypatch.setattr(_C, name, counted(name, getattr(_C, name)))
    return calls
