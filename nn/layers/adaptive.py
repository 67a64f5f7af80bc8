"""Adaptive pooling: the size of the result is given, and the windows follow from it. Global pooling is a result of size 1.

Along an axis of n pixels, window i of m covers the pixels ⌊i · n / m⌋ to ⌈(i + 1) · n / m⌉ − 1: as many windows as are asked
for, of nearly equal size, which cover everything and overlap by a pixel where m does not divide n.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from microtensor.autograd.graph import T
from microtensor.ops.reduce import mean
from microtensor.ops.shape import squeeze, unsqueeze
from microtensor.runtime.arrays import Array, array_module, device_of, take, to_device
from microtensor.runtime.blocking import parts, planes
from microtensor.runtime.integers import as_integer
from microtensor.tensor import Tensor

from ..module import Module
from .pool import _from_winners, avg_pool2d
from .pool_windows import check_numbers
from .resampling import Taps, check_lines, floats, resample


def adaptive_avg_pool2d(x: T, output_size: Any) -> T:
    """The mean of each of h × w windows that cover the image: (N, C, H, W) → (N, C, h, w).

    `output_size` 1 is global average pooling, the mean over each channel (Lin, Chen & Yan 2014, section 3.2,
    arxiv.org/abs/1312.4400).

    Args:
        output_size: one number for both, or (h, w); None keeps the image's own.

    Raises:
        MemoryError: the result would be larger than the memory.
        TypeError: x is no tensor of numbers, or a size is no integer.
        ValueError: x is no batch of images, or has no pixels; a size is less than 1.

    >>> adaptive_avg_pool2d(Tensor([[[[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]]]]), (1, 2))
    Tensor([[[[3.5, 4.5]]]])
    """
    return _means("adaptive_avg_pool2d", x, output_size, axes=2)


def adaptive_avg_pool1d(x: T, output_size: Any) -> T:
    """The mean of each of l windows that cover the sequence: (N, C, L) → (N, C, l). All else as `adaptive_avg_pool2d`.

    >>> adaptive_avg_pool1d(Tensor([[[1.0, 3.0, 5.0, 7.0]]]), 2)
    Tensor([[[2., 6.]]])
    """
    return squeeze(_means("adaptive_avg_pool1d", x, output_size, axes=1), 2)


def adaptive_max_pool2d(x: T, output_size: Any, return_indices: bool = False) -> Any:
    """The largest number of each of h × w windows that cover the image: (N, C, H, W) → (N, C, h, w).

    `output_size` 1 is global max pooling. The gradient goes to the first maximum of each window, row by row; a nan is larger
    than all.

    Args:
        output_size: one number for both, or (h, w); None keeps the image's own.
        return_indices: give a pair: the maxima, and where they are: row · W + column, int64.

    Raises:
        TypeError, ValueError: as `adaptive_avg_pool2d`.

    >>> adaptive_max_pool2d(Tensor([[[[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]]]]), (1, 2), return_indices=True)
    (Tensor([[[[6., 7.]]]]), Tensor([[[[4, 5]]]], dtype=int64))
    """
    y, indices = _maxima("adaptive_max_pool2d", x, output_size, axes=2)
    return (y, indices) if return_indices else y


def adaptive_max_pool1d(x: T, output_size: Any, return_indices: bool = False) -> Any:
    """The largest number of each of l windows that cover the sequence: (N, C, L) → (N, C, l). As `adaptive_max_pool2d`.

    >>> adaptive_max_pool1d(Tensor([[[1.0, 3.0, 7.0, 5.0]]]), 2)
    Tensor([[[3., 7.]]])
    """
    y, indices = (squeeze(z, 2) for z in _maxima("adaptive_max_pool1d", x, output_size, axes=1))
    return (y, indices) if return_indices else y


def sizes(name: str, output_size: Any, axes: int) -> tuple[int | None, ...]:
    """The size of the result along each of so many axes; None where it is to stay.

    Raises:
        TypeError: it is neither an integer or None, nor as many of them as axes.
        ValueError: a number is less than 1.

    >>> sizes("adaptive_avg_pool2d", (None, 7), axes=2)
    (None, 7)
    """
    each = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * axes
    if len(each) != axes:
        raise TypeError(f"{name}: output_size must be an integer, or {axes} of them, got {output_size!r}")
    return tuple(None if n is None else as_integer(name, "output_size", n, least=1) for n in each)


def _prepared(name: str, x: T, output_size: Any, axes: int) -> tuple[T, tuple[int, int]]:
    """x as images, for a sequence is an image of one row; and the height and width of the result."""
    check_numbers(name, x, axes)
    if 0 in x.shape[2:]:
        raise ValueError(f"{name}: x of shape {x.shape} has no pixels to pool")
    wanted = sizes(name, output_size, axes)
    given = [was if n is None else n for n, was in zip(wanted, x.shape[2:])]
    check_lines(name, x, given, "give a smaller output_size")
    return (unsqueeze(x, 2), (1, given[0])) if axes == 1 else (x, (given[0], given[1]))


def _edges(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each of m windows over n pixels begins and ends."""
    window = np.arange(m)
    return window * n // m, -(-(window + 1) * n // m)


# The mean


def _means(name: str, x: T, output_size: Any, axes: int) -> T:
    images, (height, width) = _prepared(name, x, output_size, axes)
    if (height, width) == (1, 1):
        return mean(images, dim=(2, 3), keepdim=True)
    rows, columns = images.shape[2:]
    if rows % height == columns % width == 0:  # windows of one size, side by side
        return avg_pool2d(images, (rows // height, columns // width))
    return resample(floats(images), _mean_taps(rows, height), _mean_taps(columns, width))


@functools.lru_cache(256)
def _mean_taps(before: int, after: int) -> Taps:
    """Each place takes the mean of its window."""
    start, end = _edges(before, after)
    count = (end - start).astype(np.intp, copy=False)  # np.repeat takes no wider ones
    place = np.repeat(np.arange(after), count)
    index = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count - start, count)
    return Taps(before, after, place, index, 1 / count[place])


# The largest


def _maxima(name: str, x: T, output_size: Any, axes: int) -> tuple[T, T]:
    x, places = _prepared(name, x, output_size, axes)
    size = (x.shape[2], x.shape[3])
    winner = _first_maxima(x.array, places)
    # So many windows on, no pixel is seen again.
    apart = [1 if n % m == 0 else 1 - (-m // n) for n, m in zip(size, places)]
    return _from_winners(x, winner=winner, apart=(apart[0], apart[1])), x.constant(winner)


def _first_maxima(x: Array, places: Sequence[int]) -> Array:
    """Where each window has its first maximum, row by row: row · W + column, int64."""
    xp, size = array_module(x), x.shape[2:]
    images, table = planes(x), _window_table((size[0], size[1]), (places[0], places[1]), device_of(x))
    winner = xp.empty((len(images), len(table)), np.int64)
    window = xp.arange(len(table))
    for part in parts(images):
        pixels = images[part].reshape(-1, size[0] * size[1])
        seen = pixels[:, None] if len(table) == 1 else take(pixels, table, axis=1)  # (images, windows, pixels)
        winner[part] = table[window, seen.argmax(2)]
    return winner.reshape(*x.shape[:2], *places)


@functools.lru_cache(64)
def _window_table(size: tuple[int, int], places: tuple[int, int], device: str) -> Array:
    """The pixels of each window, row by row: (windows, pixels). Smaller windows have their last row or column again.

    It is kept on its device, for the next call.
    """
    lines = []
    for n, m in zip(size, places):
        start, end = _edges(n, m)
        lines.append(np.minimum(start[:, None] + np.arange((end - start).max()), end[:, None] - 1))
    rows, columns = lines[0][:, None, :, None], lines[1][None, :, None, :]
    return to_device((rows * size[1] + columns).reshape(places[0] * places[1], -1), device)


# Layers


class _AdaptivePool(Module):
    """What the layers share: one setting."""

    axes = 2
    """2 for images, 1 for sequences."""

    def __init__(self, output_size: Any) -> None:
        sizes(type(self).__name__, output_size, self.axes)
        self.output_size = output_size

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool2d(_AdaptivePool):
    """`adaptive_avg_pool2d` as a layer: (N, C, H, W) → (N, C, h, w). `AdaptiveAvgPool2d(1)` is global average pooling.

    >>> AdaptiveAvgPool2d((7, None))
    AdaptiveAvgPool2d(output_size=(7, None))
    """

    def forward(self, x: Tensor) -> Tensor:
        return adaptive_avg_pool2d(x, self.output_size)


class AdaptiveAvgPool1d(_AdaptivePool):
    """`adaptive_avg_pool1d` as a layer: (N, C, L) → (N, C, l)."""

    axes = 1

    def forward(self, x: Tensor) -> Tensor:
        return adaptive_avg_pool1d(x, self.output_size)


class _AdaptiveMaxPool(_AdaptivePool):
    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """`adaptive_max_pool2d` as a layer: (N, C, H, W) → (N, C, h, w). `AdaptiveMaxPool2d(1)` is global max pooling."""

    def forward(self, x: Tensor) -> Any:
        return adaptive_max_pool2d(x, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """`adaptive_max_pool1d` as a layer: (N, C, L) → (N, C, l)."""

    axes = 1

    def forward(self, x: Tensor) -> Any:
        return adaptive_max_pool1d(x, self.output_size, self.return_indices)
