"""A batch of images cut into parts that the cache holds, one of which after the other is worked on.

A part is some whole images; or, where even one image has more windows than the cache holds columns, a band of its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from microtensor.runtime import threads
from microtensor.runtime.arrays import Array, array_module

from ...windows import Window

BYTES = 1 << 21
"""Memory for what is made of a part. Measured: with less, threads meet too often between NumPy's calls, where only one of them
runs; with more, it no longer stays in the cache that the cores share."""

PARTS = 2
"""A batch is cut into so many parts at least, for as many threads."""

LEAST = 1 << 22
"""What is made of a batch of fewer bytes is made by one thread, for to wake another takes as long as it gains.

Measured: a step of LeNet-5 at batch 32 takes 3.1 ms on one thread, and 3.3 on two."""

PARTIAL_SUMS = 8
"""A sum over the batch is made of at most so many, each of them by one thread, in this order."""


class Part(NamedTuple):
    """Images, and the rows of their places."""

    images: slice
    rows: slice


class Bands:
    """How a batch is cut, and memory for one part, padded, used again for each.

    Args:
        xp, dtype: where the batch is, and what it is of.
        shape: of the batch, (N, C, H, W).
        row: numbers that are made of each place of the window, along one row.
        bytes_: memory for what is made of a part; more than `BYTES` where a part is multiplied with a matrix that is larger.
        tail: numbers behind the last pixel, which a window that hangs over the end reads.
        whole: parts are of whole images.
    """

    def __init__(
        self,
        xp: Any,
        dtype: np.dtype[Any],
        shape: Sequence[int],
        window: Window,
        row: int,
        bytes_: int,
        tail: int = 0,
        whole: bool = False,
    ) -> None:
        (images, self.channels, *size), self.window = shape, window
        self.xp, self.dtype, self.tail, self.size = xp, dtype, tail, (size[0], size[1])
        self.places = window.places("conv2d", size)
        self.height, self.width = window.padded(size)[0], pitch(window, size)
        rows = self.places[0]
        made = row * dtype.itemsize  # of a row of places
        self.alone = images * rows * made < LEAST
        most = max(min(bytes_ // max(made, 1), -(-images * rows // (1 if self.alone else PARTS))), rows if whole else 1)
        bands = -(-rows // most)
        self.band = -(-rows // bands)
        self.step = max(min(most // rows, images), 1)
        self.parts = [
            Part(some, band) for some in threads.slices(images, self.step) for band in threads.slices(rows, self.band)
        ]
        if self.band < rows:
            self.height = (self.band - 1) * window.stride[0] + window.effective_kernel[0]

    def blank(self) -> Array:
        """Memory for a part of the padded images, (step, C, height, width), flat, and the tail behind it: zeros."""
        return self.xp.zeros(self.step * self.channels * self.height * self.width + self.tail, self.dtype)

    def load(self, padded: Array, x: Array, part: Part) -> None:
        """Put a part of x into (n, C, height, width), which has zeros at the sides already."""
        x = x[part.images]
        (top, _), (left, _) = self.window.padding
        inside = padded[..., left : left + self.size[1]]
        if self.band == self.places[0]:
            inside[:, :, top : top + self.size[0]] = x
            return
        start = part.rows.start * self.window.stride[0] - top  # the row of the image that the band begins with
        above = min(max(-start, 0), self.height)
        count = max(min(start + self.height, self.size[0]) - max(start, 0), 0)
        inside[:, :, :above] = 0
        inside[:, :, above : above + count] = x[:, :, start + above : start + above + count]
        inside[:, :, above + count :] = 0

    def share(self, make: Callable[[], Any], work: Callable[[Any, Part], None]) -> None:
        """`work(memory, part)` for every part, with memory from `make`, of which each thread has its own."""
        threads.share_with(make, work, self.parts, self.alone)

    def total(self, shape: Sequence[int], make: Callable[[], Any], work: Callable[[Any, Part], Array]) -> Array:
        """The sum over all parts of `work(memory, part)`, new arrays of this shape."""
        if not self.parts:
            return self.xp.zeros(shape, self.dtype)
        count = min(PARTIAL_SUMS, len(self.parts))
        sums: list[Any] = [None] * count

        def some(i: int) -> None:
            memory = make()
            for part in self.parts[i * len(self.parts) // count : (i + 1) * len(self.parts) // count]:
                found = work(memory, part)
                if sums[i] is None:
                    sums[i] = found
                else:
                    sums[i] += found

        threads.share(some, range(count), self.alone)
        for other in sums[1:]:
            sums[0] += other
        return sums[0]


def pitch(window: Window, size: Sequence[int]) -> int:
    """From one row of a part to the next: the pixels, and padding for one side.

    What lies behind the end of a row is the beginning of the next: so two rows share the zeros between them. (Where padding is
    wider than the window, the row still has room for all places.)
    """
    left, right = window.padding[1]
    return max(size[1] + max(left, right), window.padded(size)[1] - window.effective_kernel[1] + 1)


def strided(array: Array, shape: Sequence[int], strides: Sequence[int]) -> Array:
    """A view of a contiguous array from its first number on, with strides in numbers."""
    strides = [array.itemsize * stride for stride in strides]
    if type(array) is np.ndarray:  # ten times as quick as `as_strided`
        return np.ndarray(shape, array.dtype, array, 0, strides)
    return array_module(array).lib.stride_tricks.as_strided(array, shape, strides)
