"""Convolution on a GPU by columns: unfolded by a kernel, a tile at a time, and multiplied by the library's matrix product.

A tile is as many images as the workspace has room for the columns of: see `microtensor.cuda.convolution_workspace`. Where there
is no room for those of one image, it is a part of its places, or, backward to the image, of its channels. The columns of an
image stand as the product wants them and gives its result, so nothing is rearranged. See windows.cu for how they are written
and folded.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from microtensor.runtime.arrays import Array, array_module
from microtensor.runtime.cuda.settings import get_convolution_workspace

from ...windows import Pair, Window, fold_by_kernel, unfold_by_kernel
from .implicit_gemm import sum_type


def forward(x: Array, weight: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """(N, C, H, W), (O, C/G, kh, kw), (O,) → (N, O, H', W')."""
    (n, c, *size), xp = x.shape, array_module(x)
    places = window.places("conv2d", size)
    area, matrix = prod(places), weight.reshape(groups, len(weight) // groups, -1)
    rows = c * prod(window.kernel)
    y = xp.empty((n, *matrix.shape[:2], area), x.dtype)

    def columns(images: slice, first: int, count: int) -> Array:
        part = x[images]
        unfolded = xp.empty((len(part), groups, rows // groups, count), x.dtype)
        unfold_by_kernel(unfolded, part, window, places, first, count)
        return unfolded

    for images, first, count in parts(n, area, rows * x.itemsize):
        if count == area:
            product(matrix, columns(images, first, count), y[images])
        else:
            y[images, ..., first : first + count] = matrix @ columns(images, first, count)
    return with_bias(y.reshape(n, -1, *places), bias)


def to_input(g: Array, weight: Array, bias: Array | None, window: Window, groups: int, size: Pair) -> Array:
    """The adjoint of `forward` in x: (N, O, H', W'), (O, C/G, kh, kw), (C,) → (N, C, *size)."""
    (n, o, *places), channels, xp = g.shape, weight.shape[1], array_module(g)
    area, taps = prod(places), prod(window.kernel)
    gradients = g.reshape(n, groups, o // groups, area)
    kernels = weight.reshape(groups, o // groups, channels, taps)
    x = xp.empty((n, groups * channels, *size), g.dtype)

    def fold(images: slice, some: slice) -> None:
        part = gradients[images]
        matrix = transposed(kernels[:, :, some])
        columns = xp.empty((len(part), groups, matrix.shape[1], area), g.dtype)
        product(matrix, part, columns)
        fold_by_kernel(x[images], columns, window, (places[0], places[1]), groups, some.start)

    for images, first, count in parts(n, channels, groups * taps * area * g.itemsize):
        fold(images, slice(first, first + count))
    return with_bias(x, bias)


def to_weight(x: Array, g: Array, window: Window, groups: int) -> Array:
    """The adjoint of `forward` in the weight: (N, C, H, W), (N, O, H', W') → (O, C/G, kh, kw)."""
    (n, c, *_), (o, *places), xp = x.shape, g.shape[1:], array_module(x)
    area, rows = prod(places), c * prod(window.kernel)
    gradients = g.reshape(n, groups, o // groups, area)
    total: Array = None

    def share(images: slice, first: int, count: int) -> Array:
        part, wanted = x[images], gradients[images, ..., first : first + count]
        columns = xp.empty((groups, rows // groups, len(part) * count), x.dtype)
        unfold_by_kernel(columns, part, window, (places[0], places[1]), first, count, together=True)
        left = xp.ascontiguousarray(wanted.transpose(1, 2, 0, 3)).reshape(groups, o // groups, -1)
        result = xp.empty((o, c // groups, *window.kernel), x.dtype)
        matrices = result.reshape(groups, o // groups, -1)
        for group in range(groups):  # a single matrix may be transposed as it is; of a stack CuPy would make a copy
            xp.matmul(left[group], columns[group].T, out=matrices[group])
        return result

    for images, first, count in parts(n, area, rows * x.itemsize):
        result = share(images, first, count)
        if total is None:
            total = result if count == area and len(x[images]) == n else result.astype(sum_type(x))
        else:
            total += result
    return total.astype(x.dtype, copy=False)


def parts(images: int, each: int, nbytes: int) -> Iterator[tuple[slice, int, int]]:
    """A batch cut into tiles whose columns fit into the workspace.

    Args:
        each: pieces that an image can be cut into, and `nbytes` the bytes of a piece's columns. At least one is taken.

    Yields:
        Images; the first of the pieces, and how many.
    """
    most = get_convolution_workspace()
    step = max(most // (each * nbytes), 1)
    count = each if step > 1 else min(max(most // nbytes, 1), each)
    for i in range(0, images, step):
        for first in range(0, each, count):
            yield slice(i, min(i + step, images)), first, min(count, each - first)


def product(matrix: Array, columns: Array, out: Array) -> None:
    """(G, a, b) @ (n, G, b, c), written to (n, G, a, c). With one group without that axis: CuPy broadcasts one axis sooner."""
    if len(matrix) == 1:
        array_module(columns).matmul(matrix[0], columns[:, 0], out=out[:, 0])
    else:
        array_module(columns).matmul(matrix, columns, out=out)


def transposed(kernels: Array) -> Array:
    """(G, o, c, area) → (G, c · area, o), a copy, as CuPy would make one for each image."""
    groups, o = kernels.shape[:2]
    return array_module(kernels).ascontiguousarray(kernels.reshape(groups, o, -1).swapaxes(1, 2))


def with_bias(y: Array, bias: Array | None) -> Array:
    """y (N, C, H, W), with a number added to each channel, in place: one kernel."""
    if bias is not None:
        y += bias[:, None, None]
    return y
