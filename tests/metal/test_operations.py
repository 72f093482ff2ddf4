"""The operation table on the Metal kernels: through the MPS path, executed by the harness.

The cases and the tests are those of tests/python, which CPU and CUDA pass. A case can take a
second, because its kernels are compiled twice (to run, and with real address spaces), so every
eleventh runs unless CAUSAL_CONV1D_ALL_CASES is set.
"""

from unittest import mock

import backend
import cases
import hypothesis
import pytest
import test_backward
import test_forward
import test_invariance
import test_special_values as special
import test_update
import test_varlen_states
import torch
from backend import ALL_CASES, METAL

BOTH = ("contiguous", "channel_last")


@pytest.fixture
def metal():
    with backend.on_harness():
        yield METAL


def chosen(table):
    here = [case for case in table if METAL.supports(*case.dtypes)]
    return pytest.mark.parametrize(
        "case", here[:: 1 if ALL_CASES else 11], ids=lambda case: case.id
    )


@chosen(cases.FORWARD)
def test_forward_case(metal, case):
    test_forward.test_forward(metal, case)


@chosen(cases.BACKWARD)
def test_backward_case(metal, case):
    test_backward.test_backward(metal, case)


@chosen(cases.UPDATE)
def test_update_case(metal, case):
    test_update.test_update(metal, case)


@chosen(cases.VARLEN)
def test_varlen_states_case(metal, case):
    test_varlen_states.test_varlen_states(metal, case)


@pytest.mark.parametrize("case", test_invariance.EVERYTHING, ids=lambda case: case.id)
def test_the_same_bits_again(metal, case):
    if not METAL.supports(*case.dtypes):
        pytest.skip("Metal has no float64")
    test_invariance.test_repeated_calls(metal, case)


@pytest.mark.parametrize(
    "test",
    [
        test_invariance.test_batch,
        test_invariance.test_length,
        test_invariance.test_channels,
        test_invariance.test_layout,
        test_invariance.test_stride_zero,
        test_invariance.test_alignment,
        test_invariance.test_chunks_with_states,
        test_invariance.test_token_by_token,
        test_invariance.test_updates_of_several_tokens,
        test_invariance.test_prefill_then_decode,
        test_invariance.test_packing,
    ],
    ids=lambda test: test.__name__,
)
def test_bits_depend_on_the_taps_alone(metal, test):
    kept = "_hypothesis_internal_use_settings"
    examples = 20 if ALL_CASES else 3  # each may compile several kernels
    few = hypothesis.settings(getattr(test, kept), max_examples=examples, deadline=None)
    with mock.patch.object(test, kept, few):
        test(metal)


@pytest.mark.parametrize("function", [special.through_forward, special.through_update])
@pytest.mark.parametrize("dtype", special.SIXTEEN_BIT)
def test_silu_of_every_16_bit_value(metal, dtype, function):
    for layout in BOTH:
        special.test_silu_of_every_16_bit_value(metal, dtype, layout, function)
        special.test_every_16_bit_value_passes_through(metal, dtype, layout)


@pytest.mark.parametrize("layout", BOTH)
def test_silu_over_its_range(metal, layout):
    special.test_silu_over_its_range(metal, torch.float32, layout)
    special.test_slope_of_silu_over_its_range(metal, layout)


@pytest.mark.parametrize("layout", BOTH)
@pytest.mark.parametrize("activation", [None, "silu"])
def test_special_values(metal, activation, layout):
    for place in ("x", "weight", "bias"):
        special.test_special_values_behave_as_in_conv1d(metal, activation, layout, place)
    special.test_float32_subnormals_survive(metal, activation, layout)
    special.test_sign_of_zero(metal)


@pytest.mark.parametrize("layout", BOTH)
def test_what_is_excluded_stays_out(metal, layout):
    special.test_other_sequences_do_not_leak(metal, layout)
    special.test_padding_does_not_leak(metal, layout)
    special.test_pad_slots_do_not_leak(metal)
    special.test_initial_states_of_another_sequence_do_not_leak(metal)
