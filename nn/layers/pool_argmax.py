"""The argmax of each window of a pool, and the gradient that passes through it.

The argmax is the position of the first maximum of a window, row by row: row · W + column of the feature map, int64. A nan is
larger than all. Max pooling takes the values at the argmax (`gather_argmax`), so its gradient goes there (`scatter_argmax`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from microtensor.autograd.graph import T
from microtensor.autograd.op import Rule, op
from microtensor.ops.elementwise import select
from microtensor.ops.indexing import add_flat
from microtensor.runtime import threads
from microtensor.runtime.arrays import Array, array_module, take
from microtensor.runtime.blocking import blocks, feature_maps
from microtensor.runtime.cuda.kernels import usable

from .pool_kernels import argmax_kernel
from .pool_windows import Axis, visible
from .windows import Pair, Window


def window_argmax(x: Array, maxima: Array, window: Window) -> Array:
    """The argmax of each window of x (N, C, H, W), of which `maxima` (N, C, H', W') are the largest values."""
    if usable(x):
        return argmax_kernel(x, window)
    xp, size, (kh, kw), has_nan = array_module(x), x.shape[2:], window.kernel, _may_have_nan(maxima)
    maps, largest = feature_maps(x), feature_maps(maxima)
    argmax = xp.empty(largest.shape, np.int64)
    offset = (xp.arange(kh)[:, None] * (window.dilation[0] * size[1]) + xp.arange(kw) * window.dilation[1]).reshape(-1)

    def work(block: slice) -> None:
        element = xp.zeros(largest[block].shape, "uint8" if kh * kw <= 256 else "int32")
        for i, (places, _, is_first) in enumerate(_first_maxima(maps[block], largest[block], visible(window, size), has_nan)):
            element[places] += is_first.astype(element.dtype) * i
        argmax[block] = take(offset, element)

    threads.share(work, blocks(maps))
    corners = [xp.arange(n) * step - before for n, step, (before, _) in zip(argmax.shape[1:], window.stride, window.padding)]
    argmax += corners[0][:, None] * size[1] + corners[1]
    return argmax.reshape(maxima.shape)


def grad_of_disjoint_windows(g: Array, x: Array, maxima: Array, window: Window) -> Array:
    """`scatter_argmax` for windows that share no pixel, without the argmax: measured, in 0.6 to 0.9 of the time."""
    size, has_nan = (x.shape[2], x.shape[3]), _may_have_nan(maxima)
    covers_all = window == Window(window.kernel, window.kernel) and maxima.size * prod(window.kernel) == x.size
    grad_input = (np.empty if covers_all else np.zeros)(x.shape, g.dtype)
    maps, grad_maps, grad_output, largest = map(feature_maps, (x, grad_input, g, maxima))

    def work(block: slice) -> None:
        target, gradient = grad_maps[block], grad_output[block]
        for places, pixels, is_first in _first_maxima(maps[block], largest[block], visible(window, size), has_nan):
            target[pixels] = select(is_first, gradient[places], 0, g.dtype)

    threads.share(work, blocks(grad_maps))
    return grad_input


def _first_maxima(x: Array, maxima: Array, elements: tuple[Axis, Axis], has_nan: bool) -> Iterator[tuple[Any, Any, Array]]:
    """For each element of a window, row by row: the places at which it is on the feature map, the pixels that it sees there,
    and at which of these places it is the first maximum of its window.
    """
    open_windows = array_module(x).ones(maxima.shape, bool)  # whose maximum was not found yet
    for i, ((above, rows), (left, columns)) in enumerate(product(*elements), start=1):
        places, pixels = (slice(None), above, left), (slice(None), rows, columns)
        if i == prod(map(len, elements)):  # the last element is the maximum of all windows that are still open
            yield places, pixels, open_windows[places]
            return
        is_first = x[pixels] == maxima[places]
        if has_nan:
            is_first |= x[pixels] != x[pixels]
        is_first &= open_windows[places]
        open_windows[places] ^= is_first
        yield places, pixels, is_first


def _may_have_nan(x: Array) -> bool:
    """Whether there is a nan. True for any floats on a GPU, as the host would have to wait for the answer."""
    return x.dtype.kind == "f" and (type(x) is not np.ndarray or bool(np.isnan(x).any()))


@op
def _scatter_argmax(g: T, *, argmax: Array, apart: Pair, size: Sequence[int]) -> Rule[T]:
    """The adjoint of `_gather_argmax`: adds each value to the pixel at its argmax.

    Windows that are `apart` from each other share no pixel. They are added together, one group after the other, so that a GPU
    adds in the same order each time, and sums are rounded alike.
    """
    xp, area = g.xp, size[0] * size[1]
    data = xp.zeros((*g.shape[:2], *size), g.dtype)
    maps, values, places = feature_maps(data), feature_maps(g.array), feature_maps(argmax)

    def work(block: slice) -> None:
        pixels = maps[block].reshape(-1)
        first = (xp.arange(len(maps[block])) * area)[:, None, None]
        for i, j in product(range(apart[0]), range(apart[1])):
            group = (block, slice(i, None, apart[0]), slice(j, None, apart[1]))
            add_flat(pixels, (places[group] + first).reshape(-1), values[group].reshape(-1))

    threads.share(work, blocks(maps))
    return data, (lambda h: _gather_argmax(h, argmax=argmax, apart=apart),)


@op
def _gather_argmax(x: T, *, argmax: Array, apart: Pair) -> Rule[T]:
    """The pixels at the argmax of each window: (N, C, H, W) → (N, C, H', W')."""
    size = (x.shape[2], x.shape[3])
    first = x.xp.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], 1, 1) * (size[0] * size[1])
    return take(x.array.reshape(-1), argmax + first), (lambda g: _scatter_argmax(g, argmax=argmax, apart=apart, size=size),)
