"""Adaptive pooling: the windows follow from the size of the result. Global pooling has a result of size 1.

Along an axis of n pixels, window i of m covers the pixels ⌊i · n / m⌋ to ⌈(i + 1) · n / m⌉ − 1. The windows are of nearly equal
size, cover the whole axis, and may overlap by a pixel where m does not divide n.
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
from microtensor.runtime.blocking import blocks, feature_maps
from microtensor.runtime.integers import as_integer
from microtensor.tensor import Tensor

from ..module import Module
from .pool import avg_pool2d
from .pool_argmax import _gather_argmax
from .pool_windows import check_pool_input
from .resampling import Taps, as_floating, check_resampled_size, resample


def adaptive_avg_pool2d(x: T, output_size: Any) -> T:
    """The mean of each of h × w windows that cover the image: (N, C, H, W) → (N, C, h, w).

    `output_size` 1 is global average pooling, the mean over each channel (Lin, Chen & Yan 2014, section 3.2,
    arxiv.org/abs/1312.4400).

    Args:
        output_size: (h, w), or one integer for both; None keeps the height or width of x.

    Raises:
        MemoryError: the result would be larger than the memory.
        TypeError: x is no numeric tensor, or a size is no integer.
        ValueError: x is no batch of images, or has no pixels; a size is less than 1.

    >>> adaptive_avg_pool2d(Tensor([[[[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]]]]), (1, 2))
    Tensor([[[[3.5, 4.5]]]])
    """
    return _adaptive_mean("adaptive_avg_pool2d", x, output_size, axes=2)


def adaptive_avg_pool1d(x: T, output_size: Any) -> T:
    """The mean of each of l windows that cover the sequence: (N, C, L) → (N, C, l). All else as in `adaptive_avg_pool2d`.

    >>> adaptive_avg_pool1d(Tensor([[[1.0, 3.0, 5.0, 7.0]]]), 2)
    Tensor([[[2., 6.]]])
    """
    return squeeze(_adaptive_mean("adaptive_avg_pool1d", x, output_size, axes=1), 2)


def adaptive_max_pool2d(x: T, output_size: Any, return_indices: bool = False) -> Any:
    """The largest value of each of h × w windows that cover the image: (N, C, H, W) → (N, C, h, w).

    `output_size` 1 is global max pooling. The gradient of each window goes to its argmax, the first maximum row by row; a
    nan is larger than all.

    Args:
        output_size: (h, w), or one integer for both; None keeps the height or width of x.
        return_indices: return (maxima, argmax): row · W + column, int64.

    Raises:
        TypeError, ValueError: as in `adaptive_avg_pool2d`.

    >>> adaptive_max_pool2d(Tensor([[[[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]]]]), (1, 2), return_indices=True)
    (Tensor([[[[6., 7.]]]]), Tensor([[[[4, 5]]]], dtype=int64))
    """
    y, indices = _adaptive_max("adaptive_max_pool2d", x, output_size, axes=2)
    return (y, indices) if return_indices else y


def adaptive_max_pool1d(x: T, output_size: Any, return_indices: bool = False) -> Any:
    """The largest value of each of l windows that cover the sequence: (N, C, L) → (N, C, l). As `adaptive_max_pool2d`.

    >>> adaptive_max_pool1d(Tensor([[[1.0, 3.0, 7.0, 5.0]]]), 2)
    Tensor([[[3., 7.]]])
    """
    y, indices = (squeeze(z, 2) for z in _adaptive_max("adaptive_max_pool1d", x, output_size, axes=1))
    return (y, indices) if return_indices else y


def output_sizes(name: str, output_size: Any, axes: int) -> tuple[int | None, ...]:
    """The size of the result along each axis; None where the size stays the same.

    Raises:
        TypeError: it is neither an integer or None, nor one of these for each axis.
        ValueError: a size is less than 1.

    >>> output_sizes("adaptive_avg_pool2d", (None, 7), axes=2)
    (None, 7)
    """
    each = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * axes
    if len(each) != axes:
        raise TypeError(f"{name}: output_size must be an integer, or {axes} of them, got {output_size!r}")
    return tuple(None if n is None else as_integer(name, "output_size", n, least=1) for n in each)


def _prepared(name: str, x: T, output_size: Any, axes: int) -> tuple[T, tuple[int, int]]:
    """x as images, a sequence as an image of one row; and the height and width of the result."""
    check_pool_input(name, x, axes)
    if 0 in x.shape[2:]:
        raise ValueError(f"{name}: x of shape {x.shape} has no pixels to pool")
    sizes = [n if given is None else given for given, n in zip(output_sizes(name, output_size, axes), x.shape[2:])]
    check_resampled_size(name, x, sizes, "give a smaller output_size")
    return (unsqueeze(x, 2), (1, sizes[0])) if axes == 1 else (x, (sizes[0], sizes[1]))


def _edges(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """The first pixel of each of m windows over n pixels, and the one after its last."""
    window = np.arange(m)
    return window * n // m, -(-(window + 1) * n // m)


# Average pooling


def _adaptive_mean(name: str, x: T, output_size: Any, axes: int) -> T:
    images, (height, width) = _prepared(name, x, output_size, axes)
    if (height, width) == (1, 1):
        return mean(images, dim=(2, 3), keepdim=True)
    rows, columns = images.shape[2:]
    if rows % height == columns % width == 0:  # windows of one size, side by side
        return avg_pool2d(images, (rows // height, columns // width))
    return resample(as_floating(images), _mean_taps(rows, height), _mean_taps(columns, width))


@functools.lru_cache(256)
def _mean_taps(before: int, after: int) -> Taps:
    """The weights of the mean of each window."""
    start, end = _edges(before, after)
    count = (end - start).astype(np.intp, copy=False)  # the only integers that np.repeat takes
    place = np.repeat(np.arange(after), count)
    index = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count - start, count)
    return Taps(before, after, place, index, 1 / count[place])


# Max pooling


def _adaptive_max(name: str, x: T, output_size: Any, axes: int) -> tuple[T, T]:
    x, places = _prepared(name, x, output_size, axes)
    size = (x.shape[2], x.shape[3])
    argmax = _window_argmax(x.array, places)
    # Windows this many places apart share no pixel.
    apart = [1 if n % m == 0 else 1 - (-m // n) for n, m in zip(size, places)]
    return _gather_argmax(x, argmax=argmax, apart=(apart[0], apart[1])), x.constant(argmax)


def _window_argmax(x: Array, places: Sequence[int]) -> Array:
    """The argmax of each window: row · W + column, int64."""
    xp, size = array_module(x), x.shape[2:]
    maps, windows = feature_maps(x), _window_pixels((size[0], size[1]), (places[0], places[1]), device_of(x))
    argmax = xp.empty((len(maps), len(windows)), np.int64)
    each = xp.arange(len(windows))
    for block in blocks(maps):
        pixels = maps[block].reshape(-1, size[0] * size[1])
        values = pixels[:, None] if len(windows) == 1 else take(pixels, windows, axis=1)  # (maps, windows, pixels)
        argmax[block] = windows[each, values.argmax(2)]
    return argmax.reshape(*x.shape[:2], *places)


@functools.lru_cache(64)
def _window_pixels(size: tuple[int, int], places: tuple[int, int], device: str) -> Array:
    """The pixels of each window, row by row: (windows, pixels), cached on the device. Smaller windows repeat their last row or
    column.
    """
    axes = []
    for n, m in zip(size, places):
        start, end = _edges(n, m)
        axes.append(np.minimum(start[:, None] + np.arange((end - start).max()), end[:, None] - 1))
    rows, columns = axes[0][:, None, :, None], axes[1][None, :, None, :]
    return to_device((rows * size[1] + columns).reshape(places[0] * places[1], -1), device)


# Layers


class _AdaptivePool(Module):
    """The base class of adaptive pooling layers: one setting."""

    axes = 2
    """2 for images, 1 for sequences."""

    def __init__(self, output_size: Any) -> None:
        output_sizes(type(self).__name__, output_size, self.axes)
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
