"""The geometry of sliding windows: their sizes and places, and the two operations that are nothing but geometry.

`unfold` copies every window of an image into a column; `fold` adds columns back where they came from. Each is the other's
adjoint: ⟨unfold(x), c⟩ = ⟨x, fold(c)⟩. Convolution and pooling stand on the same `Window`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from microtensor.backend import Array, array_module
from microtensor.graph import Node, T
from microtensor.op import Rule, op

Pair = tuple[int, int]


def pair(operation: str, name: str, value: Any, least: int) -> Pair:
    """A setting for height and width: one whole number for both, or two.

    Raises:
        TypeError: it is neither.
        ValueError: a number is below `least`.

    >>> pair("conv2d", "stride", 2, least=1)
    (2, 2)
    """
    both = (value, value) if isinstance(value, (int, np.integer)) else tuple(value) if isinstance(value, (tuple, list)) else ()
    if len(both) != 2 or not all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in both):
        raise TypeError(f"{operation}: {name} must be a whole number or two of them (height, width), got {value!r}")
    if min(both) < least:
        raise ValueError(f"{operation}: {name} must be at least {least}, got {value!r}")
    return int(both[0]), int(both[1])


class Window(NamedTuple):
    """A window that slides over an image: each field is (height, width), in pixels.

    `padding` is ((top, bottom), (left, right)): padding of "same" size, or that of the last window of a pool, may be uneven.
    """

    kernel: Pair
    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)

    @classmethod
    def of(cls, operation: str, kernel: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Window:
        """A window from settings as a user writes them, padded alike on both sides; the errors name the operation."""
        height, width = pair(operation, "padding", padding, 0)
        return cls(
            pair(operation, "kernel_size", kernel, 1),
            pair(operation, "stride", stride, 1),
            ((height, height), (width, width)),
            pair(operation, "dilation", dilation, 1),
        )

    @property
    def reach(self) -> Pair:
        """Pixels from the first to the last of a window, both included: dilation · (kernel − 1) + 1."""
        (kh, kw), (dh, dw) = self.kernel, self.dilation
        return dh * (kh - 1) + 1, dw * (kw - 1) + 1

    def padded(self, size: Sequence[int]) -> Pair:
        """Size of an image of this `size` with its padding."""
        return size[0] + sum(self.padding[0]), size[1] + sum(self.padding[1])

    def places(self, operation: str, size: Sequence[int]) -> Pair:
        """Output size: how many places the window takes in an image of this size: ⌊(n + padding − reach) / stride⌋ + 1.

        (Dumoulin & Visin 2016, arxiv.org/abs/1603.07285, relationship 6 and section 5.1. It is a floor: what is left over on
        the right and at the bottom is not seen.)

        Raises:
            ValueError: the window is larger than the padded image.

        >>> Window.of("conv2d", 3, stride=2, padding=1).places("conv2d", (6, 5))
        (3, 3)
        """
        padded = self.padded(size)
        if padded[0] < self.reach[0] or padded[1] < self.reach[1]:
            raise ValueError(
                f"{operation}: kernel {self.kernel} with dilation {self.dilation} covers {self.reach} pixels, more than the "
                f"image {tuple(size)} with padding {self.padding}: give a larger image, a smaller kernel or more padding"
            )
        return (padded[0] - self.reach[0]) // self.stride[0] + 1, (padded[1] - self.reach[1]) // self.stride[1] + 1

    def taps(self, padded: Array, places: Sequence[int]) -> Iterator[tuple[int, int, Array]]:
        """For each element (i, j) of the window: the view of `padded` that it sees, one pixel for each place.

        padded (…, H + p, W + p) → views (…, H', W').
        """
        (kh, kw), (sh, sw), (dh, dw) = self.kernel, self.stride, self.dilation
        for i in range(kh):
            rows = slice(i * dh, i * dh + sh * (places[0] - 1) + 1, sh)
            for j in range(kw):
                columns = slice(j * dw, j * dw + sw * (places[1] - 1) + 1, sw)
                yield i, j, padded[..., rows, columns]

    def pad(self, x: Array, value: float = 0) -> Array:
        """x (…, H, W) → (…, H + p, W + p), with `value` all round; x itself where there is no padding."""
        if self.padding == ((0, 0), (0, 0)):
            return x
        return array_module(x).pad(x, [(0, 0)] * (x.ndim - 2) + [*self.padding], constant_values=value)

    def crop(self, padded: Array) -> Array:
        """The adjoint of `pad`: (…, H + p, W + p) → (…, H, W), a view."""
        (top, bottom), (left, right) = self.padding
        return padded[..., top : padded.shape[-2] - bottom, left : padded.shape[-1] - right]

    def blank(self, like: Array, images: int, channels: int, size: Sequence[int]) -> Array:
        """Zeros for padded images of `size`, (N, C, H + p, W + p), with the dtype and the device of `like`."""
        return array_module(like).zeros((images, channels, *self.padded(size)), like.dtype)


def check_images(operation: str, x: Node) -> None:
    """Refuse what is no batch of images.

    Raises:
        TypeError: x is no tensor.
        ValueError: x has not 4 axes (N, C, H, W).
    """
    if not isinstance(x, Node):
        raise TypeError(f"{operation}: expected x as a Tensor, got {type(x).__name__}; wrap it: Tensor(...)")
    if x.ndim != 4:
        hint = "; a single image needs a batch axis: x.unsqueeze(0)" if x.ndim == 3 else ""
        raise ValueError(f"{operation}: expected x of 4 axes (N, C, H, W), got shape {x.shape}{hint}")


def unfold(x: T, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> T:
    """Every window of x as a column: (N, C, H, W) → (N, C·kh·kw, H'·W').

    Raises:
        ValueError: x is no batch of images, or the window is larger than the padded image.

    >>> import numpy as np
    >>> from microtensor import Tensor
    >>> unfold(Tensor(np.arange(9.0).reshape(1, 1, 3, 3)), 2).shape
    (1, 4, 4)
    """
    check_images("unfold", x)
    return _unfold(x, window=Window.of("unfold", kernel_size, stride, padding, dilation))


def fold(x: T, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> T:
    """Every column added back to where `unfold` took it from: (N, C·kh·kw, H'·W') → (N, C, H, W).

    Raises:
        TypeError: a setting is no whole number or pair of them.
        ValueError: x does not have as many rows and columns as `unfold` makes of an image of `output_size`; or the window is
            larger than the padded image, or a setting too small.

    >>> from microtensor import ones
    >>> fold(ones(1, 4, 4), (3, 3), 2)
    Tensor([[[[1., 2., 1.],
              [2., 4., 2.],
              [1., 2., 1.]]]])
    """
    window = Window.of("fold", kernel_size, stride, padding, dilation)
    size = pair("fold", "output_size", output_size, 1)
    area, places = window.kernel[0] * window.kernel[1], window.places("fold", size)
    if x.ndim != 3 or x.shape[1] % area or x.shape[2] != places[0] * places[1]:
        raise ValueError(
            f"fold: expected x (N, C · {area}, {places[0] * places[1]}), one column for each of the {places[0]} × {places[1]} "
            f"windows of an image {size}, got shape {x.shape}"
        )
    return _fold(x, window=window, size=size)


@op
def _unfold(x: T, *, window: Window) -> Rule[T]:
    n, c, *size = x.shape
    places = window.places("unfold", (size[0], size[1]))
    columns = x.xp.empty((n, c, *window.kernel, *places), x.dtype)
    for i, j, view in window.taps(window.pad(x.data), places):
        columns[:, :, i, j] = view
    columns = columns.reshape(n, c * window.kernel[0] * window.kernel[1], places[0] * places[1])
    return columns, (lambda g: _fold(g, window=window, size=(size[0], size[1])),)


@op
def _fold(x: T, *, window: Window, size: Sequence[int]) -> Rule[T]:
    places = window.places("fold", size)
    n, c = x.shape[0], x.shape[1] // (window.kernel[0] * window.kernel[1])
    columns = x.data.reshape(n, c, *window.kernel, *places)
    padded = window.blank(columns, n, c, size)
    for i, j, view in window.taps(padded, places):
        view += columns[:, :, i, j]
    return window.crop(padded), (lambda g: _unfold(g, window=window),)
