"""Pooling on a GPU: one kernel for each forward and backward pass. See pool.cu."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from microtensor.runtime.arrays import Array, array_module
from microtensor.runtime.cuda.kernels import Kernels

from .pool_windows import CountedPixels
from .windows import Window

kernels = Kernels(__file__, "pool.cu")


def max_pool_kernel(x: Array, window: Window) -> Array:
    """The largest value of each window: (N, C, H, W) → (N, C, H', W')."""
    return _forward("max_pool", x, window, x.dtype, lambda y: (y, None))


def argmax_kernel(x: Array, window: Window) -> Array:
    """The first maximum of each window: row · W + column, int64."""
    return _forward("max_pool", x, window, np.int64, lambda argmax: (None, argmax))


def max_pool_grad_kernel(g: Array, x: Array, y: Array, window: Window) -> Array:
    """The gradient of x in y = max_pool_kernel(x). The argmax is found again, so it need not be stored."""
    xp = array_module(g)
    arrays = (xp.ascontiguousarray(a) for a in (g, x, y))
    grad_input = xp.empty(x.shape, x.dtype)
    arguments = *arrays, _window(window, x.shape[2:]), grad_input.size
    kernels.each("max_pool_grad", x.dtype, grad_input.size, grad_input, *arguments)
    return grad_input


def avg_pool_kernel(x: Array, window: Window, scale: float | CountedPixels) -> Array:
    """The sum of each window times its scale: (N, C, H, W) → (N, C, H', W')."""
    return _forward("avg_pool", x, window, x.dtype, lambda y: (y,), *_scale(scale))


def avg_pool_grad_kernel(g: Array, window: Window, scale: float | CountedPixels, size: Sequence[int]) -> Array:
    """The adjoint of `avg_pool_kernel`: (N, C, H', W') → (N, C, H, W)."""
    xp = array_module(g)
    grad_input = xp.empty((*g.shape[:2], *size), g.dtype)
    arguments = xp.ascontiguousarray(g), *_scale(scale), _window(window, size), grad_input.size
    kernels.each("avg_pool_grad", g.dtype, grad_input.size, grad_input, *arguments)
    return grad_input


def _forward(name: str, x: Array, window: Window, dtype: Any, results: Any, *settings: Any) -> Array:
    xp, size = array_module(x), x.shape[2:]
    y = xp.empty((*x.shape[:2], *window.places(name, size)), dtype)
    kernels.each(name, x.dtype, y.size, *results(y), xp.ascontiguousarray(x), *settings, _window(window, size), y.size)
    return y


def _window(window: Window, size: Sequence[int]) -> np.ndarray:
    """The struct `Window` of pool.cu."""
    before = [sides[0] for sides in window.padding]
    sizes = [*size, *window.places("pool", size), *window.kernel, *window.stride, *before, *window.dilation]
    return np.array(sizes, np.int64)


def _scale(scale: float | CountedPixels) -> tuple[float, np.ndarray]:
    """The arguments `scale` and `counted` of pool.cu."""
    if isinstance(scale, CountedPixels):
        return 0.0, np.array([*scale.low, *scale.high], np.int64)
    return float(scale), np.zeros(4, np.int64)
