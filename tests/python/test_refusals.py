"""Odd tensors and arguments that would be ignored: refused by name, before anything is written.

What a wrong shape, dtype or value is told stands in test_bad_input.py.
"""

import pytest
import torch

import causal_conv1d_mps as ccmps
from causal_conv1d_mps._tables import arrange_inputs
from causal_conv1d_mps.nn import CausalConv1d, GatedShortConvolution, ShortConvolution

B, D, T, W = 2, 6, 10, 4


def made(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def index(*shape):
    return torch.zeros(shape, dtype=torch.int32)


def full_call():
    return ccmps.causal_conv1d_fn, dict(
        x=made(B, D, T),
        weight=made(D, W),
        bias=made(D),
        seq_idx=index(B, T),
        initial_states=made(B, D, W - 1),
        residual=made(B, D, T),
    )


def plain_call():
    return ccmps.causal_conv1d, dict(x=made(B, D, T), weight=made(D, W), bias=made(D))


def forward_call():
    return ccmps.causal_conv1d_fwd, dict(x=made(B, D, T), weight=made(D, W), bias=made(D))


def packed_call():
    return ccmps.causal_conv1d_fn, dict(
        x=made(1, D, T), weight=made(D, W), cu_seqlens=torch.tensor([0, T])
    )


def update_call():
    return ccmps.causal_conv1d_update, dict(
        x=made(B, D),
        conv_state=made(B, D, W),
        weight=made(D, W),
        bias=made(D),
        cache_seqlens=index(B),
        conv_state_indices=torch.arange(B),
    )


def accepted_call():
    return ccmps.causal_conv1d_update, dict(
        x=made(B, D),
        conv_state=made(B, D, W),
        weight=made(D, W),
        num_accepted_tokens=torch.ones(B, dtype=torch.int32),
        conv_state_out_indices=torch.arange(B),
    )


def varlen_call():
    return ccmps.causal_conv1d_varlen_states, dict(
        x=made(T, D), cu_seqlens=torch.tensor([0, T]), state_len=3
    )


CALLS = {
    call.__name__.removesuffix("_call"): call
    for call in (
        plain_call,
        forward_call,
        full_call,
        packed_call,
        update_call,
        accepted_call,
        varlen_call,
    )
}
ARGUMENTS = [
    (name, argument)
    for name, call in CALLS.items()
    for argument, value in call()[1].items()
    if isinstance(value, torch.Tensor)
]


@pytest.mark.parametrize("name, argument", ARGUMENTS)
def test_every_mix_of_devices(name, argument):
    """One tensor elsewhere, or all but one."""
    for elsewhere in ({argument}, set(CALLS[name]()[1]) - {argument}):
        function, arguments = CALLS[name]()
        for key in elsewhere & {key for key, v in arguments.items() if torch.is_tensor(v)}:
            arguments[key] = arguments[key].to("meta")
        state = arguments.get("conv_state")
        before = None if state is None or state.is_meta else state.clone()
        with pytest.raises(ValueError, match=r"^(\w+): expected .*(meta|cpu).* got .*(meta|cpu)"):
            function(**arguments)
        assert before is None or torch.equal(state, before)


@pytest.mark.parametrize("argument", ["weight", "conv_state", "cache_seqlens"])
def test_the_argument_that_is_elsewhere_is_named(argument):
    function, arguments = update_call()
    arguments[argument] = arguments[argument].to("meta")
    with pytest.raises(ValueError, match=f"^{argument}: expected a tensor on cpu, where x is"):
        function(**arguments)


def test_fake_tensors_of_several_devices():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True):
        x, weight = torch.empty(B, D, T), torch.empty(D, W, device="meta")
        with pytest.raises(ValueError, match=r"^weight: expected a tensor on cpu"):
            ccmps.causal_conv1d(x, weight)
        with pytest.raises(ValueError, match=r"^weight: expected a tensor on cpu"):
            inputs = arrange_inputs("forward", x=x, weight=weight)
            torch.ops.causal_conv1d_mps.forward(*inputs, 0, False)


class Duck:
    """Takes part in PyTorch's function protocol without being a tensor."""

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), options=None):
        raise AssertionError("was asked")


def jagged():
    return torch.nested.nested_tensor([made(D, 3), made(D, 5)], layout=torch.jagged)


def strided_nested():
    return torch.nested.nested_tensor([made(D, 3), made(D, 5)])


@pytest.mark.parametrize("odd", [Duck, jagged, strided_nested, lambda: [1.0]])
@pytest.mark.parametrize("name, argument", ARGUMENTS)
def test_what_is_no_plain_tensor(name, argument, odd):
    function, arguments = CALLS[name]()
    arguments[argument] = odd()
    with pytest.raises(TypeError, match=rf"^{argument}: expected .* got (a nested|Duck|list)"):
        function(**arguments)


@pytest.mark.parametrize("odd", [Duck, jagged, strided_nested])
def test_modules_refuse_it_too(odd):
    for module in (CausalConv1d(D), ShortConvolution(D)):
        with pytest.raises(TypeError, match=r"^x: expected"):
            module(odd())


# --- memory that is written ------------------------------------------------------------------


def inference(*shape):
    with torch.inference_mode():
        return torch.full(shape, 7.0)


WRITTEN = {
    "out": (full_call, (B, D, T)),
    "final_states_out": (full_call, (B, D, W - 1)),
    "conv_state": (update_call, (B, D, W)),
}


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("argument", WRITTEN)
def test_inference_tensors_change_in_inference_mode_only(argument, watched):
    call, shape = WRITTEN[argument]
    function, arguments = call()
    if watched:
        arguments["x"] = arguments["x"].as_subclass(type("Watched", (torch.Tensor,), {}))
    target = arguments[argument] = inference(*shape)
    with pytest.raises(RuntimeError, match=rf"^{argument}: .*inference tensor.*{argument}.clone"):
        function(**arguments)
    assert (target == 7).all()
    with torch.inference_mode():
        function(**arguments)
    assert not (target == 7).all()


def test_a_plain_update_of_an_inference_tensor():
    """The shortest way to the kernel."""
    state = inference(B, D, W)
    with pytest.raises(RuntimeError, match=r"^conv_state: .*inference tensor"):
        ccmps.causal_conv1d_update(made(B, D), state, made(D, W))
    assert (state == 7).all()


def test_a_negative_view_is_no_state():
    state = torch.ones(B, D, W, dtype=torch.complex64).conj().imag
    assert state.is_neg()
    before = state.clone()
    with pytest.raises(ValueError, match=r"^conv_state: .*negative view.*resolve_neg"):
        ccmps.causal_conv1d_update(made(B, D), state, made(D, W))
    assert torch.equal(state, before)


def test_a_negative_view_as_another_argument():
    x = torch.randn(B, D, T, dtype=torch.complex64).conj().imag
    out = torch.zeros(B, D, T, dtype=torch.complex64).conj().imag
    want = ccmps.causal_conv1d(x.clone(), made(D, W))
    assert torch.equal(ccmps.causal_conv1d(x, made(D, W)), want)
    ccmps.causal_conv1d_fn(x, made(D, W), out=out)
    assert torch.equal(out, want)


@pytest.mark.parametrize("argument", WRITTEN)
def test_a_zero_tensor_is_not_written(argument):
    call, shape = WRITTEN[argument]
    function, arguments = call()
    arguments[argument] = torch._efficientzerotensor(shape)
    with pytest.raises(TypeError, match=f"^{argument}: expected .*got a ZeroTensor"):
        function(**arguments)


@pytest.mark.parametrize("argument", ["x", "weight", "bias", "initial_states", "residual"])
def test_a_zero_tensor_is_read_as_zeros(argument):
    function, arguments = full_call()
    zeros = torch.zeros_like(arguments[argument])
    want = function(**arguments | {argument: zeros})
    arguments[argument] = torch._efficientzerotensor(zeros.shape)
    assert torch.equal(function(**arguments), want)


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("shared", ["initial_states", "x"])
def test_final_states_over_what_backward_reads(shared, watched):
    weight = made(D, W).requires_grad_()
    if watched:
        weight = weight.as_subclass(type("Watched", (torch.Tensor,), {}))
    x, states = made(B, D, T), made(B, D, W - 1)
    target = states if shared == "initial_states" else x[..., : W - 1]
    before = target.clone()
    with pytest.raises(ValueError, match=f"^final_states_out: .*same storage as {shared}"):
        ccmps.causal_conv1d_fn(x, weight, initial_states=states, final_states_out=target)
    assert torch.equal(target, before)


# --- numbers and names -----------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("watched", [False, True])
def test_a_pad_slot_id_alone_means_nothing(watched, device):
    x, state, weight = (t.to(device) for t in (made(B, D), made(B, D, W), made(D, W)))
    if watched:
        x = x.as_subclass(type("Watched", (torch.Tensor,), {}))
    for value in (0, -2, 2**40):
        with pytest.raises(ValueError, match=rf"^pad_slot_id: .*conv_state_indices.*got {value} "):
            ccmps.causal_conv1d_update(x, state, weight, pad_slot_id=value)
    ccmps.causal_conv1d_update(x, state, weight, pad_slot_id=-1)


@pytest.mark.parametrize("value", [True, False, 0, 1, "", "SiLU"])
def test_activations_are_names(value):
    """True and False, which vLLM takes, are not taken for a name or for none."""
    message = r"^activation: expected None, 'silu' or 'swish', got"
    for call in (plain_call, full_call, packed_call, update_call, accepted_call):
        function, arguments = call()
        with pytest.raises(NotImplementedError, match=message):
            function(**arguments, activation=value)
    for module in (CausalConv1d, ShortConvolution, GatedShortConvolution):
        with pytest.raises(NotImplementedError, match=message):
            module(D, activation=value)


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("value", [2**63, 2**64, 10**30])
def test_state_len_has_64_bits(value, watched):
    x = made(T, D)
    if watched:
        x = x.as_subclass(type("Watched", (torch.Tensor,), {}))
    with pytest.raises(ValueError, match=f"^state_len: expected a 64-bit integer, got {value}"):
        ccmps.causal_conv1d_varlen_states(x, torch.tensor([0, T]), value)


def test_final_states_out_is_called_by_its_name():
    x, weight = made(B, D, T), made(D, W)
    with pytest.raises(ValueError, match=r"^final_states_out: expected shape .*\(2, 6, 9\)"):
        ccmps.causal_conv1d_fn(x, weight, final_states_out=made(B, D, 9))
    states = made(B, D, W - 1)
    with pytest.raises(ValueError, match=r"^final_states_out: .*overlaps initial_states"):
        ccmps.causal_conv1d_fn(x, weight, initial_states=states, final_states_out=states)
    whole = torch.zeros(B, D, T + W)
    with pytest.raises(ValueError, match=r"^(out|final_\w+): .*overlaps (out|final_\w+_out)"):
        ccmps.causal_conv1d_fn(
            x, weight, out=whole[..., :T], final_states_out=whole[..., T - 2 : T + 1]
        )


LAYOUTS = {
    "CausalConv1d": (lambda: CausalConv1d(D), (B, T, D), r"\(B, D, T\) with D = 6"),
    "CausalConv1d flat": (lambda: CausalConv1d(D), (B, D), r"\(B, D, T\)"),
    "ShortConvolution": (lambda: ShortConvolution(D), (B, D, T), r"\(B, T, D\) with D = 6"),
    "gated": (lambda: GatedShortConvolution(D), (B, T, 2 * D), r"\(B, T, 3 D\) with D = 6"),
    "gated step": (lambda: GatedShortConvolution(D).step, (B, 2, 3 * D), r"\(B, 1, 3 D\), got"),
    "step": (lambda: ShortConvolution(D).step, (B, 1, T), r"\(B, 1, D\) with D = 6"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_module_blames_the_layout_of_x(name):
    make, shape, expected = LAYOUTS[name]
    with pytest.raises(ValueError, match=f"^x: expected shape {expected}") as caught:
        make()(made(*shape))
    assert ("transpose" in str(caught.value)) == (shape in ((B, T, D), (B, D, T)))


# --- weights as nn.Conv1d keeps them ---------------------------------------------------------


def test_three_dimensional_weights_everywhere():
    x, flat, bias = made(B, D, T), made(D, W), made(D)
    weight = flat[:, None].clone().requires_grad_()
    leaf = flat.clone().requires_grad_()
    options = dict(initial_states=made(B, D, W - 1), return_final_states=True, activation="silu")

    def gradient(w):
        y, states = ccmps.causal_conv1d_fn(x, w, bias, **options)
        (first,) = torch.autograd.grad(y.sum() + states.sum(), w, create_graph=True)
        return y, first, *torch.autograd.grad(first.square().sum(), w)

    for found, want in zip(gradient(weight), gradient(leaf), strict=True):
        assert torch.equal(found.reshape(want.shape), want)
    assert gradient(weight)[1].shape == (D, 1, W)

    flat, weight = flat.detach(), weight.detach()
    assert torch.equal(ccmps.causal_conv1d(x, weight, bias), ccmps.causal_conv1d(x, flat, bias))
    states = torch.zeros(B, D, W), torch.zeros(B, D, W)
    ys = [ccmps.causal_conv1d_update(x, s, w, bias) for s, w in zip(states, (weight, flat))]
    assert torch.equal(*ys) and torch.equal(*states)
    operator = torch.ops.causal_conv1d_mps.forward
    given = [arrange_inputs("forward", x=x, weight=w, bias=bias) for w in (weight, flat)]
    found, want = (operator(*inputs, 1, True) for inputs in given)
    assert all(torch.equal(f, w) for f, w in zip(found, want, strict=True))
    described = operator(*(t if t is None else t.to("meta") for t in given[0]), 1, True)
    assert [t.shape for t in described] == [t.shape for t in want]
    mapped = torch.vmap(ccmps.causal_conv1d)
    assert torch.equal(mapped(x[None], weight[None])[0], ccmps.causal_conv1d(x, flat))
    compiled = torch.compile(ccmps.causal_conv1d, fullgraph=True)
    torch.testing.assert_close(compiled(x, weight), ccmps.causal_conv1d(x, flat))


@pytest.mark.parametrize("step", [False, True])
def test_a_wrong_residual_of_the_short_convolution_is_named(step):
    module = ShortConvolution(4)
    x = torch.randn(2, 1 if step else 6, 4)
    call = module.step if step else module
    with pytest.raises(TypeError, match=r"^residual: expected a torch.Tensor, got list"):
        call(x, residual=[1])
    for shape in ((4, 1, 2), (8,), (2, 4, 6), (2, 1, 5)):
        with pytest.raises(ValueError, match=r"^residual: expected shape \(2, \d, 4\) like x, got"):
            call(x, residual=torch.randn(shape))


@pytest.mark.parametrize("steps", [1, 6])
def test_a_cache_that_cannot_change_is_refused_as_cache(steps):
    module = ShortConvolution(4)
    with torch.inference_mode():
        cache = torch.zeros(2, 4, 4)
    with torch.no_grad(), pytest.raises(RuntimeError, match=r"^cache: .*inference tensor"):
        module(torch.randn(2, steps, 4), cache=cache)
