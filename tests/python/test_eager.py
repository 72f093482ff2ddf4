"""The eager shortcut of CPU tensors (_eager.c): what it asks PyTorch, and answers that go wrong."""

from contextlib import contextmanager
from unittest import mock

import pytest
import torch

import causal_conv1d_mps as ccmps
from causal_conv1d_mps import _C, _eager


@contextmanager
def answering(**answers):
    """With other answers to questions (named as in _eager.py)."""
    with mock.patch.object(_C, "bind_torch") as bind:
        _eager.bind()
    (names,) = bind.call_args.args
    _C.bind_torch({**names, **answers})
    try:
        yield
    finally:
        _eager.bind()


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
    "autocast",
    "empty_like",
    "num_threads",
    "grad_enabled",
)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_failed_question_leads_to_the_general_way(question):
    x, weight = arguments()
    want = ccmps.causal_conv1d(x, weight, None, "silu")
    with answering(**{question: fails_with(RuntimeError("asked in vain"))}):
        assert torch.equal(ccmps.causal_conv1d(x, weight, None, "silu"), want)


@pytest.mark.parametrize("question", QUESTIONS)
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
