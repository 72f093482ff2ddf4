"""The way of an eager call (route.c): what it asks PyTorch, and answers that go wrong."""

from contextlib import contextmanager

import pytest
import torch

import causal_conv1d_mps as ccmps
from causal_conv1d_mps import _torch


@contextmanager
def answering(**answers):
    """With other answers to questions (named as in _torch.py)."""
    _torch.bind(**answers)
    try:
        yield
    finally:
        _torch.bind()


def fails_with(error):
    def question(*arguments):
        raise error

    return question


def arguments(requires_grad=False):
    generator = torch.Generator().manual_seed(5)
    x, weight = torch.randn(2, 8, 30, generator=generator), torch.randn(8, 4, generator=generator)
    return x.requires_grad_(requires_grad), weight


QUESTIONS = (
    "is_neg",
    "transforms_active",
    "dispatch_modes",
    "tracing",
    "any_autocast",
    "grad_enabled",
)
NEEDS = ("empty_like", "num_threads", "increment_version", "new_states")


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_failed_question_leads_to_the_operators(question):
    x, weight = arguments()
    want = ccmps.causal_conv1d(x, weight, None, "silu")
    with answering(**{question: fails_with(RuntimeError("asked in vain"))}):
        assert torch.equal(ccmps.causal_conv1d(x, weight, None, "silu"), want)


@pytest.mark.parametrize("need", NEEDS)
def test_a_failure_is_told(need):
    """Once, where it was."""
    x, weight = arguments()
    out = torch.empty_like(x)
    with answering(**{need: fails_with(RuntimeError("failed on purpose"))}):
        with pytest.raises(RuntimeError, match="failed on purpose"):
            y = None if need == "empty_like" else out
            ccmps.causal_conv1d_fn(x, weight, return_final_states=True, out=y)


@pytest.mark.parametrize("question", [*QUESTIONS, "empty_like", "num_threads"])
def test_an_interrupt_is_not_lost(question):
    x, weight = arguments()
    state = torch.zeros(2, 8, 3)
    with answering(**{question: fails_with(KeyboardInterrupt)}):
        with pytest.raises(KeyboardInterrupt):
            ccmps.causal_conv1d(x, weight, None, "silu")
        with pytest.raises(KeyboardInterrupt):
            ccmps.causal_conv1d_update(x[..., 0], state, weight)
    assert not state.any()


def test_an_interrupt_in_backward_is_not_lost():
    x, weight = arguments(requires_grad=True)
    y = ccmps.causal_conv1d(x, weight, None, "silu")
    with answering(empty_like=fails_with(KeyboardInterrupt)), pytest.raises(KeyboardInterrupt):
        y.sum().backward()
