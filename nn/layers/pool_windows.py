"""The windows of pooling, which may extend beyond the border of a feature map.

Padding is never stored: `visible` lists, for each element of a window, the places at which it lies on the feature map. So
padding costs no copy and needs no value, such as −∞ for max pooling.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from microtensor.autograd.graph import T
from microtensor.runtime.arrays import Array, array_module

from .windows import Pair, Window, check_images

Axis: TypeAlias = list[tuple[slice, slice]]
"""For each element of a window along one axis: the places at which it lies on the feature map, and the pixels it sees there."""


class CountedPixels(NamedTuple):
    """The pixels that count in the mean over a window: along each axis (height, width) from `low` to `high` − 1.

    Those of the feature map are 0 to H − 1 and 0 to W − 1; a border of padding may be counted too.
    """

    low: Pair
    high: Pair

    def scale(self, window: Window, places: Sequence[int]) -> np.ndarray:
        """1 / the number of counted pixels of each window, (H', W') = `places`.

        >>> CountedPixels((0, 0), (1, 3)).scale(pool_window("avg_pool1d", 2, 2, 1, axes=1), (1, 2))
        array([[1. , 0.5]])
        """
        counts = []
        for axis, count in enumerate(places):
            start = np.arange(count) * window.stride[axis] - window.padding[axis][0]
            end = np.minimum(start + window.kernel[axis], self.high[axis])
            counts.append(end - np.maximum(start, self.low[axis]))
        return 1 / np.outer(*counts)


def check_pool_input(name: str, x: T, axes: int = 2) -> T:
    """x, if it is a numeric batch of images or, with one axis, of sequences.

    Raises:
        TypeError: x is no tensor, or of bools.
        ValueError: it has another number of axes.
    """
    check_images(name, x, axes)
    if x.dtype.kind == "b":
        raise TypeError(f"{name}: expected numbers, got bool; use .to('float32')")
    return x


def pool_window(name: str, kernel_size: Any, stride: Any, padding: Any, dilation: Any = 1, *, axes: int = 2) -> Window:
    """The window of a pool with these settings, for images or, with one axis, for sequences.

    Raises:
        TypeError: a setting is no integer, or no pair of integers.
        ValueError: one is too small, or padding is over half of the pixels that the window covers.
    """
    window = Window.of(name, kernel_size, kernel_size if stride is None else stride, padding, dilation, axes=axes)
    if any(2 * before > covered for (before, _), covered in zip(window.padding, window.effective_kernel)):
        covers = (
            "" if window.dilation == (1, 1) else f", which with dilation {dilation} covers {window.effective_kernel[-axes:]}"
        )
        raise ValueError(f"{name}: padding {padding} is over half the kernel {kernel_size}{covers}: such a window sees nothing")
    return window


def ceil_window(window: Window, size: Sequence[int]) -> Window:
    """The window of `ceil_mode`: with more padding at the right and bottom, as far as a last window extends beyond the border.

    A window that would begin in that padding is dropped, as it would see no pixel.

    >>> window = pool_window("max_pool2d", 2, None, 0)
    >>> ceil_window(window, (5, 4)).padding
    ((0, 1), (0, 0))
    """
    padding = []
    for n, covered, stride, (before, after) in zip(size, window.effective_kernel, window.stride, window.padding):
        places = -((covered - n - before - after) // stride) + 1  # a quotient rounded up
        if (places - 1) * stride >= n + before:
            places -= 1
        padding.append((before, max(after, (places - 1) * stride + covered - n - before) if places > 0 else after))
    return window._replace(padding=(padding[0], padding[1]))


def clipped(window: Window, size: Sequence[int]) -> Window:
    """The window without those outer elements that only ever see padding: few elements of a huge kernel are left.

    >>> clipped(pool_window("max_pool2d", 101, 1, 50), (2, 2))
    Window(kernel=(3, 3), stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1))
    """
    places, axes = window.places("pool", size), []
    settings = zip(size, places, window.kernel, window.stride, window.padding, window.dilation)
    for n, count, kernel, stride, (before, _), step in settings:
        first = max(before - (count - 1) * stride, 0) // step
        kernel = max(min((before + n - 1) // step + 1, kernel) - first, 1)
        before -= first * step
        axes.append((kernel, (before, (count - 1) * stride + step * (kernel - 1) + 1 - n - before)))  # keeps `count` places
    (height, rows), (width, columns) = axes
    return window._replace(kernel=(height, width), padding=(rows, columns))


@lru_cache(maxsize=256)
def visible(window: Window, size: Pair) -> tuple[Axis, Axis]:
    """What the elements of a window see of a feature map of this size: down, and across.

    At each place, element i lies on pixel place · stride + i · dilation − padding, if there is one.

    >>> visible(pool_window("max_pool2d", 2, 2, 1), (4, 4))[0]
    [(slice(1, 3, None), slice(1, 5, 2)), (slice(0, 2, None), slice(0, 4, 2))]
    """
    places, axes = window.places("pool", size), []
    for axis in (0, 1):
        stride, elements = window.stride[axis], []
        for i in range(window.kernel[axis]):
            start = i * window.dilation[axis] - window.padding[axis][0]
            first = max(0, -(start // stride))  # a quotient rounded up
            count = max(0, min(places[axis], (size[axis] - 1 - start) // stride + 1) - first)
            pixel = first * stride + start
            elements.append((slice(first, first + count), slice(pixel, pixel + count * stride, stride)))
        axes.append(elements)
    return axes[0], axes[1]


def check_every_window(name: str, window: Window, size: Sequence[int]) -> None:
    """Refuse a dilated window that sees only padding at some place.

    Raises:
        ValueError: there is such a place.
    """
    if max(window.dilation) == 1:  # then there is none, as padding is at most half a window
        return
    for elements, count in zip(visible(window, size), window.places(name, size)):
        if len({place for at, _ in elements for place in range(at.start, at.stop)}) < count:
            raise ValueError(
                f"{name}: with dilation {window.dilation} a window of kernel {window.kernel} sees nothing but padding of an "
                f"image {tuple(size)}, and has no maximum: give less padding or dilation"
            )


def disjoint_distance(window: Window) -> Pair:
    """How many places apart, down and across, two windows must be to share no pixel."""
    return -(-window.effective_kernel[0] // window.stride[0]), -(-window.effective_kernel[1] // window.stride[1])


def reduce_windows(ufunc: Any, x: Array, axis: int, elements: Axis, places: int, initial: float, dtype: Any) -> Array:
    """Reduce what a window sees at each of this many places along `axis` by a binary ufunc, beginning with `initial`."""
    ahead, shape = (slice(None),) * axis, list(x.shape)
    shape[axis] = places
    everywhere = next((element for element in elements if element[0] == slice(0, places)), None)
    # An element that lies on the feature map at every place can replace `initial`, which saves a pass.
    result = array_module(x).full(shape, initial, dtype) if everywhere is None else x[(*ahead, everywhere[1])].astype(dtype)
    for element in elements:
        if element is not everywhere:
            view = result[(*ahead, element[0])]
            ufunc(view, x[(*ahead, element[1])], out=view)
    return result
