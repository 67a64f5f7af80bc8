"""The public tools for tests: what they draw, what they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor.nn.layers.windows import Window
from microtensor.testing import assert_close, axes, broadcastable, geometries, indices, shapes, tensors


@given(tensors(away_from=[0.0, 1.0], gap=0.1))
def test_tensors_keep_their_distance(x):
    assert x.dtype == np.float64
    assert (np.abs(x.numpy()) >= 0.1).all() or x.array.size == 0
    assert (np.abs(x.numpy()) <= 2.2).all()


@given(tensors(distinct=True))
def test_distinct_tensors(x):
    assert len(np.unique(x.numpy())) == x.array.size


@given(broadcastable(3))
def test_broadcastable(drawn):
    np.broadcast_shapes(*(x.shape for x in drawn))


@given(st.data(), shapes(min_dims=1))
def test_indices_and_axes_fit(data, shape):
    array = np.zeros(shape)
    array[data.draw(indices(shape))]
    array.sum(data.draw(axes(len(shape))))


@given(geometries())
def test_geometries_fit(g):
    assert min(Window.of("", g.kernel, g.stride, g.padding, g.dilation).places("", g.size)) >= 1
    assert g.channels % g.groups == g.kernels % g.groups == 0


def test_assert_close_passes_what_is_close():
    assert_close(mt.Tensor([1.0, np.nan, np.inf]), mt.Tensor([1.0 + 1e-6, np.nan, np.inf]))
    assert_close(np.arange(3), mt.Tensor(np.arange(3)))
    assert_close(mt.Tensor([1.0]), mt.Tensor([1.1]), rtol=0.1)
    assert_close(np.zeros((0, 2)), np.zeros((0, 2)))


@pytest.mark.parametrize(
    ("actual", "expected", "message"),
    [
        (
            np.array([[1.0, 2.0], [3.0, 9.0]]),
            np.array([[1.0, 2.5], [3.0, 4.0]]),
            r"2 of 4 elements differ, most at \(1, 1\): 9.0, expected 4.0",
        ),
        (np.ones(2), np.ones(3), r"got float64 \(2,\), expected float64 \(3,\)"),
        (np.ones(2), np.ones(2, np.float32), r"got float64 \(2,\), expected float32"),
        (np.array([1.0, np.nan]), np.array([1.0, 2.0]), r"1 of 2 elements differ, most at \(1,\): nan, expected 2.0"),
        (np.array([1, 2]), np.array([1, 3]), r"at \(1,\): 2, expected 3 \(tolerated: 0\)"),
        (np.array([np.inf]), np.array([-np.inf]), "inf, expected -inf"),
    ],
)
def test_assert_close_says_where(actual, expected, message):
    with pytest.raises(AssertionError, match=message):
        assert_close(actual, expected)
