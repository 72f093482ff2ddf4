"""Packed sequences: one row with seq_idx or cu_seqlens is the same as separate rows."""

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


def test_lfm2_model(kernel_calls):
    """A whole model: packed logits and gradients are those of the separate sequences.

    Without the drop-in, transformers refuses packed sequences for this model.
    """
    pytest.importorskip("transformers")
    from tiny import MODELS

    network = next(m for m in MODELS if str(m) == "lfm2").build()
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
