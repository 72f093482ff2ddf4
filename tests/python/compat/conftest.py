"""The engines' tests run on every backend: their tensors are made where it computes."""

import pytest
import torch


@pytest.fixture
def on_backend(backend):
    with torch.device(backend.device):
        yield
