"""Faults planted in the library's own kernels, one at a time: each is found as the operation runs.

The tests of the harness show that it finds faults in small kernels; these show that the operation
tests would.
"""

import backend
import cases
import harness
import pytest
import sizes
import torch
from test_backward import gradients

import causal_conv1d_mps as ccmps


def forward(layout="contiguous", dim=4):
    case = cases.ConvCase(1, dim, 36, 4, layout=layout)
    return lambda: ccmps.causal_conv1d_fn(**case.arguments())


def backward(layout):
    case = cases.ConvCase(1, 5, 300, 4, layout=layout)
    return lambda: gradients(case, "cpu")


def update(**arguments):
    case = cases.UpdateCase(4, 8, None, 4, 0, indices="rows")
    return lambda: ccmps.causal_conv1d_update(**case.arguments() | arguments)


FAULTS = {
    "store one pack beyond the row": (
        "if (t < seqlen) cc1d_store_numbered(",
        "if (t <= seqlen) cc1d_store_numbered(",
        forward(dim=1),
        harness.OutOfBoundsError,
    ),
    "load one step beyond the tensor": (
        "if (t < end) v = cc1d_load_channels(",
        "if (t <= end) v = cc1d_load_channels(",
        forward("channel_last"),
        harness.OutOfBoundsError,
    ),
    "load between 16-byte boundaries": (
        "row.boundary = tensor - offset;",
        "row.boundary = tensor - offset + 1;",
        forward(),
        harness.MisalignedError,
    ),
    "no barrier before the sums of a group are added": (
        "    BARRIER();\n    cc1d_offset_t part",
        "    cc1d_offset_t part",
        backward("channel_last"),
        harness.UninitialisedReadError,  # the first thread reads before the others have written
    ),
    "no barrier in the reduction": (
        "    BARRIER();\n    if (row == 0",
        "    if (row == 0",
        backward("contiguous"),
        harness.UninitialisedReadError,
    ),
    "a barrier that some threads do not reach": (
        "    BARRIER();\n    if (row == 0",
        "    if (row == 0) BARRIER();\n    if (row == 0",
        backward("contiguous"),
        harness.DivergenceError,
    ),
    "a shuffle that some lanes do not reach": (
        "neighbour.word[w] = SHUFFLE_ROTATE(",
        "if (lane != 0) neighbour.word[w] = SHUFFLE_ROTATE(",
        backward("contiguous"),
        harness.DivergenceError,
    ),
    "a row that two teams write": (
        "m.d = rest - slab_row * (uint)p.middle.divisor;",
        "m.d = 0;",
        forward(),
        harness.DataRaceError,
    ),
    "sums of runs that do not exist": (
        "if (group_end > p.seqlen) group_end = p.seqlen;",
        "",
        backward("channel_last"),
        harness.UninitialisedReadError,
    ),
    "a partial sum that is not written": (
        "if (lane == 0 && m.live) {",
        "if (lane == 0 && m.live && k > 0) {",
        backward("contiguous"),
        harness.UninitialisedReadError,
    ),
    "a step whose result is not written": (
        "                if (t + u < end)",
        "                if (t + u + 1 < end)",
        forward("channel_last"),
        AssertionError,
    ),
    "a state row that is not checked": (
        "return row < 0 || row >= rows || row == pad ? -1 : (int)row;",
        "return (int)row;",
        update(conv_state_indices=torch.tensor([0, 1, 2, 7], dtype=torch.int32)),
        harness.OutOfBoundsError,
    ),
    "the address space of another memory": (
        "FN void cc1d_store_pack(DEVICE cc1d_x_t *target",
        "FN void cc1d_store_pack(LOCAL cc1d_x_t *target",
        forward(),
        SyntaxError,
    ),
    "a byte that is not ASCII": ("FN void", "FN \u00e9void", forward(), SyntaxError),
    # What only large numbers show.
    "stale steps before a segment, from step 4096 on": (
        "before[u][back] = cc1d_load_raw(row, t, u * TEAM - back,",
        "before[u][back] = cc1d_load_raw(row, t, u * TEAM - back - (t > 4096 ? 1 : 0),",
        lambda: sizes.rows_of_5000("contiguous"),
        AssertionError,
    ),
    "a row's offset in 32 bits": (
        "return m.b * STRIDE(place, 0) + m.d * STRIDE(place, 1);",
        "return (uint)(m.b * STRIDE(place, 0) + m.d * STRIDE(place, 1));",
        lambda: sizes.far_rows(sizes.FAR_STRIDES["batch"]),
        harness.DataRaceError,  # two rows are one
    ),
    "the slab is not looked at": (
        "m.b = slab_row + group_y * (uint)p.slab;",
        "m.b = slab_row;",
        lambda: sizes.two_slabs(sizes.convolution("contiguous", 4)),
        harness.DataRaceError,
    ),
    "a circular position in 32 bits": (
        "(int)(position % length)",
        "(int)((uint)position % (uint)length)",
        sizes.far_positions,
        AssertionError,
    ),
    "a sum that keeps nothing of what it loses": (
        "lost = (total - sum) - value;",
        "lost = 0;",
        sizes.reduction_of_100_000_parts,
        AssertionError,
    ),
    "a division in float32": (
        "return (MULHI(n, by.multiplier) + n) >> by.shift;",
        "return (uint)((float)n / (float)by.divisor);",
        sizes.divisions,
        AssertionError,
    ),
}
UNMARKED = "a row's offset in 32 bits"  # its results are too far apart for the marks of their bytes


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name):
    right, wrong, call, error = FAULTS[name]
    planted = []
    marked = name != UNMARKED

    def compile_shader(source):
        planted.append(right in source)
        return backend.compile_quickly(source.replace(right, wrong))

    with backend.on_harness(backend.compile_quickly, marked=marked):
        call()
    with backend.on_harness(compile_shader, marked=marked), pytest.raises(error):
        call()
    assert all(planted)
