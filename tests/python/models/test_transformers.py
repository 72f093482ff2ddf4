"""transformers models run on the drop-in, unchanged, and compute what they compute without it.

A modeling file takes causal_conv1d_fn and causal_conv1d_update from `causal_conv1d` when it is
imported, and keeps its own PyTorch functions as `__wrapped__`; `pytorch_path` puts those back.
"""

import pytest
import torch

pytest.importorskip("transformers")

from runs import blockwise, prompt, pytorch_path, train_step
from tiny import MODELS

# transformers itself fails, with and without the drop-in: a mask of another length than the cache.
NO_STATIC_CACHE = ("inkling", "inkling2")
# transformers refuses the others: "assisted generation is not supported with stateful models".
ASSISTED = ("lfm2", "lfm2_moe", "lfm3", "inkling", "inkling2")
# Fed in blocks, these models differ from the single pass in transformers itself, with and without
# the drop-in alike (seen in 5.23): their scans do not take the carried state at a block of tokens.
NOT_BLOCKWISE = ("mamba", "falcon_mamba", "jamba", "bamba", "zamba")


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_logits_and_gradients(model, kernel_calls):
    network, inputs = model.build(), prompt()
    logits, gradients = train_step(network, inputs)
    assert kernel_calls["forward"] > 0 and kernel_calls["backward"] == kernel_calls["forward"]

    counted = kernel_calls.total()
    with pytorch_path(model):
        expected_logits, expected_gradients = train_step(network, inputs)
    assert kernel_calls.total() == counted, "the PyTorch path has called the kernels"

    torch.testing.assert_close(logits, expected_logits, rtol=1e-5, atol=2e-6)
    assert gradients.keys() == expected_gradients.keys()
    convolutions = [name for name in gradients if "conv" in name and "weight" in name]
    assert convolutions
    largest = max(grad.abs().max() for grad in expected_gradients.values()).item()
    for name, expected in expected_gradients.items():
        torch.testing.assert_close(
            gradients[name],
            expected,
            rtol=1e-4,
            atol=1e-6 * largest,
            msg=lambda text, name=name: f"gradient of {name}: {text}",
        )


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_generate_gives_the_same_tokens(model, kernel_calls):
    network, inputs = model.build().eval(), prompt()
    options = dict(max_new_tokens=12, do_sample=False)
    tokens = network.generate(**inputs, **options)
    assert kernel_calls["forward"] > 0, "the prompt has not used the kernels"
    assert kernel_calls["update"] >= 10, "decoding has not used the kernels"
    with pytorch_path(model):
        expected = network.generate(**inputs, **options)
    assert torch.equal(tokens, expected)
    assert tokens.shape[1] > inputs["input_ids"].shape[1]


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_blocks_of_several_tokens_with_a_cache(model, kernel_calls):
    network, ids = model.build().eval(), prompt()["input_ids"]
    logits = blockwise(network, ids, (0, 4, 7, 8, 9))
    assert kernel_calls["forward"] > 0 and kernel_calls["update"] > 0
    with pytorch_path(model):
        expected = blockwise(network, ids, (0, 4, 7, 8, 9))
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=2e-6)
    if str(model) not in NOT_BLOCKWISE:
        with torch.no_grad():
            at_once = network(input_ids=ids, use_cache=False).logits
        torch.testing.assert_close(logits, at_once, rtol=1e-4, atol=5e-6)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_static_cache_and_beam_search(model, kernel_calls):
    """States that are written into fixed memory, and states that change rows between steps."""
    network, inputs = model.build().eval(), prompt()
    modes = [dict(num_beams=3), dict(cache_implementation="static")]
    for options in modes[: 1 if str(model) in NO_STATIC_CACHE else 2]:
        options = dict(**options, max_new_tokens=6, do_sample=False)
        counted = kernel_calls["update"]
        tokens = network.generate(**inputs, **options)
        assert kernel_calls["update"] >= counted + 4
        with pytorch_path(model):
            assert torch.equal(tokens, network.generate(**inputs, **options))


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_padding_on_either_side(model):
    """A row with padding before it, or behind it, has the logits that it has alone."""
    network, ids = model.build().eval(), prompt()["input_ids"]
    row, filler = ids[:1, 3:], torch.zeros(1, 3, dtype=torch.int64)
    real, padding = torch.ones_like(row), torch.zeros_like(filler)
    with torch.no_grad():
        alone = network(input_ids=row, use_cache=False).logits
        for before in (True, False):
            pieces, mask = (
                ([filler, row], [padding, real]) if before else ([row, filler], [real, padding])
            )
            other = ids[1:], torch.ones_like(ids[1:])
            batch = torch.cat([torch.cat(pieces, dim=1), other[0]])
            mask = torch.cat([torch.cat(mask, dim=1), other[1]])
            padded = network(input_ids=batch, attention_mask=mask, use_cache=False).logits
            found = padded[:1, 3:] if before else padded[:1, :-3]
            torch.testing.assert_close(found, alone, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("name", ASSISTED)
def test_assisted_generation(name, kernel_calls):
    """Several candidate tokens per step, some of them rejected (the models that support it)."""
    model = next(m for m in MODELS if str(m) == name)
    network = model.build().eval()
    ids = torch.tensor([[5, 6, 7, 8, 5, 6, 7, 8, 5, 6]])
    options = dict(max_new_tokens=16, do_sample=False)
    tokens = network.generate(ids, prompt_lookup_num_tokens=3, **options)
    assert kernel_calls["forward"] > 0
    assert torch.equal(tokens, network.generate(ids, **options))
    with pytorch_path(model):
        expected = network.generate(ids, prompt_lookup_num_tokens=3, **options)
    assert torch.equal(tokens, expected)


@pytest.mark.parametrize("name", ["mamba2", "lfm2"])
def test_bfloat16(name, kernel_calls):
    """Close to the float32 model; closer than the PyTorch path may be, so not compared with it."""
    model = next(m for m in MODELS if str(m) == name)
    network, inputs = model.build().eval(), prompt()
    with torch.no_grad():
        exact = network(**inputs).logits
        rounded = network.to(torch.bfloat16)(**inputs).logits
    assert kernel_calls["forward"] > 0
    scale = exact.abs().max()
    assert (rounded.float() - exact).abs().max() < 0.05 * scale
