"""The operation table on the Metal kernels: through the MPS path, executed by the harness.

The cases and the tests are those of tests/python, which CPU and CUDA pass. Every kernel text that a
case asks for is compiled twice: to run, and with real address spaces. table.py says on which of the
two devices of the harness a case runs.
"""

import contextlib
from unittest import mock

import backend  # makes tests/python importable
import cases
import hypothesis
import pools
import pytest
import test_backward
import test_forward
import test_invariance
import test_prefill
import test_special_values as special
import test_update
import test_varlen_states
import torch
from table import Table, compile_ahead

NEAR = "#define CC1D_OFFSET64 0\n"
RELOADING = "#define LOADS_NEIGHBOURS 1"
BOTH = ("contiguous", "channel_last")


def far(source):
    """The text that is compiled where a tensor has 2^31 elements or more.

    Packs lie at pointers there, as on CUDA; so CUDA's other ways are taken too: a neighbour's pack
    comes by a shuffle, rows of partial packs are walked two blocks at a time.
    """
    assert NEAR in source and RELOADING in source
    shuffling = source.replace(RELOADING, "#define LOADS_NEIGHBOURS 0")
    if "#define CC1D_PARTIAL_PACKS 1\n" in source:
        shuffling = shuffling.replace("#define CC1D_UNROLL 1\n", "#define CC1D_UNROLL 2\n")
    return shuffling.replace(NEAR, "#define CC1D_OFFSET64 1\n")


FORWARD = Table(test_forward.test_forward, cases.FORWARD)
BACKWARD = Table(test_backward.test_backward, cases.BACKWARD)
UPDATE = Table(test_update.test_update, cases.UPDATE)
PREFILL = Table(test_prefill.test_prefill, pools.PREFILL[::2])
VARLEN = Table(test_varlen_states.test_varlen_states, cases.VARLEN)

FAR = [
    cases.ConvCase(
        1, 33, 70, width, cases.BF16, layout=layout, packing=packing, initial=True, final="returned"
    )
    for width in (4, 9)
    for layout in BOTH
    for packing in (None, "seq_idx", "cu_seqlens")
]
FAR += [cases.ConvCase(1, 2, length, 4, cases.BF16) for length in (1024, 1029)]
FAR += [cases.ConvCase(1, 256, 1157, 4)]  # in segments of five blocks
FAR_FORWARD = Table(test_forward.test_forward, FAR, edit=far)
FAR_BACKWARD = Table(test_backward.test_backward, FAR, edit=far)
FAR_PREFILL = Table(
    test_prefill.test_prefill,
    [
        pools.PrefillCase(
            33, 70, width, 1, cases.BF16, cases.BF16, packing=packing, layout=layout, residual=True
        )
        for width in (4, 9)
        for layout in BOTH
        for packing in (None, "capacity", "lengths")
    ],
    edit=far,
)
FAR_UPDATE = Table(
    test_update.test_update,
    [
        cases.UpdateCase(4, 16, length, 4, 0, cases.BF16, mode=mode, indices=indices)
        for mode in ("shift", "circular", "accepted")
        for indices in ("padded", "forked")
        for length in (None, 3)
    ],
    edit=far,
)


@pytest.fixture
def metal():
    with backend.METAL.enter():
        yield backend.METAL


@pytest.fixture(params=backend.BOTH_METALS, ids=str)
def either_metal(request):
    with request.param.enter():
        yield request.param


@FORWARD.each
def test_forward_case(place):
    FORWARD.run(place)


@BACKWARD.each
def test_backward_case(place):
    BACKWARD.run(place)


@UPDATE.each
def test_update_case(place):
    UPDATE.run(place)


@PREFILL.each
def test_prefill_case(place):
    PREFILL.run(place)


@VARLEN.each
def test_varlen_states_case(place):
    VARLEN.run(place)


@FAR_FORWARD.each
def test_forward_with_offsets_of_64_bits(place):
    FAR_FORWARD.run(place)


@FAR_BACKWARD.each
def test_backward_with_offsets_of_64_bits(place):
    FAR_BACKWARD.run(place)


@FAR_PREFILL.each
def test_prefill_with_offsets_of_64_bits(place):
    FAR_PREFILL.run(place)


@FAR_UPDATE.each
def test_update_with_offsets_of_64_bits(place):
    FAR_UPDATE.run(place)


def test_windows_of_drafts(metal):
    test_update.test_rejected_tokens_leave_no_trace(metal)
    test_update.test_columns_behind_a_window_stay(metal)
    test_update.test_copy_on_write_of_a_pool(metal)
    test_update.test_counts_of_padding_are_not_looked_at(metal)
    for dtype in (torch.float32, torch.bfloat16):
        test_update.test_windows_against_the_accepted_tokens(metal, dtype, runs=6, steps=8)


@pytest.mark.parametrize("layout", BOTH)
def test_pools(metal, layout):
    def every():
        for dtype in (torch.float32, torch.bfloat16):
            test_prefill.test_gather_call_scatter(metal, dtype, layout)
        test_prefill.test_chunks(metal, torch.float16, layout, 4, 9)
        for bounds in ((0, 7, 7, 20), (0,)):
            test_prefill.test_capacity(metal, bounds, layout)

    with (
        mock.patch.object(test_prefill, "same_bits", lambda a, b: True),
        contextlib.suppress(AssertionError),
    ):
        compile_ahead(every)
    every()


def test_rows_of_padding_and_of_empty_sequences(metal):
    test_prefill.test_rows_and_numbers_of_padding_are_not_looked_at(metal)
    test_prefill.test_empty_sequences(metal)


@pytest.mark.parametrize("mode", ["shift", "circular", "accepted"])
def test_update_in_place(metal, mode):
    for length, width in ((None, 4), (7, 4), (2, 1), (3, 9)):
        for indices in ("padded", "shifted"):
            test_update.test_out_and_in_place(metal, mode, indices, length, width)


@pytest.mark.parametrize("case", test_invariance.EVERYTHING, ids=lambda case: case.id)
def test_the_same_bits_again(metal, case):
    if not backend.METAL.supports(*case.dtypes):
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
        test_invariance.test_dx_batch_and_layout,
        test_invariance.test_dx_alignment,
        test_invariance.test_dx_length,
        test_invariance.test_dx_position,
        test_invariance.test_dx_packing,
        test_invariance.test_state_gradients,
    ],
    ids=lambda test: test.__name__,
)
def test_bits_depend_on_the_taps_alone(metal, test):
    kept = "_hypothesis_internal_use_settings"
    repeatable = hypothesis.settings(
        getattr(test, kept), max_examples=20, deadline=None, derandomize=True, database=None
    )
    with mock.patch.object(test, kept, repeatable):
        with mock.patch.object(test_invariance, "same_bits", lambda a, b: True):
            compile_ahead(lambda: test(metal))
        test(metal)


@pytest.mark.parametrize("function", [special.through_forward, special.through_update])
@pytest.mark.parametrize("dtype", special.SIXTEEN_BIT)
def test_silu_of_every_16_bit_value(either_metal, dtype, function):
    for layout in BOTH:
        special.test_silu_of_every_16_bit_value(either_metal, dtype, layout, function)
        special.test_every_16_bit_value_passes_through(either_metal, dtype, layout)


@pytest.mark.parametrize("layout", BOTH)
def test_silu_over_its_range(either_metal, layout):
    special.test_silu_over_its_range(either_metal, torch.float32, layout)
    special.test_slope_of_silu_over_its_range(either_metal, layout)


@pytest.mark.parametrize("layout", BOTH)
@pytest.mark.parametrize("activation", [None, "silu"])
def test_special_values(either_metal, activation, layout):
    for place in ("x", "weight", "bias"):
        special.test_special_values_behave_as_in_conv1d(either_metal, activation, layout, place)
    special.test_sign_of_zero(either_metal)
    for length in (8, 9, 40):
        special.test_there_are_no_steps_after_the_last(either_metal, layout, length)


@pytest.mark.parametrize("layout", BOTH)
@pytest.mark.parametrize("activation", [None, "silu"])
def test_float32_subnormals_survive(metal, activation, layout):
    special.test_float32_subnormals_survive(metal, activation, layout)


@pytest.mark.parametrize("layout", BOTH)
def test_what_is_excluded_stays_out(either_metal, layout):
    special.test_other_sequences_do_not_leak(either_metal, layout)
    special.test_padding_does_not_leak(either_metal, layout)
    special.test_pad_slots_do_not_leak(either_metal)
    special.test_initial_states_of_another_sequence_do_not_leak(either_metal)
