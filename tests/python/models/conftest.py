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
            calls[name] += 1
            return kernel(*arguments)

        return run

    for name in ("forward", "backward", "update"):
        monkeypatch.setattr(_C, name, counted(name, getattr(_C, name)))
    return calls
