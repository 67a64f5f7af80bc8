"""Depthwise convolution of small images: what a channel's kernel does at many places at once, as one matrix.

A convolution is linear: the pixels of some rows of a channel, times a matrix that holds an element of the kernel where a place
sees a pixel and 0 elsewhere, are some rows of the result. Most of what is multiplied is 0; but BLAS does that many times as
fast as NumPy does anything else with few numbers, and nothing is copied. The adjoint in the image is the transposed matrix; the
one in the kernel sums what the matrix's gradient holds where the elements stand.

But 0 times an inf or a nan is nan, at places that do not see that pixel: then the result is computed once more, by `depthwise`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from math import prod
from typing import NamedTuple, TypeAlias

import numpy as np

from microtensor.runtime import threads
from microtensor.runtime.arrays import Array
from microtensor.runtime.blas import single_threaded_blas

from ...windows import Pair, Window
from . import depthwise
from .blocking import BYTES, strided

MULTIPLICATION, CALL, ELEMENT = 0.0163, 260, 2.3
"""Nanoseconds on one core: for a multiplication, a product of two matrices, a number written into a matrix.

These and the following are estimates, fitted to the times of 22 shapes, with kernels of 3×3 and 5×5 on images of 3×3 to 112×112
pixels. Of these they choose the way that takes less time, or up to a quarter more (5×5: 14×14 forward, 7×7 to the weight).
"""

WIDTH = 16
"""Columns of a result that BLAS computes at once: as long as for one."""

ROW, CHANNEL, MANY, STRIDE = 0.35, 1800, 256, 0.75
"""Nanoseconds of `depthwise`, for each number of the result: for each row and column of the kernel; and for each channel, of
which it takes several at once if they have fewer numbers than these. All of it times the stride, to the power of the last."""

FOR_WEIGHT = 2.5
"""So many times as long it takes in `to_weight`, whose products are of few rows, and as large as the matrix."""

PART = 500_000
"""Nanoseconds that a part takes at least: with less, threads that wait for each other gain nothing. Measured."""


Kind: TypeAlias = tuple[int, int, Window]
"""What a band's matrix depends on: its rows of places and of pixels, and the window over these."""


class Band(NamedTuple):
    """Rows of places, and the rows of pixels that they see; or rows of pixels, and the places that see them.

    Of bands that follow each other and have the same matrix it is the first.
    """

    places: slice
    pixels: slice
    alike: int = 1
    """How many these are."""
    step: int = 0
    """Rows of places from one of them to the next."""

    def window(self, window: Window) -> Window:
        """The window, as it slides over these pixels alone."""
        top = window.padding[0][0] - self.places.start * window.stride[0] + self.pixels.start
        return window._replace(padding=((top, 0), window.padding[1]))


def pays(images: int, size: Pair, window: Window, for_weight: bool = False) -> bool:
    """Whether this is quicker than `depthwise`: for small images, if they are not too few."""
    numbers = images * prod(window.places("conv2d", size))
    if not numbers:
        return False
    otherwise = (ROW * sum(window.kernel) + CHANNEL / max(numbers, MANY)) * max(window.stride) ** STRIDE
    return _best(images, size, window, FOR_WEIGHT if for_weight else 1)[0] < otherwise


def forward(x: Array, weight: Array, window: Window) -> Array:
    """(N, C, H, W), (C, 1, kh, kw) → (N, C, H', W')."""
    size, places, x = x.shape[2:], window.places("conv2d", x.shape[2:]), np.ascontiguousarray(x)
    y, bands = np.empty((*x.shape[:2], *places), x.dtype), _bands_of_places(len(x), size, window)

    def work(channels: slice) -> None:
        for band in bands:
            matrix = _matrix(weight[channels], band, size[1], places[1], window)
            pixels, sums = _rows(x, y, channels, band, window)
            np.matmul(pixels, matrix[:, None], out=sums)

    with np.errstate(invalid="ignore"):
        threads.share(work, _parts(x, bands, size, window))
        return y if _is_finite(y) else depthwise.forward(x, weight, window)


def to_input(g: Array, weight: Array, window: Window, size: Pair) -> Array:
    """The adjoint of `forward` in x: (N, C, H', W'), (C, 1, kh, kw) → (N, C, *size)."""
    places, g = g.shape[2:], np.ascontiguousarray(g)
    x, bands = np.empty((*g.shape[:2], *size), g.dtype), _bands_of_pixels(len(g), size, window)

    def work(channels: slice) -> None:
        for band in bands:
            matrix = _matrix(weight[channels], band, size[1], places[1], window, transposed=True)
            sums, slopes = _rows(x, g, channels, band, window)
            np.matmul(slopes, matrix[:, None], out=sums)

    with np.errstate(invalid="ignore"):
        threads.share(work, _parts(g, bands, size, window))
        return x if _is_finite(x) else depthwise.to_input(g, weight, window, size)


def to_weight(x: Array, g: Array, window: Window) -> Array:
    """The adjoint of `forward` in the weight: (N, C, H, W), (N, C, H', W') → (C, 1, kh, kw)."""
    size, places, x, g = x.shape[2:], g.shape[2:], np.ascontiguousarray(x), np.ascontiguousarray(g)
    weight, bands = np.zeros((x.shape[1], 1, *window.kernel), x.dtype), _bands_of_places(len(x), size, window)

    def work(channels: slice) -> None:
        for band in bands:
            pixels, slopes = _rows(x, g, channels, band, window)
            matrix: Array = sum(pixels[:, i].swapaxes(1, 2) @ slopes[:, i] for i in range(band.alike))
            for i, j, elements in _elements(matrix, *_key(band, window), size[1], places[1]):
                weight[channels, 0, i, j] += elements.sum((1, 2))

    with np.errstate(invalid="ignore"):  # of numbers that belong to no element
        threads.share(work, _parts(x, bands, size, window, FOR_WEIGHT))
    return weight


def _rows(x: Array, y: Array, channels: slice, band: Band, window: Window) -> tuple[Array, Array]:
    """The rows of a band, and of those like it, of images and of places: (N, C, H, W), contiguous → (c, bands, N, rows · W).

    Views, which BLAS can read and write. (Rows of pixels may be in two bands.)
    """
    found = []
    for array, rows, step in ((x, band.pixels, band.step * window.stride[0]), (y, band.places, band.step)):
        (images, all_, height, width), count = array.shape, _length(channels)
        first = (channels.start * height + rows.start) * width
        shape = count, band.alike, images, _length(rows) * width
        found.append(strided(array.reshape(-1)[first:], shape, (height * width, step * width, all_ * height * width, 1)))
    return found[0], found[1]


def _is_finite(y: Array) -> bool:
    """Whether there is no inf and no nan in it, nor numbers whose squares are: then asking again costs time alone."""
    with single_threaded_blas(), np.errstate(over="ignore"):
        return bool(np.isfinite(np.dot(y.reshape(-1), y.reshape(-1))))


# Bands


@lru_cache(maxsize=256)
def _best(images: int, size: Pair, window: Window, factor: float = 1) -> tuple[float, int]:
    """Nanoseconds for each number of the result, and how many rows of it make the best band."""
    rows, columns = window.places("conv2d", size)
    area, best = prod(window.kernel), (float("inf"), 1)
    for band in range(1, rows + 1):
        seen = min((band - 1) * window.stride[0] + window.effective_kernel[0], size[0]) * size[1]
        wide = -(-band * columns // WIDTH) * WIDTH / (band * columns)
        kinds = min(-(-rows // band), 3)  # of matrices: one at the top, one at the bottom, one for all between
        calls, elements = CALL / (images * band * columns), ELEMENT * area * band * kinds / (images * rows)
        best = min(best, ((seen * wide * MULTIPLICATION + calls) * factor + elements, band))
    return best


def _bands_of_places(images: int, size: Pair, window: Window) -> list[Band]:
    """The rows of places cut into bands, with the pixels that these see."""
    rows, step, found = window.places("conv2d", size)[0], _best(images, size, window)[1], []
    for places in threads.slices(rows, step):
        first = places.start * window.stride[0] - window.padding[0][0]
        stop = (places.stop - 1) * window.stride[0] - window.padding[0][0] + window.effective_kernel[0]
        found.append(Band(places, _clip(first, stop, size[0])))
    return _together(found, step, window)


def _bands_of_pixels(images: int, size: Pair, window: Window) -> list[Band]:
    """The rows of pixels cut into bands, with the places that see these."""
    rows, stride, step, found = window.places("conv2d", size)[0], window.stride[0], _best(images, size, window)[1], []
    for pixels in threads.slices(size[0], step * stride):
        first = -(-(pixels.start + window.padding[0][0] - window.effective_kernel[0] + 1) // stride)
        stop = (pixels.stop - 1 + window.padding[0][0]) // stride + 1
        found.append(Band(_clip(first, stop, rows), pixels))
    return _together(found, step, window)


def _together(bands: list[Band], step: int, window: Window) -> list[Band]:
    """Of bands that follow each other and have the same matrix, the first, which says how many they are."""
    alike = [list(some) for _, some in groupby(bands, lambda band: _key(band, window))]
    return [some[0]._replace(alike=len(some), step=step) for some in alike]


def _clip(first: int, stop: int, rows: int) -> slice:
    first = min(max(first, 0), rows)
    return slice(first, max(min(stop, rows), first))


def _parts(x: Array, bands: Sequence[Band], size: Pair, window: Window, factor: float = 1) -> list[slice]:
    """The channels of x (N, C, …), as many at a time as the cache holds matrices of, and in parts that are worth a thread."""
    (images, channels), places = x.shape[:2], window.places("conv2d", size)
    largest = max((_length(band.places) * _length(band.pixels) for band in bands), default=0) * size[1] * places[1]
    long = int(_best(images, size, window, factor)[0] * images * channels * prod(places) / PART)
    count = 1 << max(long.bit_length() - 1, 0)  # a power of two, as the number of cores often is
    return threads.slices(channels, max(min(BYTES // max(largest * x.itemsize, 1), -(-channels // count)), 1))


def _length(rows: slice) -> int:
    return rows.stop - rows.start


# Matrices


def _key(band: Band, window: Window) -> Kind:
    return _length(band.places), _length(band.pixels), band.window(window)


def _matrix(weight: Array, band: Band, width: int, columns: int, window: Window, transposed: bool = False) -> Array:
    """(C, 1, kh, kw) → (C, pixels, places) of a band, or the transposed of these."""
    rows, height, window = _key(band, window)
    shape = (rows * columns, height * width) if transposed else (height * width, rows * columns)  # BLAS is quicker so
    made = np.zeros((len(weight), *shape), weight.dtype)
    for i, j, elements in _elements(made, rows, height, window, width, columns, transposed):
        elements[...] = weight[:, :, i, j, None]
    return made


def _elements(
    matrix: Array, rows: int, height: int, window: Window, width: int, columns: int, transposed: bool = False
) -> Iterator[tuple[int, int, Array]]:
    """For each element (i, j) of the kernel: where it stands in the matrix, (C, rows, columns) of places that see a pixel."""
    to_pixel, to_place = (1, height * width) if transposed else (rows * columns, 1)  # numbers from one to the next
    steps = window.stride[0] * width * to_pixel + columns * to_place, window.stride[1] * to_pixel + to_place
    flat = matrix.reshape(-1)
    for i in range(window.kernel[0]):
        row, top, bottom = _seeing(i, 0, height, rows, window)
        for j in range(window.kernel[1]):
            column, left, right = _seeing(j, 1, width, columns, window)
            if bottom > top and right > left:
                first = (row * width + column) * to_pixel + (top * columns + left) * to_place
                yield i, j, strided(flat[first:], (len(matrix), bottom - top, right - left), (matrix[0].size, *steps))


def _seeing(element: int, axis: int, pixels: int, places: int, window: Window) -> tuple[int, int, int]:
    """Along an axis: the first pixel that this element sees, at which place, and the place after the last that sees one."""
    stride, ahead = window.stride[axis], element * window.dilation[axis] - window.padding[axis][0]
    first = max(-(ahead // stride), 0)
    return first * stride + ahead, first, min((pixels - 1 - ahead) // stride + 1, places)
