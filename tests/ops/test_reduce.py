"""Sums, products, variances, softmax: at the ends of the numbers, of shapes and of dtypes; and errors in words."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import agree

import microtensor as mt
from microtensor import Tensor
from microtensor.gradcheck import check_gradients

INF, NAN = math.inf, math.nan
REDUCTIONS = ["sum", "mean", "prod", "var", "std", "any", "all", "count_nonzero", "logsumexp"]


def array(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# Numbers


@pytest.mark.parametrize(("name", "shape"), [("sum", (3,)), ("mean", (3,)), ("mean", (4, 3)), ("var", (3,)), ("std", (3,))])
@pytest.mark.parametrize("layout", ["rows", "columns", "turned", "every other", "repeated"])
def test_long_float32_sums_keep_their_digits(name, shape, layout):
    """NumPy's own sum over the first axis of 200,000 rows is right to three digits."""
    x, dim = np.random.default_rng(0).random((200_000, *shape), np.float32) + 100, 0
    if layout == "columns":
        x = np.asfortranarray(x)
    elif layout == "turned":
        x, dim = np.moveaxis(x, 0, -1), -1
    elif layout == "every other":
        x = np.repeat(x, 2, axis=0)[::2]
    elif layout == "repeated":
        x = np.broadcast_to(x[:, :1], x.shape)
    y = getattr(mt, name)(Tensor(x), dim)
    assert y.dtype == np.float32
    settings = {"ddof": 1} if name in ("var", "std") else {}
    np.testing.assert_allclose(y.numpy(), getattr(np, name)(x.astype(np.float64), dim, **settings), rtol=2e-6)


def test_float16_is_added_up_in_float32():
    ones = Tensor(np.ones((5000, 2), np.float16))
    np.testing.assert_array_equal(ones.sum(0).numpy(), np.array([5000, 5000], np.float16))
    large = Tensor(np.full((100, 2), 3e4, np.float16))
    assert large.mean().item() == 3e4
    assert large.mean().dtype == np.float16
    spread = Tensor(np.array([-400, 400] * 50, np.float16))
    assert spread.std(correction=0).item() == 400
    assert Tensor(np.array([3e4, 4.0, 0.25, 0.5], np.float16)).prod().item() == 15000
    many = Tensor(np.zeros((5000, 2), np.float16))
    np.testing.assert_allclose(mt.softmax(many, 0).numpy(), 1 / 5000, rtol=1e-3)
    np.testing.assert_allclose(mt.log_softmax(many, 0).numpy(), -math.log(5000), rtol=1e-3)
    np.testing.assert_allclose(mt.logsumexp(many, 0).numpy(), math.log(5000), rtol=1e-3)


def test_the_variance_of_numbers_far_from_0():
    x = (1e4 + array(1000)).astype(np.float32)
    np.testing.assert_allclose(mt.var(Tensor(x)).item(), x.astype(np.float64).var(ddof=1), rtol=1e-5)


@pytest.mark.parametrize("numbers", [[2.0, 3.0, 4.0], [2.0, 0.0, 4.0, 5.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0, 1.0], [-7.0]])
def test_the_gradient_of_a_product_with_zeros(numbers):
    agree("prod", numbers)
    agree("cumprod", numbers, 0)
    check_gradients(mt.prod, Tensor(np.array(numbers)), order=2)
    check_gradients(lambda x: mt.cumprod(x, 0), Tensor(np.array(numbers)), order=2)


@given(st.integers(0, 20), st.integers(0, 99))
def test_products_of_every_length(n, seed):
    x = array(2, n, seed=seed)
    np.testing.assert_allclose(mt.prod(Tensor(x), 1).numpy(), x.prod(1), rtol=1e-12)
    np.testing.assert_allclose(mt.cumprod(Tensor(x), 1).numpy(), x.cumprod(1), rtol=1e-12)


def test_variances_of_too_few_numbers_are_nan():
    for x, correction in (([3.0], 1), ([3.0, 4.0], 2), ([], 0)):
        x = Tensor(np.array(x), requires_grad=True)
        y = mt.var(x, correction=correction)
        assert math.isnan(y.item())
        assert np.isnan(mt.grad(y, x)[0].numpy()).all()
    assert mt.var(Tensor([3.0]), correction=0).item() == 0


def test_the_standard_deviation_of_equal_numbers_has_gradient_0():
    y = agree("std", [[1.0, 1.0, 1.0], [1.0, 2.0, 4.0]], 1)
    assert y.numpy()[0] == 0


def test_other_names_of_the_correction():
    x = Tensor(array(5))
    for settings, correction in (({"ddof": 0}, 0), ({"unbiased": False}, 0), ({"unbiased": True}, 1), ({"correction": 2}, 2)):
        assert x.var(**settings).item() == pytest.approx(x.numpy().var(ddof=correction))
        assert x.std(**settings).item() == pytest.approx(x.numpy().std(ddof=correction))
    assert [y.item() for y in mt.var_mean(x, unbiased=False)] == pytest.approx([x.numpy().var(), x.numpy().mean()])


ROWS = [
    [[0.0, 1.0], [-INF, 1.0]],
    [[-INF, -INF], [0.0, 1.0]],
    [[1000.0, 1001.0], [-1000.0, -1001.0]],
    [[1e300, -1e300], [1e300, 1e300]],
    [[NAN, 1.0], [0.0, 1.0]],
]


@pytest.mark.parametrize("rows", [*ROWS, [[INF, 1000.0], [INF, -INF]]])
def test_logsumexp_of_large_and_infinite_numbers(rows):
    """No warning of NumPy's either: the suite would fail by it."""
    finite = bool(np.isfinite(np.array(rows).max(1)).all())
    agree("logsumexp", rows, 1, gradient=finite)
    agree("logsumexp", rows, (0, 1), True, gradient=finite)


def test_a_row_of_minus_infinities_gets_no_gradient_from_logsumexp():
    x = Tensor(np.array([[-INF, -INF], [0.0, 0.0]]), requires_grad=True)
    np.testing.assert_array_equal(mt.grad(mt.logsumexp(x, 1).exp().sum(), x)[0].numpy(), [[0.0, 0.0], [1.0, 1.0]])


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("rows", [*ROWS, [[INF, 0.0], [0.0, 1.0]]])
def test_softmax_of_large_and_infinite_numbers(name, rows):
    with np.errstate(invalid="ignore"):  # a row without a finite number has no softmax: NumPy warns of the nan
        agree(name, rows, 1, gradient=name == "softmax")


def test_log_softmax_is_exact_where_softmax_is_0():
    x = Tensor([[0.0, 200.0]], requires_grad=True)
    y = mt.log_softmax(x, 1)
    np.testing.assert_array_equal(y.numpy(), [[-200.0, 0.0]])
    np.testing.assert_array_equal(mt.grad(y[0, 0], x)[0].numpy(), [[1.0, -1.0]])


def test_softmax_has_second_derivatives_at_minus_infinity():
    x = Tensor(np.array([-INF, 0.0, 1.0]), requires_grad=True)
    (g,) = mt.grad((mt.softmax(x, 0) * Tensor(np.array([1.0, 2.0, 4.0]))).sum(), x, create_graph=True)
    (h,) = mt.grad((g * g).sum(), x)
    assert g.numpy()[0] == h.numpy()[0] == 0
    assert np.isfinite(h.numpy()).all()


def test_any_all_and_count_nonzero():
    x = Tensor(np.array([[0.0, NAN, -0.0], [1.0, 2.0, 3.0]]))
    assert (x.any(1).tolist(), x.all(1).tolist(), x.count_nonzero(1).tolist()) == ([True, True], [False, True], [1, 3])
    assert (x.any().item(), x.all().item(), x.count_nonzero().item()) == (True, False, 4)
    assert x.any((0, 1)).dtype == x.all(keepdim=True).dtype == np.bool_
    assert x.count_nonzero().dtype == np.int64
    assert not x.requires_grad_().any().requires_grad


# Shapes


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3), (1, 1), (2, 3, 4)])
@pytest.mark.parametrize("keepdim", [False, True])
def test_empty_and_full_shapes(name, shape, keepdim):
    x = array(*shape)
    settings = {"correction": 0} if name in ("var", "std") else {}
    dims = [0, -1, *([] if name == "prod" else [tuple(range(len(shape)))])]
    for dim in dims:
        if name == "count_nonzero":
            y = mt.count_nonzero(Tensor(x), dim, keepdim)
            np.testing.assert_array_equal(y.numpy(), np.count_nonzero(x, dim, keepdims=keepdim))
        elif x.size or name not in ("var", "std"):  # PyTorch warns
            agree(name, x, dim=dim, keepdim=keepdim, **settings)
        else:
            y = getattr(mt, name)(Tensor(x), dim=dim, keepdim=keepdim)
            assert y.shape == x.sum(dim, keepdims=keepdim).shape
            assert np.isnan(y.numpy()).all()


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), ()])
def test_softmax_of_empty_and_of_single_numbers(name, shape):
    for dim in (0, -1):
        agree(name, array(*shape), dim)


@pytest.mark.parametrize("name", [n for n in REDUCTIONS if n not in ("any", "all", "count_nonzero")])
def test_a_tensor_without_axes(name):
    settings = {"correction": 0} if name in ("var", "std") else {}
    for dim in ({"dim": 0}, {"dim": -1, "keepdim": True}):
        agree(name, 3.5, **dim, **settings)


@pytest.mark.parametrize("name", [*REDUCTIONS, "softmax", "log_softmax"])
def test_views_that_are_not_contiguous(name):
    function = getattr(mt, name)
    x = array(4, 6, 2)
    for view in (x.T, x[::2, ::-1], np.broadcast_to(x[:, :1], (4, 5, 2)), np.asfortranarray(x)):
        leaf, copy = Tensor(view, requires_grad=True), Tensor(view.copy(), requires_grad=True)
        y, expected = function(leaf, 1), function(copy, 1)
        np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-12)
        if y.requires_grad:
            g = Tensor(array(*y.shape, seed=1))
            np.testing.assert_allclose(mt.grad(y, leaf, g)[0].numpy(), mt.grad(expected, copy, g)[0].numpy(), rtol=1e-9)


# Dtypes


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int8, np.int32, np.int64])
def test_integers_and_bools(dtype):
    x = np.array([[1, 0, 1], [1, 1, 1]]).astype(dtype) * dtype(1 if dtype == np.bool_ else 100)
    for name in ("sum", "prod", "cumsum", "cumprod"):
        y = getattr(mt, name)(Tensor(x), dim=1)
        assert y.dtype == np.int64
        np.testing.assert_array_equal(y.numpy(), getattr(np, name)(x.astype(np.int64), 1))
    for name in ("mean", "var", "std", "logsumexp", "softmax", "log_softmax"):
        y = getattr(mt, name)(Tensor(x), dim=1)
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y.numpy(), getattr(mt, name)(Tensor(x.astype(np.float32)), dim=1).numpy())


@pytest.mark.parametrize("name", [*REDUCTIONS, "softmax", "log_softmax", "cumsum", "cumprod"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_float_stays_what_it_is(name, dtype):
    x = Tensor(array(3, 4, dtype=dtype), requires_grad=True)
    y = getattr(mt, name)(x, dim=1)
    if name not in ("any", "all", "count_nonzero"):
        assert y.dtype == dtype
        assert mt.grad(y.sum(), x)[0].dtype == dtype


# Names and errors


def test_composed_and_positions():
    x = Tensor(array(2, 3, 4))
    for name in REDUCTIONS:
        f = getattr(mt, name)
        expected = f(x, dim=1, keepdim=True).numpy()
        method = getattr(x, name)
        for y in (f(x, axis=1, keepdims=True), method(axis=1, keepdims=True), method(1, keepdim=True), f(x, 1, keepdims=True)):
            np.testing.assert_array_equal(y.numpy(), expected)
    np.testing.assert_array_equal(x.sum((0, 2), True).numpy(), x.numpy().sum((0, 2), keepdims=True))


X = Tensor(np.ones((2, 3)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mt.sum([1.0, 2.0]), TypeError, "sum: expected a Tensor, got list"),
        (lambda: mt.prod([1.0, 2.0]), TypeError, "prod: expected a Tensor, got list"),
        (lambda: mt.std(np.ones(3)), TypeError, "std: expected a Tensor, got ndarray"),
        (lambda: X.sum(2), ValueError, r"sum: dim 2 is out of range for shape \(2, 3\): it has 2 axes, -2 to 1"),
        (lambda: X.prod(-3), ValueError, "prod: dim -3 is out of range"),
        (lambda: X.mean((0, 0)), ValueError, r"mean: dim \(0, 0\) names an axis of shape \(2, 3\) twice"),
        (lambda: X.sum(1.0), TypeError, "sum: dim must be an integer or a sequence of integers, got 1.0"),
        (lambda: X.sum(0, axis=1), TypeError, "sum: too many arguments"),
        (lambda: X.sum(dim=0, axis=1), TypeError, "sum: dim is given twice, by two of its names: dim, axis"),
        (lambda: X.std(dim=0, axis=1), TypeError, "std: dim is given twice"),
        (lambda: X.sum(where=True), TypeError, "sum: unexpected where: it takes x, dim=, keepdim="),
        (lambda: X.prod(where=True), TypeError, "where"),
        (lambda: X.var(correction="1"), TypeError, "var: correction must be a number, got '1'"),
        (lambda: X.softmax(), TypeError, "dim"),
        (lambda: X.softmax(None), TypeError, "softmax: dim is missing"),
        (lambda: X.softmax((0, 1)), TypeError, r"softmax: dim must be an integer, got \(0, 1\)"),
        (lambda: X.log_softmax(2), ValueError, "log_softmax: dim 2 is out of range"),
        (lambda: Tensor(1.0).softmax(1), ValueError, "softmax: dim 1 is out of range"),
        (lambda: X.logsumexp(5), ValueError, "logsumexp: dim 5 is out of range"),
        (lambda: X.any(2), ValueError, "any: dim 2 is out of range"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_asks_for_its_axis(name):
    with pytest.raises(TypeError, match=rf"^{name}: dim is missing: the axis along which .* for \(N, C\) that is dim=1"):
        getattr(mt, name)(mt.Tensor([[1.0]]))
