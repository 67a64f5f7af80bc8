"""The bounding box of a saliency map."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import saliency


@given(st.integers(0, 6), st.integers(0, 6), st.integers(2, 6), st.integers(2, 6))
def test_a_bright_block_is_found_among_specks(top, left, height, width):
    map = np.random.default_rng(0).random((14, 15)) * 0.5
    map[13, 14] = 2.0  # brighter, but a single pixel
    map[top : top + height, left : left + width] = 1.0
    share = 1 - (height * width + 1) / map.size
    found = saliency.object_box(map, quantile=share - 1e-9, smooth=0)
    np.testing.assert_array_equal(found, [left, top, left + width, top + height])


def test_regions_hang_together_by_corners_and_not_around_the_edge():
    map = np.zeros((4, 5))
    map[0, 1] = map[1, 2] = map[2, 3] = 1  # a diagonal
    map[3, 0] = map[2, 4] = 0.0
    np.testing.assert_array_equal(saliency.object_box(map, 0.5, 0), [1, 0, 4, 3])
    edges = np.zeros((3, 4))
    edges[0, 3] = edges[1, 0] = edges[2, 0] = 1  # neighbours in memory, not in the picture
    np.testing.assert_array_equal(saliency.object_box(edges, 0.5, 0), [0, 1, 1, 3])


def test_a_batch_a_tensor_and_a_constant_map():
    maps = np.zeros((2, 6, 8))
    maps[0, 1:3, 2:5] = 1
    found = saliency.object_box(mt.Tensor(maps), 0.8, 0)
    np.testing.assert_array_equal(found, [[2, 1, 5, 3], [0, 0, 8, 6]])
    assert found.dtype == np.int64
    assert saliency.object_box(maps[:0]).shape == (0, 4)


def test_smoothing_joins_what_lies_close():
    map = np.zeros((40, 40))
    map[10:30:2, 10:30:2] = 1  # a hundred single pixels
    assert (saliency.object_box(map, 0.9, 0)[2:] - saliency.object_box(map, 0.9, 0)[:2]).max() == 1
    x0, y0, x1, y1 = saliency.object_box(map, 0.75, 0.05)
    assert 8 <= x0 <= 12
    assert 28 <= x1 <= 32
    assert 8 <= y0 <= 12
    assert 28 <= y1 <= 32


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([[1.0]],), TypeError, "the map must be a Tensor or an array, got list"),
        ((np.zeros((2, 2), bool),), TypeError, "the map must hold numbers, got bool"),
        ((np.zeros(3),), ValueError, r"must be \(N, H, W\) or \(H, W\), with pixels, got shape \(3,\)"),
        ((np.zeros((0, 3)),), ValueError, r"with pixels, got shape \(0, 3\)"),
        ((np.full((2, 2), np.inf),), ValueError, "infinity or nan"),
        ((np.zeros((2, 2)), 1.0), ValueError, "quantile must be a number from 0 up to, not including, 1, got 1.0"),
        ((np.zeros((2, 2)), 0.5, -1), ValueError, "smooth must be a number from 0 to 1"),
        ((np.zeros((2, 2)), 0.5, 100), ValueError, "smooth must be a number from 0 to 1, .* got 100"),
    ],
)
def test_wrong_input_is_refused_in_words(arguments, error, message):
    with pytest.raises(error, match=message):
        saliency.object_box(*arguments)
