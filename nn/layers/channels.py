"""Sums over each channel: batch normalisation's, and the gradient of a convolution's bias.

Both sums add in the same order: so that of g times a number is that number times the sum of g, to the last digit, where the
number is a power of two; as it is in a channel that does not vary, of which only what its mean was rounded by is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from microtensor.ops.reduce import LONG
from microtensor.runtime.arrays import Array, array_module

LINE = 128
"""Positions from which on BLAS sums a channel of one image after the other more quickly than NumPy adds the images."""


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
    return type(rows) is np.ndarray and bool(channels) and rows.shape[1] // channels >= LINE


def _dots(a: Array, b: Array, channels: int) -> Array:
    """`channel_products`, of which BLAS computes those of each image."""
    a, b = (_each(v, channels) for v in (a, b))
    each: Array = (a[..., None, :] @ b[..., None])[..., 0, 0]  # (N, C)
    return np.ascontiguousarray(each.T).sum(1)


def _each(rows: Array, channels: int) -> Array:
    """(…, C · positions) → (…, C, positions). There may be no rows, no channels and no positions: -1 would not say how many."""
    return rows.reshape(*rows.shape[:-1], channels, rows.shape[-1] // max(channels, 1))


def _some_rows(rows: Array) -> Iterator[Array]:
    """A thousand rows at a time, for NumPy adds them one by one; once none, if there are none."""
    return (rows[i : i + LONG] for i in range(0, max(1, rows.shape[0]), LONG))
