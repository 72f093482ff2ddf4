"""Packed sequences: one row with seq_idx or cu_seqlens is the same as separate rows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import causal_conv1d_mps as ccmps

LENGTHS = (5, 1, 9, 3)


def pieces(dim=6, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, dim, n, generator=generator).to(dtype) for n in LENGTHS]


def packing(kind):
    if kind == "cu_seqlens":
        return {"cu_seqlens": torch.tensor([0, *LENGTHS]).cumsum(0).to(torch.int32)}
    index = torch.arange(len(LENGTHS)).repeat_interleave(torch.tensor(LENGTHS))
    return {"seq_idx": index.to(torch.int32)[None]}


@pytest.mark.parametrize("kind", ["seq_idx", "cu_seqlens"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_convolution(kind, dtype):
    generator = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(6, 4, generator=generator), torch.randn(6, generator=generator)
    weight, bias = weight.to(dtype).requires_grad_(), bias.to(dtype).requires_grad_()
    apart = [piece.requires_grad_() for piece in pieces(dtype=dtype)]
    together = torch.cat([piece.detach() for piece in apart], dim=2).requires_grad_()

    y = ccmps.causal_conv1d_fn(together, weight, bias, activation="silu", **packing(kind))
    expected = torch.cat([ccmps.causal_conv1d(p, weight, bias, "silu") for p in apart], dim=2)
    assert torch.equal(y, expected)

    cotangent = torch.randn(y.shape, generator=generator).to(dtype)
    dx, dweight, dbias = torch.autograd.grad(y, (together, weight, bias), cotangent)
    *dapart, dweight_apart, dbias_apart = torch.autograd.grad(
        expected, (*apart, weight, bias), cotangent
    )
    assert torch.equal(dx, torch.cat(dapart, dim=2))
    tolerance = 2e-2 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(dweight, dweight_apart, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(dbias, dbias_apart, rtol=tolerance, atol=tolerance)


WITHOUT_THE_DROPIN = """
import sys
sys.path.insert(0, sys.argv[1])
from tiny import MODELS
from transformers import DataCollatorWithFlattening

network = next(m for m in MODELS if str(m) == "lfm2").build()
rows = [{"input_ids": [5, 6, 7]}, {"input_ids": [8, 9, 10, 11]}]
packed = DataCollatorWithFlattening(return_seq_idx=True)(rows)
try:
    print(network(**packed).loss.item())
except ValueError as error:
    print(error)
"""


def test_transformers_refuses_packed_training_without_the_dropin():
    pytest.importorskip("transformers")
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_DROPIN, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert "can't keep packed sequences apart" in run.stdout, run.stdout


def test_a_packed_batch_of_the_collator(kernel_calls):
    """What a trainer does: DataCollatorWithFlattening, loss and gradients of a packed batch."""
    transformers = pytest.importorskip("transformers")
    from tiny import MODELS

    network = next(m for m in MODELS if str(m) == "lfm2").build()
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(3, 97, (n,), generator=generator).tolist() for n in LENGTHS if n > 1]
    collator = transformers.DataCollatorWithFlattening(return_seq_idx=True)
    batch = collator([{"input_ids": row} for row in rows])
    assert batch["input_ids"].shape == (1, sum(map(len, rows)))

    def step(loss):
        network.zero_grad()
        loss.backward()
        return {name: p.grad.clone() for name, p in network.named_parameters()}

    packed = network(**batch, use_cache=False).loss
    gradients = step(packed)
    assert kernel_calls["forward"] == 1 and kernel_calls["backward"] == 1
    predicted = [len(row) - 1 for row in rows]
    apart = [
        network(input_ids=ids, labels=ids, use_cache=False).loss * n
        for ids, n in zip((torch.tensor([row]) for row in rows), predicted, strict=True)
    ]
    expected = sum(apart) / sum(predicted)
    torch.testing.assert_close(packed, expected)
    for name, value in step(expected).items():
        torch.testing.assert_close(gradients[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["lfm2", "lfm2_moe", "lfm3"])
def test_packed_models(name, kernel_calls):
    """A whole model: packed logits and gradients are those of the separate sequences.

    Without the drop-in, transformers refuses packed sequences for these models, but for lfm3: its
    own function mixes them.
    """
    pytest.importorskip("transformers")
    from tiny import MODELS

    network = next(m for m in MODELS if str(m) == name).build()
    generator = torch.Generator().manual_seed(2)
    rows = [torch.randint(3, 97, (1, n), generator=generator) for n in LENGTHS]
    weights = [torch.randn(1, n, 1, generator=generator) for n in LENGTHS]

    def gradients(total):
        network.zero_grad()
        total.backward()
        return {name: p.grad.clone() for name, p in network.named_parameters()}

    apart = [network(input_ids=row, use_cache=False).logits for row in rows]
    expected = gradients(
        sum((w * out).square().sum() for w, out in zip(weights, apart, strict=True))
    )
    position = torch.cat([torch.arange(n) for n in LENGTHS])[None]
    packed = network(
        input_ids=torch.cat(rows, dim=1),
        position_ids=position,
        use_cache=False,
        **packing("seq_idx"),
    ).logits
    assert kernel_calls["forward"] == len(LENGTHS) + 1
    torch.testing.assert_close(packed, torch.cat(apart, dim=1), rtol=1e-4, atol=1e-5)
    found = gradients((torch.cat(weights, dim=1) * packed).square().sum())
    largest = max(grad.abs().max() for grad in expected.values()).item()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5 * largest)
