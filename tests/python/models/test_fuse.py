"""fuse(): LFM2, LFM2-MoE and LFM3 on the gated operation compute what they compute without it.

The reference is transformers' own PyTorch path of the same weights, never this package.
"""

import copy
import pickle

import pytest
import torch

pytest.importorskip("transformers")

from runs import blockwise, prompt, pytorch_path, train_step
from tiny import MODELS

import causal_conv1d_mps as ccmps

FUSED = [model for model in MODELS if str(model) in ("lfm2", "lfm2_moe", "lfm3")]
each_model = pytest.mark.parametrize("model", FUSED, ids=str)


def block_of(network):
    return network.model.layers[0].conv


def both(model):
    """The model as it is, and fused; both in eval mode."""
    network = model.build().eval()
    fused = copy.deepcopy(network)
    assert ccmps.fuse(fused) == {"model.layers.0.conv": f"{model.prefix}ShortConv"}
    return network, fused


def compare_gradients(found, expected, relative=1e-6):
    assert found.keys() == expected.keys()
    largest = max(grad.abs().max() for grad in expected.values()).item()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=relative * largest)


@each_model
def test_fuse_and_unfuse(model):
    network, fused = both(model)
    kind = type(block_of(network))
    assert ccmps.fuse(fused) == {}, "a second time there is nothing to replace"
    assert type(block_of(fused)) is not kind and isinstance(block_of(fused), kind)
    assert fused.state_dict().keys() == network.state_dict().keys()
    for other in (copy.deepcopy(fused), pickle.loads(pickle.dumps(fused))):
        assert type(block_of(other)) is type(block_of(fused))

    assert ccmps.unfuse(fused) == {"model.layers.0.conv": kind.__name__}
    assert ccmps.unfuse(fused) == {}
    assert [type(m) for m in fused.modules()] == [type(m) for m in network.modules()]
    with torch.no_grad():
        assert torch.equal(fused(**prompt()).logits, network(**prompt()).logits)


@each_model
def test_logits_and_gradients(model, kernel_calls):
    network, fused = both(model)
    with pytorch_path(model):
        logits, gradients = train_step(fused, prompt())
        assert kernel_calls["forward"] == kernel_calls["backward"] == 1
        expected_logits, expected = train_step(network, prompt())
    torch.testing.assert_close(logits, expected_logits, rtol=1e-5, atol=2e-6)
    compare_gradients(gradients, expected)


@pytest.mark.parametrize(
    "options",
    [{}, {"num_beams": 3}, {"cache_implementation": "static"}, {"prompt_lookup_num_tokens": 3}],
    ids=["dynamic", "beams", "static", "assisted"],
)
@each_model
def test_the_same_generated_tokens(model, options, kernel_calls):
    network, fused = both(model)
    inputs = prompt()
    if "prompt_lookup_num_tokens" in options:
        inputs = {"input_ids": torch.tensor([[5, 6, 7, 8, 5, 6, 7, 8, 5, 6]])}
    options = dict(**options, max_new_tokens=12, do_sample=False)
    with pytorch_path(model):
        tokens = fused.generate(**inputs, **options)
        assert kernel_calls["forward"] > 0
        assert kernel_calls["update"] >= 10 or "prompt_lookup_num_tokens" in options
        counted = kernel_calls.total()
        expected = network.generate(**inputs, **options)
    assert kernel_calls.total() == counted, "the PyTorch path has called the kernels"
    assert torch.equal(tokens, expected)


@pytest.mark.parametrize("bounds", [(0, 4, 7, 8, 9), (0, 1, 2, 9), (0, 9)])
@each_model
def test_blocks_of_tokens_with_a_cache(model, bounds, kernel_calls):
    network, fused = both(model)
    ids = prompt()["input_ids"]
    with pytorch_path(model):
        logits = blockwise(fused, ids, bounds)
        assert kernel_calls["forward"] > 0
        torch.testing.assert_close(logits, blockwise(network, ids, bounds), rtol=1e-5, atol=2e-6)


@each_model
def test_gradients_through_the_cache(model):
    """A second block of tokens, and a single one, while gradients are recorded."""
    network, fused = both(model)
    ids = prompt()["input_ids"]

    def gradients(net):
        net.zero_grad()
        state, total = None, 0.0
        for start, end in ((0, 5), (5, 8), (8, 9)):
            output = net(input_ids=ids[:, start:end], use_cache=True, past_key_values=state)
            state, total = output.past_key_values, total + output.logits.square().sum()
        total.backward()
        return {name: p.grad.clone() for name, p in net.named_parameters()}

    found = gradients(fused)

    def whole(net):
        net.zero_grad()
        net(input_ids=ids, use_cache=False).logits.square().sum().backward()
        return {name: p.grad.clone() for name, p in net.named_parameters()}

    with pytorch_path(model):
        compare_gradients(found, whole(network), 1e-5)


@each_model
def test_packed_sequences(model, kernel_calls):
    network, fused = both(model)
    lengths = (5, 1, 9, 3)
    generator = torch.Generator().manual_seed(2)
    rows = [torch.randint(3, 97, (1, n), generator=generator) for n in lengths]
    with pytorch_path(model), torch.no_grad():
        packed = fused(
            input_ids=torch.cat(rows, dim=1),
            position_ids=torch.cat([torch.arange(n) for n in lengths])[None],
            seq_idx=torch.arange(4).repeat_interleave(torch.tensor(lengths)).int()[None],
            use_cache=False,
        ).logits
        assert kernel_calls["forward"] == 1
        apart = [network(input_ids=row, use_cache=False).logits for row in rows]
    torch.testing.assert_close(packed, torch.cat(apart, dim=1), rtol=1e-4, atol=1e-5)


@each_model
def test_bfloat16_is_as_near_to_float32(model):
    network, fused = both(model)
    with pytorch_path(model), torch.no_grad():
        exact = network(**prompt(), use_cache=False).logits
        far = (network.bfloat16()(**prompt(), use_cache=False).logits.float() - exact).abs()
        rounded = fused.bfloat16()(**prompt(), use_cache=False).logits.float()
    assert (rounded - exact).abs().mean() <= 1.25 * far.mean()
    assert (rounded - exact).abs().max() <= 0.05 * exact.abs().max()


def test_torch_compile_sees_one_graph():
    network, fused = both(FUSED[0])
    hidden = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(3))
    compiled = torch.compile(block_of(fused), fullgraph=True, backend="aot_eager")
    with pytorch_path(FUSED[0]):
        torch.testing.assert_close(compiled(hidden), block_of(network)(hidden))


def test_a_model_without_such_blocks_is_refused():
    with pytest.raises(ValueError, match=r"Mamba2ForCausalLM without any; Mamba2Mixer: not known"):
        ccmps.fuse(next(m for m in MODELS if str(m) == "mamba2").build())
    with pytest.raises(ValueError, match=r"^model: expected one with Lfm2ShortConv, .* a Linear"):
        ccmps.fuse(torch.nn.Linear(2, 2))
    with pytest.raises(TypeError, match=r"model: expected a torch.nn.Module, got str"):
        ccmps.fuse("LiquidAI/LFM2-1.2B")


def changed_forward(block, monkeypatch):
    monkeypatch.setattr(type(block), "forward", lambda self, hidden_states, **_: hidden_states)


def own_forward(block, _):
    block.forward = lambda hidden_states, **_: hidden_states


def other_convolution(block, _):
    block.conv.dilation = (2,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed_forward, "computes something else"),
        (own_forward, r"has a forward\(\) of its own"),
        (other_convolution, r"has the convolution Conv1d\(.*dilation=\(2,\)"),
    ],
)
def test_a_changed_block_is_refused_and_nothing_replaced(change, message, monkeypatch):
    model = FUSED[0]
    networks = torch.nn.ModuleList([model.build(), model.build()])
    before = [type(module) for module in networks.modules()]
    change(block_of(networks[1]), monkeypatch)
    with pytest.raises(ValueError, match=message):
        ccmps.fuse(networks)
    assert [type(module) for module in networks.modules()] == before
