"""Matrix products: against NumPy, at the extremes of shape and dtype, and what they refuse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import microtensor as mt
from microtensor import Tensor
from microtensor.ops import product

RNG = np.random.default_rng(0)


def rand(*shape):
    return Tensor(RNG.standard_normal(shape))


@given(hnp.mutually_broadcastable_shapes(signature="(m?,k),(k,n?)->(m?,n?)", max_dims=2, min_side=0, max_side=3))
def test_matmul_is_numpys_also_where_there_is_nothing(drawn):
    x, y = (rand(*shape) for shape in drawn.input_shapes)
    z = x @ y
    np.testing.assert_allclose(z.numpy(), x.numpy() @ y.numpy(), rtol=1e-12, atol=1e-14, strict=True)
    x.requires_grad_(), y.requires_grad_()
    dx, dy = mt.grad(x @ y, [x, y], Tensor(np.ones(z.shape)))
    assert dx.shape == x.shape
    assert dy.shape == y.shape


@given(st.integers(0, 2), st.integers(0, 2), st.integers(1, 99))
def test_views_that_are_not_contiguous(flip, step, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((4, 6, 6)), rng.standard_normal((6, 6))
    views = [x.transpose(0, 2, 1), x[:, ::2][:, [0, 1, 2, 0, 1, 2]], x[:, ::-1, ::-1]][flip]
    other = [y.T, np.broadcast_to(y[:1], (6, 6)), y[::-1]][step]
    np.testing.assert_allclose((Tensor(views) @ Tensor(other)).numpy(), views @ other, rtol=1e-12, atol=1e-13)


def test_blas_gets_rows_or_columns_in_one_piece():
    x = RNG.standard_normal((3, 4, 6))
    for whole in (x, x.swapaxes(1, 2), x[:, 1:, 2:], np.broadcast_to(x[0], (5, 4, 6)), x[:0], x[:, :, :0]):
        assert product._for_blas(whole, np) is whole
    for scattered in (
        x[:, :, ::2],
        x[:, ::2, ::2],
        x[..., ::-1],
        x.T,
        np.broadcast_to(x[0, :1], (3, 6)),
        np.broadcast_to(1.0, (3, 3)),
    ):
        copy = product._for_blas(scattered, np)
        assert copy.flags.c_contiguous
        np.testing.assert_array_equal(copy, scattered)


@pytest.mark.parametrize(
    ("first", "second", "result"),
    [
        ("float32", "float32", "float32"),
        ("float64", "float64", "float64"),
        ("float16", "float16", "float16"),
        ("float32", "float64", "float64"),
        ("float32", "int64", "float32"),
        ("bool", "float32", "float32"),
        ("int64", "int64", "int64"),
        ("uint8", "int32", "int32"),
        ("bool", "int64", "int64"),
    ],
)
def test_dtypes_meet_as_in_a_product_of_numbers(first, second, result):
    x, y = Tensor(np.ones((2, 3), first)), Tensor(np.ones((3, 2), second))
    for z in (x @ y, mt.mm(x, y), mt.mv(x, y[:, 0]), mt.dot(x[0], y[:, 0]), mt.outer(x[0], y[0]), (x * y.T)):
        assert z.dtype == result
    assert (x @ y).tolist() == [[3, 3], [3, 3]]


def test_a_gradient_keeps_its_inputs_dtype():
    x, y = Tensor(np.ones((2, 3), np.float32), requires_grad=True), Tensor(np.ones((3, 2)), requires_grad=True)
    (x @ y).sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == (np.float32, np.float64)


def test_half_precision_is_rounded_once():
    x, y = (Tensor(RNG.standard_normal((64, 64)).astype(np.float16)) for _ in range(2))
    exact = x.numpy().astype(np.float64) @ y.numpy().astype(np.float64)
    z = (x @ y).numpy()
    assert z.dtype == np.float16
    np.testing.assert_allclose(z, exact, rtol=2**-10, atol=2**-10)


def test_an_array_is_a_constant_on_either_side():
    x, array = Tensor([[1.0, 2.0]], requires_grad=True), np.array([[3.0], [4.0]], np.float32)
    for y in (x @ array, array.T @ x.T):
        assert isinstance(y, Tensor)
        assert y.tolist() == [[11.0]]
    (x @ array).backward()
    assert x.grad.tolist() == [[3.0, 4.0]]


def test_methods_are_the_functions():
    x, y = rand(2, 3), rand(3, 4)
    for ours, expected in [
        (x.matmul(y), x.numpy() @ y.numpy()),
        (x.mm(y), x.numpy() @ y.numpy()),
        (x[None].bmm(y[None]), (x.numpy() @ y.numpy())[None]),
        (x.mv(y[:, 0]), x.numpy() @ y.numpy()[:, 0]),
        (x[0].dot(y[:, 0]), x.numpy()[0] @ y.numpy()[:, 0]),
        (x[0].outer(y[0]), np.outer(x.numpy()[0], y.numpy()[0])),
    ]:
        np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-12, strict=True)


def test_vectors_of_nothing():
    nothing = Tensor(np.zeros(0))
    assert mt.dot(nothing, nothing).item() == 0.0
    assert mt.outer(nothing, rand(2)).shape == (0, 2)
    assert (Tensor(np.zeros((2, 0))) @ nothing).tolist() == [0.0, 0.0]


VECTOR, MATRIX, BATCH = Tensor([1.0, 2.0]), Tensor(np.ones((2, 3))), Tensor(np.ones((4, 2, 3)))
BOOLS = MATRIX > 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: MATRIX @ MATRIX,
            ValueError,
            r"matmul: shapes \(2, 3\) and \(2, 3\) do not fit: the rows of the first have 3 elements, the columns of the second 2; "
            r"transposed, \.mT, the second would fit",
        ),
        (lambda: MATRIX @ VECTOR, ValueError, "the rows of the first have 3 elements, the columns of the second 2$"),
        (
            lambda: BATCH @ Tensor(np.ones((3, 3, 2))),
            ValueError,
            r"leading axes of shapes \(4, 2, 3\) and \(3, 3, 2\) do not broadcast",
        ),
        (lambda: MATRIX @ 2, TypeError, r"matmul: expected tensors, got the number 2; numbers multiply with \*"),
        (lambda: 2.5 @ MATRIX, TypeError, r"matmul: expected tensors, got the number 2\.5"),
        (lambda: MATRIX @ None, TypeError, "matmul: expected tensors, got None"),
        (lambda: MATRIX @ "x", TypeError, "matmul: expected a Tensor, a number or an array, got str"),
        (lambda: mt.matmul([1.0], [2.0]), TypeError, "matmul: expected a Tensor, got list, list"),
        (
            lambda: MATRIX @ Tensor(2.0),
            ValueError,
            r"matmul: shapes \(2, 3\) and \(\): without axes there is nothing to sum over",
        ),
        (
            lambda: BOOLS @ BOOLS.T,
            TypeError,
            r"matmul: sums of bools are no bools; convert one tensor: \.to\('int64'\) to count",
        ),
        (
            lambda: mt.mm(MATRIX, VECTOR),
            ValueError,
            r"mm: expected two matrices, \(M, K\) and \(K, N\), got shapes \(2, 3\) and \(2,\)",
        ),
        (lambda: mt.mm(MATRIX, MATRIX), ValueError, "mm: shapes .* transposed, .mT, the second would fit"),
        (lambda: mt.bmm(BATCH, MATRIX.T), ValueError, r"bmm: expected as many matrices on either side, .*; @ takes others"),
        (lambda: mt.bmm(BATCH, BATCH[:1].mT), ValueError, r"got shapes \(4, 2, 3\) and \(1, 3, 2\)"),
        (lambda: mt.mv(VECTOR, MATRIX), ValueError, "mv: expected a matrix and a vector"),
        (lambda: mt.dot(MATRIX, MATRIX), ValueError, "dot: expected two vectors of one length"),
        (lambda: mt.dot(VECTOR, Tensor([1.0, 2.0, 3.0])), ValueError, r"dot: shapes \(2,\) and \(3,\) do not fit"),
        (lambda: mt.dot(VECTOR, 2), TypeError, "dot: expected tensors, got the number 2"),
        (
            lambda: mt.outer(MATRIX, VECTOR),
            ValueError,
            r"outer: expected two vectors, got shapes \(2, 3\) and \(2,\); .flatten\(\)",
        ),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
