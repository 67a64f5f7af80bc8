"""Convolution of stride 1 on arrays: columns along the kernel's rows alone.

Of an image of w columns, each moved by a pixel, kw copies are made (rather than kh · kw): the matrix of all the kernel's rows,
(kh · O, C · kw), times these gives kh results, of which each is moved by a row of the image, and all are added up. That is
fewer copies for more additions, and pays where there are few kernels of many channels. Measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from microtensor.runtime.arrays import Array, array_module

from ...windows import Window
from .blocking import BYTES, Bands, Part, pitch, strided
from .small_gemm import multiply, multiply_transposed


def forward(x: Array, weight: Array, bias: Array | None, window: Window) -> Array:
    """(N, C, H, W), (O, C, kh, kw), (O,) → (N, O, H', W')."""
    xp, kernels, (kh, _) = array_module(x), len(weight), window.kernel
    lines = _lines(xp, x.dtype, x.shape, window, BYTES // 2)
    matrix = weight.transpose(2, 0, 1, 3).reshape(kh * kernels, -1)  # (kh · O, C · kw)
    y = xp.empty((len(x), kernels, *lines.places), x.dtype)

    def work(memory: tuple[Array, Array], part: Part) -> None:
        moved = multiply(matrix, lines.unfold(memory, x, part)).reshape(kh, kernels, *lines.grid(part))
        result = lines.gather(moved, part)[..., : lines.places[1]].swapaxes(0, 1)
        if bias is None:
            y[part.images, :, part.rows] = result
        else:
            xp.add(result, bias[:, None, None], out=y[part.images, :, part.rows])

    lines.share(lines.memory, work)
    return y


def to_weight(x: Array, g: Array, window: Window) -> Array:
    """The adjoint of `forward` in the weight: (N, C, H, W), (N, O, H', W') → (O, C, kh, kw)."""
    (kh, kw), kernels, channels = window.kernel, g.shape[1], x.shape[1]
    bytes_ = max(BYTES // 2, kh * kernels * channels * kw * x.itemsize)
    lines = _lines(array_module(x), x.dtype, x.shape, window, bytes_)

    def memory() -> tuple[tuple[Array, Array], Array]:
        return lines.memory(), lines.xp.zeros(kh * kernels * lines.step * lines.height * lines.width, g.dtype)

    def work(memory: tuple[tuple[Array, Array], Array], part: Part) -> Array:
        return multiply_transposed(lines.spread(memory[1], g, part), lines.unfold(memory[0], x, part))

    total = lines.total((kh * kernels, channels * kw), memory, work)
    return array_module(x).ascontiguousarray(total.reshape(kh, kernels, channels, kw).transpose(1, 2, 0, 3))


class _Lines(Bands):
    """A part of the batch with all images of a channel in one line, row by row, with padding between the rows only.

    For a row of the kernel that would see padding above or below the image, nothing is computed and nothing added.
    """

    def __init__(self, xp: Any, dtype: np.dtype[Any], shape: Sequence[int], window: Window, bytes_: int) -> None:
        row, tail = (
            shape[1] * window.kernel[1] * pitch(window, shape[2:]),
            max(window.effective_kernel[1] - 1, *window.padding[1]),
        )
        super().__init__(xp, dtype, shape, window, row, bytes_, tail)
        self.height = min(self.height, self.size[0])

    def memory(self) -> tuple[Array, Array]:
        """For the images of a part, and for their copies."""
        copies = self.channels * self.window.kernel[1] * self.step * self.height * self.width
        return self.blank(), self.xp.empty(copies, self.dtype)

    def seen(self, part: Part) -> slice:
        """The rows of the image that the part's places see."""
        first = part.rows.start - self.window.padding[0][0]
        stop = part.rows.stop - 1 - self.window.padding[0][0] + self.window.effective_kernel[0]
        return slice(min(max(first, 0), self.size[0]), max(min(stop, self.size[0]), 0))

    def grid(self, part: Part) -> tuple[int, int, int]:
        """Of a line: images, rows of each, and pixels from one row to the next."""
        seen = self.seen(part)
        return part.images.stop - part.images.start, seen.stop - seen.start, self.width

    def unfold(self, memory: tuple[Array, Array], x: Array, part: Part) -> Array:
        """A part of (N, C, H, W) → (C · kw, n · rows · width)."""
        padded, copies = memory
        grid, kw, left = self.grid(part), self.window.kernel[1], self.window.padding[1][0]
        length = prod(grid)
        images = padded[: self.channels * length].reshape(self.channels, *grid)
        images[..., left : left + self.size[1]] = x[part.images, :, self.seen(part)].swapaxes(0, 1)
        windows = strided(padded, (self.channels, kw, length), (length, self.window.dilation[1], 1))
        copies = copies[: windows.size].reshape(windows.shape)
        copies[...] = windows
        return copies.reshape(self.channels * kw, length)

    def met(self, part: Part) -> list[tuple[slice, slice]]:
        """For each row of the kernel: the places of the part where it sees the image, and the rows of it that it sees."""
        (top, _), seen, found = self.window.padding[0], self.seen(part), []
        for i in range(self.window.kernel[0]):
            ahead = i * self.window.dilation[0] - top
            first = min(max(part.rows.start, seen.start - ahead), part.rows.stop)
            stop = max(min(part.rows.stop, seen.stop - ahead), first)
            places = slice(first - part.rows.start, stop - part.rows.start)
            found.append((places, slice(first + ahead - seen.start, stop + ahead - seen.start)))
        return found

    def gather(self, moved: Array, part: Part) -> Array:
        """What comes of each row of the kernel, (kh, O, n, rows, width), moved by its row and added: (O, n, places, width)."""
        count, met = part.rows.stop - part.rows.start, self.met(part)
        whole = next((i for i, (places, _) in enumerate(met) if places == slice(0, count)), None)  # that sees no padding
        total = (
            self.xp.zeros((*moved.shape[1:3], count, self.width), moved.dtype)
            if whole is None
            else moved[whole][:, :, met[whole][1]]
        )
        for i, (places, rows) in enumerate(met):
            if i != whole:
                total[:, :, places] += moved[i, :, :, rows]
        return total

    def spread(self, memory: Array, g: Array, part: Part) -> Array:
        """The adjoint of `gather`, of a part of (N, O, H', W'): → (kh · O, n · rows · width), zero where nothing was seen."""
        (kh, _), kernels, grid = self.window.kernel, g.shape[1], self.grid(part)
        moved = memory[: kh * kernels * prod(grid)].reshape(kh, kernels, *grid)
        g = g[part.images, :, part.rows].swapaxes(0, 1)
        for lines, (places, rows) in zip(moved, self.met(part)):
            lines[:, :, : rows.start] = 0
            lines[:, :, rows, : self.places[1]] = g[:, :, places]
            lines[:, :, rows.stop :] = 0
        return moved.reshape(kh * kernels, prod(grid))


_lines = lru_cache(maxsize=256)(_Lines)
