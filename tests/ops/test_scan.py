"""Sums, products and extremes along an axis: ties, nans, shapes, and errors in words."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import agree

import microtensor as mt
from microtensor import Tensor
from microtensor.testing import shapes

NAN = math.nan
SCANS = ["cumsum", "cumprod", "cummax", "cummin"]


def scan(name, x, dim):
    y = getattr(mt, name)(x, dim)
    return y if name in ("cumsum", "cumprod") else y.values


@pytest.mark.parametrize("name", ["cummax", "cummin"])
@pytest.mark.parametrize(
    "numbers",
    [
        [[1.0, 3.0, 2.0, 3.0, 3.0], [2.0, 1.0, 1.0, 5.0, 5.0]],
        [[1.0, NAN, 5.0, NAN, 0.0], [NAN, 1.0, 2.0, 3.0, 4.0]],
        [[-math.inf, math.inf, 0.0, math.inf, -math.inf]],
    ],
)
def test_running_extremes_are_pytorchs_with_ties_and_nans(name, numbers):
    for dim in (0, 1):
        agree(name, numbers, dim, part="values")
        agree(name, numbers, dim, part="indices")


@given(shapes(min_dims=1, min_side=0, max_side=9), st.integers(0, 99))
def test_running_extremes_are_numpys(shape, seed):
    x = np.random.default_rng(seed).standard_normal(shape)
    for dim in range(-len(shape), len(shape)):
        np.testing.assert_array_equal(mt.cummax(Tensor(x), dim).values.numpy(), np.maximum.accumulate(x, dim), strict=True)
        np.testing.assert_array_equal(mt.cummin(Tensor(x), dim).values.numpy(), np.minimum.accumulate(x, dim), strict=True)


def test_bools_and_integers_have_running_extremes():
    x = np.array([False, True, False])
    assert mt.cummax(Tensor(x), 0).values.tolist() == [False, True, True]
    assert mt.cummin(Tensor(np.array([3, 1, 2], np.uint8)), 0).values.dtype == np.uint8


@pytest.mark.parametrize("name", SCANS)
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (1, 1), (2, 3, 4), ()])
def test_shapes(name, shape):
    x = np.random.default_rng(0).standard_normal(shape)
    for dim in (0, -1):
        agree(name, x, dim, part="values" if name in ("cummax", "cummin") else None)


@pytest.mark.parametrize("name", SCANS)
def test_views_that_are_not_contiguous(name):
    x = np.random.default_rng(0).standard_normal((4, 6, 3))
    for view in (x.T, x[::2, ::-1], np.broadcast_to(x[:, :1], (4, 5, 3))):
        for dim in range(3):
            expected = scan(name, Tensor(view.copy()), dim)
            np.testing.assert_array_equal(scan(name, Tensor(view), dim).numpy(), expected.numpy())


def test_a_result_is_no_view_of_its_input():
    for name in SCANS:
        for shape in ((), (1,), (3,)):
            x = Tensor(np.ones(shape))
            y = scan(name, x, 0)
            y.array[...] = 7
            assert (x.numpy() == 1).all()


def test_long_running_sums_keep_their_digits():
    x = np.random.default_rng(0).random(300_000, np.float32) + 100
    np.testing.assert_allclose(mt.cumsum(Tensor(x), 0).numpy(), x.cumsum(dtype=np.float64), rtol=1e-6)
    halves = Tensor(np.ones(5000, np.float16), requires_grad=True)
    y = mt.cumsum(halves, 0)
    assert y.numpy()[-1] == 5000
    assert y.dtype == np.float16
    assert mt.grad(y, halves, Tensor(np.ones(5000, np.float16)))[0].numpy()[0] == 5000


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Tensor([1.0]).cumsum(), TypeError, "dim"),
        (lambda: Tensor([1.0]).cumsum(None), TypeError, "cumsum: dim must be an integer, got None"),
        (lambda: Tensor([1.0]).cumprod(1), ValueError, r"cumprod: dim 1 is out of range for shape \(1,\)"),
        (lambda: Tensor([1.0]).cummax((0,)), TypeError, r"cummax: dim must be an integer, got \(0,\)"),
        (lambda: mt.cummin([1.0], 0), TypeError, "cummin: expected a Tensor, got list"),
        (lambda: mt.cumprod([1.0], axis=0), TypeError, "cumprod: expected a Tensor, got list"),
        (lambda: mt.cummax(Tensor([1.0]), dim=0, axis=0), TypeError, "cummax: dim is given twice"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
