"""The largest and the smallest numbers, where they are and who gets the gradient; norms at their singular points."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import agree

import microtensor as mt
from microtensor import Tensor, no_grad
from microtensor.gradcheck import check_gradients
from microtensor.testing import shapes

INF, NAN = math.inf, math.nan
TIES = [[3.0, 1.0, 3.0, 3.0], [2.0, 2.0, 5.0, 2.0], [-1.0, -1.0, -1.0, -1.0]]
NANS = [[3.0, NAN, 1.0, NAN], [2.0, 4.0, 3.0, 4.0]]


# Values, indices, and who gets the gradient


@pytest.mark.parametrize("numbers", [TIES, NANS])
@pytest.mark.parametrize("name", ["max", "min"])
def test_ties_and_nans(name, numbers):
    agree(name, numbers)  # all share
    for dim in (1, (0, 1)):  # of nans, PyTorch's amax makes a gradient of nans, unlike its max
        agree("a" + name, numbers, dim, gradient=numbers is TIES)
    for dim in (0, 1, -1):
        agree(name, numbers, dim, part="values")  # the first takes it
        agree(name, numbers, dim, True, part="indices")
        agree("arg" + name, numbers, dim)
    agree("arg" + name, numbers)
    agree("arg" + name, numbers, None, True)


def test_nans_share_the_gradient_of_amax():
    x = Tensor(NANS, requires_grad=True)
    np.testing.assert_array_equal(mt.grad(x.amax(1).sum(), x)[0].numpy(), [[0, 0.5, 0, 0.5], [0, 0.5, 0, 0.5]])


def test_what_is_given_where():
    x = Tensor([[1.0, 5.0], [7.0, 7.0]], requires_grad=True)
    picked = x.max(dim=1)
    assert picked.values is picked[0]
    assert picked.indices is picked[1]
    assert picked.indices.dtype == np.int64
    assert not picked.indices.requires_grad
    np.testing.assert_array_equal(mt.grad(picked.values.sum(), x)[0].numpy(), [[0, 1], [1, 0]])
    np.testing.assert_array_equal(mt.grad(x.max(), x)[0].numpy(), [[0, 0], [0.5, 0.5]])
    low, high = x.aminmax(dim=0)
    np.testing.assert_array_equal([low.numpy(), high.numpy()], [[1, 5], [7, 7]])
    assert x.max(axis=0, keepdims=True).values.shape == (1, 2)
    assert x.max(keepdim=True).shape == (1, 1)


@given(shapes(min_dims=1, min_side=1), st.integers(0, 99), st.booleans())
def test_extremes_are_numpys(shape, seed, keepdim):
    x = np.random.default_rng(seed).integers(-2, 3, shape)
    for dim in range(-len(shape), len(shape)):
        for name in ("max", "min"):
            values, indices = getattr(mt, name)(Tensor(x), dim, keepdim)
            np.testing.assert_array_equal(values.numpy(), getattr(x, name)(dim, keepdims=keepdim), strict=True)
            np.testing.assert_array_equal(indices.numpy(), getattr(x, "arg" + name)(dim, keepdims=keepdim), strict=True)


def test_bools_and_integers_have_extremes():
    x = np.array([[True, False], [False, False]])
    assert mt.max(Tensor(x), 1).values.tolist() == [True, False]
    assert mt.amin(Tensor(x)).dtype == np.bool_
    assert mt.max(Tensor(x.astype(np.uint8)), 0).values.dtype == np.uint8


def test_many_float16_ties_share_evenly():
    x = Tensor(np.ones((5000, 2), np.float16), requires_grad=True)
    np.testing.assert_allclose(mt.grad(x.amax(0).sum(), x)[0].numpy(), 1 / 5000, rtol=1e-3)


def test_views_that_are_not_contiguous():
    x = np.random.default_rng(0).standard_normal((4, 6, 3))
    for view in (x.T, x[::2, ::-1], np.broadcast_to(x[:, :1], (4, 5, 3))):
        for dim in range(3):
            agree("max", view.copy(), dim, part="values")
            values, indices = mt.max(Tensor(view), dim)
            np.testing.assert_array_equal(values.numpy(), view.max(dim))
            np.testing.assert_array_equal(indices.numpy(), view.argmax(dim))


def test_a_tensor_without_axes_and_empty_axes():
    for name in ("max", "min", "amax", "amin", "argmax", "argmin"):
        agree(name, 3.0)
    agree("max", 3.0, 0, part="values")
    assert mt.max(Tensor(3.0), -1).indices.item() == 0
    empty = Tensor(np.zeros((3, 0)))
    assert mt.max(empty, 0).values.shape == mt.argmin(empty, 0).shape == mt.amax(empty, 0).shape == (0,)


def test_overwriting_a_result_is_noticed():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = x.amax()
    with no_grad():
        y[...] = 0.0
    with pytest.raises(RuntimeError, match="amax needs was assigned to"):
        y.backward()


# Norms

POWERS = [0.5, 1, 1.5, 2, 3, 10, INF, -INF, "fro"]


@pytest.mark.parametrize("p", POWERS)
@pytest.mark.parametrize("numbers", [[[3.0, -4.0, 1.0], [0.0, 2.0, -2.0]], [[0.0, 0.0, 0.0], [0.0, -1.0, 0.0]]])
def test_norms_are_pytorchs(p, numbers):
    """At the zero vector too, and where single numbers are 0."""
    agree("norm", numbers, p)
    agree("norm", numbers, p, 1)
    agree("norm", numbers, p, dim=(0, 1), keepdim=True)


def test_the_norm_with_p_0_counts():
    agree("norm", [[3.0, 0.0, -1.0], [0.0, 0.0, 0.0]], 0, 1, gradient=False)


@pytest.mark.parametrize("p", [1.5, 2, 3, 10])
def test_norms_do_not_overflow_or_vanish(p):
    for size in (1e30, 1e-30):
        x = Tensor(np.full(4, size, np.float32), requires_grad=True)
        y = mt.norm(x, p)
        np.testing.assert_allclose(y.item(), size * 4 ** (1 / p), rtol=1e-5)
        np.testing.assert_allclose(mt.grad(y, x)[0].numpy(), 4 ** (1 / p - 1), rtol=1e-5)
    assert mt.norm(Tensor(np.full(4, 300, np.float16)), p).dtype == np.float16
    np.testing.assert_allclose(mt.norm(Tensor(np.full(4, 300, np.float16)), p).item(), 300 * 4 ** (1 / p), rtol=2e-3)


@pytest.mark.parametrize("p", [1, 1.5, 2, INF])
def test_norms_of_infinite_numbers_and_nans(p):
    rows = [[INF, 1.0], [-INF, INF], [NAN, 1.0]]
    with np.errstate(invalid="ignore"):
        agree("norm", rows, p, 1, gradient=False)


def test_the_curvature_of_a_norm_where_a_number_is_0():
    check_gradients(mt.norm, Tensor(np.array([0.0, 3.0, -4.0])), order=2)


def test_integers_and_empty_shapes_have_norms():
    assert mt.norm(Tensor(np.array([3, -4]))).item() == 5
    assert mt.norm(Tensor(np.array([3, -4])), 1).dtype == np.float32
    for p in (1, 1.5, 2):
        agree("norm", np.zeros((0, 2)), p, 0)
        agree("norm", -2.0, p)


# Errors

X, EMPTY = Tensor(np.ones((2, 3))), Tensor(np.ones((2, 0)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mt.amax(EMPTY), ValueError, r"amax: nothing to choose from along dim \(0, 1\) of shape \(2, 0\)"),
        (lambda: EMPTY.max(), ValueError, "nothing to choose from"),
        (lambda: EMPTY.min(1), ValueError, r"min: nothing to choose from along dim \(1,\)"),
        (lambda: EMPTY.argmax(), ValueError, "argmax: nothing to choose from"),
        (lambda: EMPTY.argmin(1), ValueError, "argmin: nothing to choose from"),
        (lambda: EMPTY.norm(INF), ValueError, "nothing to choose from"),
        (lambda: X.max((0, 1)), TypeError, r"max: dim must be an integer, got \(0, 1\)"),
        (lambda: X.argmax((0, 1)), TypeError, r"argmax: dim must be an integer, got \(0, 1\)"),
        (lambda: X.max(2), ValueError, r"max: dim 2 is out of range for shape \(2, 3\)"),
        (lambda: mt.max(X, X), TypeError, r"max: dim must be one integer, got a tensor; of two tensors, maximum\(x, y\) takes"),
        (lambda: mt.max([1.0, 2.0], 0), TypeError, "max: expected a Tensor, got list"),
        (lambda: X.max(0, axis=1), TypeError, "dim"),
        (lambda: X.max(dim=0, axis=1), TypeError, "max: dim is given twice"),
        (lambda: X.norm("nuc"), ValueError, r"norm: p must be a number ≥ 0, math.inf, -math.inf or \"fro\", got 'nuc'"),
        (lambda: X.norm(-1), ValueError, "norm: p must be a number ≥ 0.*got -1"),
        (lambda: X.norm(NAN), ValueError, "norm: p must be a number ≥ 0.*got nan"),
        (lambda: X.norm(2, 5), ValueError, "norm: dim 5 is out of range"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
