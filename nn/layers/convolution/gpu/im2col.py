"""Convolution on a GPU by im2col: a kernel copies every window into a column, cuBLAS multiplies (GEMM), col2im adds back.

The workspace bounds how many images are unfolded at a time: see `microtensor.cuda.convolution_workspace`. Where it has no room
for the columns of one image, a part of its places is unfolded, or, in `grad_input`, a part of its channels. The columns lie as
the product reads and writes them, so nothing is transposed. The kernels that copy and add are those of windows.cu.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from microtensor.runtime.arrays import Array, array_module
from microtensor.runtime.cuda.settings import get_convolution_workspace

from ...window_kernels import fold_by_kernel, unfold_by_kernel
from ..problem import Problem, with_bias
from .implicit_gemm import sum_type


def why_not(problem: Problem) -> str:
    """It computes every convolution."""
    return ""


def forward(x: Array, weight: Array, bias: Array | None, problem: Problem) -> Array:
    """(N, C, H, W), (O, C/G, kh, kw), (O,) → (N, O, H', W')."""
    n, groups, xp = problem.images, problem.groups, array_module(x)
    area, matrix = prod(problem.places), weight.reshape(groups, problem.kernels, -1)
    rows = problem.x[1] * problem.taps
    y = xp.empty((n, *matrix.shape[:2], area), x.dtype)

    def im2col(images: slice, first: int, count: int) -> Array:
        part = x[images]
        columns = xp.empty((len(part), groups, rows // groups, count), x.dtype)
        unfold_by_kernel(columns, part, problem.window, problem.places, first, count)
        return columns

    for images, first, count in parts(n, area, rows * x.itemsize):
        if count == area:
            product(matrix, im2col(images, first, count), y[images])
        else:
            y[images, ..., first : first + count] = matrix @ im2col(images, first, count)
    return with_bias(y.reshape(problem.y), bias)


def grad_input(g: Array, weight: Array, bias: Array | None, problem: Problem) -> Array:
    """(N, O, H', W'), (O, C/G, kh, kw), (C,) → (N, C, H, W)."""
    n, groups, channels, xp = problem.images, problem.groups, problem.channels, array_module(g)
    area, taps = prod(problem.places), problem.taps
    gradients = g.reshape(n, groups, problem.kernels, area)
    kernels = weight.reshape(groups, problem.kernels, channels, taps)
    x = xp.empty(problem.x, g.dtype)

    def col2im(images: slice, some: slice) -> None:
        part = gradients[images]
        matrix = transposed(kernels[:, :, some])
        columns = xp.empty((len(part), groups, matrix.shape[1], area), g.dtype)
        product(matrix, part, columns)
        fold_by_kernel(x[images], columns, problem.window, problem.places, groups, some.start)

    for images, first, count in parts(n, channels, groups * taps * area * g.itemsize):
        col2im(images, slice(first, first + count))
    return with_bias(x, bias)


def grad_weight(x: Array, g: Array, problem: Problem) -> Array:
    """(N, C, H, W), (N, O, H', W') → (O, C/G, kh, kw)."""
    n, groups, kernels, xp = problem.images, problem.groups, problem.kernels, array_module(x)
    area, rows = prod(problem.places), problem.x[1] * problem.taps
    gradients = g.reshape(n, groups, kernels, area)
    total: Array = None

    def partial_sum(images: slice, first: int, count: int) -> Array:
        part, wanted = x[images], gradients[images, ..., first : first + count]
        columns = xp.empty((groups, rows // groups, len(part) * count), x.dtype)
        unfold_by_kernel(columns, part, problem.window, problem.places, first, count, together=True)
        left = xp.ascontiguousarray(wanted.transpose(1, 2, 0, 3)).reshape(groups, kernels, -1)
        result = xp.empty(problem.weight, x.dtype)
        matrices = result.reshape(groups, kernels, -1)
        for group in range(groups):  # cuBLAS reads a single matrix transposed; of a stack CuPy would make a copy
            xp.matmul(left[group], columns[group].T, out=matrices[group])
        return result

    for images, first, count in parts(n, area, rows * x.itemsize):
        result = partial_sum(images, first, count)
        if total is None:
            total = result if count == area and len(x[images]) == n else result.astype(sum_type(x))
        else:
            total += result
    return total.astype(x.dtype, copy=False)


def parts(images: int, pieces: int, nbytes: int) -> Iterator[tuple[slice, int, int]]:
    """A batch cut into parts whose columns fit into the workspace.

    Args:
        pieces: that an image can be cut into; `nbytes` are the bytes of a piece's columns. At least one piece is taken.

    Yields:
        Images; the first of the pieces, and how many.
    """
    most = get_convolution_workspace()
    step = max(most // (pieces * nbytes), 1)
    count = pieces if step > 1 else min(max(most // nbytes, 1), pieces)
    for i in range(0, images, step):
        for first in range(0, pieces, count):
            yield slice(i, min(i + step, images)), first, min(count, pieces - first)


def product(matrix: Array, columns: Array, out: Array) -> None:
    """(G, a, b) @ (n, G, b, c), written to (n, G, a, c). A single group gets no axis: CuPy broadcasts fewer axes faster."""
    if len(matrix) == 1:
        array_module(columns).matmul(matrix[0], columns[:, 0], out=out[:, 0])
    else:
        array_module(columns).matmul(matrix, columns, out=out)


def transposed(kernels: Array) -> Array:
    """(G, o, c, area) → (G, c · area, o), copied once: CuPy would make a copy for each image."""
    groups, o = kernels.shape[:2]
    return array_module(kernels).ascontiguousarray(kernels.reshape(groups, o, -1).swapaxes(1, 2))
