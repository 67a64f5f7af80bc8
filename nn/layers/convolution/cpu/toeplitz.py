"""Depthwise convolution of small images by a Toeplitz matrix: one whose diagonals are constant.

A convolution is linear: some rows of pixels of a channel, times a matrix that holds an element of the kernel where a place sees
a pixel and 0 elsewhere, are some rows of the result. Such a matrix is a (doubly blocked) Toeplitz matrix. Most of it is 0; but
BLAS multiplies many times as fast as NumPy does anything else with few elements, and nothing is copied. `grad_input` multiplies
by the transposed matrix; `grad_weight` adds up the matrix's gradient where each element of the kernel is.

But 0 times inf or nan is nan, at places that do not see that pixel: then the result is computed again, by depthwise.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, TypeAlias

import numpy as np

from microtensor.runtime import threads
from microtensor.runtime.arrays import Array
from microtensor.runtime.blas import single_threaded_blas

from ...windows import Window
from ..costs import toeplitz_block
from ..problem import Problem, with_bias
from . import depthwise
from .blocking import strided

MIN_PART_NS = 500_000
"""A thread's share of the channels takes at least as long: with less, threads contend for the GIL. Measured."""

MATRIX_BYTES = 1 << 21
"""Memory for the matrices of a thread's channels: they stay in the cache that the cores share."""

Key: TypeAlias = tuple[int, int, Window]
"""What the matrix of a block of rows depends on: its rows of places and of pixels, and the window over these."""


class RowBlock(NamedTuple):
    """Rows of places, and the rows of pixels that they see; or rows of pixels, and the places that see them.

    Of successive blocks with the same matrix it is the first.
    """

    places: slice
    pixels: slice
    alike: int = 1
    """How many blocks have this matrix."""
    step: int = 0
    """Rows of places from one of them to the next."""

    def window(self, window: Window) -> Window:
        """The window, as it slides over these pixels alone."""
        top = window.padding[0][0] - self.places.start * window.stride[0] + self.pixels.start
        return window._replace(padding=((top, 0), window.padding[1]))


def why_not(problem: Problem) -> str:
    """It is for one kernel a channel, on the CPU."""
    if problem.device.name != "cpu":
        return "it is for NumPy alone"
    return depthwise.why_not(problem)


def forward(x: Array, weight: Array, bias: Array | None, problem: Problem) -> Array:
    """(N, C, H, W), (C, 1, kh, kw), (C,) → (N, C, H', W')."""
    window, width, columns, x = problem.window, problem.size[1], problem.places[1], np.ascontiguousarray(x)
    y, blocks = np.empty(problem.y, x.dtype), _blocks_of_places(problem)

    def work(channels: slice) -> None:
        for block in blocks:
            matrix = _matrix(weight[channels], block, width, columns, window)
            pixels, sums = _rows(x, y, channels, block, window)
            np.matmul(pixels, matrix[:, None], out=sums)

    with np.errstate(invalid="ignore"):
        threads.share(work, _parts(problem, blocks))
        return with_bias(y, bias) if _is_finite(y) else depthwise.forward(x, weight, bias, problem)


def grad_input(g: Array, weight: Array, bias: Array | None, problem: Problem) -> Array:
    """(N, C, H', W'), (C, 1, kh, kw), (C,) → (N, C, H, W)."""
    window, width, columns, g = problem.window, problem.size[1], problem.places[1], np.ascontiguousarray(g)
    x, blocks = np.empty(problem.x, g.dtype), _blocks_of_pixels(problem)

    def work(channels: slice) -> None:
        for block in blocks:
            matrix = _matrix(weight[channels], block, width, columns, window, transposed=True)
            sums, slopes = _rows(x, g, channels, block, window)
            np.matmul(slopes, matrix[:, None], out=sums)

    with np.errstate(invalid="ignore"):
        threads.share(work, _parts(problem, blocks))
        return with_bias(x, bias) if _is_finite(x) else depthwise.grad_input(g, weight, bias, problem)


def grad_weight(x: Array, g: Array, problem: Problem) -> Array:
    """(N, C, H, W), (N, C, H', W') → (C, 1, kh, kw)."""
    window, x, g = problem.window, np.ascontiguousarray(x), np.ascontiguousarray(g)
    weight, blocks = np.zeros(problem.weight, x.dtype), _blocks_of_places(problem)

    def work(channels: slice) -> None:
        for block in blocks:
            pixels, slopes = _rows(x, g, channels, block, window)
            matrix: Array = sum(pixels[:, i].swapaxes(1, 2) @ slopes[:, i] for i in range(block.alike))
            for i, j, elements in _elements(matrix, *_key(block, window), problem.size[1], problem.places[1]):
                weight[channels, 0, i, j] += elements.sum((1, 2))

    with np.errstate(invalid="ignore"):  # of products that belong to no element
        threads.share(work, _parts(problem, blocks))
    return weight


def _rows(x: Array, y: Array, channels: slice, block: RowBlock, window: Window) -> tuple[Array, Array]:
    """The rows of a block and those like it, of images and of results: (N, C, H, W), contiguous → (c, blocks, N, rows · W).

    Views, which BLAS can read and write. (Rows of pixels may be in two blocks.)
    """
    found = []
    for array, rows, step in ((x, block.pixels, block.step * window.stride[0]), (y, block.places, block.step)):
        (images, all_, height, width), count = array.shape, _length(channels)
        first = (channels.start * height + rows.start) * width
        shape = count, block.alike, images, _length(rows) * width
        found.append(strided(array.reshape(-1)[first:], shape, (height * width, step * width, all_ * height * width, 1)))
    return found[0], found[1]


def _is_finite(y: Array) -> bool:
    """Whether there is no inf or nan in y. (Also False where a square overflows: then computing again costs time only.)"""
    with single_threaded_blas(), np.errstate(over="ignore"):
        return bool(np.isfinite(np.dot(y.reshape(-1), y.reshape(-1))))


# Blocks of rows


def _blocks_of_places(problem: Problem) -> list[RowBlock]:
    """The rows of places cut into blocks, with the pixels that these see."""
    window, step, found = problem.window, toeplitz_block(problem)[1], []
    for places in threads.slices(problem.places[0], step):
        first = places.start * window.stride[0] - window.padding[0][0]
        stop = (places.stop - 1) * window.stride[0] - window.padding[0][0] + window.effective_kernel[0]
        found.append(RowBlock(places, _clip(first, stop, problem.size[0])))
    return _together(found, step, window)


def _blocks_of_pixels(problem: Problem) -> list[RowBlock]:
    """The rows of pixels cut into blocks, with the places that see these."""
    window, step, found = problem.window, toeplitz_block(problem)[1], []
    stride, top = window.stride[0], window.padding[0][0]
    for pixels in threads.slices(problem.size[0], step * stride):
        first = -(-(pixels.start + top - window.effective_kernel[0] + 1) // stride)
        stop = (pixels.stop - 1 + top) // stride + 1
        found.append(RowBlock(_clip(first, stop, problem.places[0]), pixels))
    return _together(found, step, window)


def _together(blocks: list[RowBlock], step: int, window: Window) -> list[RowBlock]:
    """Of successive blocks with the same matrix the first, which says how many they are."""
    alike = [list(some) for _, some in groupby(blocks, lambda block: _key(block, window))]
    return [some[0]._replace(alike=len(some), step=step) for some in alike]


def _clip(first: int, stop: int, rows: int) -> slice:
    first = min(max(first, 0), rows)
    return slice(first, max(min(stop, rows), first))


def _parts(problem: Problem, blocks: Sequence[RowBlock]) -> list[slice]:
    """The channels, as many at a time as the cache holds matrices of, and at least what is worth a thread's while."""
    channels = problem.x[1]
    largest = max((_length(block.places) * _length(block.pixels) for block in blocks), default=0)
    nbytes = largest * problem.size[1] * problem.places[1] * problem.itemsize
    long = int(toeplitz_block(problem)[0] * problem.y_elements / MIN_PART_NS)
    count = 1 << max(long.bit_length() - 1, 0)  # a power of two, as the number of cores often is
    return threads.slices(channels, max(min(MATRIX_BYTES // max(nbytes, 1), -(-channels // count)), 1))


def _length(rows: slice) -> int:
    return rows.stop - rows.start


# Matrices


def _key(block: RowBlock, window: Window) -> Key:
    return _length(block.places), _length(block.pixels), block.window(window)


def _matrix(weight: Array, block: RowBlock, width: int, columns: int, window: Window, transposed: bool = False) -> Array:
    """(C, 1, kh, kw) → (C, pixels, places) of a block of rows, or the transposed of these."""
    rows, height, window = _key(block, window)
    shape = (rows * columns, height * width) if transposed else (height * width, rows * columns)  # BLAS is quicker so
    made = np.zeros((len(weight), *shape), weight.dtype)
    for i, j, elements in _elements(made, rows, height, window, width, columns, transposed):
        elements[...] = weight[:, :, i, j, None]
    return made


def _elements(
    matrix: Array, rows: int, height: int, window: Window, width: int, columns: int, transposed: bool = False
) -> Iterator[tuple[int, int, Array]]:
    """For each element (i, j) of the kernel: where it is in the matrix, (C, rows, columns) of places that see a pixel."""
    to_pixel, to_place = (1, height * width) if transposed else (rows * columns, 1)  # elements from one to the next
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
