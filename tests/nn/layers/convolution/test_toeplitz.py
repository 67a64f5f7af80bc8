"""Depthwise convolution by matrices, on arrays: the same numbers as by columns, and where it is chosen."""

import numpy as np
import pytest
from convolutions import convolutions
from hypothesis import given
from hypothesis import strategies as st

from microtensor.nn.layers.convolution import dispatch
from microtensor.nn.layers.convolution.cpu import depthwise, im2col, toeplitz
from microtensor.nn.layers.windows import Window


@given(convolutions(depthwise=True), st.integers(1, 4), st.sampled_from([1, 1 << 20]))
def test_matrices_are_as_good_as_columns(case, rows, bytes_):
    g, window, x, w, v = case
    with pytest.MonkeyPatch.context() as patch:  # neither bands nor the parts of the channels make a difference
        patch.setattr(toeplitz, "_best", lambda *_: (0.0, rows))
        patch.setattr(toeplitz, "BYTES", bytes_)
        y, to_input = toeplitz.forward(x, w, window), toeplitz.to_input(v, w, window, g.size)
        to_weight = toeplitz.to_weight(x, v, window)
    np.testing.assert_allclose(y, im2col.forward(x, w, None, window, g.channels), rtol=1e-10, atol=1e-10)
    expected = im2col.to_input(v, w, None, window, g.channels, g.size)
    np.testing.assert_allclose(to_input, expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(to_weight, im2col.to_weight(x, v, window, g.channels), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("stride", [(1, 1), (2, 3), (3, 1)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 3)])
@pytest.mark.parametrize("padding", [((1, 1), (1, 1)), ((0, 2), (3, 0)), ((4, 5), (5, 6)), ((9, 0), (0, 8))])
def test_bands_that_see_padding_alone_and_pixels_that_none_sees(stride, dilation, padding):
    rng, window = np.random.default_rng(0), Window((5, 3), stride, padding, dilation)
    x, w = rng.standard_normal((4, 5, 12, 11)), rng.standard_normal((5, 1, 5, 3))
    y = toeplitz.forward(x, w, window)
    v = rng.standard_normal(y.shape)
    np.testing.assert_allclose(y, im2col.forward(x, w, None, window, 5), rtol=1e-10, atol=1e-10)
    expected = im2col.to_input(v, w, None, window, 5, (12, 11))
    np.testing.assert_allclose(toeplitz.to_input(v, w, window, (12, 11)), expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(toeplitz.to_weight(x, v, window), im2col.to_weight(x, v, window, 5), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("images", "size", "expected"), [(32, (6, 6), toeplitz), (1, (6, 6), depthwise), (32, (96, 96), depthwise)]
)
def test_matrices_are_for_many_small_images(images, size, expected, monkeypatch):
    used = []
    for module in (toeplitz, depthwise):
        for name in ("forward", "to_input", "to_weight"):
            own = getattr(module, name)
            monkeypatch.setattr(module, name, lambda *args, own=own, module=module: used.append(module) or own(*args))
    window, x = Window((3, 3), padding=((1, 1), (1, 1))), np.ones((images, 2, *size), np.float32)
    w = np.ones((2, 1, 3, 3), np.float32)
    dispatch.forward(x, w, None, window, 2)
    dispatch.to_input(x, w, None, window, 2, size)
    dispatch.to_weight(x, x, window, 2)
    assert used == [expected] * 3


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan, 1e30])
def test_an_infinite_pixel_is_seen_where_it_is_and_nowhere_else(odd):
    rng, window = np.random.default_rng(0), Window((3, 3), padding=((1, 1), (1, 1)))
    x, w = rng.standard_normal((2, 16, 3, 6, 6)).astype(np.float32), rng.random((3, 1, 3, 3)).astype(np.float32) + 1
    x[0, 5, 1, 2, 3] = odd
    for found, expected in (
        (toeplitz.forward(x[0], w, window), im2col.forward(x[0], w, None, window, 3)),
        (toeplitz.to_input(x[0], w, window, (6, 6)), im2col.to_input(x[0], w, None, window, 3, (6, 6))),
        (toeplitz.to_weight(x[0], x[1], window), im2col.to_weight(x[0], x[1], window, 3)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
