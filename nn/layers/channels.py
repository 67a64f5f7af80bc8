"""Sums over each channel: batch normalisation's, and the gradient of a convolution's bias.

Both functions add in the same order. So where all of `b` is one power of two, the sum of a · b is exactly b times the sum of a:
in a channel that does not vary, x − mean is one constant, the rounding error of the mean, and its effect cancels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from microtensor.ops.reduce import SEQUENTIAL_SUM_ELEMENTS
from microtensor.runtime.arrays import Array, array_module

BLAS_POSITIONS = 128
"""From this many positions on, a dot product by BLAS for each channel of each image is faster than NumPy's sum over images."""


def channel_sums(rows: Array, channels: int) -> Array:
    """(N, C · positions) → (C,): the sum of each channel."""
    if _by_blas(rows, channels):
        return _dots(rows, array_module(rows).ones((1, rows.shape[1]), rows.dtype), channels)
    sums: Any = sum(some.sum(0) for some in _some_rows(rows))
    return _each(sums, channels).sum(-1)


def channel_products(a: Array, b: Array, channels: int) -> Array:
    """(N, C · positions) twice → (C,): the sum of the products of each channel."""
    if _by_blas(a, channels):
        return _dots(a, b, channels)
    einsum = array_module(a).einsum
    sums: Any = sum(einsum("ni,ni->i", *some) for some in zip(_some_rows(a), _some_rows(b)))
    return _each(sums, channels).sum(-1)


def _by_blas(rows: Array, channels: int) -> bool:
    return type(rows) is np.ndarray and bool(channels) and rows.shape[1] // channels >= BLAS_POSITIONS


def _dots(a: Array, b: Array, channels: int) -> Array:
    """`channel_products`: BLAS computes those of each image."""
    a, b = (_each(v, channels) for v in (a, b))
    each: Array = (a[..., None, :] @ b[..., None])[..., 0, 0]  # (N, C)
    return np.ascontiguousarray(each.T).sum(1)


def _each(rows: Array, channels: int) -> Array:
    """(…, C · positions) → (…, C, positions). Any length may be 0, so reshape's -1 would be ambiguous."""
    return rows.reshape(*rows.shape[:-1], channels, rows.shape[-1] // max(channels, 1))


def _some_rows(rows: Array) -> Iterator[Array]:
    """A thousand rows at a time, because NumPy adds them sequentially; one empty block if there are none."""
    return (rows[i : i + SEQUENTIAL_SUM_ELEMENTS] for i in range(0, max(1, rows.shape[0]), SEQUENTIAL_SUM_ELEMENTS))
