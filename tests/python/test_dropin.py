"""`import causal_conv1d` after install(): names, signatures, metadata, results, the way back."""

import importlib
import importlib.metadata
import importlib.util
import inspect
import subprocess
import sys
import types

import pytest
import torch
import torch.nn.functional as F

import causal_conv1d_mps as ccmps

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("causal_conv1d") is not None,
    reason="a causal_conv1d is installed, which the drop-in would have to shadow",
)

B, D, T, W = 2, 6, 11, 4

# Of Dao-AILab/causal-conv1d 1.7.
SIGNATURES = {
    ("causal_conv1d", "causal_conv1d_fn"): (
        "x, weight, bias=None, seq_idx=None, initial_states=None, return_final_states=False, "
        "final_states_out=None, activation=None"
    ),
    ("causal_conv1d", "causal_conv1d_update"): (
        "x, conv_state, weight, bias=None, activation=None, cache_seqlens=None, "
        "conv_state_indices=None"
    ),
    ("causal_conv1d.causal_conv1d_interface", "causal_conv1d_ref"): (
        "x, weight, bias=None, initial_states=None, return_final_states=False, "
        "final_states_out=None, activation=None, seq_idx=None"
    ),
    ("causal_conv1d.causal_conv1d_interface", "causal_conv1d_update_ref"): (
        "x, conv_state, weight, bias=None, activation=None, cache_seqlens=None"
    ),
    ("causal_conv1d.causal_conv1d_varlen", "causal_conv1d_varlen_states"): (
        "x, cu_seqlens, state_len"
    ),
    ("causal_conv1d.causal_conv1d_varlen", "causal_conv1d_varlen_states_ref"): (
        "x, cu_seqlens, state_len"
    ),
    ("causal_conv1d_cuda", "causal_conv1d_fwd"): (
        "x, weight, bias, seq_idx, initial_states, out, final_states_out, silu_activation, /"
    ),
    ("causal_conv1d_cuda", "causal_conv1d_bwd"): (
        "x, weight, bias, dout, seq_idx, initial_states, dfinal_states, dx, dweight, dbias, "
        "dinitial_states, silu_activation, /"
    ),
    ("causal_conv1d_cuda", "causal_conv1d_update"): (
        "x, conv_state, weight, bias, out, silu_activation, cache_seqlens, conv_state_indices, /"
    ),
    ("causal_conv1d.cpp_functions", "causal_conv1d_fwd_function"): (
        "x, weight, bias, seq_idx, initial_states, final_states_out, silu_activation"
    ),
    ("causal_conv1d.cpp_functions", "causal_conv1d_bwd_function"): (
        "x, weight, bias, dout, seq_idx, initial_states, dfinal_states, dx, "
        "return_dinitial_states, silu_activation"
    ),
    ("causal_conv1d.cpp_functions", "causal_conv1d_update_function"): (
        "x, conv_state, weight, bias, silu_activation, cache_seqlens, conv_state_indices"
    ),
}


def made(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator)


@pytest.fixture
def installed():
    ccmps.install()
    yield importlib.import_module("causal_conv1d")
    ccmps.uninstall()


@pytest.fixture
def impostor(tmp_path, monkeypatch):
    """Another causal_conv1d on the path."""
    package = tmp_path / "causal_conv1d"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = '9.9'\nfrom . import inner\n")
    (package / "inner.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield package
    ccmps.uninstall()
    for name in [n for n in sys.modules if n.split(".")[0] == "causal_conv1d"]:
        del sys.modules[name]


def test_without_install_there_is_nothing():
    assert importlib.util.find_spec("causal_conv1d") is None


def test_import_and_metadata(installed):
    spec = importlib.util.find_spec("causal_conv1d")
    assert spec is installed.__spec__ and spec.name == "causal_conv1d" and spec.origin
    assert installed.__name__ == "causal_conv1d" and installed.__file__ and installed.__path__
    interface = importlib.import_module("causal_conv1d.causal_conv1d_interface")
    assert interface.__spec__.name == "causal_conv1d.causal_conv1d_interface"
    assert interface.causal_conv1d_fn is installed.causal_conv1d_fn
    assert importlib.util.find_spec("causal_conv1d.cpp_functions") is not None
    assert importlib.util.find_spec("causal_conv1d.absent") is None

    version = installed.__version__
    for name in ("causal_conv1d", "causal-conv1d"):
        assert importlib.metadata.version(name) == version
    assert "causal_conv1d" in importlib.metadata.packages_distributions()
    numbers = tuple(int(part) for part in version.split("+")[0].split("."))
    assert numbers >= (1, 4, 0) and ccmps.__version__ in version


def test_packaging_orders_the_version(installed):
    version = pytest.importorskip("packaging.version")
    assert version.parse(installed.__version__) >= version.parse("1.7.0")


@pytest.mark.parametrize("place", SIGNATURES, ids=".".join)
def test_signatures(installed, place):
    module, name = place
    function = getattr(importlib.import_module(module), name)
    assert str(inspect.signature(function)) == f"({SIGNATURES[place]})"


def test_transformers_finds_it(installed):
    pytest.importorskip("transformers")
    from transformers.utils import import_utils

    available, version = import_utils._is_package_available("causal_conv1d", return_version=True)
    assert available and version == installed.__version__


def test_results_are_ours(installed):
    x, weight, bias = made(B, D, T), made(D, W), made(D)
    states = made(B, D, W - 1)
    found = installed.causal_conv1d_fn(
        x, weight, bias, initial_states=states, return_final_states=True, activation="silu"
    )
    expected = ccmps.causal_conv1d_fn(
        x, weight, bias, initial_states=states, return_final_states=True, activation="silu"
    )
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))

    ours, theirs = states.clone(), states.clone()
    assert torch.equal(
        installed.causal_conv1d_update(x, theirs, weight, bias, "silu"),
        ccmps.causal_conv1d_update(x, ours, weight, bias, "silu"),
    )
    assert torch.equal(ours, theirs)
    bounds = torch.tensor([0, 4, T])
    assert torch.equal(
        installed.causal_conv1d_varlen_states(x[0].mT, bounds, 3),
        ccmps.causal_conv1d_varlen_states(x[0].mT, bounds, 3),
    )


UNFUSED = {
    "gelu": F.gelu,
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "mish": F.mish,
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "softplus": F.softplus,
}


@pytest.mark.parametrize("name", UNFUSED)
def test_other_activations_are_applied_afterwards(installed, name):
    x, weight, bias = made(B, D, T).requires_grad_(), made(D, W), made(D)
    expected = UNFUSED[name](ccmps.causal_conv1d(x, weight, bias))
    found = installed.causal_conv1d_fn(x, weight, bias, activation=name)
    assert torch.equal(found, expected)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert torch.equal(gradient, torch.autograd.grad(expected.sum(), x)[0])
    by_function = installed.causal_conv1d_fn(x, weight, bias, activation=UNFUSED[name])
    assert torch.equal(by_function, expected)
    y, states = installed.causal_conv1d_fn(
        x, weight, bias, return_final_states=True, activation=name
    )
    assert torch.equal(y, expected) and torch.equal(states, x[..., -(W - 1) :])

    state = torch.zeros(B, D, W)
    y = installed.causal_conv1d_update(x.detach(), state, weight, bias, name)
    assert torch.equal(y, expected)


def test_an_unknown_activation_is_refused_with_the_list(installed):
    with pytest.raises(NotImplementedError, match=r"'silu'.*'gelu'.*got 'sliu'"):
        installed.causal_conv1d_fn(made(B, D, T), made(D, W), activation="sliu")


@pytest.mark.parametrize("activation", [["silu"], {}, 1])
def test_what_is_no_activation_at_all_is_refused_too(installed, activation):
    with pytest.raises(NotImplementedError, match=r"^activation: expected .*'gelu'.*got "):
        installed.causal_conv1d_fn(made(B, D, T), made(D, W), activation=activation)


def test_cpp_functions(installed):
    """As fused training code calls them: no autograd, and a dx of the caller's."""
    from causal_conv1d import cpp_functions

    x, weight, bias = made(B, D, T), made(D, W), made(D)
    states, dout, dfinal = made(B, D, W - 1), made(B, D, T, seed=1), made(B, D, W - 1, seed=1)
    leaves = [t.clone().requires_grad_() for t in (x, weight, bias, states)]
    y, final = ccmps.causal_conv1d_fn(
        *leaves[:3], None, leaves[3], return_final_states=True, activation="silu"
    )
    expected = torch.autograd.grad((y, final), leaves, (dout, dfinal))

    target = torch.full_like(final, 7.0)
    out = cpp_functions.causal_conv1d_fwd_function(
        x, weight.requires_grad_(), bias, None, states, target, True
    )
    assert torch.equal(out, y) and not out.requires_grad and torch.equal(target, final)

    wide = torch.full((B, 3 * D, T), 7.0)
    dx = wide[:, D : 2 * D]  # a slice of a larger gradient
    found = cpp_functions.causal_conv1d_bwd_function(
        x, weight, bias, dout, None, states, dfinal, dx, True, True
    )
    assert found[0] is dx
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))
    assert (wide[:, :D] == 7).all() and (wide[:, 2 * D :] == 7).all()

    found = cpp_functions.causal_conv1d_bwd_function(
        x, weight, None, dout, None, None, None, None, False, False
    )
    assert found[0].shape == x.shape and found[1].shape == weight.shape
    assert found[2] is None and found[3] is None

    ours, theirs = torch.zeros(B, D, W), torch.zeros(B, D, W)
    y = cpp_functions.causal_conv1d_update_function(x, theirs, weight, bias, True, None, None)
    assert not y.requires_grad
    with torch.no_grad():
        assert torch.equal(y, ccmps.causal_conv1d_update(x, ours, weight, bias, "silu"))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("with_dx", [False, True])
def test_backward_function_under_compile_and_on_fake_tensors(installed, with_dx):
    from causal_conv1d.cpp_functions import causal_conv1d_bwd_function
    from torch._subclasses.fake_tensor import FakeTensorMode

    x, weight, bias, dout = made(B, D, T), made(D, W), made(D), made(B, D, T, seed=1)

    def call(x, weight, bias, dout, dx):
        return causal_conv1d_bwd_function(x, weight, bias, dout, None, None, None, dx, True, True)

    def target():
        return torch.zeros(B, D, T) if with_dx else None

    expected, dx = call(x, weight, bias, dout, None), target()
    found = torch.compile(call, fullgraph=True)(x, weight, bias, dout, dx)
    assert expected[3] is None and found[3] is None, "there are no initial states"
    for f, e in zip(found[:3], expected[:3], strict=True):
        torch.testing.assert_close(f, e)
    if with_dx:
        assert torch.equal(dx, expected[0])
    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(t) for t in (x, weight, bias, dout)]
        shapes = [None if g is None else g.shape for g in call(*fakes, target())]
    assert shapes == [x.shape, weight.shape, bias.shape, None]


def test_activations_that_are_not_0_at_0_leave_padding_at_0(installed):
    x, ids = made(B, D, T), torch.zeros(B, T, dtype=torch.int32)
    ids[:, 5:] = -1
    for name in ("softplus", "sigmoid"):
        y = installed.causal_conv1d_fn(x, made(D, W), seq_idx=ids, activation=name)
        assert (y[..., 5:] == 0).all() and (y[..., :5] != 0).all()


def test_the_compiled_modules_functions(installed):
    """causal_conv1d_cuda: results go into the caller's tensors, weights' gradients are added."""
    import causal_conv1d_cuda

    x, weight, bias, dout = made(B, D, T), made(D, W), made(D), made(B, D, T, seed=1)
    states, dfinal = made(B, D, W - 1), made(B, D, W - 1, seed=1)
    leaves = [t.clone().requires_grad_() for t in (x, weight, bias, states)]
    y, final = ccmps.causal_conv1d_fn(
        *leaves[:3], None, leaves[3], return_final_states=True, activation="silu"
    )
    expected = torch.autograd.grad((y, final), leaves, (dout, dfinal))
    out, final_out = torch.empty_like(x), torch.empty_like(states)
    assert (
        causal_conv1d_cuda.causal_conv1d_fwd(x, weight, bias, None, states, out, final_out, True)
        is None
    )
    assert torch.equal(out, y) and torch.equal(final_out, final)
    dx, dstates = torch.empty_like(x), torch.empty_like(states)
    dweight, dbias = torch.ones(D, W), torch.ones(D)
    causal_conv1d_cuda.causal_conv1d_bwd(
        x, weight, bias, dout, None, states, dfinal, dx, dweight, dbias, dstates, True
    )
    for found, value in zip((dx, dweight - 1, dbias - 1, dstates), expected, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-6)
    assert torch.equal(dx, expected[0]) and torch.equal(dstates, expected[3])

    pool, twin = made(B + 2, D, W), made(B + 2, D, W)
    rows = torch.tensor([3, 0], dtype=torch.int32)
    causal_conv1d_cuda.causal_conv1d_update(x, pool, weight, None, out, False, None, rows)
    assert torch.equal(out, ccmps.causal_conv1d_update(x, twin, weight, conv_state_indices=rows))
    assert torch.equal(pool, twin)


def test_references_agree(installed):
    """The references are PyTorch operations; the functions beside them are kernels."""
    from causal_conv1d.causal_conv1d_interface import causal_conv1d_ref, causal_conv1d_update_ref
    from causal_conv1d.causal_conv1d_varlen import causal_conv1d_varlen_states_ref

    x, weight, bias, states = made(B, D, T), made(D, W), made(D), made(B, D, W - 1)
    ids = torch.tensor([[0] * 5 + [1] * 4 + [-1] * 2] * B, dtype=torch.int32)
    for options in (
        dict(initial_states=states),
        dict(initial_states=states, return_final_states=True, activation="silu"),
        dict(seq_idx=ids, initial_states=states, activation="swish"),
    ):
        found = causal_conv1d_ref(x, weight, bias, **options)
        expected = installed.causal_conv1d_fn(x, weight, bias, **options)
        torch.testing.assert_close(found, expected)
    target = torch.empty_like(states)
    assert (
        causal_conv1d_ref(x, weight, return_final_states=True, final_states_out=target)[1] is target
    )
    assert torch.equal(target, x[..., -(W - 1) :])
    for length, size in ((1, 3), (1, 4), (3, 5), (7, 4)):
        for places in (None, torch.tensor([2, 9], dtype=torch.int32)):
            steps = x[..., :length]
            ours, theirs = made(B, D, size), made(B, D, size)
            torch.testing.assert_close(
                causal_conv1d_update_ref(steps, theirs, weight, bias, "silu", places),
                installed.causal_conv1d_update(steps, ours, weight, bias, "silu", places),
            )
            assert torch.equal(theirs, ours)
    token = made(B, D)
    assert causal_conv1d_update_ref(token, ours, weight).shape == token.shape
    bounds = torch.tensor([0, 4, 4, 5, T])
    for size in (1, 3, 20):
        assert torch.equal(
            causal_conv1d_varlen_states_ref(x[0].mT, bounds, size),
            installed.causal_conv1d_varlen_states(x[0].mT, bounds, size),
        )


def test_the_autograd_function(installed):
    x, weight = made(B, D, T).double().requires_grad_(), made(D, W).double()
    function = installed.CausalConv1dFn
    y, final = function.apply(x, weight, None, None, None, True, None, "silu")
    expected = ccmps.causal_conv1d(x, weight, None, "silu")
    assert torch.equal(y, expected) and torch.equal(final, x[..., -(W - 1) :])
    assert torch.autograd.gradgradcheck(lambda x: function.apply(x[..., :4], weight), (x,))
    compiled = torch.compile(lambda x: function.apply(x, weight), fullgraph=True)
    torch.testing.assert_close(compiled(x), function.apply(x, weight))


def test_the_adapter_is_the_same_source_as_the_dropin(installed):
    from causal_conv1d_mps.compat import dao

    assert dao.__version__ == installed.__version__
    assert dao.__all__ == installed.__all__
    for name in dao.__all__:
        if name != "__version__":
            ours, theirs = (getattr(module, name) for module in (dao, installed))
            assert inspect.getsourcefile(ours) == inspect.getsourcefile(theirs)


def test_fused_training_code(installed):
    """The way mamba_ssm's fused blocks use the package: recompute and backward by hand."""
    from causal_conv1d.cpp_functions import causal_conv1d_bwd_function, causal_conv1d_fwd_function

    class Fused(torch.autograd.Function):
        @staticmethod
        def forward(ctx, xz, weight, bias):
            x, z = xz.chunk(2, dim=1)
            y = causal_conv1d_fwd_function(x, weight, bias, None, None, None, True)
            ctx.save_for_backward(xz, weight, bias)
            return y * F.silu(z)

        @staticmethod
        def backward(ctx, dout):
            xz, weight, bias = ctx.saved_tensors
            x, z = xz.chunk(2, dim=1)
            y = causal_conv1d_fwd_function(x, weight, bias, None, None, None, True)
            dxz = torch.empty_like(xz)
            dx, dz = dxz.chunk(2, dim=1)
            s = torch.sigmoid(z)
            dz.copy_(dout * y * s * (1 + z * (1 - s)))
            _, dweight, dbias, _ = causal_conv1d_bwd_function(
                x, weight, bias, dout * F.silu(z), None, None, None, dx, False, True
            )
            return dxz, dweight, dbias

    tensors = [t.requires_grad_() for t in (made(B, 2 * D, T), made(D, W), made(D))]
    xz, weight, bias = tensors
    found = Fused.apply(*tensors)
    x, z = xz.chunk(2, dim=1)
    conv = F.conv1d(x, weight[:, None], bias, padding=W - 1, groups=D)[..., :T]
    expected = F.silu(conv) * F.silu(z)
    torch.testing.assert_close(found, expected)
    for f, e in zip(
        torch.autograd.grad(found.square().sum(), tensors),
        torch.autograd.grad(expected.square().sum(), tensors),
        strict=True,
    ):
        torch.testing.assert_close(f, e, rtol=1e-4, atol=1e-5)


def test_install_twice_uninstall_twice():
    finders = list(sys.meta_path)
    ccmps.install()
    ccmps.install()
    assert len(sys.meta_path) == len(finders) + 1
    importlib.import_module("causal_conv1d.cpp_functions")
    ccmps.uninstall()
    assert sys.meta_path == finders
    assert not [name for name in sys.modules if name.split(".")[0] == "causal_conv1d"]
    with pytest.raises(ImportError):
        importlib.import_module("causal_conv1d")
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("causal_conv1d")
    ccmps.uninstall()
    assert sys.meta_path == finders


@pytest.mark.parametrize("imported", [False, True])
def test_another_causal_conv1d_is_not_shadowed(impostor, imported):
    if imported:
        importlib.import_module("causal_conv1d")
    with pytest.raises(ImportError, match=r"already installed .*causal_conv1d.*force=True"):
        ccmps.install()
    assert importlib.import_module("causal_conv1d").__version__ == "9.9"


def test_force_and_restore(impostor):
    other = importlib.import_module("causal_conv1d")
    ccmps.install(force=True)
    ours = importlib.import_module("causal_conv1d")
    assert ours is not other and ours.__version__ != "9.9"
    assert "causal_conv1d.inner" not in sys.modules
    ccmps.uninstall()
    assert sys.modules["causal_conv1d"] is other
    assert "causal_conv1d.inner" in sys.modules


def test_a_module_made_by_hand_is_another(monkeypatch):
    monkeypatch.setitem(sys.modules, "causal_conv1d", types.ModuleType("causal_conv1d"))
    with pytest.raises(ImportError, match="already installed"):
        ccmps.install()


def test_a_blocked_import_is_none(monkeypatch):
    """None in sys.modules makes an import fail; install() takes its place for a while."""
    monkeypatch.setitem(sys.modules, "causal_conv1d", None)
    ccmps.install()
    try:
        assert importlib.import_module("causal_conv1d").causal_conv1d_fn
    finally:
        ccmps.uninstall()
    assert sys.modules["causal_conv1d"] is None


def test_in_a_fresh_process():
    code = (
        "import causal_conv1d_mps; causal_conv1d_mps.install(); "
        "from causal_conv1d import causal_conv1d_fn; import torch; "
        "print(tuple(causal_conv1d_fn(torch.ones(1, 2, 3), torch.ones(2, 4)).shape))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "(1, 2, 3)"
