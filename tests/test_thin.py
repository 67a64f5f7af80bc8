"""Products of a small matrix with a long one, and 1×1 convolutions' gradients: the same as the plain product."""

import numpy as np
import pytest

from microtensor.nn.layers.convolution import arrays, columns, thin
from microtensor.nn.layers.windows import Window


@pytest.mark.parametrize("length", [0, 7, thin.LENGTH, 2 * thin.LENGTH, 5 * thin.LENGTH + 3])
@pytest.mark.parametrize(("m", "k"), [(6, 25), (25, 6), (1, 9), (40, 40)])
@pytest.mark.parametrize("lead", [(), (3,)])
def test_pieces_make_no_difference(lead, m, k, length):
    rng = np.random.default_rng(0)
    matrix, a, b = (rng.standard_normal((*lead, *shape)) for shape in ((m, k), (m, length), (k, length)))
    np.testing.assert_allclose(thin.multiply(matrix, b), matrix @ b, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(thin.multiply_transposed(a, b), a @ b.swapaxes(-1, -2), rtol=1e-10, atol=1e-10)


def test_long_products_of_few_rows_go_in_pieces(monkeypatch):
    lengths = []
    pieces = thin._pieces
    monkeypatch.setattr(thin, "_pieces", lambda matrix, whole: lengths.append(whole) or pieces(matrix, whole))
    few, many, long = np.ones((4, 9)), np.ones((64, 64)), 3 * thin.LENGTH + 1
    thin.multiply(few, np.ones((9, long)))
    thin.multiply_transposed(np.ones((4, long)), np.ones((9, long)))
    assert lengths == [3 * thin.LENGTH] * 4
    thin.multiply(many, np.ones((64, long)))
    thin.multiply(few, np.ones((9, thin.LENGTH)))
    assert len(lengths) == 4


@pytest.mark.parametrize("images", [0, 1, 3, 20])
@pytest.mark.parametrize("size", [(2, 3), (6, 7)])
@pytest.mark.parametrize("groups", [1, 2])
def test_the_gradient_of_a_1x1_kernel_is_that_of_columns(images, size, groups):
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((images, 6, *size)), rng.standard_normal((images, 4, *size))
    found = arrays.to_weight(x, g, Window((1, 1)), groups)
    np.testing.assert_allclose(found, columns.to_weight(x, g, Window((1, 1)), groups), rtol=1e-10, atol=1e-10)
    assert found.shape == (4, 6 // groups, 1, 1)
    assert found.flags.c_contiguous
