"""GEMM (general matrix multiplication) of a small matrix with a long one, in pieces that BLAS multiplies without packing.

BLAS first copies ("packs") what it multiplies into blocks. For a matrix of few rows packing takes longer than multiplying, and
for some hundred rows still a third of the time. On processors with AVX-512, OpenBLAS does not pack a small product, of at most
10⁶ multiply-accumulates. So there the long matrix is cut into pieces, which NumPy hands to BLAS one by one in a single call.
Measured on one core: 16 × 144 by 3,640 columns at 191 GFLOP/s instead of 129; 64 × 64 at 217 instead of 186. With the second
matrix transposed (two long matrices, a small result): 6 × 25 takes a third of the time, 16 × 27 half.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from microtensor.runtime.arrays import Array, array_module
from microtensor.runtime.blas import blas

UNPACKED_MACS = 10**6
"""The largest product that OpenBLAS does not pack."""

PIECE_COLUMNS = (192, 128, 64, 32)
"""Columns of a piece: the first of these with which it is small enough; multiples of the length of a vector register."""

SMALL_RESULT_ELEMENTS, PIECE_TERMS = 1250, 800
"""Results of two long matrices up to this size are quicker in pieces, of as many terms of the sums. Measured."""

CORES = ("SkylakeX", "Cooperlake", "SapphireRapids")
"""OpenBLAS's names of the processors for which it has such products. On others pieces take up to a tenth longer."""


def multiply(matrix: Array, columns: Array, out: Array | None = None) -> Array:
    """matrix @ columns, written to `out` if it is given: (…, m, k), (…, k, length) → (…, m, length)."""
    rows, terms = matrix.shape[-2:]
    step = _piece_columns(rows * terms) if rows > 1 else 0
    whole = _whole(matrix, step, columns.shape[-1])
    if out is None and not whole:
        return matrix @ columns
    xp = np if type(columns) is np.ndarray else array_module(columns)
    result = xp.empty((*columns.shape[:-2], rows, columns.shape[-1]), matrix.dtype) if out is None else out
    if whole:
        xp.matmul(matrix[..., None, :, :], _pieces(columns, whole, step), out=_pieces(result, whole, step))
    xp.matmul(matrix, columns[..., whole:], out=result[..., whole:])
    return result


def multiply_transposed(a: Array, b: Array) -> Array:
    """a @ bᵀ: (…, m, length), (…, k, length) → (…, m, k).

    The one of more rows is the first factor: with OpenBLAS this takes half the time, measured on 150 rows and 16.
    """
    if a.shape[-2] < b.shape[-2]:
        return multiply_transposed(b, a).swapaxes(-1, -2)
    whole = _whole(a, PIECE_TERMS, a.shape[-1]) if a.shape[-2] * b.shape[-2] <= SMALL_RESULT_ELEMENTS else 0
    if not whole:
        return a @ b.swapaxes(-1, -2)
    sums = (_pieces(a, whole, PIECE_TERMS) @ _pieces(b, whole, PIECE_TERMS).swapaxes(-1, -2)).sum(-3)
    sums += a[..., whole:] @ b[..., whole:].swapaxes(-1, -2)
    return sums


@cache
def _piece_columns(elements: int) -> int:
    """Columns of a piece for a matrix of this many elements; 0 if none is small enough."""
    return next((columns for columns in PIECE_COLUMNS if columns * elements <= UNPACKED_MACS), 0)


def _whole(like: Array, step: int, length: int) -> int:
    """How many columns make whole pieces; 0 where pieces gain nothing."""
    return length // step * step if step and length >= 2 * step and type(like) is np.ndarray and _unpacked() else 0


@cache
def _unpacked() -> bool:
    """Whether BLAS leaves small products unpacked."""
    library = blas()
    return library is not None and library.core in CORES


def _pieces(matrix: Array, whole: int, step: int) -> Array:
    """(…, rows, length) → (…, pieces, rows, step), a view."""
    return matrix[..., :whole].reshape(*matrix.shape[:-1], -1, step).swapaxes(-3, -2)
