"""What only large numbers show (sizes.py), on the Metal kernels."""

import backend
import pytest
import sizes

from causal_conv1d_mps import _metal

LAYOUTS = ("contiguous", "channel_last")


@pytest.fixture(autouse=True)
def metal():
    with backend.METAL.enter():
        yield


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_of_5000_steps(layout):
    sizes.rows_of_5000(layout)


@pytest.mark.parametrize("width", [4, 9])
@pytest.mark.parametrize("strides", sizes.FAR_STRIDES.values(), ids=sizes.FAR_STRIDES)
def test_rows_2_to_the_32_elements_apart(strides, width):
    # Without the marks of results, which would need a byte for each of the bytes between the rows.
    with backend.on_harness(backend.compile_quickly, _metal):
        sizes.far_rows(strides, width)


def test_states_2_to_the_32_elements_apart():
    sizes.far_states()


@pytest.mark.parametrize("packing", [None, "seq_idx"])
@pytest.mark.parametrize("width", [4, 9])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_slabs_of_a_convolution(layout, width, packing):
    assert sizes.two_slabs(sizes.convolution(layout, width, packing)) >= 2


@pytest.mark.parametrize("batch, length", [(3, 2), (130, None)])
def test_two_slabs_of_an_update(batch, length):
    assert sizes.two_slabs(sizes.update(batch, length)) == 1


def test_circular_positions_beyond_32_bits():
    sizes.far_positions()


def test_reduction_of_100_000_parts():
    sizes.reduction_of_100_000_parts()


def test_division_near_2_to_the_31():
    sizes.divisions()
