"""Pooling: each window of an image becomes one number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from microtensor.backend import Array, array_module
from microtensor.graph import T
from microtensor.nn.module import Module
from microtensor.nn.windows import Window, check_images
from microtensor.op import Rule, op
from microtensor.ops.elementwise import select
from microtensor.tensor import Tensor


def max_pool2d(x: T, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1) -> T:
    """The largest number of each window: (N, C, H, W) → (N, C, H', W').

    The gradient goes to the first maximum of each window, row by row. Windows that overlap add up. Padding counts as −∞.

    Args:
        stride: the kernel's size if None: windows side by side.

    Raises:
        ValueError: x is no batch of images, the window is larger than the padded image, or padding is over half a window.

    >>> import numpy as np
    >>> x = Tensor(np.array([[[[1.0, 5.0], [5.0, 2.0]]]]), requires_grad=True)
    >>> max_pool2d(x, 2).backward()
    >>> x.grad.numpy()[0, 0]
    array([[0., 1.],
           [0., 0.]])
    """
    return _max_pool2d(x, window=_pooling_window("max_pool2d", x, kernel_size, stride, padding, dilation))


def avg_pool2d(x: T, kernel_size: Any, stride: Any = None, padding: Any = 0) -> T:
    """The mean of each window: (N, C, H, W) → (N, C, H', W'). Padding counts as zeros.

    Raises:
        ValueError: x is no batch of images, the window is larger than the padded image, or padding is over half a window.

    >>> import numpy as np
    >>> avg_pool2d(Tensor(np.array([[[[1.0, 5.0], [5.0, 2.0]]]])), 2).item()
    3.25
    """
    return _avg_pool2d(x, window=_pooling_window("avg_pool2d", x, kernel_size, stride, padding, 1))


def _pooling_window(name: str, x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any) -> Window:
    check_images(name, x)
    if x.dtype.kind == "b":
        raise TypeError(f"{name}: expected numbers, got bool; use .to('float32')")
    window = Window.of(name, kernel_size, kernel_size if stride is None else stride, padding, dilation)
    if any(2 * max(p) > k for p, k in zip(window.padding, window.kernel)):
        raise ValueError(f"{name}: padding {padding} is over half the kernel {kernel_size}: such a window sees nothing")
    return window


@op(output=True)
def _max_pool2d(x: T, *, window: Window) -> Rule[T]:
    size = x.shape[2:]
    lowest = -x.xp.inf if x.dtype.kind == "f" else x.xp.iinfo(x.dtype).min
    data: Array = None
    for _, _, view in window.taps(window.pad(x.data, lowest), window.places("max_pool2d", size)):
        data = view.copy() if data is None else x.xp.maximum(data, view, out=data)

    def vjp(g: Any, y: Any) -> Any:
        return _to_winners(g, winner=_winners(window.pad(x.data, lowest), y.data, window), window=window, size=size)

    return data, (vjp,)


def _winners(padded: Array, largest: Array, window: Window) -> Array:
    """For each window, the number of its first maximum, counted along the rows; a nan is larger than all."""
    xp, count = array_module(padded), window.kernel[0] * window.kernel[1]
    number = xp.full(largest.shape, count, "uint8" if count < 256 else "int32")
    for i, j, view in window.taps(padded, largest.shape[2:]):
        wins = ((view == largest) | (view != view)).astype(number.dtype)
        number = xp.minimum(number, count - wins * (count - (i * window.kernel[1] + j)))
    return number


@op
def _to_winners(g: T, *, winner: Array, window: Window, size: Sequence[int]) -> Rule[T]:
    """The adjoint of max pooling: the gradient of each window goes to its winner."""
    padded = window.blank(g.data, g.shape[0], g.shape[1], size)
    for i, j, view in window.taps(padded, winner.shape[2:]):
        view += select(winner == i * window.kernel[1] + j, g.data, 0, g.dtype)
    return window.crop(padded), (lambda h: _from_winners(h, winner=winner, window=window),)


@op
def _from_winners(x: T, *, winner: Array, window: Window) -> Rule[T]:
    """Of each window, the number at its winner's place."""
    size, data = x.shape[2:], x.xp.zeros(winner.shape, x.dtype)
    for i, j, view in window.taps(window.pad(x.data), winner.shape[2:]):
        data += select(winner == i * window.kernel[1] + j, view, 0, x.dtype)
    return data, (lambda g: _to_winners(g, winner=winner, window=window, size=size),)


@op(floating=True)
def _avg_pool2d(x: T, *, window: Window) -> Rule[T]:
    size = x.shape[2:]
    places = window.places("avg_pool2d", size)
    data = x.xp.zeros((*x.shape[:2], *places), np.promote_types(x.dtype, np.float32))  # a sum may be more than float16 holds
    for _, _, view in window.taps(window.pad(x.data), places):
        data += view
    data *= 1 / (window.kernel[0] * window.kernel[1])
    return data.astype(x.dtype, copy=False), (lambda g: _spread_windows(g, window=window, size=size),)


@op
def _spread_windows(g: T, *, window: Window, size: Sequence[int]) -> Rule[T]:
    """The adjoint of average pooling: the gradient of each window, in equal parts, to all that it saw."""
    padded = window.blank(g.data, g.shape[0], g.shape[1], size)
    part = g.data * (1 / (window.kernel[0] * window.kernel[1]))
    for _, _, view in window.taps(padded, g.shape[2:]):
        view += part
    return window.crop(padded), (lambda h: _avg_pool2d(h, window=window),)


class _Pool(Module):
    """What pooling layers share: their settings, and how they print."""

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        Window.of(type(self).__name__, kernel_size, kernel_size if stride is None else stride, padding)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxPool2d(_Pool):
    """`max_pool2d` as a layer: (N, C, H, W) → (N, C, H', W').

    >>> MaxPool2d(3, stride=2, padding=1)
    MaxPool2d(kernel_size=3, stride=2, padding=1)
    """

    def forward(self, x: Tensor) -> Tensor:
        return max_pool2d(x, self.kernel_size, self.stride, self.padding)


class AvgPool2d(_Pool):
    """`avg_pool2d` as a layer: (N, C, H, W) → (N, C, H', W')."""

    def forward(self, x: Tensor) -> Tensor:
        return avg_pool2d(x, self.kernel_size, self.stride, self.padding)
