"""NumPy arrays, and anything else with __dlpack__, through the compiled module."""

import numpy as np
import oracle
import pytest
import torch
from inputs import same_bits, values, weights

from causal_conv1d_mps import _C
from causal_conv1d_mps._tables import arrange


class OnlyDLPack:
    """A tensor of some other library: nothing but the protocol."""

    def __init__(self, tensor):
        self._tensor = tensor

    def __dlpack__(self, **options):
        return self._tensor.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._tensor.__dlpack_device__()


def problem(dtype):
    return values((2, 9, 33), dtype, 1), weights((9, 4), dtype, 2), weights((9,), dtype, 3)


def forward(x, weight, bias, out, final_states=None):
    given = dict(x=x, weight=weight, bias=bias, out=out, final_states=final_states)
    _C.run("forward", arrange("forward", **given), 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
@pytest.mark.parametrize("channel_last", [False, True])
def test_numpy_arrays(dtype, channel_last):
    x, weight, bias = problem(dtype)
    x = x.mT.contiguous().mT if channel_last else x
    out, final_states = np.empty((2, 9, 33), x.numpy().dtype), np.empty((2, 9, 3), x.numpy().dtype)
    forward(x.numpy(), weight.numpy(), bias.numpy(), out, final_states)
    want = oracle.forward(x, weight, bias, activation="silu")
    oracle.check(torch.from_numpy(out), want.y, "y")
    oracle.check(torch.from_numpy(final_states), want.final_states, "final_states")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_dlpack_object_gives_the_same_bits(dtype):
    x, weight, bias = problem(dtype)
    by_torch, by_dlpack = torch.empty_like(x), torch.empty_like(x)
    forward(x, weight, bias, by_torch)
    forward(*map(OnlyDLPack, (x, weight, bias, by_dlpack)))
    assert same_bits(by_torch, by_dlpack)


def test_a_strided_numpy_view():
    x = values((2, 18, 33), torch.float32, 1).numpy()[:, ::2]
    out = np.zeros((2, 9, 40), np.float32)
    weight = weights((9, 4), torch.float32, 2)
    forward(x, weight.numpy(), None, out[..., 3:36])
    want = oracle.forward(torch.from_numpy(x.copy()), weight, activation="silu")
    oracle.check(torch.from_numpy(out[..., 3:36].copy()), want.y, "y")
    assert not out[..., :3].any() and not out[..., 36:].any()


def test_a_read_only_array_is_an_input_but_not_an_output():
    x, out = np.ones((1, 2, 5), np.float32), np.zeros((1, 2, 5), np.float32)
    weight = np.ones((2, 4), np.float32)
    out.flags.writeable = False
    with pytest.raises((TypeError, ValueError, BufferError), match=r"read-?only"):
        forward(x, weight, None, out)
    assert not out.any()


@pytest.mark.parametrize("wrap", [torch.Tensor.numpy, OnlyDLPack])
def test_update_in_place(wrap):
    x, weight = values((2, 9), torch.float32, 1), weights((9, 4), torch.float32, 2)
    state, out = values((2, 9, 3), torch.float32, 3), torch.empty(2, 9)
    want = oracle.update(x, state, weight, activation="silu")
    given = dict(x=x, conv_state=state, weight=weight, out=out)
    given = {name: wrap(tensor) for name, tensor in given.items()}
    _C.run("update", arrange("update", **given), 1)
    oracle.check(out, want.y, "y")
    assert same_bits(state, want.conv_state)


@pytest.mark.parametrize(
    "wrong, exception, message",
    [
        ([1.0], TypeError, "^x: .*list"),
        (None, ValueError, "^x: expected a tensor, got none"),
        (np.ones((2, 9, 33), np.int16), TypeError, "^x: .*float32"),
        (np.ones((9, 33), np.float32), ValueError, r"^x: .*\(B, D, T\).*\(9, 33\)"),
        (np.ones((2, 9, 33), np.float32)[..., ::-1], ValueError, "^x: .*stride"),
    ],
    ids=["list", "None", "int16", "2-d", "negative stride"],
)
def test_what_is_no_tensor_is_refused(wrong, exception, message):
    out = np.zeros((2, 9, 33), np.float32)
    weight = np.ones((9, 4), np.float32)
    with pytest.raises(exception, match=message):
        forward(wrong, weight, None, out)
    assert not out.any()
