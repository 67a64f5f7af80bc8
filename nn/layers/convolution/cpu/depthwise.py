"""Depthwise convolution on arrays: each channel has one kernel of its own (groups = channels).

Columns of a large kernel cost more to copy than to multiply, for the matrix that they meet has a single row. So an image is
unfolded along its rows only: kw copies of a channel, each moved by a pixel, are the kw rows of a matrix. The kernel (kh, kw)
times this matrix gives kh lines, one for each row of the kernel; moved by a row of the image each, they add up to the result.
That makes kw copies, one product and kh additions. The derivative with respect to the image is the same, backward.

With a stride, an element of the kernel sees every stride-th row and column only: one phase of the image. Each phase is laid out
as an image of its own, in which a window moves by one pixel again.
"""

from __future__ import annotations

from copy import copy
from itertools import product
from math import gcd
from typing import Any, NamedTuple, TypeAlias

from microtensor.runtime import threads
from microtensor.runtime.arrays import Array, array_module

from ...windows import Pair, Window
from . import im2col as columns

SMALL = 9
"""Elements of a kernel for which columns are as fast, at stride 1: forward, and backward to the image. Measured."""

LINE = 1 << 13
"""Numbers in a line, unless one image has more: so many that the call of a product costs little beside it."""

BLOCK_BYTES = 1 << 18
"""Memory for the lines of a block of channels: with their copies and products, about what a core's cache holds. Measured."""

Block: TypeAlias = tuple[slice, slice]
"""Some images, and some of their channels."""


def forward(x: Array, weight: Array, window: Window) -> Array:
    """(N, C, H, W), (C, 1, kh, kw) → (N, C, H', W')."""
    if _is_small(window):
        return columns.forward(x, weight, None, window, len(weight))
    plan, kernels = _Lines(x, x.shape[:2], x.shape[2:], window), weight[:, 0]
    y = array_module(x).empty((*x.shape[:2], *plan.places), x.dtype)

    def work(lines: _Lines, block: Block) -> None:
        images, channels = block
        lines.load(x[images, channels])
        total: Array = None
        for rows in lines.rows:
            kernel = kernels[channels, rows.elements]  # (c, e, kw)
            products = _product(kernel, lines.unfold(rows, len(kernel)))
            for k, shift in enumerate(rows.shifts):
                if total is None:  # the first row of the kernel, whose shift is 0
                    total = products[:, k]
                else:
                    total[:, : lines.length - shift] += products[:, k, shift:]
        part = y[images, channels]
        part[...] = lines.crop(total, len(part))

    threads.share_with(plan.with_memory, work, plan.blocks())
    return y


def to_input(g: Array, weight: Array, window: Window, size: Pair) -> Array:
    """The adjoint of `forward` in x: (N, C, H', W'), (C, 1, kh, kw) → (N, C, *size)."""
    if _is_small(window):
        return columns.to_input(g, weight, None, window, len(weight), size)
    plan, kernels, xp = _Lines(g, g.shape[:2], size, window), weight[:, 0], array_module(g)
    x = xp.zeros((*g.shape[:2], *size), g.dtype)  # pixels that no window sees keep their 0

    def work(lines: _Lines, block: Block) -> None:
        images, channels = block
        spread = lines.spread(g[images, channels])
        for rows in lines.rows:
            kernel = kernels[channels, rows.elements]  # (c, e, kw)
            moved = xp.empty((*kernel.shape[:2], lines.length), g.dtype)
            for k, shift in enumerate(rows.shifts):
                moved[:, k, :shift] = 0
                moved[:, k, shift:] = spread[:, : lines.length - shift]
            lines.fold(rows, _product(kernel.swapaxes(1, 2), moved))
        lines.unload(x[images, channels])

    threads.share_with(plan.with_memory, work, plan.blocks())
    return x


def to_weight(x: Array, g: Array, window: Window) -> Array:
    """The adjoint of `forward` in the weight: (N, C, H, W), (N, C, H', W') → (C, 1, kh, kw).

    Each weight's is one dot product of a line with the gradient's: nothing needs to be copied for it.
    """
    plan, xp = _Lines(x, x.shape[:2], x.shape[2:], window), array_module(x)
    total = xp.zeros((x.shape[1], 1, *window.kernel), x.dtype)

    def work(lines: _Lines, channels: slice) -> None:  # all images of some channels, for their sums are one thread's
        for images in plan.image_slices():
            lines.load(x[images, channels])
            spread = lines.spread(g[images, channels])[:, None]  # (c, 1, length)
            for rows in lines.rows:
                kernel = total[channels, 0, rows.elements]
                for k, row in enumerate(rows.shifts):
                    for j, (phase, column) in enumerate(rows.columns):
                        seen = lines.lines[phase, : len(kernel), row + column : lines.length, None]
                        kernel[:, k, j] += (spread[..., : seen.shape[1]] @ seen)[:, 0, 0]

    threads.share_with(plan.with_memory, work, plan.channel_slices())
    return total


def _is_small(window: Window) -> bool:
    return window.stride == (1, 1) and window.kernel[0] * window.kernel[1] <= SMALL


def _product(a: Array, b: Array) -> Array:
    """a @ b. Of a column with a row, NumPy's own loops compute a matrix product, ten times slower than a multiplication."""
    return a * b if a.shape[-1] == 1 else a @ b


class _Rows(NamedTuple):
    """The rows of the kernel that see the same phase of the image's rows."""

    elements: slice
    """Which rows they are."""
    shifts: list[int]
    """By how many numbers each is ahead in a line."""
    columns: list[tuple[int, int]]
    """For each column of the kernel: the number of the phase that it sees, and by how many numbers it is ahead."""


class _Lines:
    """Memory for the lines of a block of channels, used again for each: one phase of a channel's padded images, row by row.

    An element of the kernel sees a line from some number on: so all places of the window come of moving whole lines. What is
    computed where the window hangs over the end of a row or an image is cropped.
    """

    def __init__(self, like: Array, counts: Pair, size: Pair, window: Window) -> None:
        (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
        self.places = window.places("conv2d", size)
        self.grid = self.places[0] + dh * (kh - 1) // sh, self.places[1] + dw * (kw - 1) // sw

        self.rows: list[_Rows] = []
        self.phases: list[tuple[Any, Any]] = []
        """For each phase: where it lies in the grid of a line, and which pixels it is."""
        numbers: dict[Pair, int] = {}
        step = sh // gcd(sh, dh)
        for first in range(min(step, kh)):
            seen = []
            for j in range(kw):
                phase = first * dh % sh, j * dw % sw
                if phase not in numbers:
                    numbers[phase] = len(self.phases)
                    ends = [_phase(*axis) for axis in zip(phase, window.stride, window.padding, size, self.grid)]
                    self.phases.append(((..., ends[0][0], ends[1][0]), (..., ends[0][1], ends[1][1])))
                seen.append((numbers[phase], j * dw // sw))
            shifts = [i * dh // sh * self.grid[1] for i in range(first, kh, step)]
            self.rows.append(_Rows(slice(first, kh, step), shifts, seen))

        self.lines: Array
        self.grids: Array
        self.copies: Array
        self.counts = images, channels = counts
        plane = self.grid[0] * self.grid[1]
        most = max(LINE // plane, 1)
        self.images = -(-images // -(-images // most)) if images else 1  # about the same in every block
        self.length = self.images * plane
        self.channels = min(max(BLOCK_BYTES // (self.length * like.itemsize), 1), channels)
        self.xp, self.dtype = array_module(like), like.dtype
        self.tail, self.kw = dw * (kw - 1) // sw, kw

    def with_memory(self) -> _Lines:
        """The same, with memory of its own."""
        lines = copy(self)
        lines.lines = self.xp.zeros((len(self.phases), self.channels, self.length + self.tail), self.dtype)
        lines.grids = lines.lines[..., : self.length].reshape(len(self.phases), self.channels, self.images, *self.grid)
        lines.copies = self.xp.empty((self.channels, self.kw, self.length), self.dtype)
        return lines

    def image_slices(self) -> list[slice]:
        """The images cut into the parts that the memory holds."""
        return threads.slices(self.counts[0], self.images)

    def channel_slices(self) -> list[slice]:
        """The channels cut likewise."""
        return threads.slices(self.counts[1], self.channels)

    def blocks(self) -> list[Block]:
        """Each part of the images with each of the channels."""
        return list(product(self.image_slices(), self.channel_slices()))

    def load(self, x: Array) -> None:
        """Take in a part (n, c, H, W) of the images."""
        for grid, (inside, pixels) in zip(self.grids, self.phases):
            grid[: x.shape[1], : len(x)][inside] = x[pixels].swapaxes(0, 1)

    def unload(self, x: Array) -> None:
        """The adjoint of `load`: write to a part (n, c, H, W) of the images' gradient, and start again from zeros."""
        for grid, (inside, pixels) in zip(self.grids, self.phases):
            x[pixels] = grid[: x.shape[1], : len(x)][inside].swapaxes(0, 1)
        self.lines[...] = 0

    def unfold(self, rows: _Rows, channels: int) -> Array:
        """What each column of the kernel sees: (c, kw, length)."""
        copies = self.copies[:channels]
        for j, (phase, shift) in enumerate(rows.columns):
            copies[:, j] = self.lines[phase, :channels, shift : shift + self.length]
        return copies

    def fold(self, rows: _Rows, copies: Array) -> None:
        """The adjoint of `unfold`: add (c, kw, length) to where each copy was taken from."""
        for j, (phase, shift) in enumerate(rows.columns):
            self.lines[phase, : len(copies), shift : shift + self.length] += copies[:, j]

    def crop(self, lines: Array, images: int) -> Array:
        """(c, length) → (n, c, H', W'), a view."""
        grid = lines.reshape(len(lines), self.images, *self.grid)
        return grid[:, :images, : self.places[0], : self.places[1]].swapaxes(0, 1)

    def spread(self, g: Array) -> Array:
        """The adjoint of `crop`: (n, c, H', W') → (c, length), with zeros where the window hangs over."""
        lines = self.xp.zeros((g.shape[1], self.length), self.dtype)
        self.crop(lines, len(g))[...] = g
        return lines


def _phase(phase: int, stride: int, padding: Pair, pixels: int, places: int) -> tuple[slice, slice]:
    """Along an axis of so many pixels, every stride-th one, of the padded image from number `phase` on.

    Returns:
        Where they lie among the places of that phase, and which pixels they are. The other places are padding.
    """
    first = (phase - padding[0]) % stride
    place = (first + padding[0]) // stride
    count = max(min(-(-(pixels - first) // stride), places - place), 0)
    return slice(place, place + count), slice(first, first + count * stride, stride)
