"""Pooling on a GPU: one kernel forward and one backward. See pool.cu."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from microtensor.runtime.arrays import Array, array_module
from microtensor.runtime.cuda.kernels import Kernels

from .pool_windows import Counted
from .windows import Window

kernels = Kernels(__file__, "pool.cu")


def maxima(x: Array, window: Window) -> Array:
    """The largest number of each window: (N, C, H, W) → (N, C, H', W')."""
    return _over_windows("largest", x, window, x.dtype, lambda y: (y, None))


def winners(x: Array, window: Window) -> Array:
    """Where each window has its first maximum: row · W + column, int64."""
    return _over_windows("largest", x, window, np.int64, lambda winner: (None, winner))


def to_first_maxima(g: Array, x: Array, y: Array, window: Window) -> Array:
    """The gradient of `maxima`: each window's to its first maximum. x and the result y are enough to know it."""
    xp = array_module(g)
    arrays = (xp.ascontiguousarray(a) for a in (g, x, y))
    dx = xp.empty(x.shape, x.dtype)
    kernels.each("to_first_largest", x.dtype, dx.size, dx, *arrays, _window(window, x.shape[2:]), dx.size)
    return dx


def averages(x: Array, window: Window, share: float | Counted) -> Array:
    """The sum of each window times its share: (N, C, H, W) → (N, C, H', W')."""
    return _over_windows("average", x, window, x.dtype, lambda y: (y,), *_share(share))


def spread(g: Array, window: Window, share: float | Counted, size: Sequence[int]) -> Array:
    """The adjoint of `averages`: (N, C, H', W') → (N, C, H, W)."""
    xp = array_module(g)
    dx = xp.empty((*g.shape[:2], *size), g.dtype)
    arguments = xp.ascontiguousarray(g), *_share(share), _window(window, size), dx.size
    kernels.each("spread", g.dtype, dx.size, dx, *arguments)
    return dx


def _over_windows(name: str, x: Array, window: Window, dtype: Any, results: Any, *settings: Any) -> Array:
    xp, size = array_module(x), x.shape[2:]
    y = xp.empty((*x.shape[:2], *window.places(name, size)), dtype)
    kernels.each(name, x.dtype, y.size, *results(y), xp.ascontiguousarray(x), *settings, _window(window, size), y.size)
    return y


def _window(window: Window, size: Sequence[int]) -> np.ndarray:
    """The kernels' `Window`."""
    before = [sides[0] for sides in window.padding]
    sizes = [*size, *window.places("pool", size), *window.kernel, *window.stride, *before, *window.dilation]
    return np.array(sizes, np.int64)


def _share(share: float | Counted) -> tuple[float, np.ndarray]:
    """The kernels' `all` and `Share`."""
    if isinstance(share, Counted):
        return 0.0, np.array([*share.low, *share.high], np.int64)
    return float(share), np.zeros(4, np.int64)
