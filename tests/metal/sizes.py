"""Calls whose numbers are large while their memory is small, each against the reference.

They show what only does beyond 4096 steps, 2^32 elements, one slab, 2^32 positions, ten thousand
sums, 2^24 units. test_sizes.py makes them on the harness; test_planted_faults.py with a fault.
"""

import contextlib
import math
import mmap
import re
from unittest import mock

import cases
import harness
import oracle
import test_backward
import test_forward
import torch
from backend import METAL
from harness.memory import NORESERVE
from inputs import same_bits, values, weights

import causal_conv1d_mps as ccmps
from causal_conv1d_mps import _metal

# ---- Long rows ----


def rows_of_5000(layout):
    case = cases.ConvCase(1, 2, 5000, 4, layout=layout)
    test_forward.test_forward(METAL, case)
    test_backward.test_backward(METAL, case)


# ---- Rows 2^32 elements apart ----

FAR = 2**32  # elements: cut to 32 bits, the offset of a row becomes that of another
FAR_STRIDES = {
    "batch": (FAR, 40, 1),
    "dim": (40, FAR, 1),
    "time": (1, 2, FAR),
    "channel_last": (FAR, 1, 5),
}


def far_apart(tensor, strides):
    """A copy in memory that is not there until it is touched."""
    reach = sum((n - 1) * stride for n, stride in zip(tensor.shape, strides)) + 1
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE
    memory = mmap.mmap(-1, reach * tensor.element_size(), flags=flags)
    view = torch.frombuffer(memory, dtype=tensor.dtype).as_strided(tensor.shape, strides)
    return view.copy_(tensor)


def far_rows(strides, width=4):
    x, dout, residual, out = (
        far_apart(values((2, 3, 20), torch.bfloat16, i), strides) for i in range(4)
    )
    given = dict(weight=weights((3, width), torch.float32, 4), activation="silu")
    y = ccmps.causal_conv1d_fn(x, **given, residual=residual, out=out)
    oracle.check(y, oracle.forward(x, **given, residual=residual).y, "y")
    x.requires_grad_()
    (dx,) = torch.autograd.grad(ccmps.causal_conv1d_fn(x, **given), x, dout)
    oracle.check(dx, oracle.backward(dout, x.detach(), **given).x, "gradient of x")


def far_states():
    pool = far_apart(values((3, 5, 4), torch.bfloat16, 1), (FAR, 4, 1))
    x, weight = values((2, 5), torch.bfloat16, 2), weights((5, 4), torch.float32, 3)
    rows = torch.tensor([2, 1])
    want = oracle.update(x, pool, weight, conv_state_indices=rows)
    y = ccmps.causal_conv1d_update(x, pool, weight, conv_state_indices=rows)
    oracle.check(y, want.y, "y")
    oracle.check_exact(pool, want.conv_state, "conv_state")


# ---- Two slabs ----


def _words_before(struct, field):
    """Where a field of the kernels' params lies, in words."""
    words = {"int": 1, "cc1d_long": 2, "cc1d_divisor": 3, "cc1d_place": 6}
    text = re.sub(r"/\*.*?\*/", "", _metal.metal_source(), flags=re.DOTALL)
    fields = re.search(rf"typedef struct {struct} {{([^}}]*)}}", text)[1]
    at = 0
    for kind, names in re.findall(r"(\w+) ([\w, ]+);", fields):
        for name in names.split(","):
            if name.strip() == field:
                return at
            at += words[kind]
    raise KeyError(field)


@contextlib.contextmanager
def _kernels(replaced):
    """With replaced(name, kernel) for every kernel."""

    class Library:
        def __init__(self, source):
            self._library = compile_shader(source)

        def __getattr__(self, name):
            return replaced(name, getattr(self._library, name))

    compile_shader = _metal.compile_shader
    with (
        mock.patch.object(_metal, "compile_shader", Library),
        mock.patch.dict(_metal.kernels, clear=True),
    ):
        yield


def _in_two_slabs(name, words, threads, group_size):
    """As plan_build.c plans what has too many units for one: half of the rows in each."""
    if name == "cc1d_backward_reduce":  # which has one row
        return words, threads
    struct = "cc1d_update_params" if "update" in name else "cc1d_conv_params"
    at = _words_before(struct, "slab")
    assert _words_before(struct, "units") == at + 1
    rows, units = words[at : at + 2]
    assert units % rows == 0 and threads[1] == 1
    if rows == 1:
        return words, threads
    slab = -(-rows // 2)
    fewer = units // rows * slab
    words = [*words[:at], slab, fewer, *words[at + 2 :]]
    # A group is a unit, or it compares its units with how many there are.
    across = fewer * group_size[0] if units * group_size[0] == threads[0] else threads[0]
    return words, (across, -(-rows // slab), *threads[2:])


def two_slabs(call):
    """The call's results have the bits of one slab. Gives how many launches were cut."""
    cut = []

    def halved(name, kernel):
        def launch(*arguments, threads, group_size, **options):
            *buffers, words = arguments
            changed = _in_two_slabs(name, words, threads, group_size)
            cut.append(changed != (words, threads))
            words, threads = changed
            kernel(*buffers, words, threads=threads, group_size=group_size, **options)

        return launch

    one = call()
    with _kernels(halved):
        two = call()
    assert all(same_bits(a, b) for a, b in zip(one, two, strict=True))
    return sum(cut)


def convolution(layout, width, packing=None):
    case = cases.ConvCase(
        3, 2, 40, width, layout=layout, initial=True, final="returned", packing=packing
    )

    def call():
        arguments, _, gradients = test_backward.gradients(case, "cpu")
        return [ccmps.causal_conv1d_fn(**arguments), *gradients.values()]

    return call


def update(batch, length):
    def call():
        arguments = cases.UpdateCase(batch, 8, length, 4, 0).arguments()
        return [ccmps.causal_conv1d_update(**arguments), arguments["conv_state"]]

    return call


# ---- Positions beyond 32 bits ----


def far_positions():
    """Of a ring of 5: 2^32 and 2^40 are no multiples of it."""
    case = cases.UpdateCase(2, 3, 2, 4, 2, mode="circular")
    arguments = case.arguments() | dict(cache_seqlens=torch.tensor([2**40 + 3, 2**32 + 6]))
    assert arguments["conv_state"].shape[2] == 5
    want = oracle.update(**arguments)
    y = ccmps.causal_conv1d_update(**arguments)
    oracle.check(y, want.y, "y")
    oracle.check_exact(arguments["conv_state"], want.conv_state, "conv_state")


# ---- Many partial sums ----


def reduction_of_100_000_parts():
    """Equal parts, so that every rounding of a plain sum goes the same way. They are put where the
    kernel before the reduction would leave them, which takes far longer than to add them."""
    parts, part = 100_000, 0.21
    x, dout = torch.ones(parts, 1, 2), torch.ones(parts, 1, 2)
    weight, bias = torch.ones(1, 1, requires_grad=True), torch.zeros(1, requires_grad=True)

    def reduce_only(name, kernel):
        def launch(*arguments, **options):
            if name != "cc1d_backward_reduce":
                return
            *buffers, words = arguments
            assert words[_words_before("cc1d_reduce_params", "parts")] == parts
            scratch = max(buffers, key=lambda buffer: buffer.nbytes)
            scratch.view(torch.float32)[: 2 * parts] = part
            harness.initialised(scratch)
            kernel(*arguments, **options)

        return launch

    y = ccmps.causal_conv1d_fn(x, weight, bias)
    with _kernels(reduce_only):
        found = torch.autograd.grad(y, (weight, bias), dout)
    exact = parts * torch.tensor(part).double()
    error = (math.log2(x.numel()) + 2) * 2.0**-23 * exact
    for sum_, name in zip(found, ("weight", "bias")):
        want = oracle.Bounded(exact.expand(sum_.shape), error.expand(sum_.shape))
        oracle.check(sum_, want, f"gradient of {name}")


# ---- Division ----

DIVIDE = """
kernel void cc1d_test_divide(device const uint *n [[buffer(0)]], device uint *q [[buffer(1)]],
                             constant cc1d_divisor &by [[buffer(2)]],
                             uint i [[thread_position_in_grid]]) {
    q[i] = cc1d_divide(n[i], by);
}
"""


def divisions():
    """cc1d_divide of every kind of number below 2^31, about multiples of the divisor above all."""
    divide = _metal.compile_shader(_some_text() + DIVIDE).cc1d_test_divide
    for divisor in (1, 2, 3, 5, 7, 641, 2**16 + 1, 2**24 - 1, 2**24 + 3, 2**30, 2**31 - 1):
        n = _about_multiples(divisor)
        shift = (divisor - 1).bit_length()
        multiplier = ((2**shift - divisor) << 32) // divisor + 1
        quotient = torch.zeros_like(n)
        words = [divisor, multiplier - 2**32 * (multiplier >= 2**31), shift]
        divide(n, quotient, words, threads=len(n), group_size=256, arg_casts="int32")
        assert torch.equal(quotient, n // divisor), f"divisor {divisor}"


def _about_multiples(divisor):
    generator = torch.Generator().manual_seed(divisor)
    most = 2**31 - 1
    any_number = torch.randint(0, most, (200,), generator=generator)
    edges = torch.tensor([0, 1, 2**24, 2**24 + 1, most // divisor * divisor, most])
    multiples = torch.cat([any_number, edges]) // divisor * divisor
    n = torch.cat([any_number, edges, multiples - 1, multiples, multiples + 1])
    return n.clamp(0, most).to(torch.int32)


def _some_text():
    """Of a kernel that was specialised."""
    x, bounds = torch.zeros(1, 4), torch.tensor([0, 4], dtype=torch.int32)
    texts, compile_shader = [], _metal.compile_shader

    def compiled(source):
        texts.append(source)
        return compile_shader(source)

    with (
        mock.patch.object(_metal, "compile_shader", compiled),
        mock.patch.dict(_metal.kernels, clear=True),
    ):
        ccmps.causal_conv1d_varlen_states(x.T, bounds, 2)
    return texts[0]
