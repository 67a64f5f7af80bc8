"""Products of kernels with the columns of images, in pieces that BLAS multiplies as they lie.

BLAS first packs what it multiplies into blocks of its own. With few rows to multiply, packing takes longer than multiplying;
and with some hundreds it still takes a third of the time. On processors with AVX-512, OpenBLAS packs nothing where a product is
small, of at most 10⁶ multiplications. So there the long matrix is cut into pieces, which NumPy hands over one after the other
in one call. Measured on one core: 16 × 144 by 3,640 columns at 191 GFLOP/s, not 129; 64 × 64 at 217, not 186. Transposed,
matrices are small where there are few rows alone: 6 × 25 takes a third of the time, 16 × 27 half.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from microtensor.runtime.arrays import Array, array_module
from microtensor.runtime.blas import blas

SMALL = 10**6
"""Multiplications of a product that OpenBLAS does not pack."""

LENGTHS = (192, 128, 64, 32)
"""Columns in a piece: the first of these with which it is small. Others leave a rest of a vector's length."""

FEW, LONG = 1250, 800
"""Numbers in the result of a transposed product up to which pieces are quicker, and the columns in these."""

CORES = ("SkylakeX", "Cooperlake", "SapphireRapids")
"""OpenBLAS's names of processors for which it has such products. On others pieces take up to a tenth longer."""


def multiply(matrix: Array, columns: Array, out: Array | None = None) -> Array:
    """matrix @ columns, written to `out` if it is given: (…, m, k), (…, k, length) → (…, m, length)."""
    numbers = matrix.shape[-2] * matrix.shape[-1]
    step = next((length for length in LENGTHS if length * numbers <= SMALL), 0)
    whole = _whole(matrix, step, columns.shape[-1]) if matrix.shape[-2] > 1 else 0
    if out is None and not whole:
        return matrix @ columns
    xp = array_module(columns)
    result = xp.empty((*columns.shape[:-2], matrix.shape[-2], columns.shape[-1]), matrix.dtype) if out is None else out
    if whole:
        xp.matmul(matrix[..., None, :, :], _pieces(columns, whole, step), out=_pieces(result, whole, step))
    xp.matmul(matrix, columns[..., whole:], out=result[..., whole:])
    return result


def multiply_transposed(a: Array, b: Array) -> Array:
    """a @ bᵀ: (…, m, length), (…, k, length) → (…, m, k).

    The one of more rows is first multiplied by the other: with OpenBLAS this takes half the time, measured on 150 rows and 16.
    """
    if a.shape[-2] < b.shape[-2]:
        return multiply_transposed(b, a).swapaxes(-1, -2)
    whole = _whole(a, LONG, a.shape[-1]) if a.shape[-2] * b.shape[-2] <= FEW else 0
    if not whole:
        return a @ b.swapaxes(-1, -2)
    sums = (_pieces(a, whole, LONG) @ _pieces(b, whole, LONG).swapaxes(-1, -2)).sum(-3)
    sums += a[..., whole:] @ b[..., whole:].swapaxes(-1, -2)
    return sums


def _whole(like: Array, step: int, length: int) -> int:
    """How many columns make whole pieces; 0 where pieces gain nothing."""
    return length // step * step if step and length >= 2 * step and type(like) is np.ndarray and _unpacked() else 0


@cache
def _unpacked() -> bool:
    """Whether BLAS packs no small matrices."""
    library = blas()
    return library is not None and library.core in CORES


def _pieces(matrix: Array, whole: int, step: int) -> Array:
    """(…, rows, length) → (…, pieces, rows, step), a view."""
    return matrix[..., :whole].reshape(*matrix.shape[:-1], -1, step).swapaxes(-3, -2)
