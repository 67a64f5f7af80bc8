"""Pooling: each window of an image, or of a sequence, becomes one number: the largest, or the mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from microtensor.autograd.graph import T, mode
from microtensor.autograd.op import Rule, op
from microtensor.ops.elementwise import select
from microtensor.ops.indexing import add_flat
from microtensor.ops.shape import squeeze, unsqueeze
from microtensor.runtime import threads
from microtensor.runtime.arrays import Array, array_module, take
from microtensor.runtime.blocking import parts, planes
from microtensor.runtime.cuda.kernels import usable
from microtensor.runtime.integers import as_integer
from microtensor.tensor import Tensor

from ..module import Module
from .pool_kernels import averages, maxima, spread, to_first_maxima, winners
from .pool_windows import Axis, Counted, check_each_sees, check_numbers, clipped, disjoint, over, pool_window, seen, to_the_end
from .windows import Pair, Window


def max_pool2d(
    x: T,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest number of each window: (N, C, H, W) → (N, C, H', W').

    H' = ⌊(H + 2·padding − dilation·(kh − 1) − 1) / stride⌋ + 1. The gradient goes to the first maximum of each window, row by
    row; a nan is larger than all. Windows that overlap add up. Padding never wins.

    Args:
        stride: pixels from one window to the next; the kernel's size if None: windows side by side.
        ceil_mode: round H' up: a last window may hang over the right or lower border, unless it would begin in the padding.
        return_indices: give a pair: the maxima, and where they are: row · W + column, int64, in the image without padding.

    Raises:
        TypeError: x is no tensor of numbers, or a setting is no integer.
        ValueError: x is no batch of images; the window is larger than the padded image; padding is over half a window, or all
            that a dilated window sees.

    >>> import numpy as np
    >>> x = Tensor(np.array([[[[1.0, 5.0], [5.0, 2.0]]]]), requires_grad=True)
    >>> max_pool2d(x, 2).backward()
    >>> x.grad.numpy()[0, 0]
    array([[0., 1.],
           [0., 0.]])
    """
    window = pool_window("max_pool2d", kernel_size, stride, padding, dilation)
    return _largest("max_pool2d", check_numbers("max_pool2d", x), window, ceil_mode, return_indices)


def max_pool1d(
    x: T,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest number of each window of a sequence: (N, C, L) → (N, C, L'). All else as `max_pool2d`.

    >>> max_pool1d(Tensor([[[1.0, 3.0, 2.0, 5.0, 4.0]]]), 2, ceil_mode=True, return_indices=True)
    (Tensor([[[3., 5., 4.]]]), Tensor([[[1, 3, 4]]], dtype=int64))
    """
    window = pool_window("max_pool1d", kernel_size, stride, padding, dilation, axes=1)
    pooled = _largest("max_pool1d", check_numbers("max_pool1d", x, axes=1), window, ceil_mode, return_indices)
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
        count_include_pad: take padding as zeros that count; else the mean is over what the window sees of the image. What
            `ceil_mode` adds beyond the padding never counts.
        divisor_override: divide the sum of each window by this number instead.

    Raises:
        TypeError: x is no tensor of numbers, or a setting is no integer.
        ValueError: x is no batch of images, the window is larger than the padded image, or padding is over half a window.

    >>> import numpy as np
    >>> avg_pool2d(Tensor(np.array([[[[1.0, 5.0], [5.0, 2.0]]]])), 2).item()
    3.25
    """
    window = pool_window("avg_pool2d", kernel_size, stride, padding)
    return _mean("avg_pool2d", check_numbers("avg_pool2d", x), window, ceil_mode, count_include_pad, divisor_override)


def avg_pool1d(
    x: T, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True
) -> T:
    """The mean of each window of a sequence: (N, C, L) → (N, C, L'). All else as `avg_pool2d`.

    >>> avg_pool1d(Tensor([[[1.0, 3.0, 2.0, 6.0]]]), 2)
    Tensor([[[2., 4.]]])
    """
    window = pool_window("avg_pool1d", kernel_size, stride, padding, axes=1)
    return squeeze(_mean("avg_pool1d", check_numbers("avg_pool1d", x, axes=1), window, ceil_mode, count_include_pad, None), 2)


# The largest


def _as_images(name: str, x: Any, window: Window, ceil_mode: bool) -> tuple[Any, Window]:
    """x and the window to slide over it. A sequence is taken as an image of one row.

    Raises:
        ValueError: x has no pixels, or the window does not fit into an image.
    """
    if 0 in x.shape[2:]:
        raise ValueError(f"{name}: x of shape {x.shape} has no pixels to pool")
    images = unsqueeze(x, 2) if x.ndim == 3 else x
    window = to_the_end(window, images.shape[2:]) if ceil_mode else window
    window.check(name, x.shape[2:])
    return images, window


def _largest(name: str, x: Any, window: Window, ceil_mode: bool, return_indices: bool) -> Any:
    x, window = _as_images(name, x, window, ceil_mode)
    if max(window.kernel) > 2 * max(x.shape[2:]):
        window = clipped(window, x.shape[2:])
    check_each_sees(name, window, x.shape[2:])
    y = _max_pool2d(x, window=window)
    return (y, x.constant(_winners(x.array, y.array, window))) if return_indices else y


@op(output=True)
def _max_pool2d(x: T, *, window: Window) -> Rule[T]:
    xp, size = x.xp, (x.shape[2], x.shape[3])

    def vjp(g: Any, y: Any) -> Any:
        if usable(g.array) and not mode.recording:
            return g.constant(to_first_maxima(g.array, x.array, y.array, window))
        if type(x.array) is np.ndarray and disjoint(window) == (1, 1) and not mode.recording:
            return g.constant(_to_first_maxima(g.array, x.array, y.array, window))
        return _to_winners(g, winner=_winners(x.array, y.array, window), apart=disjoint(window), size=size)

    if usable(x.array):
        return maxima(x.array, window), (vjp,)
    places, (down, across) = window.places("max_pool2d", size), seen(window, size)
    lowest = -xp.inf if x.dtype.kind == "f" else xp.iinfo(x.dtype).min
    data = xp.empty((*x.shape[:2], *places), x.dtype)
    images, largest = planes(x.array), planes(data)

    def work(part: slice) -> None:  # down first: whole rows are quicker to compare
        rows = over(xp.maximum, images[part], 1, down, places[0], lowest, x.dtype)
        largest[part] = over(xp.maximum, rows, 2, across, places[1], lowest, x.dtype)

    threads.share(work, parts(images))
    return data, (vjp,)


def _to_first_maxima(g: Array, x: Array, largest: Array, window: Window) -> Array:
    """`_to_winners` of windows that share no pixel, with no list of winners: measured, in 0.6 to 0.9 of the time."""
    size, nans = (x.shape[2], x.shape[3]), _has_nans(largest)
    tiled = window == Window(window.kernel, window.kernel) and largest.size * prod(window.kernel) == x.size
    data = (np.empty if tiled else np.zeros)(x.shape, g.dtype)
    images, gradient, pixels, best = planes(data), planes(g), planes(x), planes(largest)

    def work(part: slice) -> None:
        to, some = images[part], gradient[part]
        for places, there, wins in _first_maxima(pixels[part], best[part], seen(window, size), nans):
            to[there] = select(wins, some[places], 0, g.dtype)

    threads.share(work, parts(images))
    return data


def _winners(x: Array, largest: Array, window: Window) -> Array:
    """Where each window has its first maximum, row by row: row · W + column, int64."""
    if usable(x):
        return winners(x, window)
    xp, size, (kh, kw), nans = array_module(x), x.shape[2:], window.kernel, _has_nans(largest)
    images, best = planes(x), planes(largest)
    place = xp.empty(best.shape, np.int64)
    offset = (xp.arange(kh)[:, None] * (window.dilation[0] * size[1]) + xp.arange(kw) * window.dilation[1]).reshape(-1)

    def work(part: slice) -> None:
        element = xp.zeros(best[part].shape, "uint8" if kh * kw <= 256 else "int32")
        for i, (places, _, wins) in enumerate(_first_maxima(images[part], best[part], seen(window, size), nans)):
            element[places] += wins.astype(element.dtype) * i
        place[part] = take(offset, element)

    threads.share(work, parts(images))
    corners = [xp.arange(n) * step - before for n, step, (before, _) in zip(best.shape[1:], window.stride, window.padding)]
    place += corners[0][:, None] * size[1] + corners[1]
    return place.reshape(largest.shape)


def _first_maxima(x: Array, largest: Array, elements: tuple[Axis, Axis], nans: bool) -> Iterator[tuple[Any, Any, Array]]:
    """For each element of a window, row by row: the places that see it, what they see, and where it is their first maximum.

    A nan is larger than all.
    """
    waiting = array_module(x).ones(largest.shape, bool)  # the windows whose maximum was not met yet
    for i, ((above, rows), (left, columns)) in enumerate(product(*elements), start=1):
        places, there = (slice(None), above, left), (slice(None), rows, columns)
        if i == prod(map(len, elements)):  # it is the maximum of all that still wait for theirs
            yield places, there, waiting[places]
            return
        wins = x[there] == largest[places]
        if nans:
            wins |= x[there] != x[there]
        wins &= waiting[places]
        waiting[places] ^= wins
        yield places, there, wins


def _has_nans(x: Array) -> bool:
    """Whether there may be one. On a GPU there may: to know, the host would have to wait."""
    return x.dtype.kind == "f" and (type(x) is not np.ndarray or bool(np.isnan(x).any()))


@op
def _to_winners(g: T, *, winner: Array, apart: Pair, size: Sequence[int]) -> Rule[T]:
    """The adjoint of taking the pixels `winner`: each number is added to its pixel.

    Places `apart` from each other, which share no pixel, are added at once: so a GPU adds in the same order each time, and the
    sums round alike.
    """
    xp, area = g.xp, size[0] * size[1]
    data = xp.zeros((*g.shape[:2], *size), g.dtype)
    images, gradient, place = planes(data), planes(g.array), planes(winner)

    def work(part: slice) -> None:
        pixels = images[part].reshape(-1)
        first = (xp.arange(len(images[part])) * area)[:, None, None]
        for i, j in product(range(apart[0]), range(apart[1])):
            some = (part, slice(i, None, apart[0]), slice(j, None, apart[1]))
            add_flat(pixels, (place[some] + first).reshape(-1), gradient[some].reshape(-1))

    threads.share(work, parts(images))
    return data, (lambda h: _from_winners(h, winner=winner, apart=apart),)


@op
def _from_winners(x: T, *, winner: Array, apart: Pair) -> Rule[T]:
    """The pixels `winner`, row · W + column of each image: (N, C, H, W) → (N, C, H', W')."""
    size = (x.shape[2], x.shape[3])
    first = x.xp.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], 1, 1) * (size[0] * size[1])
    return take(x.array.reshape(-1), winner + first), (lambda g: _to_winners(g, winner=winner, apart=apart, size=size),)


# The mean


def _mean(name: str, x: Any, window: Window, ceil_mode: bool, count_include_pad: bool, divisor: int | None) -> Any:
    x, hanging = _as_images(name, x, window, ceil_mode)
    size = x.shape[2:]
    places = hanging.places(name, size)
    few = clipped(hanging, size) if max(hanging.kernel) > 2 * max(size) else hanging
    if divisor is not None:
        return _avg_pool2d(x, window=few, share=1 / as_integer(name, "divisor_override", divisor, least=1))
    counted = Counted((0, 0), (size[0], size[1]))
    if count_include_pad:
        (top, bottom), (left, right) = window.padding
        counted = Counted((-top, -left), (size[0] + bottom, size[1] + right))
    share = counted.share(hanging, places)
    if (share == share[0, 0]).all():
        return _avg_pool2d(x, window=few, share=float(share[0, 0]))
    if few == hanging:
        return _avg_pool2d(x, window=hanging, share=counted)
    sums = _avg_pool2d(x, window=few, share=1.0)
    return sums * sums.constant(sums.xp.asarray(share.astype(sums.dtype)))


@op(floating=True)
def _avg_pool2d(x: T, *, window: Window, share: float | Counted) -> Rule[T]:
    """The sum of each window times its share: a number for all, or one over how many pixels count."""
    xp, size = x.xp, (x.shape[2], x.shape[3])

    def vjp(g: T) -> T:
        return _spread_windows(g, window=window, share=share, size=size)

    if usable(x.array):
        return averages(x.array, window, share), (vjp,)
    places, (down, across) = window.places("avg_pool2d", size), seen(window, size)
    wide = np.promote_types(x.dtype, np.float32)  # a sum may be more than float16 holds
    data, factor = xp.empty((*x.shape[:2], *places), x.dtype), _factor(x.array, share, window, wide)
    images, means = planes(x.array), planes(data)

    def work(part: slice) -> None:
        rows = over(xp.add, images[part], 1, down, places[0], 0, wide)
        sums = over(xp.add, rows, 2, across, places[1], 0, wide)
        sums *= factor
        means[part] = sums

    threads.share(work, parts(images))
    return data, (vjp,)


@op
def _spread_windows(g: T, *, window: Window, share: float | Counted, size: Sequence[int]) -> Rule[T]:
    """The adjoint of average pooling: the gradient of each window, times its share, to all pixels that it saw."""

    def vjp(h: T) -> T:
        return _avg_pool2d(h, window=window, share=share)

    if usable(g.array):
        return spread(g.array, window, share, size), (vjp,)
    xp, (down, across) = g.xp, seen(window, size)
    wide = np.promote_types(g.dtype, np.float32)
    data, factor = xp.zeros((*g.shape[:2], *size), g.dtype), _factor(g.array, share, window, wide, size)
    images, gradient = planes(data), planes(g.array)

    def work(part: slice) -> None:
        shares = gradient[part] * factor
        rows = xp.zeros((*shares.shape[:2], size[1]), wide)
        for at, pixels in across:
            rows[..., pixels] += shares[..., at]
        for at, pixels in down:
            images[part, pixels] += rows[:, at]

    threads.share(work, parts(images))
    return data, (vjp,)


def _factor(like: Array, share: float | Counted, window: Window, dtype: Any, size: Sequence[int] | None = None) -> Any:
    """The share, as a number or as an array where `like` is: images of this size, or else `like` itself."""
    if not isinstance(share, Counted):
        return share
    places = window.places("avg_pool2d", like.shape[2:] if size is None else size)
    return array_module(like).asarray(share.share(window, places).astype(dtype))


# Layers


class _Pool(Module):
    """What pooling layers share: three settings, and how they print."""

    axes = 2
    """2 for images, 1 for sequences."""

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1) -> None:
        pool_window(type(self).__name__, kernel_size, stride, padding, dilation, axes=self.axes)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding

    def extra_repr(self) -> str:
        """The size, the stride and the padding, and what is unusual."""
        usual = {"dilation": 1, "return_indices": False, "ceil_mode": False, "count_include_pad": True}
        unusual = [name for name, value in (usual | {"divisor_override": None}).items() if getattr(self, name, value) != value]
        return ", ".join(f"{name}={getattr(self, name)}" for name in ["kernel_size", "stride", "padding", *unusual])


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
