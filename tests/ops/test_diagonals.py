"""Triangles and diagonals: odd shapes and dtypes, adjoints, errors in words."""

import numpy as np
import pytest
from cases.diagonals import diagonal
from hypothesis import given
from oracle import alike

import microtensor as mt
from microtensor import Tensor

ARRAYS = [
    np.arange(6, dtype=np.float16).reshape(2, 3) + 1,
    np.arange(12, dtype=np.int64).reshape(2, 3, 2) + 1,
    np.array([[True, True], [True, True]]),
    np.zeros((0, 3), np.float32),
    np.zeros((2, 0)),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.tril(),
        lambda x: x.tril(-1),
        lambda x: x.triu(1),
        lambda x: x.triu(diagonal=-5),
        lambda x: x.diagonal(),
        lambda x: x.diagonal(1, -1, -2),
        lambda x: x.diagonal(offset=-9),
        lambda x: x.flatten().diag(1) if len(x.flatten()) else x.flatten(),
    ],
)
def test_any_dtype_and_shape(call, array):
    alike(call, array)


@given(diagonal())
def test_the_diagonal_and_its_adjoint(case):
    """⟨diagonal(x), v⟩ = ⟨x, v on a diagonal⟩."""
    (x,) = case.inputs
    x.requires_grad = True
    y = case.ours(x)
    v = np.random.default_rng(1).standard_normal(y.shape)
    (back,) = mt.grad(y, x, Tensor(v))
    np.testing.assert_allclose((y.numpy() * v).sum(), (x.numpy() * back.numpy()).sum(), rtol=1e-10, atol=1e-10)


def test_the_two_triangles_and_the_diagonal_make_the_whole():
    x = Tensor(np.random.default_rng(0).standard_normal((3, 3)))
    np.testing.assert_array_equal((x.tril(-1) + x.triu(1) + mt.diag(x.diag())).numpy(), x.numpy())


def test_the_diagonal_is_a_view():
    x = Tensor(np.zeros((3, 3)))
    d = x.diagonal()
    x[1, 1] = 5.0
    np.testing.assert_array_equal(d.numpy(), [0, 5, 0])


X, V = Tensor(np.arange(6.0).reshape(2, 3)), Tensor(np.arange(3.0))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: V.tril(), ValueError, r"tril: expected a matrix, or a batch of them, got shape \(3,\)"),
        (lambda: V.triu(), ValueError, r"triu: expected a matrix, or a batch of them, got shape \(3,\)"),
        (lambda: X.tril(0.5), TypeError, "tril: diagonal must be an integer, got 0.5"),
        (lambda: V.diagonal(), ValueError, r"diagonal: dim 1 is out of range for shape \(3,\)"),
        (lambda: X.diagonal(0, 1, -1), ValueError, r"diagonal: dim \(1, -1\) names an axis of shape \(2, 3\) twice"),
        (lambda: V[0].diagonal(), ValueError, "diagonal: dim 1 is out of range"),
        (
            lambda: mt.diag(X[None]),
            ValueError,
            r"diag: expected a vector or a matrix, got shape \(1, 2, 3\); diagonal\(\) takes",
        ),
        (lambda: mt.diag(V, 0.5), TypeError, "diag: diagonal must be an integer, got 0.5"),
        (lambda: mt.diag([1.0]), TypeError, "diag: expected a Tensor, got list"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
