"""Products of a small matrix with a long one: the kernels of a first layer, and the columns of many images.

BLAS first packs what it multiplies into blocks of its own; with few rows to multiply, packing takes longer than multiplying.
OpenBLAS packs nothing where a product is small (at most 10⁶ multiplications, on processors with AVX-512). So the long matrix is
cut into pieces, which NumPy hands over one after the other in one call. Measured on one core, as `to_weight` uses it, on 32,768
columns: 6 × 25 takes a sixth of the time, 16 × 27 a third; forward 0.4 and 0.7. The others do not become slower.
"""

from __future__ import annotations

import numpy as np

from microtensor.backend import Array

LENGTH = 800
"""Columns in a piece."""

SMALL = 1250
"""Numbers of the small matrix, or of the result, up to which pieces are quicker: `LENGTH` times these are 10⁶."""


def multiply(matrix: Array, columns: Array) -> Array:
    """matrix @ columns: (…, m, k), (…, k, length) → (…, m, length)."""
    length = columns.shape[-1]
    whole = _whole(matrix, matrix.shape[-2] * matrix.shape[-1], length)
    if not whole:
        return matrix @ columns
    result = np.empty((*matrix.shape[:-1], length), matrix.dtype)
    np.matmul(matrix[..., None, :, :], _pieces(columns, whole), out=_pieces(result, whole))
    np.matmul(matrix, columns[..., whole:], out=result[..., whole:])
    return result


def multiply_transposed(a: Array, b: Array) -> Array:
    """a @ bᵀ: (…, m, length), (…, k, length) → (…, m, k).

    The one of more rows is first multiplied by the other: with OpenBLAS this takes half the time, measured on 150 rows and 16.
    """
    if a.shape[-2] < b.shape[-2]:
        return multiply_transposed(b, a).swapaxes(-1, -2)
    whole = _whole(a, a.shape[-2] * b.shape[-2], a.shape[-1])
    if not whole:
        return a @ b.swapaxes(-1, -2)
    sums = (_pieces(a, whole) @ _pieces(b, whole).swapaxes(-1, -2)).sum(-3)
    sums += a[..., whole:] @ b[..., whole:].swapaxes(-1, -2)
    return sums


def _whole(like: Array, numbers: int, length: int) -> int:
    """How many columns make whole pieces; 0 where pieces gain nothing."""
    thin = type(like) is np.ndarray and numbers <= SMALL and length >= 2 * LENGTH
    return length // LENGTH * LENGTH if thin else 0


def _pieces(matrix: Array, whole: int) -> Array:
    """(…, rows, length) → (…, pieces, rows, LENGTH), a view."""
    return matrix[..., :whole].reshape(*matrix.shape[:-1], -1, LENGTH).swapaxes(-3, -2)
