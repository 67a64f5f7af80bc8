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
from math import prod, sqrt
from typing import NamedTuple, TypeAlias

import numpy as np

from microtensor import threads
from microtensor.backend import Array
from microtensor.nn.layers.convolution import depthwise
from microtensor.nn.layers.convolution.bands import BYTES, strided
from microtensor.nn.layers.windows import Pair, Window

MULTIPLICATION, CALL, ELEMENT = 0.0133, 400, 1.5
"""Nanoseconds on one core: for a multiplication, a product of two matrices, a number written into a matrix.

These and the following are estimates, fitted to the times of sixteen shapes, with kernels of 3×3 and 5×5 on images of 3×3 to
56×56 pixels. By the way that they choose, these take less time than before or about as much, but for 5×5 with stride 2 at
56×56, forward, which takes a fifth more.
"""

ROW, CHANNEL, MANY = 0.35, 1800, 256
"""The same of `depthwise`, for each number of the result: for each row and column of the kernel, more with a stride; and for
each channel, of which it takes several at once if they have fewer numbers than these."""

FOR_WEIGHT = 3
"""So many times as long a multiplication takes in `to_weight`, whose products are of few rows, and as large as the matrix."""


Kind: TypeAlias = tuple[int, int, Window]
"""What a band's matrix depends on: its rows of places and of pixels, and the window over these."""


class Band(NamedTuple):
    """Rows of places, and the rows of pixels that they see; or rows of pixels, and the places that see them."""

    places: slice
    pixels: slice

    def window(self, window: Window) -> Window:
        """The window, as it slides over these pixels alone."""
        top = window.padding[0][0] - self.places.start * window.stride[0] + self.pixels.start
        return window._replace(padding=((top, 0), window.padding[1]))


def pays(images: int, size: Pair, window: Window, for_weight: bool = False) -> bool:
    """Whether this is quicker than `depthwise`: for small images, if they are not too few."""
    numbers = images * prod(window.places("conv2d", size))
    if not numbers:
        return False
    otherwise = (ROW * sum(window.kernel) + CHANNEL / max(numbers, MANY)) * sqrt(max(window.stride))
    return _best(images, size, window, FOR_WEIGHT if for_weight else 1)[0] < otherwise


def forward(x: Array, weight: Array, window: Window) -> Array:
    """(N, C, H, W), (C, 1, kh, kw) → (N, C, H', W')."""
    size, places = x.shape[2:], window.places("conv2d", x.shape[2:])
    y, bands = np.empty((*x.shape[:2], *places), x.dtype), _bands_of_places(len(x), size, window)

    def work(channels: slice) -> None:
        made: dict[Kind, Array] = {}
        for band in bands:
            pixels = _by_channel(x, channels, band.pixels)
            matrix = _matrix(made, weight[channels], band, size[1], places[1], window)
            np.matmul(pixels, matrix, out=_by_channel(y, channels, band.places))

    with np.errstate(invalid="ignore"):
        threads.share(work, _parts(x, bands, size[1] * places[1]))
        return y if _is_finite(y) else depthwise.forward(x, weight, window)


def to_input(g: Array, weight: Array, window: Window, size: Pair) -> Array:
    """The adjoint of `forward` in x: (N, C, H', W'), (C, 1, kh, kw) → (N, C, *size)."""
    places = g.shape[2:]
    x, bands = np.empty((*g.shape[:2], *size), g.dtype), _bands_of_pixels(len(g), size, window)

    def work(channels: slice) -> None:
        made: dict[Kind, Array] = {}
        for band in bands:
            slopes = _by_channel(g, channels, band.places)
            matrix = _matrix(made, weight[channels], band, size[1], places[1], window, transposed=True)
            np.matmul(slopes, matrix, out=_by_channel(x, channels, band.pixels))

    with np.errstate(invalid="ignore"):
        threads.share(work, _parts(g, bands, size[1] * places[1]))
        return x if _is_finite(x) else depthwise.to_input(g, weight, window, size)


def to_weight(x: Array, g: Array, window: Window) -> Array:
    """The adjoint of `forward` in the weight: (N, C, H, W), (N, C, H', W') → (C, 1, kh, kw)."""
    size, places = x.shape[2:], g.shape[2:]
    weight, bands = np.zeros((x.shape[1], 1, *window.kernel), x.dtype), _bands_of_places(len(x), size, window)

    def work(channels: slice) -> None:
        sums: dict[Kind, Array] = {}
        for band in bands:
            matrix = _by_channel(x, channels, band.pixels).swapaxes(1, 2) @ _by_channel(g, channels, band.places)
            key = _key(band, window)
            if key in sums:
                sums[key] += matrix
            else:
                sums[key] = matrix
        for (rows, height, inside), matrix in sums.items():
            for i, j, elements in _elements(matrix, rows, height, inside, size[1], places[1]):
                weight[channels, 0, i, j] += elements.sum((1, 2))

    with np.errstate(invalid="ignore"):  # of numbers that belong to no element
        threads.share(work, _parts(x, bands, size[1] * places[1]))
    return weight


def _by_channel(x: Array, channels: slice, rows: slice) -> Array:
    """Some rows of some channels of (N, C, H, W), → (c, N, rows · W), a view that BLAS can read and write."""
    x = x[:, channels, rows]
    return x.reshape(*x.shape[:2], prod(x.shape[2:])).swapaxes(0, 1)


def _is_finite(y: Array) -> bool:
    """Whether there is no inf and no nan in it, nor numbers whose squares are: then asking again costs time alone."""
    with threads.single_threaded_blas(), np.errstate(over="ignore"):
        return bool(np.isfinite(np.dot(y.reshape(-1), y.reshape(-1))))


# Bands


@lru_cache(maxsize=256)
def _best(images: int, size: Pair, window: Window, factor: int = 1) -> tuple[float, int]:
    """Nanoseconds for each number of the result, and how many rows of it make the best band."""
    rows, columns = window.places("conv2d", size)
    area, best = prod(window.kernel), (float("inf"), 1)
    for band in range(1, rows + 1):
        seen = min((band - 1) * window.stride[0] + window.reach[0], size[0]) * size[1]
        kinds = min(-(-rows // band), 3)  # of matrices: one at the top, one at the bottom, one for all between
        calls, elements = CALL / (images * band * columns), ELEMENT * area * band * kinds / (images * rows)
        best = min(best, (seen * MULTIPLICATION * factor + calls + elements, band))
    return best


def _bands_of_places(images: int, size: Pair, window: Window) -> list[Band]:
    """The rows of places cut into bands, with the pixels that these see."""
    rows, found = window.places("conv2d", size)[0], []
    for places in threads.slices(rows, _best(images, size, window)[1]):
        first = places.start * window.stride[0] - window.padding[0][0]
        stop = (places.stop - 1) * window.stride[0] - window.padding[0][0] + window.reach[0]
        found.append(Band(places, _clip(first, stop, size[0])))
    return found


def _bands_of_pixels(images: int, size: Pair, window: Window) -> list[Band]:
    """The rows of pixels cut into bands, with the places that see these."""
    rows, stride, found = window.places("conv2d", size)[0], window.stride[0], []
    for pixels in threads.slices(size[0], _best(images, size, window)[1] * stride):
        first = -(-(pixels.start + window.padding[0][0] - window.reach[0] + 1) // stride)
        stop = (pixels.stop - 1 + window.padding[0][0]) // stride + 1
        found.append(Band(_clip(first, stop, rows), pixels))
    return found


def _clip(first: int, stop: int, rows: int) -> slice:
    first = min(max(first, 0), rows)
    return slice(first, max(min(stop, rows), first))


def _parts(x: Array, bands: Sequence[Band], columns: int) -> list[slice]:
    """The channels of x (N, C, …), as many at a time as the cache holds matrices of."""
    largest = max((_length(band.places) * _length(band.pixels) for band in bands), default=0) * columns * x.itemsize
    return threads.slices(x.shape[1], max(BYTES // max(largest, 1), 1))


def _length(rows: slice) -> int:
    return rows.stop - rows.start


# Matrices


def _key(band: Band, window: Window) -> Kind:
    return _length(band.places), _length(band.pixels), band.window(window)


def _matrix(
    made: dict[Kind, Array], weight: Array, band: Band, width: int, columns: int, window: Window, transposed: bool = False
) -> Array:
    """(C, 1, kh, kw) → (C, pixels, places) of a band, or the transposed of these; `made` has those of bands before."""
    key = rows, height, window = _key(band, window)
    if key not in made:
        shape = (rows * columns, height * width) if transposed else (height * width, rows * columns)  # BLAS is quicker so
        made[key] = np.zeros((len(weight), *shape), weight.dtype)
        for i, j, elements in _elements(made[key], rows, height, window, width, columns, transposed):
            elements[...] = weight[:, :, i, j, None]
    return made[key]


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
