"""Convolution on arrays: one matrix product per group of channels, on columns.

Every window of the images is laid out as a column (Chellapilla, Puri & Simard 2006, "High performance convolutional neural
networks for document processing", section 4), of as many images, or rows of one, at a time as the cache holds.

For stride 1 the places are all pixels of whole padded rows: each element of the kernel then sees one run of memory, and copying
that is much faster than copying row by row. What is computed at the end of each row, where the window hangs over, is cropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from microtensor.runtime.arrays import Array, array_module

from ...windows import Window
from .blocking import BYTES, Bands, Part, pitch, strided
from .small_gemm import multiply, multiply_transposed


def forward(x: Array, weight: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """(N, C, H, W), (O, C/G, kh, kw), (O,) → (N, O, H', W')."""
    n, kernels, xp = len(x), len(weight), array_module(x)
    columns = _columns(xp, x.dtype, x.shape, window, groups, max(BYTES, weight.nbytes))
    matrix = weight.reshape(groups, kernels // groups, -1)  # (G, O/G, C/G · kh · kw)
    shift = None if bias is None else bias.reshape(groups, -1, 1, 1)
    y = xp.empty((n, groups, kernels // groups, *columns.places), x.dtype)

    def work(memory: tuple[Array, Array], part: Part) -> None:
        product = columns.crop(multiply(matrix, columns.unfold(memory, x, part)), part)
        if shift is None:
            y[part.images, :, :, part.rows] = product
        else:
            xp.add(product, shift, out=y[part.images, :, :, part.rows])

    columns.share(columns.memory, work)
    return y.reshape(n, kernels, *columns.places)


def to_input(g: Array, weight: Array, bias: Array | None, window: Window, groups: int, size: Sequence[int]) -> Array:
    """The adjoint of `forward` in x: (N, O, H', W'), (O, C/G, kh, kw), (C,) → (N, C, *size)."""
    back = turned_window(window)
    if back is not None:
        return forward(g, turned(weight, groups), bias, back, groups)
    (n, kernels), channels = g.shape[:2], groups * weight.shape[1]
    transposed = weight.reshape(groups, kernels // groups, -1).swapaxes(1, 2)  # (G, C/G · kh · kw, O/G)
    shape, xp = (n, channels, *size), array_module(g)
    columns = _columns(xp, g.dtype, shape, window, groups, max(BYTES, weight.nbytes), whole=True)
    x = xp.empty(shape, g.dtype)

    def work(memory: None, part: Part) -> None:
        x[part.images] = columns.fold(multiply(transposed, columns.spread(g, part)), size)
        if bias is not None:
            x[part.images] += bias[:, None, None]

    columns.share(lambda: None, work)
    return x


def turned_window(window: Window) -> Window | None:
    """The window with which the adjoint, for stride 1, is a convolution itself; None if its padding would be negative."""
    padding = [
        (reach - 1 - before, reach - 1 - after) for reach, (before, after) in zip(window.effective_kernel, window.padding)
    ]
    if window.stride != (1, 1) or min(map(min, padding)) < 0:
        return None
    return window._replace(padding=(padding[0], padding[1]))


def turned(weight: Array, groups: int) -> Array:
    """The kernels of the adjoint, each turned by 180 degrees: (O, C/G, kh, kw) → (C, O/G, kh, kw)."""
    grouped = weight.reshape(groups, len(weight) // groups, *weight.shape[1:]).swapaxes(1, 2)[..., ::-1, ::-1]
    whole = grouped.reshape(groups * weight.shape[1], -1, *weight.shape[2:])
    return array_module(weight).ascontiguousarray(whole)  # BLAS reads no row backward


def to_weight(x: Array, g: Array, window: Window, groups: int) -> Array:
    """The adjoint of `forward` in the weight: (N, C, H, W), (N, O, H', W') → (O, C/G, kh, kw)."""
    channels, kernels, xp = x.shape[1], g.shape[1], array_module(x)
    shape = (groups, kernels // groups, channels // groups * window.kernel[0] * window.kernel[1])
    # A part's product is added to the sum: with a large weight, that costs more than columns which the cache does not hold.
    columns = _columns(xp, x.dtype, x.shape, window, groups, max(BYTES, kernels * shape[2] * x.itemsize))

    def work(memory: tuple[Array, Array], part: Part) -> Array:
        return multiply_transposed(columns.spread(g, part), columns.unfold(memory, x, part))

    total = xp.ascontiguousarray(columns.total(shape, columns.memory, work))
    return total.reshape(kernels, channels // groups, *window.kernel)


class _Columns(Bands):
    """The columns of a part of the batch.

    Args:
        whole: the parts are of whole images.
    """

    def __init__(
        self,
        xp: Any,
        dtype: np.dtype[Any],
        shape: Sequence[int],
        window: Window,
        groups: int,
        bytes_: int,
        whole: bool = False,
    ) -> None:
        self.groups, self.flat = groups, window.stride == (1, 1) and not whole
        self.rows = shape[1] * window.kernel[0] * window.kernel[1]
        self.row = pitch(window, shape[2:]) if self.flat else window.places("conv2d", shape[2:])[1]
        tail = max(window.effective_kernel[1] - 1, *window.padding[1])
        super().__init__(xp, dtype, shape, window, self.rows * self.row, bytes_, tail, whole)

    def memory(self) -> tuple[Array, Array]:
        """For the padded images of a part, and for their columns."""
        return self.blank(), self.xp.empty(self.rows * self.step * self.band * self.row, self.dtype)

    def unfold(self, memory: tuple[Array, Array], x: Array, part: Part) -> Array:
        """A part of (N, C, H, W) → (G, C/G · kh · kw, n · rows · row)."""
        padded, columns = memory
        (kh, kw), (sh, sw), (dh, dw), plane = (
            self.window.kernel,
            self.window.stride,
            self.window.dilation,
            self.height * self.width,
        )
        n, rows = part.images.stop - part.images.start, part.rows.stop - part.rows.start
        images = padded[: n * self.channels * plane].reshape(n, self.channels, self.height, self.width)
        self.load(images, x, part)
        shape: tuple[int, ...] = (self.channels, kh, kw, n, rows * self.row)
        strides: tuple[int, ...] = (plane, dh * self.width, dw, self.channels * plane, 1)
        if not self.flat:
            shape, strides = (*shape[:4], rows, self.row), (*strides[:4], sh * self.width, sw)
        windows = strided(padded, shape, strides)
        columns = columns[: windows.size].reshape(shape)
        columns[...] = windows
        return columns.reshape(self.groups, self.rows // self.groups, -1)

    def crop(self, product: Array, part: Part) -> Array:
        """(G, O/G, n · rows · row) → (n, G, O/G, rows, W'), a view."""
        grid = product.reshape(*product.shape[:2], -1, part.rows.stop - part.rows.start, self.row)
        return grid[..., : self.places[1]].transpose(2, 0, 1, 3, 4)

    def spread(self, g: Array, part: Part) -> Array:
        """The adjoint of `crop`: a part of (N, O, H', W') → (G, O/G, n · rows · row), zeros where the window hangs over."""
        g = g[part.images, :, part.rows]
        n, kernels, rows = g.shape[:3]
        grid = self.xp.empty((self.groups, kernels // self.groups, n, rows, self.row), g.dtype)
        grid[..., self.places[1] :] = 0
        grid[..., : self.places[1]] = g.reshape(n, self.groups, -1, rows, self.places[1]).transpose(1, 2, 0, 3, 4)
        return grid.reshape(self.groups, kernels // self.groups, -1)

    def fold(self, columns: Array, size: Sequence[int]) -> Array:
        """The adjoint of `unfold`, of whole images, for any stride: (G, C/G · kh · kw, n · H' · W') → (n, C, H, W)."""
        columns = columns.reshape(self.channels, *self.window.kernel, -1, *self.places)
        padded = self.window.blank(columns, columns.shape[3], self.channels, size)
        for i, j, view in self.window.taps(padded, self.places):
            view += columns[:, i, j].swapaxes(0, 1)
        return self.window.crop(padded)


_columns = lru_cache(maxsize=256)(_Columns)  # to plan takes as long as to do, for a few small images
