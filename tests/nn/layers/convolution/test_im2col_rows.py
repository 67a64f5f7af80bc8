"""Convolution of stride 1 by the kernel's rows, on arrays: the same numbers as by columns."""

import numpy as np
import pytest
from convolutions import convolutions
from hypothesis import given
from hypothesis import strategies as st

from microtensor.nn.layers.convolution import dispatch
from microtensor.nn.layers.convolution.cpu import blocking, im2col, im2col_rows
from microtensor.nn.layers.windows import Window


@given(convolutions(plain=True), st.sampled_from([1, 200, 1 << 20]))
def test_rows_are_as_good_as_columns(case, bytes_):
    _, window, x, w, v = case
    with pytest.MonkeyPatch.context() as patch:  # the parts of a batch make no difference
        patch.setattr(im2col_rows, "BYTES", bytes_)
        y, to_weight = im2col_rows.forward(x, w, w[:, 0, 0, 0], window), im2col_rows.to_weight(x, v, window)
    np.testing.assert_allclose(y, im2col.forward(x, w, w[:, 0, 0, 0], window, 1), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(to_weight, im2col.to_weight(x, v, window, 1), rtol=1e-10, atol=1e-10)


def test_few_kernels_of_many_channels_go_by_rows(monkeypatch):
    used = []
    for name in ("forward", "to_weight"):
        plain = getattr(im2col_rows, name)
        monkeypatch.setattr(im2col_rows, name, lambda *args, name=name, plain=plain: used.append(name) or plain(*args))
    rng, window = np.random.default_rng(0), Window((3, 3), padding=((1, 1), (1, 1)))
    x, g, w = rng.standard_normal((2, 32, 20, 20)), rng.standard_normal((2, 16, 20, 20)), rng.standard_normal((16, 32, 3, 3))
    y = dispatch.forward(x, w, None, window, 1)
    to_input, to_weight = dispatch.to_input(g, w, None, window, 1, (20, 20)), dispatch.to_weight(x, g, window, 1)
    assert used == ["forward", "to_weight"]  # to the image, there are many kernels of few channels
    np.testing.assert_allclose(y, im2col.forward(x, w, None, window, 1), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(to_input, im2col.to_input(g, w, None, window, 1, (20, 20)), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(to_weight, im2col.to_weight(x, g, window, 1), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("bytes_", [1, 1000, 10000])
def test_a_band_may_lie_in_the_padding(bytes_, monkeypatch):
    for module in (blocking, im2col):
        monkeypatch.setattr(module, "BYTES", bytes_)
    rng, window = np.random.default_rng(0), Window((2, 2), padding=((5, 6), (1, 0)))
    x, w = rng.standard_normal((2, 3, 4, 5)), rng.standard_normal((4, 3, 2, 2))
    expected = im2col.forward(np.pad(x, [(0, 0), (0, 0), (5, 6), (1, 0)]), w, None, Window((2, 2)), 1)
    np.testing.assert_allclose(im2col.forward(x, w, None, window, 1), expected, rtol=1e-10, atol=1e-10)
