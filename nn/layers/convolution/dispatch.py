"""Convolution and its two adjoints on arrays, each in the way that its shape asks for.

What there is to choose from stands in the other files of this folder. All of them compute the same numbers, but for rounding:
kernels of our own on a GPU, oneDNN where it is installed, and ways of NumPy alone, which are the reference for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from microtensor.runtime import threads
from microtensor.runtime.arrays import Array, array_module
from microtensor.runtime.cuda.kernels import usable

from ..windows import Pair, Window
from .cpu import depthwise, im2col, im2col_rows, toeplitz
from .cpu.blocking import BYTES, LEAST, PARTIAL_SUMS
from .cpu.small_gemm import multiply, multiply_transposed
from .gpu import cost
from .onednn import convolution

FEW = 48
"""So many kernels, and no more than half as many as channels, are quicker by rows than by columns.

Measured: 12 kernels of 48 channels in 0.8 of the time, and their gradients in 0.75; as many as channels in 1.1 and 1.2.
"""

WIDE = 32
"""Pixels of an image from which on a product for each, of a 1×1 kernel, is quicker than one of all images, copied together."""


def forward(x: Array, weight: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """(N, C, H, W), (O, C/G, kh, kw), (O,) → (N, O, H', W')."""
    if not (x.size and weight.size):
        return _of_nothing(x, (len(x), len(weight), *window.places("conv2d", x.shape[2:])), bias)
    if usable(x):
        return cost.forward(x, weight, bias, window, groups)
    y = convolution.forward(x, weight, bias, window, groups)
    return _forward(x, weight, bias, window, groups) if y is None else y


def _forward(x: Array, weight: Array, bias: Array | None, window: Window, groups: int) -> Array:
    if groups == x.shape[1] == len(weight):
        y = _depthwise(x, x.shape[2:], window).forward(x, weight, window)
        return y if bias is None else _add(y, bias)
    if window == Window((1, 1)):
        return _each_pixel(x, weight.reshape(groups, len(weight) // groups, -1), bias)
    if _by_rows(window, groups, x.shape[1], len(weight)):
        return im2col_rows.forward(x, weight, bias, window)
    return im2col.forward(x, weight, bias, window, groups)


def to_input(g: Array, weight: Array, bias: Array | None, window: Window, groups: int, size: Pair) -> Array:
    """The adjoint of `forward` in x: (N, O, H', W'), (O, C/G, kh, kw), (C,) → (N, C, *size)."""
    if not (g.size and weight.size and prod(size)):
        return _of_nothing(g, (len(g), groups * weight.shape[1], *size), bias)
    if usable(g):
        return cost.to_input(g, weight, bias, window, groups, size)
    x = convolution.to_input(g, weight, bias, window, groups, size)
    if x is not None:
        return x
    if groups == g.shape[1] and weight.shape[1] == 1:
        x = _depthwise(g, size, window).to_input(g, weight, window, size)
        return x if bias is None else _add(x, bias)
    back = im2col.turned_window(window)
    if back is None:
        return im2col.to_input(g, weight, bias, window, groups, size)
    return _forward(g, im2col.turned(weight, groups), bias, back, groups)


def to_weight(x: Array, g: Array, window: Window, groups: int) -> Array:
    """The adjoint of `forward` in the weight: (N, C, H, W), (N, O, H', W') → (O, C/G, kh, kw)."""
    if not (x.size and g.size):
        return _of_nothing(x, (g.shape[1], x.shape[1] // groups, *window.kernel), None)
    if usable(x):
        return cost.to_weight(x, g, window, groups)
    weight = convolution.to_weight(x, g, window, groups)
    if weight is not None:
        return weight
    if groups == x.shape[1] == g.shape[1]:
        return _depthwise(x, x.shape[2:], window, for_weight=True).to_weight(x, g, window)
    if window == Window((1, 1)) and len(x) and prod(x.shape[2:]) >= WIDE:
        return _each_pixel_to_weight(x, g, groups)
    if _by_rows(window, groups, x.shape[1], g.shape[1]):
        return im2col_rows.to_weight(x, g, window)
    return im2col.to_weight(x, g, window, groups)


def _of_nothing(like: Array, shape: Sequence[int], bias: Array | None) -> Array:
    """Sums without a number in them, of an empty batch or of no channels: 0, and the bias. No way below is asked for these."""
    zeros = array_module(like).zeros(shape, like.dtype)
    return zeros if bias is None else _add(zeros, bias)


def _depthwise(like: Array, size: Pair, window: Window, for_weight: bool = False) -> Any:
    """The module for one kernel a channel, and images of this size."""
    small = type(like) is np.ndarray and toeplitz.pays(len(like), size, window, for_weight)
    return toeplitz if small else depthwise


def _by_rows(window: Window, groups: int, channels: int, kernels: int) -> bool:
    """Whether `rows` can be used, does something else than `columns`, and is quicker."""
    return groups == 1 and window.stride == (1, 1) and window.kernel[0] > 1 and kernels <= min(channels // 2, FEW)


def _each_pixel(x: Array, matrix: Array, bias: Array | None) -> Array:
    """A 1×1 kernel: an image is its own columns. x (N, C, H, W), matrix (G, O/G, C/G) → (N, O, H, W)."""
    groups, kernels, channels = matrix.shape
    pixels = x.reshape(len(x), groups, channels, prod(x.shape[2:]))  # (N, G, C/G, H · W)
    y = array_module(x).empty((len(x), groups, kernels, pixels.shape[3]), x.dtype)
    shift = None if bias is None else bias.reshape(groups, kernels, 1)

    def work(part: slice) -> None:
        multiply(matrix, pixels[part], out=y[part])
        if shift is not None:
            y[part] += shift

    bytes_ = x.nbytes + y.nbytes
    threads.share(work, threads.slices(len(x), max(BYTES * len(x) // max(bytes_, 1), 1)), bytes_ < 2 * LEAST)
    return y.reshape(len(x), groups * kernels, *x.shape[2:])


def _each_pixel_to_weight(x: Array, g: Array, groups: int) -> Array:
    """The adjoint of `_each_pixel` in the weight, with nothing copied: (N, C, H, W), (N, O, H, W) → (O, C/G, 1, 1)."""
    pixels, slopes = (v.reshape(len(v), groups, -1, prod(v.shape[2:])) for v in (x, g))
    count = min(PARTIAL_SUMS, len(x))
    sums: list[Any] = [None] * count

    def work(i: int) -> None:
        part = slice(i * len(x) // count, (i + 1) * len(x) // count)
        sums[i] = multiply_transposed(slopes[part], pixels[part]).sum(0)  # (G, O/G, C/G)

    threads.share(work, range(count), x.nbytes + g.nbytes < 2 * LEAST)
    return array_module(x).ascontiguousarray(sum(sums)).reshape(g.shape[1], -1, 1, 1)


def _add(y: Array, bias: Array) -> Array:
    y += bias[:, None, None]
    return y
