"""Gates on the Metal kernels: the cases and tests of tests/python/test_gates.py, on the harness."""

import contextlib
from dataclasses import dataclass
from unittest import mock

import backend  # makes tests/python importable
import cases
import gated
import oracle
import pytest
import test_gates
import torch
from table import Table
from test_operations import far


@dataclass(frozen=True)
class GatedCase:
    id: str
    convolution: cases.ConvCase
    gates: tuple

    @property
    def dtypes(self):
        return self.convolution.dtypes


def forward_and_backward(metal, case):
    with contextlib.ExitStack() as stack:
        if isinstance(oracle.forward, mock.Mock):  # as texts are compiled ahead: nothing is checked
            stack.enter_context(mock.patch.object(oracle, "check"))
            stack.enter_context(
                mock.patch.multiple(gated, forward=mock.DEFAULT, backward=mock.DEFAULT)
            )
        test_gates.test_forward_and_backward(metal, case.convolution, case.gates)


def gated_case(convolution, gates=test_gates.GATES[2]):
    return GatedCase(f"{convolution.id}-{'+'.join(gates)}", convolution, gates)


ALL = [GatedCase(p.id, *p.values) for p in test_gates.CASES]
CASES = Table(forward_and_backward, ALL[:-4:3] + ALL[-4:])  # 3: of every dtype, packing and layout
# Packs at pointers and shuffles, as on CUDA; slices of a projection, in whole packs and others.
FAR = Table(
    forward_and_backward,
    [
        gated_case(cases.ConvCase(1, 24, length, 4, dtype, layout=layout, packing=packing))
        for length, dtype in ((64, cases.BF16), (70, torch.float32))
        for layout in ("contiguous", "channel_last", "sliced", "sliced_time")
        for packing in (None, "seq_idx", "cu_seqlens")
    ]
    + [gated_case(cases.ConvCase(1, 2, length, 4, cases.BF16)) for length in (1024, 1029)],
    edit=far,
)


@CASES.each
def test_gated_case(place):
    CASES.run(place)


@FAR.each
def test_gates_with_offsets_of_64_bits(place):
    FAR.run(place)


@pytest.fixture(params=backend.BOTH_METALS, ids=str)
def metal(request):
    with request.param.enter():
        yield request.param


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_taps_are_rounded_products(metal, dtype):
    test_gates.test_taps_are_rounded_products(metal, dtype)


@pytest.mark.parametrize("layout", cases.MAIN_LAYOUTS)
def test_expanded_gates(metal, layout):
    test_gates.test_expanded_gates(metal, layout)


@pytest.mark.parametrize("layout", cases.MAIN_LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_prefill_is_decode(metal, dtype, layout):
    test_gates.test_prefill_is_decode(metal, dtype, layout, test_gates.GATES[2], "silu")


def test_updates_and_pools(metal):
    test_gates.test_update_of_ragged_rows_and_trees(metal)
    test_gates.test_pools(metal)


@pytest.mark.parametrize("packing", ["seq_idx", "cu_seqlens", "lengths"])
def test_padding_hides_nan(metal, packing):
    for layout in cases.MAIN_LAYOUTS:
        test_gates.test_padding_hides_nan(metal, packing, layout, False)
