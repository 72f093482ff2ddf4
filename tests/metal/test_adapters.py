"""The engines' adapters on the Metal kernels: what their tests call, executed by the harness."""

import sys
from pathlib import Path

import backend
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python" / "compat"))

import test_sglang
import test_vllm
import test_vllm_block_tables

CALLS = {
    "vllm-prefill": lambda: test_vllm.test_prefill_as_mamba_mixer2_does(torch.bfloat16, 7),
    "vllm-drafts": lambda: test_vllm.test_speculative_decoding_as_gdn_attention_does(torch.float32),
    "vllm-blocks": lambda: test_vllm_block_tables.test_chunks_leave_the_states_of_every_block(
        torch.float32
    ),
    "sglang-tree": lambda: test_sglang.test_verification_of_trees_as_mamba2_does(
        test_sglang.triton.causal_conv1d_update
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_an_engines_calls(call):
    with backend.METAL.enter():
        CALLS[call]()
        assert backend.METAL.last_kernel().startswith(backend.METAL.kernel_prefix)
