"""causal_conv1d_update with cu_seqlens: rows of different lengths, one after another in x."""

import decoding_runs
import pytest
import torch
from inputs import same_bits

import causal_conv1d_mps as ccmps


@pytest.mark.parametrize("part", range(4))
def test_runs_of_an_engine(backend, part):
    """2,000 with CAUSAL_CONV1D_ALL_CASES=1."""
    for seed in decoding_runs.seeds(spread=24)[part::4]:
        decoding_runs.run_rows(backend, seed)
