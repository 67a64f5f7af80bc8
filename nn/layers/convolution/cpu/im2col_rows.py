"""Convolution of stride 1 by an im2col along the rows of the kernel only.

Each image of C channels is copied kw times, each copy moved by a pixel (im2col makes kh · kw copies). The matrix of all rows of
all kernels, (kh · O, C · kw), times these copies gives kh products for each result; each is moved by a row of the image, and
they are added up. This is fewer copies for more additions: quicker where few kernels see many channels. Measured.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

from microtensor.runtime.arrays import Array

from ..problem import Problem, flipped
from . import blocking
from .blocking import Block, Blocking, pitch, strided
from .im2col import flip
from .small_gemm import multiply, multiply_transposed


def why_not(problem: Problem) -> str:
    """It is for stride 1, without groups, and kernels of several rows: with one row it would be im2col."""
    if problem.groups > 1:
        return "it takes no groups"
    if problem.window.stride != (1, 1):
        return "the stride is not 1"
    if problem.window.kernel[0] == 1:
        return "a kernel of one row makes it the same as im2col"
    if problem.operation == "grad_input" and flipped(problem) is None:
        return "the padding is wider than the kernel − 1"
    return ""


def forward(x: Array, weight: Array, bias: Array | None, problem: Problem) -> Array:
    """(N, C, H, W), (O, C, kh, kw), (O,) → (N, O, H', W')."""
    plan, kernels, kh = _plan(problem, blocking.BLOCK_BYTES // 2), len(weight), problem.window.kernel[0]
    matrix = weight.transpose(2, 0, 1, 3).reshape(kh * kernels, -1)  # (kh · O, C · kw)
    y = plan.xp.empty(problem.y, x.dtype)

    def work(memory: tuple[Array, Array], block: Block) -> None:
        moved = multiply(matrix, plan.im2col(memory, x, block)).reshape(kh, kernels, *plan.grid(block))
        result = plan.gather(moved, block)[..., : plan.places[1]].swapaxes(0, 1)
        if bias is None:
            y[block.images, :, block.rows] = result
        else:
            plan.xp.add(result, bias[:, None, None], out=y[block.images, :, block.rows])

    plan.share(plan.memory, work)
    return y


def grad_input(g: Array, weight: Array, bias: Array | None, problem: Problem) -> Array:
    """(N, O, H', W'), (O, C, kh, kw), (C,) → (N, C, H, W): a convolution with flipped kernels."""
    there: Any = flipped(problem)  # None is refused by `why_not`
    return forward(g, flip(weight, 1), bias, there)


def grad_weight(x: Array, g: Array, problem: Problem) -> Array:
    """(N, C, H, W), (N, O, H', W') → (O, C, kh, kw)."""
    (kh, kw), kernels, channels = problem.window.kernel, g.shape[1], x.shape[1]
    plan = _plan(problem, max(blocking.BLOCK_BYTES // 2, prod(problem.weight) * x.itemsize))

    def memory() -> tuple[tuple[Array, Array], Array]:
        return plan.memory(), plan.xp.zeros(kh * kernels * plan.step * plan.height * plan.width, g.dtype)

    def work(memory: tuple[tuple[Array, Array], Array], block: Block) -> Array:
        return multiply_transposed(plan.spread(memory[1], g, block), plan.im2col(memory[0], x, block))

    total = plan.total(memory, work)  # (kh · O, C · kw)
    return plan.xp.ascontiguousarray(total.reshape(kh, kernels, channels, kw).transpose(1, 2, 0, 3))


class _Plan(Blocking):
    """A block with all images of a channel in one line, row by row, with padding between the rows only.

    For a row of the kernel that sees padding above or below the image, nothing is computed and nothing added.
    """

    def __init__(self, problem: Problem, nbytes: int) -> None:
        window = problem.window
        row_elements = problem.x[1] * window.kernel[1] * pitch(window, problem.size)
        super().__init__(problem, row_elements, nbytes, max(window.effective_kernel[1] - 1, *window.padding[1]))
        self.height = min(self.height, self.size[0])

    def memory(self) -> tuple[Array, Array]:
        """For the images of a block, and for their copies."""
        copies = self.channels * self.window.kernel[1] * self.step * self.height * self.width
        return self.blank(), self.xp.empty(copies, self.dtype)

    def seen(self, block: Block) -> slice:
        """The rows of the image that the results of a block depend on."""
        first = block.rows.start - self.window.padding[0][0]
        stop = block.rows.stop - 1 - self.window.padding[0][0] + self.window.effective_kernel[0]
        return slice(min(max(first, 0), self.size[0]), max(min(stop, self.size[0]), 0))

    def grid(self, block: Block) -> tuple[int, int, int]:
        """Of a line: images, rows of each, and elements from one row to the next."""
        seen = self.seen(block)
        return block.images.stop - block.images.start, seen.stop - seen.start, self.width

    def im2col(self, memory: tuple[Array, Array], x: Array, block: Block) -> Array:
        """A block of (N, C, H, W) → (C · kw, n · rows · width)."""
        padded, copies = memory
        grid, kw, left = self.grid(block), self.window.kernel[1], self.window.padding[1][0]
        length = prod(grid)
        images = padded[: self.channels * length].reshape(self.channels, *grid)
        images[..., left : left + self.size[1]] = x[block.images, :, self.seen(block)].swapaxes(0, 1)
        windows = strided(padded, (self.channels, kw, length), (length, self.window.dilation[1], 1))
        copies = copies[: windows.size].reshape(windows.shape)
        copies[...] = windows
        return copies.reshape(self.channels * kw, length)

    def met(self, block: Block) -> list[tuple[slice, slice]]:
        """For each row of the kernel: the results of the block for which it sees the image, and the rows of it that it sees."""
        (top, _), seen, found = self.window.padding[0], self.seen(block), []
        for i in range(self.window.kernel[0]):
            ahead = i * self.window.dilation[0] - top
            first = min(max(block.rows.start, seen.start - ahead), block.rows.stop)
            stop = max(min(block.rows.stop, seen.stop - ahead), first)
            places = slice(first - block.rows.start, stop - block.rows.start)
            found.append((places, slice(first + ahead - seen.start, stop + ahead - seen.start)))
        return found

    def gather(self, moved: Array, block: Block) -> Array:
        """Products of each row of the kernel, (kh, O, n, rows, width), moved by its row and added: (O, n, places, width)."""
        count, met = block.rows.stop - block.rows.start, self.met(block)
        whole = next((i for i, (places, _) in enumerate(met) if places == slice(0, count)), None)  # it sees no padding
        total = (
            self.xp.zeros((*moved.shape[1:3], count, self.width), moved.dtype)
            if whole is None
            else moved[whole][:, :, met[whole][1]]
        )
        for i, (places, rows) in enumerate(met):
            if i != whole:
                total[:, :, places] += moved[i, :, :, rows]
        return total

    def spread(self, memory: Array, g: Array, block: Block) -> Array:
        """The adjoint of `gather`, of a block of (N, O, H', W'): → (kh · O, n · rows · width), zero where nothing was seen."""
        (kh, _), kernels, grid = self.window.kernel, g.shape[1], self.grid(block)
        moved = memory[: kh * kernels * prod(grid)].reshape(kh, kernels, *grid)
        g = g[block.images, :, block.rows].swapaxes(0, 1)
        for lines, (places, rows) in zip(moved, self.met(block)):
            lines[:, :, : rows.start] = 0
            lines[:, :, rows, : self.places[1]] = g[:, :, places]
            lines[:, :, rows.stop :] = 0
        return moved.reshape(kh * kernels, prod(grid))


_plan = lru_cache(maxsize=256)(_Plan)
