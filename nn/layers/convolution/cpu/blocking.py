"""Cache blocking: a batch of images is cut into blocks whose im2col matrix stays in the cache, and one follows the other.

A block is some whole images; or, where the matrix of a single image is larger than the cache, some rows of one image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from microtensor.runtime import threads
from microtensor.runtime.arrays import Array, array_module, library

from ...windows import Window
from ..problem import Problem

BLOCK_BYTES = 1 << 21
"""Memory for the im2col matrix of a block. Measured: with less, threads contend for the GIL between NumPy's calls; with more,
the matrix leaves the cache that the cores share."""

MIN_BLOCKS = 2
"""A batch is cut into at least as many blocks: one each for two threads."""

MIN_SHARED_BYTES = 1 << 22
"""A batch whose im2col matrix is smaller is computed by one thread: waking another takes as long as it saves.

Measured: a step of LeNet-5 at batch 32 takes 3.1 ms on one thread, and 3.3 on two."""

PARTIAL_SUMS = 8
"""A sum over the batch is cut into at most as many partial sums, each computed by one thread. They are added in this order."""


class Block(NamedTuple):
    """Images of the batch, and rows of their results."""

    images: slice
    rows: slice


class Blocking:
    """How a batch is cut into blocks, and memory for the padded images of one block, which is reused for the next.

    Args:
        problem: a convolution; x are the images that are cut.
        row_elements: what is made of each row of results.
        nbytes: memory for what is made of a block; more than `BLOCK_BYTES` where it is multiplied by a larger matrix.
        tail_elements: read behind the last pixel by a window that hangs over the end.
        whole: blocks are of whole images.
    """

    def __init__(self, problem: Problem, row_elements: int, nbytes: int, tail_elements: int = 0, whole: bool = False) -> None:
        self.window, self.places, self.size = problem.window, problem.places, problem.size
        self.channels, self.tail, self.xp = problem.x[1], tail_elements, library(problem.device.name)
        self.dtype = np.dtype(problem.dtype)
        self.height, self.width = self.window.padded(self.size)[0], pitch(self.window, self.size)
        images, rows = problem.images, self.places[0]
        row_bytes = row_elements * self.dtype.itemsize
        self.alone = images * rows * row_bytes < MIN_SHARED_BYTES
        most = max(
            min(nbytes // max(row_bytes, 1), -(-images * rows // (1 if self.alone else MIN_BLOCKS))), rows if whole else 1
        )
        self.band = -(-rows // -(-rows // most))
        """Rows of results in a block."""
        self.step = max(min(most // rows, images), 1)
        """Images in a block."""
        self.blocks = [
            Block(some, band) for some in threads.slices(images, self.step) for band in threads.slices(rows, self.band)
        ]
        if self.band < rows:
            self.height = (self.band - 1) * self.window.stride[0] + self.window.effective_kernel[0]

    def blank(self) -> Array:
        """Zeros for the padded images of a block, (step, C, height, width), flat, and the tail behind them."""
        return self.xp.zeros(self.step * self.channels * self.height * self.width + self.tail, self.dtype)

    def load(self, padded: Array, x: Array, block: Block) -> None:
        """Copy a block of x into (n, C, height, width), whose left and right padding is zero already."""
        x = x[block.images]
        (top, _), (left, _) = self.window.padding
        inside = padded[..., left : left + self.size[1]]
        if self.band == self.places[0]:
            inside[:, :, top : top + self.size[0]] = x
            return
        start = block.rows.start * self.window.stride[0] - top  # the first row of the image that the block sees
        above = min(max(-start, 0), self.height)
        count = max(min(start + self.height, self.size[0]) - max(start, 0), 0)
        inside[:, :, :above] = 0
        inside[:, :, above : above + count] = x[:, :, start + above : start + above + count]
        inside[:, :, above + count :] = 0

    def share(self, make: Callable[[], Any], work: Callable[[Any, Block], None]) -> None:
        """`work(memory, block)` for every block, on several threads; each thread has memory of its own from `make`."""
        threads.share_with(make, work, self.blocks, self.alone)

    def total(self, make: Callable[[], Any], work: Callable[[Any, Block], Array]) -> Array:
        """The sum over all blocks of `work(memory, block)`, which returns new arrays of one shape."""
        count = min(PARTIAL_SUMS, len(self.blocks))
        sums: list[Any] = [None] * count

        def some(i: int) -> None:
            memory = make()
            for block in self.blocks[i * len(self.blocks) // count : (i + 1) * len(self.blocks) // count]:
                found = work(memory, block)
                if sums[i] is None:
                    sums[i] = found
                else:
                    sums[i] += found

        threads.share(some, range(count), self.alone)
        for other in sums[1:]:
            sums[0] += other
        return sums[0]


def pitch(window: Window, size: Sequence[int]) -> int:
    """Elements from one row of a block to the next: the pixels, and the padding of one side.

    What lies behind the end of a row is the start of the next, so two rows share the zeros between them. (Where padding is
    wider than the window, the row still has room for all places.)
    """
    left, right = window.padding[1]
    return max(size[1] + max(left, right), window.padded(size)[1] - window.effective_kernel[1] + 1)


def strided(array: Array, shape: Sequence[int], strides: Sequence[int]) -> Array:
    """A view of a contiguous array from its first element on, with strides counted in elements."""
    strides = [array.itemsize * stride for stride in strides]
    if type(array) is np.ndarray:  # ten times as quick as `as_strided`
        return np.ndarray(shape, array.dtype, array, 0, strides)
    return array_module(array).lib.stride_tricks.as_strided(array, shape, strides)
