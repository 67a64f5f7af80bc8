"""Sorting and what rests on it: ties, nans, shapes, and errors in words."""

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
TIES = [[3.0, 1.0, 3.0, 2.0, 1.0], [2.0, 2.0, 5.0, 2.0, 0.0]]
NANS = [[3.0, NAN, 1.0, NAN, 2.0], [2.0, -math.inf, math.inf, 4.0, 0.0]]


@pytest.mark.parametrize("numbers", [TIES, NANS])
@pytest.mark.parametrize("descending", [False, True])
def test_sorting_keeps_the_order_of_equal_numbers(numbers, descending):
    for dim in (0, 1):
        settings = {"dim": dim, "descending": descending, "stable": True}
        agree("sort", numbers, **settings, part="values")
        agree("sort", numbers, **settings, part="indices")
        agree("argsort", numbers, **settings)


@given(shapes(min_dims=1, min_side=0), st.integers(0, 99), st.booleans())
def test_sorting_puts_in_order(shape, seed, descending):
    x = np.random.default_rng(seed).integers(-2, 3, shape)
    for dim in range(-len(shape), len(shape)):
        values, indices = mt.sort(Tensor(x), dim, descending)
        expected = -np.sort(-x, dim) if descending else np.sort(x, dim)
        np.testing.assert_array_equal(values.numpy(), expected, strict=True)
        np.testing.assert_array_equal(np.take_along_axis(x, indices.numpy(), dim), expected)


@pytest.mark.parametrize("numbers", [TIES, NANS])
@pytest.mark.parametrize("largest", [True, False])
def test_the_k_largest(numbers, largest):
    for k in range(6):
        agree("topk", numbers, k, largest=largest, part="values", gradient=numbers is NANS)
    order = mt.topk(Tensor(numbers), 5, 1, largest, sorted=False).indices
    np.testing.assert_array_equal(order.numpy(), mt.argsort(Tensor(numbers), descending=largest).numpy())


def test_of_equal_numbers_the_first_comes_first():
    x = Tensor([1.0, 3.0, 3.0, 3.0, 0.0], requires_grad=True)
    assert mt.topk(x, 2).indices.tolist() == [1, 2]
    assert mt.topk(Tensor([1.0, 0.0, 0.0]), 1, largest=False).indices.tolist() == [1]
    assert mt.kthvalue(x, 3).indices.item() == 1
    np.testing.assert_array_equal(mt.grad(mt.topk(x, 2).values.sum(), x)[0].numpy(), [0, 1, 1, 0, 0])


@pytest.mark.parametrize("numbers", [TIES, NANS, [[1.0, 4.0, 2.0, 3.0]], [[7.0]]])
def test_medians_are_pytorchs(numbers):
    agree("median", numbers, gradient=numbers is not NANS)
    for dim in (0, 1):
        for keepdim in (False, True):
            agree("median", numbers, dim, keepdim, part="values", gradient=numbers is not TIES)


def test_equal_numbers_share_the_gradient_of_the_median_of_all():
    agree("median", TIES)
    x = Tensor(np.array([NAN, 1.0, NAN]), requires_grad=True)
    np.testing.assert_array_equal(mt.grad(mt.median(x), x)[0].numpy(), [0.5, 0, 0.5])


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float16])
def test_every_dtype_has_an_order(dtype):
    x = np.array([[1, 0, 1, 0, 1], [0, 0, 0, 1, 1]]).astype(dtype)
    for values in (mt.sort(Tensor(x)).values, mt.topk(Tensor(x), 5, largest=False).values):
        np.testing.assert_array_equal(values.numpy(), np.sort(x), strict=True)
    np.testing.assert_array_equal(mt.median(Tensor(x), 1).values.numpy(), np.array([1, 0], dtype), strict=True)
    np.testing.assert_array_equal(mt.sort(Tensor(x), descending=True).values.numpy(), np.sort(x)[:, ::-1], strict=True)
    assert mt.median(Tensor(x)).dtype == dtype


def test_views_that_are_not_contiguous():
    x = np.random.default_rng(0).standard_normal((4, 6, 3))
    for view in (x.T, x[::2, ::-1], np.broadcast_to(x[:, :1], (4, 5, 3))):
        for dim in range(3):
            np.testing.assert_array_equal(mt.sort(Tensor(view), dim).values.numpy(), np.sort(view, dim))
            expected = np.take(np.sort(view, dim), (view.shape[dim] - 1) // 2, dim)
            np.testing.assert_array_equal(mt.median(Tensor(view), dim).values.numpy(), expected)


def test_a_tensor_without_axes():
    for name, part in (("sort", "values"), ("sort", "indices"), ("argsort", None), ("median", None)):
        agree(name, 2.5, part=part)
    agree("sort", 2.5, 0, descending=True, part="values")
    agree("topk", 2.5, 1, part="values")
    agree("kthvalue", 2.5, 1, part="indices")
    agree("median", 2.5, 0, True, part="values")


def test_distinct_numbers():
    x = Tensor(np.array([[3, 1, 3], [2, 1, 3]]))
    assert x.unique().tolist() == [1, 2, 3]
    values, inverse = mt.unique(x, return_inverse=True)
    np.testing.assert_array_equal(values.numpy()[inverse.numpy()], x.numpy())
    values, counts = mt.unique(x, return_counts=True)
    assert counts.tolist() == [2, 1, 3]
    assert counts.dtype == np.int64
    assert [y.shape for y in mt.unique(x, return_inverse=True, return_counts=True)] == [(3,), (2, 3), (3,)]
    assert mt.unique(Tensor(np.zeros((0, 2)))).shape == (0,)


X, EMPTY = Tensor(np.ones((2, 3))), Tensor(np.ones((2, 0)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: X.topk(4), ValueError, r"topk: k must be from 0 to 3, as axis -1 of shape \(2, 3\) has it, got 4"),
        (lambda: X.topk(-1), ValueError, "topk: k must be from 0 to 3"),
        (lambda: X.topk(1.0), TypeError, "topk: k must be an integer, got 1.0"),
        (lambda: X.topk(True), TypeError, "topk: k must be an integer, got True"),
        (lambda: X.kthvalue(0), ValueError, "kthvalue: k must be from 1 to 3"),
        (lambda: X.sort(2), ValueError, r"sort: dim 2 is out of range for shape \(2, 3\)"),
        (lambda: X.sort(None), TypeError, "sort: dim must be an integer, got None"),
        (lambda: X.argsort((0, 1)), TypeError, r"argsort: dim must be an integer, got \(0, 1\)"),
        (lambda: mt.sort([2.0, 1.0]), TypeError, "sort: expected a Tensor, got list"),
        (lambda: EMPTY.median(), ValueError, r"median: there are no elements in shape \(2, 0\)"),
        (lambda: EMPTY.median(1), ValueError, r"median: there are no elements in shape \(2, 0\) along axis 1"),
        (lambda: X.median(dim=0, axis=1), TypeError, "median: dim is given twice"),
        (lambda: mt.unique([1.0]), TypeError, "unique: expected a Tensor, got list"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
