"""Depthwise convolution: each channel has one kernel of its own (groups = channels).

im2col of a large kernel costs more copying than multiplying, as its matrix is multiplied by a single row. So an image is copied
along its rows only: kw copies of a channel, each moved by a pixel, are the kw rows of a matrix. The kernel (kh, kw) times this
matrix gives kh lines, one for each row of the kernel; each is moved by a row of the image, and they are added up. That makes kw
copies, one product and kh additions. `grad_input` does the same backward.

With a stride, an element of the kernel sees every stride-th row and column only: one phase of the image. Each phase is laid out
as an image of its own, in which a window moves by one pixel again.
"""

from __future__ import annotations

from copy import copy
from functools import lru_cache
from itertools import product
from math import gcd
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from microtensor.runtime import threads
from microtensor.runtime.arrays import Array, library

from ...windows import Pair
from ..problem import Problem, with_bias

LINE_ELEMENTS = 1 << 13
"""Length of a line, unless one image is longer: so long that the call of a product costs little beside it."""

CHANNELS_BYTES = 1 << 18
"""Memory for the lines of a block of channels: with their copies and products, about what a core's cache holds. Measured."""

Block: TypeAlias = tuple[slice, slice]
"""Some images, and some of their channels."""


def why_not(problem: Problem) -> str:
    """It is for one kernel a channel."""
    return "" if problem.is_depthwise else "a channel does not have exactly one kernel of its own"


def forward(x: Array, weight: Array, bias: Array | None, problem: Problem) -> Array:
    """(N, C, H, W), (C, 1, kh, kw), (C,) → (N, C, H', W')."""
    plan, kernels = _plan(problem, LINE_ELEMENTS, CHANNELS_BYTES), weight[:, 0]
    y = plan.xp.empty(problem.y, x.dtype)

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
    return with_bias(y, bias)


def grad_input(g: Array, weight: Array, bias: Array | None, problem: Problem) -> Array:
    """(N, C, H', W'), (C, 1, kh, kw), (C,) → (N, C, H, W)."""
    plan, kernels = _plan(problem, LINE_ELEMENTS, CHANNELS_BYTES), weight[:, 0]
    x = plan.xp.zeros(problem.x, g.dtype)  # pixels that no window sees keep their 0

    def work(lines: _Lines, block: Block) -> None:
        images, channels = block
        spread = lines.spread(g[images, channels])
        for rows in lines.rows:
            kernel = kernels[channels, rows.elements]  # (c, e, kw)
            moved = plan.xp.empty((*kernel.shape[:2], lines.length), g.dtype)
            for k, shift in enumerate(rows.shifts):
                moved[:, k, :shift] = 0
                moved[:, k, shift:] = spread[:, : lines.length - shift]
            lines.fold(rows, _product(kernel.swapaxes(1, 2), moved))
        lines.unload(x[images, channels])

    threads.share_with(plan.with_memory, work, plan.blocks())
    return with_bias(x, bias)


def grad_weight(x: Array, g: Array, problem: Problem) -> Array:
    """(N, C, H, W), (N, C, H', W') → (C, 1, kh, kw).

    That of each element is one dot product of a line with the gradient's line: nothing is copied for it.
    """
    plan = _plan(problem, LINE_ELEMENTS, CHANNELS_BYTES)
    total = plan.xp.zeros(problem.weight, x.dtype)

    def work(lines: _Lines, channels: slice) -> None:  # all images of some channels: one thread adds up a sum
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


def _product(a: Array, b: Array) -> Array:
    """a @ b. Of a column with a row, NumPy's own loops compute a matrix product, ten times slower than a multiplication."""
    return a * b if a.shape[-1] == 1 else a @ b


class _Rows(NamedTuple):
    """The rows of the kernel that see the same phase of the image's rows."""

    elements: slice
    """Which rows they are."""
    shifts: list[int]
    """By how many elements each is ahead in a line."""
    columns: list[tuple[int, int]]
    """For each column of the kernel: the index of the phase that it sees, and by how many elements it is ahead."""


class _Lines:
    """Memory for the lines of a block of channels, reused for the next: one phase of a channel's padded images, row by row.

    An element of the kernel sees a line from some element on: so moving whole lines serves all places of the window at once.
    What is computed where the window hangs over the end of a row or an image is cropped.
    """

    def __init__(self, problem: Problem, line_elements: int, nbytes: int) -> None:
        window, size = problem.window, problem.size
        (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
        self.places = problem.places
        self.grid = self.places[0] + dh * (kh - 1) // sh, self.places[1] + dw * (kw - 1) // sw

        self.rows: list[_Rows] = []
        self.phases: list[tuple[Any, Any]] = []
        """For each phase: where it lies in the grid of a line, and which pixels it is."""
        index: dict[Pair, int] = {}
        step = sh // gcd(sh, dh)
        for first in range(min(step, kh)):
            seen = []
            for j in range(kw):
                phase = first * dh % sh, j * dw % sw
                if phase not in index:
                    index[phase] = len(self.phases)
                    ends = [_phase(*axis) for axis in zip(phase, window.stride, window.padding, size, self.grid)]
                    self.phases.append(((..., ends[0][0], ends[1][0]), (..., ends[0][1], ends[1][1])))
                seen.append((index[phase], j * dw // sw))
            shifts = [i * dh // sh * self.grid[1] for i in range(first, kh, step)]
            self.rows.append(_Rows(slice(first, kh, step), shifts, seen))

        self.lines: Array
        self.grids: Array
        self.copies: Array
        self.counts = images, channels = problem.x[:2]
        plane = self.grid[0] * self.grid[1]
        most = max(line_elements // plane, 1)
        self.images = -(-images // -(-images // most))  # about the same in every block
        self.length = self.images * plane
        self.channels = min(max(nbytes // (self.length * problem.itemsize), 1), channels)
        self.xp, self.dtype = library(problem.device.name), np.dtype(problem.dtype)
        self.tail, self.kw = dw * (kw - 1) // sw, kw

    def with_memory(self) -> _Lines:
        """The same, with memory of its own."""
        lines = copy(self)
        lines.lines = self.xp.zeros((len(self.phases), self.channels, self.length + self.tail), self.dtype)
        lines.grids = lines.lines[..., : self.length].reshape(len(self.phases), self.channels, self.images, *self.grid)
        lines.copies = self.xp.empty((self.channels, self.kw, self.length), self.dtype)
        return lines

    def image_slices(self) -> list[slice]:
        """The images, cut into as many as the memory holds."""
        return threads.slices(self.counts[0], self.images)

    def channel_slices(self) -> list[slice]:
        """The channels, cut likewise."""
        return threads.slices(self.counts[1], self.channels)

    def blocks(self) -> list[Block]:
        """Each slice of the images with each of the channels."""
        return list(product(self.image_slices(), self.channel_slices()))

    def load(self, x: Array) -> None:
        """Copy some channels of some images, (n, c, H, W), to the lines."""
        for grid, (inside, pixels) in zip(self.grids, self.phases):
            grid[: x.shape[1], : len(x)][inside] = x[pixels].swapaxes(0, 1)

    def unload(self, x: Array) -> None:
        """The adjoint of `load`: copy the lines to x (n, c, H, W), and set them to zero."""
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
    """Along an axis of this many pixels, every stride-th one, of the padded image from pixel `phase` on.

    Returns:
        Where they lie among the places of that phase, and which pixels they are. The other places are padding.
    """
    first = (phase - padding[0]) % stride
    place = (first + padding[0]) // stride
    count = max(min(-(-(pixels - first) // stride), places - place), 0)
    return slice(place, place + count), slice(first, first + count * stride, stride)


_plan = lru_cache(maxsize=256)(_Lines)
