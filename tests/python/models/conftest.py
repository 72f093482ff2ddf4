"""Fixtures for the tests with real models."""

from collections import Counter

import pytest
import torch

import causal_conv1d_mps as ccmps
from causal_conv1d_mps import _C


@pytest.fixture(autouse=True)
def dropin():
    """`import causal_conv1d` finds this package while a modeling file is imported."""
    ccmps.install(force=True)
    yield
    ccmps.uninstall()


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    """Operations this small only wait for the other threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def kernel_calls(monkeypatch):
    """How often each kernel of the library has run."""
    calls = Counter()

    def counted(operation, kernel):
        def run(*arguments):
            result = kernel(*arguments)
            # What is watched goes on to the operators.
            if result is not NotImplemented:
                calls[arguments[0] if operation == "run" else operation] += 1
            return result

        return run

    functions = dict(
        forward="forward", update="update", gradients="backward", backward="backward", run="run"
    )
    for name, operation in functions.items():
        monkeypatch.setattr(_C, name, counted(operation, getattr(_C, name)))
    return calls
