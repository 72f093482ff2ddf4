"""PyTorch's machinery: the registered operators, compile, export, modes, autocast, odd tensors."""

import inspect
import subprocess
import sys

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import causal_conv1d_mps as ccmps
from causal_conv1d_mps._tables import arrange_inputs

B, D, T, W = 2, 5, 7, 4
operators = torch.ops.causal_conv1d_mps

SIGNATURES = {
    "causal_conv1d": "(x, weight, bias=None, activation=None)",
    "causal_conv1d_fn": (
        "(x, weight, bias=None, seq_idx=None, initial_states=None, return_final_states=False, "
        "final_states_out=None, activation=None, *, cu_seqlens=None, residual=None, out=None, "
        "lengths=None, conv_states=None, conv_state_indices=None, conv_state_out_indices=None, "
        "has_initial_state=None, pad_slot_id=-1, pre_gate=None, post_gate=None)"
    ),
    "causal_conv1d_fwd": "(x, weight, bias=None, silu_activation=False)",
    "causal_conv1d_update": (
        "(x, conv_state, weight, bias=None, activation=None, cache_seqlens=None, "
        "conv_state_indices=None, *, pad_slot_id=-1, num_accepted_tokens=None, "
        "conv_state_out_indices=None, cu_seqlens=None, max_seqlen=None, "
        "parents=None, intermediate_states=None, residual=None, out=None, pre_gate=None, "
        "post_gate=None)"
    ),
    "causal_conv1d_varlen_states": "(x, cu_seqlens, state_len, *, initial_states=None, "
    "positions=None, out=None, out_indices=None)",
}


def made(*shape, grad=False, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator).to(dtype).requires_grad_(grad)


def inputs(length=T, grad=False):
    return made(B, D, length, grad=grad), made(D, W, grad=grad), made(D, grad=grad)


def block(x, weight, bias):
    """A convolution between operations that a compiler fuses."""
    return ccmps.causal_conv1d(x * 2, weight, bias, "silu").sin()


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    assert str(inspect.signature(getattr(ccmps, name))) == SIGNATURES[name]


# --- operators -------------------------------------------------------------------------------

SEQ_IDX = torch.tensor([[0, 0, 0, 1, 1, -1, 1], [0, 0, 1, 0, 2, 2, 2]], dtype=torch.int32)
CU_SEQLENS = torch.tensor([0, 2, 2, T])


def convolution(*numbers, grad=False, **others):
    """The arguments of the operator forward, or of backward where dout is given."""
    named = dict(zip(("x", "weight", "bias"), inputs(grad=grad), strict=True)) | others
    return (*arrange_inputs("backward" if "dout" in named else "forward", **named), *numbers)


def states(grad=False):
    return made(B, D, W - 1, grad=grad)


OPERATOR_CALLS = {
    "forward": lambda: (
        operators.forward,
        convolution(1, True, grad=True, initial_states=states(grad=True), residual=made(B, D, T)),
    ),
    "forward seq_idx": lambda: (
        operators.forward,
        convolution(0, False, x=made(B, D, T, grad=True), bias=None, seq_idx=SEQ_IDX),
    ),
    "forward cu_seqlens": lambda: (
        operators.forward,
        convolution(
            0,
            True,
            x=made(1, D, T),
            weight=made(D, W, grad=True),
            bias=None,
            cu_seqlens=CU_SEQLENS,
        ),
    ),
    "forward lengths": lambda: (
        operators.forward,
        convolution(1, True, grad=True, lengths=torch.tensor([3, 7])),
    ),
    "forward channel-last": lambda: (
        operators.forward,
        convolution(1, False, x=made(B, T, D).mT),
    ),
    "backward": lambda: (
        operators.backward,
        convolution(
            1,
            [True] * 6,
            grad=True,
            dout=made(B, D, T, grad=True),
            initial_states=states(grad=True),
            dfinal_states=states(grad=True),
        ),
    ),
    "backward of x alone": lambda: (
        operators.backward,
        convolution(1, [True, *[False] * 5], dout=made(B, D, T), seq_idx=SEQ_IDX),
    ),
    "update": lambda: (
        operators.update,
        (made(B, D), made(B, D, W), made(D, W), made(D), None, None, None, -1, 1),
    ),
    "update of a circular pool": lambda: (
        operators.update,
        (
            made(B, D, 2),
            made(4, D, W),
            made(D, W),
            made(D),
            torch.tensor([1, 6], dtype=torch.int32),
            torch.tensor([2, -1], dtype=torch.int32),
            None,
            -1,
            0,
        ),
    ),
    "update of one row of a pool into others": lambda: (
        operators.update,
        (
            made(B, D),
            made(4, D, W),
            made(D, W),
            None,
            None,
            torch.tensor([0, 0]),
            None,
            -1,
            1,
            torch.tensor([3, 1]),
        ),
    ),
    "varlen_states": lambda: (operators.varlen_states, (made(T, D), CU_SEQLENS, 3)),
    "states of positions": lambda: (
        operators.varlen_states,
        (made(T, D), CU_SEQLENS, 3, made(3, D, 5), torch.tensor([2, T, 1, 0])),
    ),
    "states in a pool": lambda: (
        operators.store_states,
        (made(T, D), CU_SEQLENS, None, None, torch.tensor([3, -1, 0]), made(4, D, 3)),
    ),
}


@pytest.mark.parametrize("call", OPERATOR_CALLS)
def test_opcheck(call):
    operator, arguments = OPERATOR_CALLS[call]()
    results = torch.library.opcheck(operator, arguments)
    assert len(results) == 4 and set(results.values()) == {"SUCCESS"}


def test_operators_and_direct_path_agree():
    x, weight, bias = inputs()
    y, _ = operators.forward(*arrange_inputs("forward", x=x, weight=weight, bias=bias), 1, False)
    assert torch.equal(y, ccmps.causal_conv1d(x, weight, bias, "silu"))


# --- compile, export, tracing ----------------------------------------------------------------


def test_compile_fullgraph_with_dynamic_shapes():
    compiled = torch.compile(block, fullgraph=True, dynamic=True)
    _, weight, bias = inputs(grad=True)
    for length in (T, 9, 33):
        x = made(B, D, length, grad=True)
        found, expected = compiled(x, weight, bias), block(x, weight, bias)
        torch.testing.assert_close(found, expected)
        for f, e in zip(
            torch.autograd.grad(found.square().sum(), (x, weight, bias)),
            torch.autograd.grad(expected.square().sum(), (x, weight, bias)),
            strict=True,
        ):
            torch.testing.assert_close(f, e, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("packing", ["seq_idx", "cu_seqlens"])
def test_compile_with_every_argument(packing):
    def call(x, weight, bias, states, residual, index, target):
        return ccmps.causal_conv1d_fn(
            x.mT.contiguous().mT,
            weight,
            bias,
            initial_states=states,
            return_final_states=True,
            final_states_out=target,
            residual=residual,
            activation="swish",
            **{packing: index},
        )

    rows, sequences = (B, B) if packing == "seq_idx" else (1, len(CU_SEQLENS) - 1)
    index = SEQ_IDX if packing == "seq_idx" else CU_SEQLENS
    shapes = ((rows, D, T), (D, W), (D,), (sequences, D, W - 1), (rows, D, T))
    tensors = [made(*shape, grad=True, seed=i) for i, shape in enumerate(shapes)]
    targets = [torch.zeros(sequences, D, W - 1) for _ in range(2)]
    results = []
    for function, target in zip((torch.compile(call, fullgraph=True), call), targets, strict=True):
        y, states = function(*tensors, index, target)
        loss = y.square().sum() + states.sin().sum()
        results.append((y, target, *torch.autograd.grad(loss, tensors)))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("grad_mode", [False, True])
def test_compile_update(grad_mode):
    def step(x, state, weight, bias):
        return ccmps.causal_conv1d_update(x, state, weight, bias, "silu") * 2

    compiled = torch.compile(step, fullgraph=True, dynamic=True)
    weight, bias = made(D, W, grad=True), made(D, grad=True)
    states = [made(B, D, W) for _ in range(2)]
    with torch.set_grad_enabled(grad_mode):
        for length in (1, 2, 3):
            x = made(B, D, length)
            found, expected = compiled(x, states[0], weight, bias), step(x, states[1], weight, bias)
            torch.testing.assert_close(found, expected)
            assert torch.equal(*states)


@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_update_refuses_backward_when_compiled(backend):
    def step(x, state, weight):
        return ccmps.causal_conv1d_update(x, state, weight) * 2

    x, state, weight = made(B, D), made(B, D, W), made(D, W, grad=True)
    y = torch.compile(step, fullgraph=True, backend=backend)(x, state, weight)
    with pytest.raises(RuntimeError, match="causal_conv1d_update is not differentiable"):
        y.sum().backward()


def test_update_refuses_backward_of_a_subclass():
    class Plain(torch.Tensor):
        pass

    x, state, weight = made(B, D).as_subclass(Plain), made(B, D, W), made(D, W, grad=True)
    y = ccmps.causal_conv1d_update(x, state, weight)
    with pytest.raises(RuntimeError, match="causal_conv1d_update is not differentiable"):
        y.sum().backward()


def test_compile_varlen_states_and_out():
    def call(x, cu_seqlens, weight, out):
        states = ccmps.causal_conv1d_varlen_states(x[0].mT, cu_seqlens, 3)
        return states, ccmps.causal_conv1d_fn(x, weight, out=out)

    x, weight, out = made(1, D, T), made(D, W), torch.zeros(1, D, T)
    states, y = torch.compile(call, fullgraph=True)(x, CU_SEQLENS, weight, out)
    assert torch.equal(out, ccmps.causal_conv1d(x, weight)) and torch.equal(y, out)
    assert torch.equal(states, ccmps.causal_conv1d_varlen_states(x[0].mT, CU_SEQLENS, 3))


@pytest.mark.parametrize("transform", [torch.func.grad, torch.func.vmap])
def test_compile_functorch(transform):
    weight, bias = made(D, W), made(D)
    x = made(3, D, T)

    def call(x):
        if transform is torch.func.vmap:
            return torch.vmap(lambda row: block(row[None], weight, bias))(x)
        return torch.func.grad(lambda value: block(value, weight, bias).sum())(x)

    torch.testing.assert_close(torch.compile(call, fullgraph=True)(x), call(x))


def test_compiled_autograd():
    """The backward pass of an eager forward, traced."""
    from torch._dynamo import compiled_autograd

    arguments = inputs(grad=True)
    loss = ccmps.causal_conv1d(*arguments, "silu").sin().sum()
    expected = torch.autograd.grad(loss, arguments, retain_graph=True)
    enable = getattr(compiled_autograd, "_enable", None) or compiled_autograd.enable
    with enable(torch.compile(backend="eager", fullgraph=True)):
        loss.backward()
    for tensor, gradient in zip(arguments, expected, strict=True):
        torch.testing.assert_close(tensor.grad, gradient)


def test_checkpointing_inside_compile():
    _, weight, bias = inputs()

    def call(x):
        checkpoint = torch.utils.checkpoint.checkpoint
        return checkpoint(block, x, weight, bias, use_reentrant=False).sum()

    x = made(B, D, T, grad=True)
    (found,) = torch.autograd.grad(torch.compile(call, fullgraph=True)(x), x)
    (expected,) = torch.autograd.grad(call(x), x)
    torch.testing.assert_close(found, expected)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = ccmps.nn.CausalConv1d(D, W, activation="silu")

    def forward(self, x):
        return self.convolution(x).relu()


@pytest.mark.parametrize("strict", [False, True])
def test_export_with_a_dynamic_length(strict):
    model = Model()
    length = torch.export.Dim("length", min=2, max=4096)
    program = torch.export.export(
        model, (made(B, D, 8),), dynamic_shapes=({2: length},), strict=strict
    )
    called = {node.target for node in program.graph.nodes if node.op == "call_function"}
    assert operators.forward.default in called
    x = made(B, D, 33)
    torch.testing.assert_close(program.module()(x), model(x))


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_make_fx_sees_the_operators(mode):
    def gradient(x, weight, bias):
        y = ccmps.causal_conv1d(x, weight, bias, "silu")
        return torch.autograd.grad(y.sum(), (x, weight))

    arguments = inputs(grad=True)
    traced = make_fx(gradient, tracing_mode=mode)(*arguments)
    called = {node.target for node in traced.graph.nodes if node.op == "call_function"}
    assert {operators.forward.default, operators.backward.default} <= called
    for found, expected in zip(traced(*arguments), gradient(*arguments), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_jit_trace_does_not_record_a_constant():
    _, weight, bias = inputs()
    traced = torch.jit.trace(lambda x: ccmps.causal_conv1d(x, weight, bias), (made(B, D, T),))
    x = made(B, D, T, seed=9)
    assert torch.equal(traced(x), ccmps.causal_conv1d(x, weight, bias))


# --- modes and devices -----------------------------------------------------------------------


def test_meta_and_fake_tensors():
    x, weight, bias = (t.to("meta").requires_grad_() for t in inputs())
    y, states = ccmps.causal_conv1d_fn(x, weight, bias, return_final_states=True)
    assert y.device.type == "meta" and y.shape == x.shape and y.requires_grad
    assert states.shape == (B, D, W - 1)
    y.sum().backward()
    assert weight.grad.shape == weight.shape
    state = torch.empty(B, D, W, device="meta")
    assert ccmps.causal_conv1d_update(x[..., 0], state, weight).shape == (B, D)
    bounds = torch.empty(3, dtype=torch.int32, device="meta")
    assert ccmps.causal_conv1d_varlen_states(x[0].mT, bounds, 3).shape == (2, D, 3)
    with pytest.raises(ValueError, match="weight"):
        ccmps.causal_conv1d(x, weight.mT)
    with pytest.raises(TypeError, match="x"):
        ccmps.causal_conv1d(x.to(torch.int32), weight)


class DispatchRecorder(TorchDispatchMode):
    seen = ()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.seen += (function,)
        return function(*arguments, **(options or {}))


def test_a_dispatch_mode_sees_the_operator():
    with DispatchRecorder() as recorder:
        y = ccmps.causal_conv1d(*inputs())
    assert operators.forward.default in recorder.seen
    assert torch.equal(y, ccmps.causal_conv1d(*inputs()))


def test_a_dispatch_mode_around_the_backward_pass_sees_the_operator():
    arguments = inputs(grad=True)
    y = ccmps.causal_conv1d(*arguments, "silu")
    expected = torch.autograd.grad(y.sum(), arguments, retain_graph=True)
    with DispatchRecorder() as recorder:
        found = torch.autograd.grad(y.sum(), arguments)
    assert operators.backward.default in recorder.seen
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


def test_a_function_mode_sees_the_operator():
    class Recorder(TorchFunctionMode):
        seen = ()

        def __torch_function__(self, function, types, arguments=(), options=None):
            self.seen += (function,)
            return function(*arguments, **(options or {}))

    with Recorder() as recorder:
        ccmps.causal_conv1d(*inputs())
    assert operators.forward.default in recorder.seen


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_default_device_changes_nothing(device, monkeypatch):
    from causal_conv1d_mps import _ops

    arguments = inputs(grad=True)
    expected = torch.autograd.grad(ccmps.causal_conv1d(*arguments, "silu").sum(), arguments)

    def refuse(*arguments):
        raise AssertionError("the direct path has not been taken")

    monkeypatch.setattr(_ops, "forward", refuse)
    with torch.device(device):
        y, states = ccmps.causal_conv1d_fn(*arguments, return_final_states=True, activation="silu")
        found = torch.autograd.grad(y.sum(), arguments)
    assert states.device.type == "cpu"
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


def test_a_subclass_sees_the_operator():
    seen = []

    class Logged(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, arguments=(), options=None):
            seen.append(function)
            return super().__torch_function__(function, types, arguments, options or {})

    x, weight, bias = inputs()
    y = ccmps.causal_conv1d(x.as_subclass(Logged), weight, bias)
    assert type(y) is Logged and operators.forward.default in seen
    assert torch.equal(y.as_subclass(torch.Tensor), ccmps.causal_conv1d(x, weight, bias))


def test_inference_mode():
    arguments = inputs(grad=True)
    expected = ccmps.causal_conv1d(*arguments, "silu")
    with torch.inference_mode():
        y = ccmps.causal_conv1d(*arguments, "silu")
        assert y.is_inference() and torch.equal(y, expected)
        state = torch.zeros(B, D, W)
        steps = [
            ccmps.causal_conv1d_update(arguments[0][..., t], state, *arguments[1:], "silu")
            for t in range(T)
        ]
    assert torch.equal(torch.stack(steps, dim=2), expected)


def test_fwd_never_requires_grad():
    arguments = inputs(grad=True)
    for silu in (False, True):
        y = ccmps.causal_conv1d_fwd(*arguments, silu)
        assert not y.requires_grad
        expected = ccmps.causal_conv1d(*arguments, "silu" if silu else None)
        assert torch.equal(y, expected)


def test_deterministic_algorithms():
    torch.use_deterministic_algorithms(True)
    try:
        gradients = []
        for _ in range(3):
            arguments = inputs(grad=True)
            ccmps.causal_conv1d(*arguments, "silu").square().sum().backward()
            gradients.append([t.grad for t in arguments])
    finally:
        torch.use_deterministic_algorithms(False)
    for repeated in gradients[1:]:
        assert all(torch.equal(a, b) for a, b in zip(repeated, gradients[0], strict=True))


# --- autocast --------------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_autocast_follows_conv1d(dtype, compiled):
    x, weight = made(B, D, T, dtype=dtype), made(D, W, dtype=torch.float32)
    if dtype == torch.float64:
        weight = weight.double()
    call = ccmps.causal_conv1d_fn
    if compiled:
        call = torch.compile(call, fullgraph=True)
    states, residual = made(B, D, W - 1, dtype=dtype), made(B, D, T, dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        rule = torch.nn.functional.conv1d(x, weight[:, None].to(dtype), groups=D).dtype
        y, final = call(
            x, weight, initial_states=states, residual=residual, return_final_states=True
        )
    assert y.dtype == final.dtype == rule
    expected = ccmps.causal_conv1d_fn(
        x.to(rule), weight, initial_states=states.to(rule), residual=residual.to(rule)
    )
    assert torch.equal(y, expected)


def test_autocast_gradients_have_the_dtypes_of_their_tensors():
    x, weight, bias = inputs(grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = ccmps.causal_conv1d(x, weight, bias, "silu")
    y.float().square().sum().backward()
    assert {t.grad.dtype for t in (x, weight, bias)} == {torch.float32}


def test_autocast_update_follows_the_state():
    weight, state = made(D, W), torch.zeros(B, D, W, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        y = ccmps.causal_conv1d_update(made(B, D), state, weight)
    assert y.dtype == torch.bfloat16
    assert torch.equal(state[..., -1], made(B, D).bfloat16())
    y = ccmps.causal_conv1d_update(made(B, D), state, weight)
    assert y.dtype == torch.float32  # without autocast x keeps its dtype, and the state its own


def test_autocast_where_the_device_has_none():
    with torch.autocast("cpu", torch.bfloat16):
        x, weight = made(B, D, T).to("meta"), made(D, W).to("meta")
        assert ccmps.causal_conv1d(x, weight).dtype == torch.float32
        state = torch.empty(B, D, W, device="meta")
        assert ccmps.causal_conv1d_update(x[..., 0], state, weight).dtype == torch.float32


# --- tensors that are refused ----------------------------------------------------------------

REFUSED = {
    "a list": (lambda x: x.tolist(), "torch.Tensor.*list"),
    "None": (lambda x: None, "torch.Tensor.*NoneType"),
    "sparse": (lambda x: x.to_sparse(), "sparse"),
    "quantised": (lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8), "quantised"),
    "complex": (lambda x: x.to(torch.complex64), "complex"),
    "integers": (lambda x: x.to(torch.int32), "float32, .*int32"),
    "booleans": (lambda x: x > 0, "float32, .*bool"),
    "nested": (lambda x: torch.nested.nested_tensor(list(x)), "nested"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("function", ["causal_conv1d", "causal_conv1d_update"])
@pytest.mark.parametrize("argument", ["x", "weight"])
@pytest.mark.parametrize("kind", REFUSED)
def test_refused_tensors(kind, argument, function):
    convert, message = REFUSED[kind]
    arguments = dict(x=made(B, D, T), weight=made(D, W), bias=made(D))
    if function == "causal_conv1d_update":
        arguments["conv_state"] = made(B, D, W)
    arguments[argument] = convert(arguments[argument])
    with pytest.raises(TypeError, match=rf"^{argument}: expected .*{message}"):
        getattr(ccmps, function)(**arguments)


@pytest.mark.parametrize("activation", ["gelu", "SiLU", 1, ["silu"]])
def test_activation_is_refused_with_the_list(activation):
    message = r"^activation: expected None, 'silu' or 'swish', got "
    with pytest.raises(NotImplementedError, match=message):
        ccmps.causal_conv1d(*inputs(), activation)
    with pytest.raises(NotImplementedError, match=message):
        ccmps.causal_conv1d_update(made(B, D), made(B, D, W), made(D, W), None, activation)
    with pytest.raises(NotImplementedError, match=message):
        ccmps.nn.CausalConv1d(D, activation=activation)


# --- information -----------------------------------------------------------------------------


def test_backends_and_info():
    backends = {backend["name"]: backend for backend in ccmps.backends()}
    assert set(backends) == {"cpu", "cuda", "mps"}
    assert backends["cpu"]["available"] is True
    for backend in backends.values():
        assert backend["detail"], f"{backend['name']} does not say why or how"
    info = ccmps.info()
    assert info["version"] == ccmps.__version__ == "0.2.0"
    assert info["torch"] == torch.__version__ and info["threads"] == torch.get_num_threads()
    assert info["cpu_implementations"][-1] == "scalar"
    assert all(key in str(info) for key in info)


def test_import_is_light():
    """Nothing that PyTorch has not already loaded is imported, apart from ours."""
    code = (
        "import sys, torch; before = set(sys.modules); import causal_conv1d_mps; "
        "print(*sorted(m for m in set(sys.modules) - before "
        "if not m.startswith('causal_conv1d_mps')))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy", "sympy", "transformers", "triton", "torch._dynamo", "torch._inductor"}
    assert not heavy & set(run.stdout.split())
