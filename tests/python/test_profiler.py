"""What PyTorch's tools see of a call: its operator's name, its shapes, its floating-point work."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import causal_conv1d_mps as ccmps

B, D, T, W = 2, 6, 20, 4


def made(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def inputs(grad=True):
    return [t.requires_grad_(grad) for t in (made(B, D, T), made(D, W), made(D))]


def training():
    ccmps.causal_conv1d(*inputs(), "silu").sum().backward()


def states():
    ccmps.causal_conv1d_fn(*inputs(), initial_states=made(B, D, W - 1), return_final_states=True)


def decoding():
    ccmps.causal_conv1d_update(made(B, D), torch.zeros(B, D, W), made(D, W))


def packing():
    ccmps.causal_conv1d_varlen_states(made(T, D), torch.tensor([0, T]), 3)


CALLS = {
    "forward": (training, [[B, D, T], [D, W], [D]]),
    "backward": (training, [[B, D, T], [B, D, T], [D, W], [D]]),
    "forward with states": (states, [[B, D, T], [D, W], [D], [], [], [B, D, W - 1]]),
    "update": (decoding, [[B, D], [B, D, W], [D, W]]),
    "varlen_states": (packing, [[T, D], [2]]),
}


@pytest.mark.parametrize("call", CALLS)
def test_the_profiler_shows_the_operator(call):
    function, shapes = CALLS[call]
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True
    ) as profile:
        function()
    name = "causal_conv1d_mps::" + call.split()[0]
    (event,) = (e for e in profile.events() if e.name == name)
    assert [list(s) for s in event.input_shapes[: len(shapes)]] == shapes


def test_a_call_recorded_before_the_profiler_shows_its_backward():
    y = ccmps.causal_conv1d(*inputs(), "silu").sum()
    with torch.profiler.profile() as profile:
        y.backward()
    assert "causal_conv1d_mps::backward" in {e.name for e in profile.events()}


def test_a_profiled_call_has_the_same_bits():
    x, weight, bias = inputs(grad=False)
    want = ccmps.causal_conv1d(x, weight, bias, "silu")
    with torch.profiler.profile():
        found = ccmps.causal_conv1d(x, weight, bias, "silu")
    assert torch.equal(found, want)


@pytest.mark.parametrize("flat", [False, True])
def test_flops(flat):
    """Two for each tap of each element; the gradients of x and weight cost as much each."""
    one = 2 * W * B * D * T
    x, weight, bias = inputs()
    weight = weight.detach()[:, None] if flat else weight.detach()

    def counted(function, *arguments):
        with FlopCounterMode(display=False) as counter:
            function(*arguments)
        return counter.get_total_flops()

    def loss(*leaves):
        ccmps.causal_conv1d(*leaves, "silu").sum().backward()

    with torch.no_grad():
        assert counted(ccmps.causal_conv1d, x, weight, bias) == one
    assert counted(loss, x, weight, bias) == 2 * one
    assert counted(loss, x, weight.clone().requires_grad_(), bias) == 3 * one
    step = made(B, D), torch.zeros(B, D, W), weight
    assert counted(ccmps.causal_conv1d_update, *step) == 2 * W * B * D
    pool = dict(conv_states=torch.zeros(B, D, W))
    assert counted(lambda: ccmps.causal_conv1d_fn(x.detach(), weight, **pool)) == one


def test_what_is_refused_does_not_depend_on_a_profiler():
    x, weight = torch.randn(2, 3, 5), torch.randn(3, 4)
    out = torch.empty(2, 3, 5)
    wrong = {
        "out": dict(out=x),
        "final_states_out": dict(final_states_out=x[..., :3]),
        "both": dict(out=out, return_final_states=True, final_states_out=out[..., :3]),
    }
    for options in wrong.values():
        with pytest.raises(ValueError, match="overlaps"):
            ccmps.causal_conv1d_fn(x, weight, **options)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]):
            with pytest.raises(ValueError, match="overlaps"):
                ccmps.causal_conv1d_fn(x, weight, **options)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as shown:
        ccmps.causal_conv1d_fn(x, weight, out=out)
    assert "causal_conv1d_mps::forward" in {event.key for event in shown.key_averages()}
    assert torch.equal(out, ccmps.causal_conv1d(x, weight))
