"""The geometry of sliding windows, and the two operations that only copy and add: unfold (im2col) and fold (col2im).

`unfold` copies every window of an image into a column; `fold` adds columns back to the pixels that they were copied from. Each
is the other's adjoint: ⟨unfold(x), c⟩ = ⟨x, fold(c)⟩. Convolution and pooling use the same `Window`; a sequence is an image of
height 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np

from microtensor.autograd.graph import Node, T
from microtensor.autograd.op import Rule, op
from microtensor.runtime.arrays import Array, array_module
from microtensor.runtime.cuda.kernels import usable
from microtensor.runtime.integers import is_integer
from microtensor.runtime.sizes import LARGE_BYTES, check_size
from microtensor.tensor import Tensor

from ..module import Module
from .window_kernels import fold_by_kernel, unfold_by_kernel

Pair = tuple[int, int]

MAX_SETTING = 1 << 31
"""Settings are smaller: then no product of a setting and a size overflows 64 bits."""


def per_axis(operation: str, name: str, value: Any, least: int, axes: int) -> tuple[int, ...]:
    """A setting for each axis: one integer for all of them, also in a tuple of one, or one for each.

    Raises:
        TypeError: it is neither.
        ValueError: a value is below `least`, or 2³¹ or more.

    >>> per_axis("conv1d", "stride", 2, least=1, axes=1)
    (2,)
    """
    if type(value) is int and least <= value < MAX_SETTING:  # the usual case
        return (value,) * axes
    if type(value) is tuple and len(value) == axes == 2:
        height, width = value
        if type(height) is int and type(width) is int and least <= height < MAX_SETTING and least <= width < MAX_SETTING:
            return value
    values = (value,) * axes if is_integer(value) else value
    if isinstance(values, (tuple, list)) and len(values) == 1:
        values = (*values,) * axes
    if not isinstance(values, (tuple, list)) or len(values) != axes or not all(map(is_integer, values)):
        wanted = "an integer or two of them (height, width)" if axes == 2 else "an integer"
        raise TypeError(f"{operation}: {name} must be {wanted}, got {value!r}")
    if min(values) < least:
        raise ValueError(f"{operation}: {name} must be at least {least}, got {value!r}")
    if max(values) >= MAX_SETTING:
        raise ValueError(f"{operation}: {name} must be less than 2³¹, got {value!r}")
    return tuple(map(int, values))


def pair(operation: str, name: str, value: Any, least: int) -> Pair:
    """A setting for height and width: one integer for both, or two. Raises as `per_axis`.

    >>> pair("conv2d", "stride", 2, least=1)
    (2, 2)
    """
    height, width = per_axis(operation, name, value, least, 2)
    return height, width


class Window(NamedTuple):
    """A window that slides over an image: each field is (height, width), in pixels.

    `padding` is ((top, bottom), (left, right)): with padding="same", or for the last window of a pool, it may be uneven.
    """

    kernel: Pair
    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)

    @classmethod
    def of(cls, operation: str, kernel: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, *, axes: int = 2) -> Window:
        """A window from the settings of a user, with the same padding on both sides; errors name the operation.

        Args:
            axes: 1 for a window that slides along a sequence: each setting is one integer, and the height is 1.
        """
        settings = (("kernel_size", kernel, 1), ("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1))
        kernel, stride, padding, dilation = (per_axis(operation, name, value, least, axes) for name, value, least in settings)
        if axes == 1:
            kernel, stride, padding, dilation = (1, *kernel), (1, *stride), (0, *padding), (1, *dilation)
        return cls(kernel, stride, ((padding[0], padding[0]), (padding[1], padding[1])), dilation)

    def keeping(self, size: Sequence[int]) -> Window:
        """This window, padded for "same" output: ⌈n / stride⌉ places along an axis of n pixels.

        The padding is max((⌈n / stride⌉ − 1) · stride + effective kernel − n, 0) pixels, half of them on each side, the odd one
        at the bottom or on the right: as in PyTorch for stride 1, and in TensorFlow for any.

        >>> Window.of("conv2d", 3, stride=2).keeping((6, 5)).padding
        ((0, 1), (1, 1))
        """
        sides = []
        for n, stride, reach in zip(size, self.stride, self.effective_kernel):
            total = max((-(-n // stride) - 1) * stride + reach - n, 0)
            sides.append((total // 2, total - total // 2))
        return self._replace(padding=(sides[0], sides[1]))

    @property
    def effective_kernel(self) -> Pair:
        """Pixels from the first to the last of a window, inclusive: dilation · (kernel − 1) + 1."""
        (kh, kw), (dh, dw) = self.kernel, self.dilation
        return dh * (kh - 1) + 1, dw * (kw - 1) + 1

    def padded(self, size: Sequence[int]) -> Pair:
        """Size of an image of this `size` with its padding."""
        return size[0] + sum(self.padding[0]), size[1] + sum(self.padding[1])

    def check(self, operation: str, size: Sequence[int]) -> None:
        """Refuse an image, or a sequence, into which the window does not fit.

        Raises:
            ValueError: the window is larger than the padded image.
        """
        first = 2 - len(size)
        kernel, reach, dilation = self.kernel[first:], self.effective_kernel[first:], self.dilation[first:]
        padding = self.padding[first:]
        if any(n + sum(sides) < pixels for n, sides, pixels in zip(size, padding, reach)):
            what, unit = ("image", "pixels") if len(size) == 2 else ("sequence", "elements")
            raise ValueError(
                f"{operation}: kernel {kernel} with dilation {dilation} covers {reach} {unit}, more than the {what} "
                f"{tuple(size)} with padding {padding}: give a larger {what}, a smaller kernel or more padding"
            )

    def places(self, operation: str, size: Sequence[int]) -> Pair:
        """Output size, the number of places of the window: ⌊(n + padding − effective kernel) / stride⌋ + 1 along each axis.

        (Dumoulin & Visin 2016, arxiv.org/abs/1603.07285, relationship 6 and section 5.1. It is a floor: pixels left over on the
        right and at the bottom are not seen.)

        Raises:
            ValueError: the window is larger than the padded image.

        >>> Window.of("conv2d", 3, stride=2, padding=1).places("conv2d", (6, 5))
        (3, 3)
        """
        return _places(self, operation, tuple(size))

    def covered(self, places: Sequence[int]) -> Pair:
        """The smallest image with this many `places`: (n − 1) · stride + effective kernel − padding.

        The next stride − 1 sizes have as many.

        >>> Window.of("conv2d", 3, stride=2, padding=1).covered((3, 3))
        (5, 5)
        """
        (sh, sw), reach, (rows, columns) = self.stride, self.effective_kernel, self.padding
        return (places[0] - 1) * sh + reach[0] - sum(rows), (places[1] - 1) * sw + reach[1] - sum(columns)

    def for_kernels(self, size: Sequence[int], places: Sequence[int]) -> np.ndarray:
        """This window over images of `size`, for a CUDA kernel: the struct Sliding of windows.cuh."""
        fields = zip(size, places, self.kernel, self.stride, self.padding, self.dilation)
        axes = [(n, p, k, s, sides[0], d, s // gcd(s, d), d // gcd(s, d)) for n, p, k, s, sides, d in fields]
        return np.array(axes, np.int64)

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
        """x (…, H, W) → (…, H + p, W + p), bordered by `value`; x itself if there is no padding."""
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


@lru_cache(maxsize=1024)
def _places(window: Window, operation: str, size: Pair) -> Pair:
    window.check(operation, size)
    height, width = window.padded(size)
    return (height - window.effective_kernel[0]) // window.stride[0] + 1, (width - window.effective_kernel[1]) // window.stride[
        1
    ] + 1


def is_large(x: Sequence[int], window: Window, channels: int, size: Sequence[int], places: Sequence[int] | None = None) -> bool:
    """Whether a result may be so large that its memory is worth a check. The arguments are those of `check_result`."""
    height, width = padded = window.padded(size)
    if places is not None:
        height, width = places
    return bool((x[0] * channels * height * width + x[1] * padded[0] * padded[1]) * 8 >= LARGE_BYTES)


def check_result(
    operation: str, x: Node, window: Window, channels: int, size: Sequence[int], places: Sequence[int] | None = None
) -> None:
    """Refuse settings whose result, or a single padded image, would be larger than the memory.

    Args:
        size: (height, width) of an image.
        places: (height, width) of the result, if not those of the window over such an image.

    Raises:
        MemoryError: one would be.
    """
    if not is_large(x.shape, window, channels, size, places):
        return
    padded, (images, own, *_) = window.padded(size), x.shape
    places = window.places(operation, size) if places is None else places
    hint = "give less padding, or other settings of that kind"
    check_size(operation, "the result", (images, channels, *places), x, hint)
    check_size(operation, "a padded image", (own, *padded), x, hint)


def check_images(operation: str, x: Node, axes: int = 2) -> None:
    """Refuse what is no batch of images or, with one axis, of sequences.

    Raises:
        TypeError: x is no tensor.
        ValueError: x has not 4 axes (N, C, H, W), or 3 axes (N, C, L).
    """
    if not isinstance(x, Node):
        raise TypeError(f"{operation}: expected x as a Tensor, got {type(x).__name__}; wrap it: Tensor(...)")
    check_shape(operation, x.shape, axes)


def check_shape(operation: str, x: Sequence[int], axes: int = 2) -> None:
    """Refuse a shape that is none of a batch of images or, with one axis, of sequences.

    Raises:
        ValueError: it has not 4 axes (N, C, H, W), or 3 axes (N, C, L).
    """
    if len(x) != axes + 2:
        what, names = ("image", "(N, C, H, W)") if axes == 2 else ("sequence", "(N, C, L)")
        hint = f"; a single {what} needs a batch axis: x.unsqueeze(0)" if len(x) == axes + 1 else ""
        raise ValueError(f"{operation}: expected x of {axes + 2} axes {names}, got shape {x}{hint}")


def unfold(x: T, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> T:
    """Every window of x as a column (im2col): (N, C, H, W) → (N, C·kh·kw, H'·W'). Padding is with zeros.

    Raises:
        MemoryError: the result would be larger than the memory.
        TypeError: x is no tensor, or a setting is no integer or pair of them.
        ValueError: x is no batch of images, or the window is larger than the padded image.

    >>> import numpy as np
    >>> from microtensor import Tensor
    >>> unfold(Tensor(np.arange(9.0).reshape(1, 1, 3, 3)), 2).shape
    (1, 4, 4)
    """
    check_images("unfold", x)
    window = Window.of("unfold", kernel_size, stride, padding, dilation)
    check_result("unfold", x, window, x.shape[1] * prod(window.kernel), x.shape[2:])
    return _unfold(x, window=window)


def fold(x: T, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> T:
    """Every column added back to the pixels that `unfold` copies it from (col2im): (N, C·kh·kw, H'·W') → (N, C, H, W).

    Raises:
        MemoryError: the result would be larger than the memory.
        TypeError: x is no tensor, or a setting is no integer or pair of them.
        ValueError: x does not have as many rows and columns as `unfold` makes of an image of `output_size`; or the window is
            larger than the padded image, or a setting too small.

    >>> from microtensor import ones
    >>> fold(ones(1, 4, 4), (3, 3), 2)
    Tensor([[[[1., 2., 1.],
              [2., 4., 2.],
              [1., 2., 1.]]]])
    """
    if not isinstance(x, Node):
        raise TypeError(f"fold: expected x as a Tensor, got {type(x).__name__}; wrap it: Tensor(...)")
    window = Window.of("fold", kernel_size, stride, padding, dilation)
    size = pair("fold", "output_size", output_size, 1)
    area, places = window.kernel[0] * window.kernel[1], window.places("fold", size)
    if x.ndim != 3 or x.shape[1] % area or x.shape[2] != places[0] * places[1]:
        raise ValueError(
            f"fold: expected x (N, C · {area}, {places[0] * places[1]}), one column for each of the {places[0]} × {places[1]} "
            f"windows of an image {size}, got shape {x.shape}"
        )
    check_result("fold", x, window, x.shape[1] // area, size, size)
    return _fold(x, window=window, size=size)


@op
def _unfold(x: T, *, window: Window) -> Rule[T]:
    n, c, *size = x.shape
    places = window.places("unfold", (size[0], size[1]))
    columns = x.xp.empty((n, c, *window.kernel, *places), x.dtype)
    if usable(x.array):
        unfold_by_kernel(columns, x.array, window, places)
    else:
        for i, j, view in window.taps(window.pad(x.array), places):
            columns[:, :, i, j] = view
    columns = columns.reshape(n, c * window.kernel[0] * window.kernel[1], places[0] * places[1])
    return columns, (lambda g: _fold(g, window=window, size=(size[0], size[1])),)


@op
def _fold(x: T, *, window: Window, size: Sequence[int]) -> Rule[T]:
    places = window.places("fold", size)
    n, c = x.shape[0], x.shape[1] // (window.kernel[0] * window.kernel[1])
    columns = x.array.reshape(n, c, *window.kernel, *places)
    if usable(columns):
        image = x.xp.empty((n, c, *size), x.dtype)
        fold_by_kernel(image, columns, window, places)
    else:
        padded = window.blank(columns, n, c, size)
        for i, j, view in window.taps(padded, places):
            view += columns[:, :, i, j]
        image = window.crop(padded)
    return image, (lambda g: _unfold(g, window=window),)


class Unfold(Module):
    """`unfold` as a layer: (N, C, H, W) → (N, C·kh·kw, H'·W').

    Raises:
        TypeError: a setting is no integer or pair of them.
        ValueError: one is too small.

    >>> Unfold(3, padding=1)
    Unfold(kernel_size=3, dilation=1, padding=1, stride=1)
    """

    def __init__(self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> None:
        Window.of(type(self).__name__, kernel_size, stride, padding, dilation)
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) → (N, C·kh·kw, H'·W')."""
        return unfold(x, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        """The settings."""
        return ", ".join(f"{name}={getattr(self, name)}" for name in ("kernel_size", "dilation", "padding", "stride"))


class Fold(Unfold):
    """`fold` as a layer: (N, C·kh·kw, H'·W') → (N, C, H, W), the sum of what overlaps.

    Raises:
        TypeError: a setting is no integer or pair of them.
        ValueError: one is too small, or the window is larger than the padded image.

    >>> Fold((4, 4), 2, stride=2)
    Fold(output_size=(4, 4), kernel_size=2, dilation=1, padding=0, stride=2)
    """

    def __init__(self, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> None:
        window = Window.of("Fold", kernel_size, stride, padding, dilation)
        window.check("Fold", pair("Fold", "output_size", output_size, 1))
        super().__init__(kernel_size, dilation, padding, stride)
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C·kh·kw, H'·W') → (N, C, H, W)."""
        return fold(x, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        """The settings."""
        return f"output_size={self.output_size}, {super().extra_repr()}"
