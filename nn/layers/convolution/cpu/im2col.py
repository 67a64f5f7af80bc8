"""Convolution as one matrix product (GEMM, general matrix multiplication) per group, by im2col.

im2col ("image to columns") copies every window of the images into a column of a matrix; kernels times this matrix are the
results. Its adjoint, col2im, adds the columns back to the pixels that they were copied from. (Chellapilla, Puri & Simard 2006,
"High performance convolutional neural networks for document processing", section 4.) The matrix is made of as many images, or
rows of one image, at a time as the cache holds: see blocking.py.

For stride 1, windows start at every pixel of whole padded rows. Then an element of the kernel sees a contiguous run of memory,
which is copied much faster than row by row. Results at the end of a row, where the window hangs over, are cropped.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

from microtensor.runtime.arrays import Array, array_module

from ..problem import Problem, flipped
from . import blocking
from .blocking import Block, Blocking, pitch, strided
from .small_gemm import multiply, multiply_transposed


def why_not(problem: Problem) -> str:
    """It computes every convolution."""
    return ""


def forward(x: Array, weight: Array, bias: Array | None, problem: Problem) -> Array:
    """(N, C, H, W), (O, C/G, kh, kw), (O,) → (N, O, H', W')."""
    plan, groups = _plan(problem, max(blocking.BLOCK_BYTES, weight.nbytes)), problem.groups
    matrix = weight.reshape(groups, len(weight) // groups, -1)  # (G, O/G, C/G · kh · kw)
    shift = None if bias is None else bias.reshape(groups, -1, 1, 1)
    y = plan.xp.empty((len(x), groups, matrix.shape[1], *plan.places), x.dtype)

    def work(memory: tuple[Array, Array], block: Block) -> None:
        product = plan.crop(multiply(matrix, plan.im2col(memory, x, block)), block)
        if shift is None:
            y[block.images, :, :, block.rows] = product
        else:
            plan.xp.add(product, shift, out=y[block.images, :, :, block.rows])

    plan.share(plan.memory, work)
    return y.reshape(problem.y)


def grad_input(g: Array, weight: Array, bias: Array | None, problem: Problem) -> Array:
    """(N, O, H', W'), (O, C/G, kh, kw), (C,) → (N, C, H, W): for stride 1 a convolution with flipped kernels, else col2im."""
    there, groups = flipped(problem), problem.groups
    if there is not None:
        return forward(g, flip(weight, groups), bias, there)
    plan = _plan(problem, max(blocking.BLOCK_BYTES, weight.nbytes))
    transposed = weight.reshape(groups, problem.kernels, -1).swapaxes(1, 2)  # (G, C/G · kh · kw, O/G)
    x = plan.xp.empty(problem.x, g.dtype)

    def work(memory: None, block: Block) -> None:
        x[block.images] = plan.col2im(multiply(transposed, plan.spread(g, block)))
        if bias is not None:
            x[block.images] += bias[:, None, None]

    plan.share(lambda: None, work)
    return x


def grad_weight(x: Array, g: Array, problem: Problem) -> Array:
    """(N, C, H, W), (N, O, H', W') → (O, C/G, kh, kw)."""
    # Each block's product is added to the sum: for a large weight that costs more than a matrix that leaves the cache.
    plan = _plan(problem, max(blocking.BLOCK_BYTES, prod(problem.weight) * x.itemsize))

    def work(memory: tuple[Array, Array], block: Block) -> Array:
        return multiply_transposed(plan.spread(g, block), plan.im2col(memory, x, block))

    return plan.xp.ascontiguousarray(plan.total(plan.memory, work).reshape(problem.weight))


def flip(weight: Array, groups: int) -> Array:
    """The kernels of the adjoint, each turned by 180 degrees: (O, C/G, kh, kw) → (C, O/G, kh, kw)."""
    grouped = weight.reshape(groups, len(weight) // groups, *weight.shape[1:]).swapaxes(1, 2)[..., ::-1, ::-1]
    whole = grouped.reshape(groups * weight.shape[1], -1, *weight.shape[2:])
    return array_module(weight).ascontiguousarray(whole)  # BLAS reads no row backward


class _Plan(Blocking):
    """The im2col matrix of a block, and its adjoint."""

    def __init__(self, problem: Problem, nbytes: int) -> None:
        whole = problem.operation == "grad_input"  # col2im adds up whole images
        self.groups, self.flat = problem.groups, problem.window.stride == (1, 1) and not whole
        self.rows = problem.x[1] * problem.taps
        self.row = pitch(problem.window, problem.size) if self.flat else problem.places[1]
        """Columns of the matrix for each row of results."""
        tail = max(problem.window.effective_kernel[1] - 1, *problem.window.padding[1])
        super().__init__(problem, self.rows * self.row, nbytes, tail, whole)

    def memory(self) -> tuple[Array, Array]:
        """For the padded images of a block, and for their matrix."""
        return self.blank(), self.xp.empty(self.rows * self.step * self.band * self.row, self.dtype)

    def im2col(self, memory: tuple[Array, Array], x: Array, block: Block) -> Array:
        """A block of (N, C, H, W) → (G, C/G · kh · kw, n · rows · row)."""
        padded, columns = memory
        (kh, kw), (sh, sw), (dh, dw) = self.window.kernel, self.window.stride, self.window.dilation
        plane = self.height * self.width
        n, rows = block.images.stop - block.images.start, block.rows.stop - block.rows.start
        self.load(padded[: n * self.channels * plane].reshape(n, self.channels, self.height, self.width), x, block)
        shape: tuple[int, ...] = (self.channels, kh, kw, n, rows * self.row)
        strides: tuple[int, ...] = (plane, dh * self.width, dw, self.channels * plane, 1)
        if not self.flat:
            shape, strides = (*shape[:4], rows, self.row), (*strides[:4], sh * self.width, sw)
        windows = strided(padded, shape, strides)
        columns = columns[: windows.size].reshape(shape)
        columns[...] = windows
        return columns.reshape(self.groups, self.rows // self.groups, -1)

    def crop(self, product: Array, block: Block) -> Array:
        """(G, O/G, n · rows · row) → (n, G, O/G, rows, W'), a view."""
        grid = product.reshape(*product.shape[:2], -1, block.rows.stop - block.rows.start, self.row)
        return grid[..., : self.places[1]].transpose(2, 0, 1, 3, 4)

    def spread(self, g: Array, block: Block) -> Array:
        """The adjoint of `crop`: a block of (N, O, H', W') → (G, O/G, n · rows · row), zero where the window hangs over."""
        g = g[block.images, :, block.rows]
        n, kernels, rows = g.shape[:3]
        grid = self.xp.empty((self.groups, kernels // self.groups, n, rows, self.row), g.dtype)
        grid[..., self.places[1] :] = 0
        grid[..., : self.places[1]] = g.reshape(n, self.groups, -1, rows, self.places[1]).transpose(1, 2, 0, 3, 4)
        return grid.reshape(self.groups, kernels // self.groups, -1)

    def col2im(self, columns: Array) -> Array:
        """The adjoint of `im2col`, of whole images: (G, C/G · kh · kw, n · H' · W') → (n, C, H, W)."""
        columns = columns.reshape(self.channels, *self.window.kernel, -1, *self.places)
        padded = self.window.blank(columns, columns.shape[3], self.channels, self.size)
        for i, j, view in self.window.taps(padded, self.places):
            view += columns[:, i, j].swapaxes(0, 1)
        return self.window.crop(padded)


_plan = lru_cache(maxsize=256)(_Plan)  # for a few small images, planning takes as long as computing
