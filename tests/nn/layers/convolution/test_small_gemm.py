"""Products of a small matrix with a long one: the same as the plain product."""

import numpy as np
import pytest

from microtensor.nn.layers.convolution.cpu import small_gemm
from microtensor.runtime import threads


@pytest.fixture(autouse=True, params=[True, False])
def unpacked(request, monkeypatch):
    """As on a processor where pieces gain something, and as elsewhere."""
    monkeypatch.setattr(small_gemm, "_unpacked", lambda: request.param)
    return request.param


@pytest.mark.parametrize("length", [0, 7, 63, 64, 400, 2 * small_gemm.PIECE_TERMS, 5 * small_gemm.PIECE_TERMS + 3])
@pytest.mark.parametrize(("m", "k"), [(6, 25), (25, 6), (1, 9), (40, 40), (64, 200), (32, 1500)])
@pytest.mark.parametrize("lead", [(), (3,)])
def test_pieces_make_no_difference(lead, m, k, length):
    rng = np.random.default_rng(0)
    matrix, a, b = (rng.standard_normal((*lead, *shape)) for shape in ((m, k), (m, length), (k, length)))
    np.testing.assert_allclose(small_gemm.multiply(matrix, b), matrix @ b, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(small_gemm.multiply_transposed(a, b), a @ b.swapaxes(-1, -2), rtol=1e-10, atol=1e-10)
    out = np.empty((5, *lead, m, length))[1]  # one matrix, many images: with the axes that the columns have more
    np.testing.assert_array_equal(small_gemm.multiply(matrix, b, out), small_gemm.multiply(matrix, b))


def test_a_matrix_meets_the_columns_of_several_images():
    rng = np.random.default_rng(0)
    matrix, columns_ = rng.standard_normal((2, 8, 12)), rng.standard_normal((5, 2, 12, 500))
    np.testing.assert_allclose(small_gemm.multiply(matrix, columns_), matrix @ columns_, rtol=1e-10, atol=1e-10)


def test_pieces_are_as_long_as_blas_packs_nothing(monkeypatch, unpacked):
    cut = []
    pieces = small_gemm._pieces
    monkeypatch.setattr(
        small_gemm, "_pieces", lambda matrix, whole, step: cut.append((whole, step)) or pieces(matrix, whole, step)
    )
    for m, k, length, expected in (
        (4, 9, 1000, (960, 192)),
        (64, 100, 1000, (896, 128)),
        (64, 200, 1000, (960, 64)),
        (32, 900, 1000, (992, 32)),
        (64, 900, 1000, None),  # no piece is small enough
        (4, 9, 383, None),  # one piece alone
        (1, 9, 1000, None),  # a vector
    ):
        cut.clear()
        small_gemm.multiply(np.ones((m, k)), np.ones((k, length)))
        assert cut == ([expected] * 2 if expected and unpacked else [])
    for m, k, length, expected in ((4, 9, 2500, (2400, 800)), (64, 64, 2500, None), (4, 9, 1599, None)):
        cut.clear()
        small_gemm.multiply_transposed(np.ones((m, length)), np.ones((k, length)))
        assert cut == ([expected] * 2 if expected and unpacked else [])


def test_openblas_says_what_it_computes_for():
    blas = threads.blas()
    assert blas is None or blas.core.isalnum()
