"""Batch normalisation by array calls: forward and backward written out for speed. By kernels: batch_norm_kernels.py.

All positions of all channels of an image are one row, (N, C · positions), and what is known per channel is repeated along such
a row: so each pass over the data is one long loop, however small the images are. At 4×4 pixels that is five times as fast.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from microtensor.autograd.autocast import at_least_float32
from microtensor.autograd.shared import SharedByVjps
from microtensor.ops.reduce import SEQUENTIAL_SUM_ELEMENTS
from microtensor.runtime.arrays import Array, array_module
from microtensor.runtime.blocking import BLOCK_BYTES, MIN_BLOCKED_BYTES
from microtensor.runtime.threads import share, slices

from .channels import channel_products, channel_sums

Gradient: TypeAlias = Callable[[Any], Array]
"""A function of the gradient of the result (a tensor)."""

Normalised: TypeAlias = tuple[Array, Gradient, Gradient, Gradient]
"""A result, and the gradients of x, weight and bias."""

PIVOT_SHARE = 8
"""The pivot is the mean of the first eighth of a batch, or of a row: it is close to the mean of all."""


# Mean and variance come from one pass over x − pivot: mean = pivot + rest, var = mean of (x − pivot)² − rest². An eighth of the
# batch cannot have a mean far off: rest² is at most 7 times the variance, so at most one digit cancels. And `rest` contains the
# rounding error of the pivot: a channel that does not vary becomes exactly 0, where the rounding error of its mean, divided by
# √eps, would be 1e-4.
def normalised(x: Any, weight: Any, bias: Any, running: Any, momentum: Any, eps: float) -> Normalised:
    """x normalised by its own statistics, which update the `running` ones; and the gradients of x, weight and bias.

    Both passes over x take blocks of rows that fit in the cache, shared among threads.
    """
    xp, channels, count = x.xp, x.shape[1], x.array.size // x.shape[1]
    rows = as_rows(x.array)
    some = -(-rows.shape[0] // PIVOT_SHARE)
    pivot = channel_sums(rows[:some], channels) / (some * rows.shape[1] // channels)
    data = xp.empty(x.shape, rows.dtype)
    y, pivots = as_rows(data), along_row(pivot, rows)

    def sums_of_part(part: slice) -> tuple[Array, Array]:
        centred = xp.subtract(rows[part], pivots, out=y[part])
        return channel_sums(centred, channels), channel_products(centred, centred, channels)

    total, squares = _totals(rows, sums_of_part)
    rest = total / count
    var = (squares / count - rest * rest).clip(0, math.inf)
    inverse = 1 / xp.sqrt(var + eps)
    scale = inverse if weight is None else inverse * weight.array
    factor, offset = along_row(scale, rows), along_row((0 if bias is None else bias.array) - rest * scale, rows)

    def scale_part(part: slice) -> None:
        block = y[part]
        block *= factor
        block += offset

    share(scale_part, _parts(rows))
    for statistic, value in zip(running, (pivot + rest, var * (count / (count - 1)))):
        if statistic is not None:
            statistic.array += momentum * (value - statistic.array)
    return data, *_gradients(x, weight, pivot, rest, inverse)


def _gradients(x: Any, weight: Any, pivot: Array, rest: Array, inverse: Array) -> tuple[Gradient, Gradient, Gradient]:
    """The gradients of x, weight and bias, where the mean is pivot + rest, and inverse = 1 / √(var + eps)."""
    xp, channels, count = x.xp, x.shape[1], x.array.size // x.shape[1]

    def sums_of(g: Any, centred: Array | None = None) -> tuple[Array, Array]:
        """Σ g and Σ g · (x − mean) of each channel. Writes x − pivot to `centred`, if given."""
        rows, slopes = as_rows(x.array), as_rows(g.array)
        pivots = along_row(pivot, rows)

        def sums_of_part(part: slice) -> tuple[Array, Array]:
            block = xp.subtract(rows[part], pivots, out=None if centred is None else centred[part])
            return channel_sums(slopes[part], channels), channel_products(slopes[part], block, channels)

        total, products = _totals(rows, sums_of_part)
        return total, products - rest * total

    sums = SharedByVjps(sums_of)

    def grad_input(g: Any) -> Array:
        """scale · (g − mean of g − x̂ · mean of g · x̂), where x̂ = (x − pivot − rest) · inverse."""
        back: Array = xp.empty(x.shape, at_least_float32(x.array).dtype)
        dx, slopes = as_rows(back), as_rows(g.array)
        total, product = sums.keep(g, sums_of(g, dx))
        slope = -inverse * inverse * product / count
        factor, shift = along_row(slope, dx), along_row(total / count + rest * slope, dx)
        scale = along_row(inverse if weight is None else inverse * weight.array, dx)

        def differentiate_part(part: slice) -> None:
            block = dx[part]
            block *= factor
            block += slopes[part]
            block -= shift
            block *= scale

        share(differentiate_part, _parts(dx))
        return back

    return grad_input, lambda g: inverse * sums(g)[1], lambda g: sums(g)[0].copy()


def scaled(x: Array, scale: Array, shift: Array | None = None) -> Array:
    """scale · x + shift, channel by channel, in the dtype of x."""
    xp, rows = array_module(x), x.reshape(x.shape[0], math.prod(x.shape[1:]))
    data = xp.empty(x.shape, x.dtype)
    y = data.reshape(rows.shape)
    xp.multiply(rows, along_row(scale, rows), out=y)
    if shift is not None:
        y += along_row(shift, rows)
    return data


def as_rows(data: Array) -> Array:
    """(N, C, …) → (N, C · positions), of float32 at least."""
    return at_least_float32(data).reshape(data.shape[0], math.prod(data.shape[1:]))


def along_row(values: Array, rows: Array) -> Array:
    """(C,) → (C · positions,), each value repeated at every position."""
    return array_module(values).repeat(values, rows.shape[1] // values.size) if values.size else values


def _parts(rows: Array) -> list[slice]:
    """Blocks of rows: a few arrays of a block fill the cache, and a block has at most a thousand rows.

    One block for a GPU, and for an array that is small: each block costs calls of NumPy's.
    """
    if array_module(rows) is not np or (rows.nbytes < 2 * MIN_BLOCKED_BYTES and len(rows) <= SEQUENTIAL_SUM_ELEMENTS):
        return [slice(0, len(rows))]
    return slices(len(rows), max(min(BLOCK_BYTES * len(rows) // max(rows.nbytes, 1), SEQUENTIAL_SUM_ELEMENTS), 1))


def _totals(rows: Array, sums_of_part: Callable[[slice], tuple[Array, Array]]) -> tuple[Array, Array]:
    """Two sums over all rows: those of the blocks, added up in order."""
    parts = _parts(rows)
    found: list[Any] = [None] * len(parts)

    def work(i: int) -> None:
        found[i] = sums_of_part(parts[i])

    share(work, range(len(parts)))
    first, second = zip(*found)
    return sum(first), sum(second)
