"""Memory traffic of the Metal kernels: lines of 64 bytes per threadgroup, against what has to move.

Necessary are the tensors once each, the weights and their gradients, and the halo: the steps around
a threadgroup's own that it has to see. Beside ours, a kernel in the style of the prior
implementation, one thread per output that reads its taps itself.
"""

import backend
import harness
import pytest
import torch

from causal_conv1d_mps import _C, causal_conv1d_fn
from causal_conv1d_mps._tables import arrange

WIDTH = 4
SHAPES = [(2, 128, 256), (1, 64, 2048), (2, 256, 1024)]
EXCESS = 1.05

ONE_THREAD_PER_OUTPUT = """
#include <metal_stdlib>
using namespace metal;
kernel void forward(device const ushort *x [[buffer(0)]], device const float *w [[buffer(1)]],
                    device const float *bias [[buffer(2)]], device ushort *y [[buffer(3)]],
                    constant int2 &size [[buffer(4)]], uint i [[thread_position_in_grid]]) {
    int t = int(i) % size.y, d = int(i) / size.y % size.x;
    float acc = bias[d];
    for (int k = 0; k < 4; k++)
        if (t + k >= 3) acc += w[4 * d + k] * as_type<float>(uint(x[int(i) + k - 3]) << 16);
    acc = acc / (1.0f + exp(-acc));
    y[i] = ushort(as_type<uint>(acc) >> 16);
}
"""


@pytest.fixture(autouse=True)
def metal():
    with backend.on_harness(), harness.checks(races=False):
        yield


def tensor(shape, dtype, layout):
    batch, dim, length = shape
    if layout == "contiguous":
        return torch.randn(batch, dim, length).to(dtype)
    return torch.randn(batch, length, dim).to(dtype).transpose(1, 2)


def size(*tensors):
    return sum(t.numel() * t.element_size() for t in tensors)


def parameters(dim):
    return torch.randn(dim, WIDTH), torch.randn(dim)


def forward(shape, dtype, layout):
    x = tensor(shape, dtype, layout)
    weight, bias = parameters(shape[1])
    y = torch.empty_like(x)
    with harness.count_traffic() as moved:
        _C.run("forward", arrange("forward", x=x, weight=weight, bias=bias, out=y), 1)
    return moved, size(x, y, weight, bias)


def backward(shape, dtype, layout):
    x, dout = tensor(shape, dtype, layout), tensor(shape, dtype, layout)
    weight, bias = parameters(shape[1])
    dx, dweight, dbias = map(torch.empty_like, (x, weight, bias))
    inputs = dict(dout=dout, x=x, weight=weight, bias=bias)
    results = dict(dx=dx, dweight=dweight, dbias=dbias)
    with harness.count_traffic() as moved:
        _C.run("backward", arrange("backward", **inputs, **results), 1)
    return moved, size(dout, x, weight, bias, dx, dweight, dbias)


def update(shape, dtype, state_len):
    batch, dim = shape
    x, state = torch.randn(batch, dim).to(dtype), torch.randn(batch, dim, state_len).to(dtype)
    weight, bias = parameters(dim)
    y = torch.empty_like(x)
    with harness.count_traffic() as moved:
        named = dict(x=x, conv_state=state, weight=weight, bias=bias, out=y)
        _C.run("update", arrange("update", **named), 1)
    return moved, size(x, y, state, state, weight, bias)


def halo(operation, length):
    """What a threadgroup of 256 steps or more reads around them, as a fraction of the tensors."""
    steps = WIDTH - 1
    per_group = steps / 2 if operation is forward else (2 * steps + steps) / 3
    return per_group / min(length, 256) if length > 256 else 0.0


@pytest.mark.parametrize("layout", ["contiguous", "channel_last"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("operation", [forward, backward])
def test_only_what_is_necessary_moves(operation, shape, dtype, layout):
    moved, necessary = operation(shape, dtype, layout)
    assert moved.group_bytes <= EXCESS * necessary * (1 + halo(operation, shape[2]))
    assert moved.launch_bytes >= necessary  # or something was not counted


def projected(shape, dtype, layout):
    """Three tensors: slices of one projection."""
    batch, dim, length = shape
    return tensor((batch, 3 * dim, length), dtype, layout).split(dim, dim=1)


@pytest.mark.parametrize("layout", ["contiguous", "channel_last"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_gates_move_once(dtype, layout):
    """Four tensors forward, seven backward, and nothing else."""
    shape = (1, 128, 1024)
    x, pre_gate, post_gate = projected(shape, dtype, layout)
    dx, dpre_gate, dpost_gate = projected(shape, dtype, layout)
    weight, bias = parameters(shape[1])
    inputs = dict(x=x, weight=weight, bias=bias, pre_gate=pre_gate, post_gate=post_gate)
    y, dout = tensor(shape, dtype, layout), tensor(shape, dtype, layout)
    with harness.count_traffic() as moved:
        _C.run("forward", arrange("forward", **inputs, out=y), 1)
    necessary = size(y, *inputs.values())
    assert moved.group_bytes <= EXCESS * necessary * (1 + halo(forward, shape[2]))
    assert moved.launch_bytes >= necessary
    results = dict(dx=dx, dpre_gate=dpre_gate, dpost_gate=dpost_gate)
    results.update(dweight=torch.empty_like(weight), dbias=torch.empty_like(bias))
    with harness.count_traffic() as moved:
        _C.run("backward", arrange("backward", dout=dout, **inputs, **results), 1)
    necessary = size(dout, *inputs.values(), *results.values())
    assert moved.group_bytes <= EXCESS * necessary * (1 + halo(backward, shape[2]))
    assert moved.launch_bytes >= necessary


@pytest.mark.parametrize("layout", ["contiguous", "channel_last"])
def test_a_pool_adds_its_rows(layout):
    """Packed sequences from and into a pool: as without packing, and the rows, once each way."""
    shape, bounds = (1, 128, 4096), torch.tensor([0, 1000, 1003, 4001, 4096])
    x, (weight, bias) = tensor(shape, torch.bfloat16, layout), parameters(shape[1])
    pool, rows = torch.randn(9, shape[1], 3).to(x.dtype), torch.tensor([7, 0, 3, 4])
    plain, necessary = forward(shape, x.dtype, layout)
    with harness.count_traffic() as moved:
        y = causal_conv1d_fn(
            x,
            weight,
            bias,
            activation="silu",
            cu_seqlens=bounds,
            conv_states=pool,
            conv_state_indices=rows,
            has_initial_state=torch.tensor([True, False, True, True]),
        )
    assert y.any() and moved.launch_bytes >= necessary
    assert moved.group_bytes <= EXCESS * (plain.group_bytes + 2 * size(pool[rows]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("state_len", [3, 4])
def test_update_moves_only_what_is_necessary(state_len, dtype):
    """Weights are shared by the batch rows of a threadgroup, so they come in once per 32 rows."""
    shape = (256, 1024)
    moved, necessary = update(shape, dtype, state_len)
    weights = size(*parameters(shape[1]))
    assert moved.group_bytes <= EXCESS * (necessary + (shape[0] // 32 - 1) * weights)
    assert moved.launch_bytes >= necessary
    if state_len == 4:  # neighbours' accesses lie side by side: no line is asked for twice
        states = moved.buffers[3]
        each = shape[0] * shape[1] * state_len * dtype.itemsize
        assert states.load_bytes == states.store_bytes == each


def test_one_thread_per_output_moves_more():
    shape = (2, 128, 256)
    x = tensor(shape, torch.bfloat16, "contiguous")
    y = torch.empty_like(x)
    kernel = harness.compile_shader(ONE_THREAD_PER_OUTPUT).forward
    sizes = list(shape[1:])
    kernel(x, *parameters(128), y, sizes, threads=x.numel(), group_size=256, arg_casts="int32")
    plain = kernel.last_traffic
    ours, _ = forward(shape, torch.bfloat16, "contiguous")
    # Before any cache: every tap is a load of its own there, and here a pack of 16 bytes, and the
    # end of the pack before it.
    assert plain.load_bytes > 4 * ours.load_bytes
    assert plain.loads > 16 * ours.loads
