"""Pooling: each window of an image becomes one number."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from microtensor.backend import Array
from microtensor.graph import T
from microtensor.nn.module import Module
from microtensor.nn.windows import Window, check_images
from microtensor.op import Rule, op
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
    window = Window.of(name, kernel_size, kernel_size if stride is None else stride, padding, dilation)
    if any(2 * p > k for p, k in zip(window.padding, window.kernel)):
        raise ValueError(
            f"{name}: padding {window.padding} is over half the kernel {window.kernel}: such a window sees nothing"
        )
    return window


@op
def _max_pool2d(x: T, *, window: Window) -> Rule[T]:
    xp, size = x.xp, x.shape[2:]
    places = window.places("max_pool2d", size)
    lowest = -xp.inf if x.dtype.kind == "f" else xp.iinfo(x.dtype).min
    data: Array = None
    for _, _, view in window.taps(window.pad(x.data, lowest), places):
        data = view.copy() if data is None else xp.maximum(data, view, out=data)

    @functools.cache
    def winner() -> Array:
        """For each window, the number of its first maximum, counted along the rows."""
        count = window.kernel[0] * window.kernel[1]
        number = xp.full(data.shape, count, "uint8" if count < 256 else "int32")
        for i, j, view in window.taps(window.pad(x.data, lowest), places):
            number = xp.minimum(number, count - (view == data).astype(number.dtype) * (count - (i * window.kernel[1] + j)))
        return number

    return data, (lambda g: _to_winners(g, winner=winner(), window=window, size=size),)


@op
def _to_winners(g: T, *, winner: Array, window: Window, size: Sequence[int]) -> Rule[T]:
    """The adjoint of max pooling: the gradient of each window goes to its winner."""
    padded = window.blank(g.data, g.shape[0], g.shape[1], size)
    for i, j, view in window.taps(padded, winner.shape[2:]):
        view += g.data * (winner == i * window.kernel[1] + j)  # much faster than where()
    return window.crop(padded), (lambda h: _from_winners(h, winner=winner, window=window),)


@op
def _from_winners(x: T, *, winner: Array, window: Window) -> Rule[T]:
    """Of each window, the number at its winner's place."""
    size, data = x.shape[2:], x.xp.zeros(winner.shape, x.dtype)
    for i, j, view in window.taps(window.pad(x.data), winner.shape[2:]):
        data += view * (winner == i * window.kernel[1] + j)
    return data, (lambda g: _to_winners(g, winner=winner, window=window, size=size),)


@op(floating=True)
def _avg_pool2d(x: T, *, window: Window) -> Rule[T]:
    size = x.shape[2:]
    places = window.places("avg_pool2d", size)
    data = x.xp.zeros((*x.shape[:2], *places), x.dtype)
    for _, _, view in window.taps(window.pad(x.data), places):
        data += view
    data *= 1 / (window.kernel[0] * window.kernel[1])
    return data, (lambda g: _spread_windows(g, window=window, size=size),)


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
