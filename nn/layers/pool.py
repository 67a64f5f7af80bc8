"""Max pooling and average pooling: each window of a feature map becomes one value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from microtensor.autograd.graph import T, mode
from microtensor.autograd.op import Rule, op
from microtensor.ops.shape import squeeze, unsqueeze
from microtensor.runtime import threads
from microtensor.runtime.arrays import Array, array_module
from microtensor.runtime.blocking import blocks, feature_maps
from microtensor.runtime.cuda.kernels import usable
from microtensor.runtime.integers import as_integer
from microtensor.tensor import Tensor

from ..module import Module
from .pool_argmax import _scatter_argmax, grad_of_disjoint_windows, window_argmax
from .pool_kernels import avg_pool_grad_kernel, avg_pool_kernel, max_pool_grad_kernel, max_pool_kernel
from .pool_windows import (
    CountedPixels,
    ceil_window,
    check_every_window,
    check_pool_input,
    clipped,
    disjoint_distance,
    pool_window,
    reduce_windows,
    visible,
)
from .windows import Window


def max_pool2d(
    x: T,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest value of each window: (N, C, H, W) → (N, C, H', W').

    H' = ⌊(H + 2·padding − dilation·(kh − 1) − 1) / stride⌋ + 1. The gradient of each window goes to its argmax, the first
    maximum row by row; gradients of overlapping windows are added. A nan is larger than all. Padding is never the maximum.

    Args:
        stride: pixels from one window to the next; if None, the kernel's size, so that windows lie side by side.
        ceil_mode: round H' up: a last window may extend beyond the right or lower border, unless it would begin in the padding.
        return_indices: return (maxima, argmax): row · W + column in the feature map without padding, int64.

    Raises:
        TypeError: x is no numeric tensor, or a setting is no integer.
        ValueError: x is no batch of images; the window is larger than the padded image; padding is over half a window; a
            dilated window sees only padding.

    >>> import numpy as np
    >>> x = Tensor(np.array([[[[1.0, 5.0], [5.0, 2.0]]]]), requires_grad=True)
    >>> max_pool2d(x, 2).backward()
    >>> x.grad.numpy()[0, 0]
    array([[0., 1.],
           [0., 0.]])
    """
    window = pool_window("max_pool2d", kernel_size, stride, padding, dilation)
    return _max_pool("max_pool2d", check_pool_input("max_pool2d", x), window, ceil_mode, return_indices)


def max_pool1d(
    x: T,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest value of each window of a sequence: (N, C, L) → (N, C, L'). All else as in `max_pool2d`.

    >>> max_pool1d(Tensor([[[1.0, 3.0, 2.0, 5.0, 4.0]]]), 2, ceil_mode=True, return_indices=True)
    (Tensor([[[3., 5., 4.]]]), Tensor([[[1, 3, 4]]], dtype=int64))
    """
    window = pool_window("max_pool1d", kernel_size, stride, padding, dilation, axes=1)
    pooled = _max_pool("max_pool1d", check_pool_input("max_pool1d", x, axes=1), window, ceil_mode, return_indices)
    return tuple(squeeze(y, 2) for y in pooled) if return_indices else squeeze(pooled, 2)


def avg_pool2d(
    x: T,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> T:
    """The mean of each window: (N, C, H, W) → (N, C, H', W').

    Args:
        stride, ceil_mode: as in `max_pool2d`.
        count_include_pad: divide by the size of the window, with padding as zeros; else by the number of pixels that it sees of
            the image. What `ceil_mode` adds beyond the padding is never counted.
        divisor_override: divide the sum of each window by this instead.

    Raises:
        TypeError: x is no numeric tensor, or a setting is no integer.
        ValueError: x is no batch of images, the window is larger than the padded image, or padding is over half a window.

    >>> import numpy as np
    >>> avg_pool2d(Tensor(np.array([[[[1.0, 5.0], [5.0, 2.0]]]])), 2).item()
    3.25
    """
    window = pool_window("avg_pool2d", kernel_size, stride, padding)
    return _avg_pool("avg_pool2d", check_pool_input("avg_pool2d", x), window, ceil_mode, count_include_pad, divisor_override)


def avg_pool1d(
    x: T, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True
) -> T:
    """The mean of each window of a sequence: (N, C, L) → (N, C, L'). All else as in `avg_pool2d`.

    >>> avg_pool1d(Tensor([[[1.0, 3.0, 2.0, 6.0]]]), 2)
    Tensor([[[2., 4.]]])
    """
    window = pool_window("avg_pool1d", kernel_size, stride, padding, axes=1)
    pooled = _avg_pool("avg_pool1d", check_pool_input("avg_pool1d", x, axes=1), window, ceil_mode, count_include_pad, None)
    return squeeze(pooled, 2)


def _as_images(name: str, x: Any, window: Window, ceil_mode: bool) -> tuple[Any, Window]:
    """x and its window. A sequence becomes an image of one row.

    Raises:
        ValueError: x has no pixels, or the window is larger than the padded image.
    """
    if 0 in x.shape[2:]:
        raise ValueError(f"{name}: x of shape {x.shape} has no pixels to pool")
    images = unsqueeze(x, 2) if x.ndim == 3 else x
    window = ceil_window(window, images.shape[2:]) if ceil_mode else window
    window.check(name, x.shape[2:])
    return images, window


# Max pooling


def _max_pool(name: str, x: Any, window: Window, ceil_mode: bool, return_indices: bool) -> Any:
    x, window = _as_images(name, x, window, ceil_mode)
    if max(window.kernel) > 2 * max(x.shape[2:]):
        window = clipped(window, x.shape[2:])
    check_every_window(name, window, x.shape[2:])
    y = _max_pool2d(x, window=window)
    return (y, x.constant(window_argmax(x.array, y.array, window))) if return_indices else y


@op(output=True)
def _max_pool2d(x: T, *, window: Window) -> Rule[T]:
    xp, size = x.xp, (x.shape[2], x.shape[3])

    def vjp(g: Any, y: Any) -> Any:
        if usable(g.array) and not mode.recording:
            return g.constant(max_pool_grad_kernel(g.array, x.array, y.array, window))
        apart = disjoint_distance(window)
        if type(x.array) is np.ndarray and apart == (1, 1) and not mode.recording:
            return g.constant(grad_of_disjoint_windows(g.array, x.array, y.array, window))
        return _scatter_argmax(g, argmax=window_argmax(x.array, y.array, window), apart=apart, size=size)

    if usable(x.array):
        return max_pool_kernel(x.array, window), (vjp,)
    places, (down, across) = window.places("max_pool2d", size), visible(window, size)
    lowest = -xp.inf if x.dtype.kind == "f" else xp.iinfo(x.dtype).min
    data = xp.empty((*x.shape[:2], *places), x.dtype)
    maps, largest = feature_maps(x.array), feature_maps(data)

    def work(block: slice) -> None:  # first down, then across: comparing whole contiguous rows is faster
        rows = reduce_windows(xp.maximum, maps[block], 1, down, places[0], lowest, x.dtype)
        largest[block] = reduce_windows(xp.maximum, rows, 2, across, places[1], lowest, x.dtype)

    threads.share(work, blocks(maps))
    return data, (vjp,)


# Average pooling


def _avg_pool(name: str, x: Any, window: Window, ceil_mode: bool, count_include_pad: bool, divisor: int | None) -> Any:
    x, whole = _as_images(name, x, window, ceil_mode)
    size = x.shape[2:]
    places = whole.places(name, size)
    small = clipped(whole, size) if max(whole.kernel) > 2 * max(size) else whole
    if divisor is not None:
        return _avg_pool2d(x, window=small, scale=1 / as_integer(name, "divisor_override", divisor, least=1))
    counted = CountedPixels((0, 0), (size[0], size[1]))
    if count_include_pad:
        (top, bottom), (left, right) = window.padding
        counted = CountedPixels((-top, -left), (size[0] + bottom, size[1] + right))
    scale = counted.scale(whole, places)
    if (scale == scale[0, 0]).all():
        return _avg_pool2d(x, window=small, scale=float(scale[0, 0]))
    if small == whole:
        return _avg_pool2d(x, window=whole, scale=counted)
    sums = _avg_pool2d(x, window=small, scale=1.0)
    return sums * sums.constant(sums.xp.asarray(scale.astype(sums.dtype)))


@op(floating=True)
def _avg_pool2d(x: T, *, window: Window, scale: float | CountedPixels) -> Rule[T]:
    """The sum of each window times its scale: one factor for all, or 1 / the number of pixels that are counted."""
    xp, size = x.xp, (x.shape[2], x.shape[3])

    def vjp(g: T) -> T:
        return _avg_pool2d_grad(g, window=window, scale=scale, size=size)

    if usable(x.array):
        return avg_pool_kernel(x.array, window, scale), (vjp,)
    places, (down, across) = window.places("avg_pool2d", size), visible(window, size)
    wide = np.promote_types(x.dtype, np.float32)  # a sum may overflow float16
    data, factor = xp.empty((*x.shape[:2], *places), x.dtype), _factor(x.array, scale, window, wide)
    maps, means = feature_maps(x.array), feature_maps(data)

    def work(block: slice) -> None:
        rows = reduce_windows(xp.add, maps[block], 1, down, places[0], 0, wide)
        sums = reduce_windows(xp.add, rows, 2, across, places[1], 0, wide)
        sums *= factor
        means[block] = sums

    threads.share(work, blocks(maps))
    return data, (vjp,)


@op
def _avg_pool2d_grad(g: T, *, window: Window, scale: float | CountedPixels, size: Sequence[int]) -> Rule[T]:
    """The adjoint of average pooling: adds the gradient of each window, times its scale, to all pixels that it sees."""

    def vjp(h: T) -> T:
        return _avg_pool2d(h, window=window, scale=scale)

    if usable(g.array):
        return avg_pool_grad_kernel(g.array, window, scale, size), (vjp,)
    xp, (down, across) = g.xp, visible(window, size)
    wide = np.promote_types(g.dtype, np.float32)
    data, factor = xp.zeros((*g.shape[:2], *size), g.dtype), _factor(g.array, scale, window, wide, size)
    grad_maps, grad_output = feature_maps(data), feature_maps(g.array)

    def work(block: slice) -> None:
        scaled = grad_output[block] * factor
        rows = xp.zeros((*scaled.shape[:2], size[1]), wide)
        for places, pixels in across:
            rows[..., pixels] += scaled[..., places]
        for places, pixels in down:
            grad_maps[block, pixels] += rows[:, places]

    threads.share(work, blocks(grad_maps))
    return data, (vjp,)


def _factor(like: Array, scale: float | CountedPixels, window: Window, dtype: Any, size: Sequence[int] | None = None) -> Any:
    """The scale as a number, or as an array on the device of `like`, for images of this size, by default that of `like`."""
    if not isinstance(scale, CountedPixels):
        return scale
    places = window.places("avg_pool2d", like.shape[2:] if size is None else size)
    return array_module(like).asarray(scale.scale(window, places).astype(dtype))


# Layers


class _Pool(Module):
    """The base class of pooling layers: their common settings, and their repr."""

    axes = 2
    """2 for images, 1 for sequences."""

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1) -> None:
        pool_window(type(self).__name__, kernel_size, stride, padding, dilation, axes=self.axes)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding

    def extra_repr(self) -> str:
        """The size, the stride and the padding, and other settings that are not the default."""
        defaults: dict[str, Any] = {"dilation": 1, "return_indices": False, "ceil_mode": False}
        defaults |= {"count_include_pad": True, "divisor_override": None}
        others = [name for name, value in defaults.items() if getattr(self, name, value) != value]
        return ", ".join(f"{name}={getattr(self, name)}" for name in ["kernel_size", "stride", "padding", *others])


class _MaxPool(_Pool):
    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation)
        self.dilation, self.return_indices, self.ceil_mode = dilation, return_indices, ceil_mode

    def forward(self, x: Tensor) -> Any:
        pool = max_pool2d if self.axes == 2 else max_pool1d
        return pool(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices)


class MaxPool2d(_MaxPool):
    """`max_pool2d` as a layer: (N, C, H, W) → (N, C, H', W').

    >>> MaxPool2d(3, stride=2, padding=1)
    MaxPool2d(kernel_size=3, stride=2, padding=1)
    """


class MaxPool1d(_MaxPool):
    """`max_pool1d` as a layer: (N, C, L) → (N, C, L')."""

    axes = 1


class AvgPool2d(_Pool):
    """`avg_pool2d` as a layer: (N, C, H, W) → (N, C, H', W')."""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        if divisor_override is not None:
            as_integer("AvgPool2d", "divisor_override", divisor_override, least=1)
        self.ceil_mode, self.count_include_pad, self.divisor_override = ceil_mode, count_include_pad, divisor_override

    def forward(self, x: Tensor) -> Tensor:
        settings = self.ceil_mode, self.count_include_pad, self.divisor_override
        return avg_pool2d(x, self.kernel_size, self.stride, self.padding, *settings)


class AvgPool1d(_Pool):
    """`avg_pool1d` as a layer: (N, C, L) → (N, C, L')."""

    axes = 1

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        return avg_pool1d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)
