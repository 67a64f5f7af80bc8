"""Transforms that move pixels: flips, crops, rotation and resizing of whole batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import random
from ..runtime.integers import is_integer
from .transform_base import Images, Transform, as_dtype_of, filled, flag, numbers, pair, probability

PADDING_MODES = ("constant", "edge", "reflect", "symmetric")


class RandomHorizontalFlip(Transform):
    """Flips each image left to right with probability p."""

    axis = -1

    def __init__(self, p: float = 0.5) -> None:
        self.p = probability(type(self).__name__, p)

    def apply(self, images: Images, generator: random.Generator) -> Images:
        """Images, some of them flipped."""
        flipped = generator.bernoulli(self.p, (len(images),))
        result = images.copy()
        result[flipped] = np.flip(images[flipped], self.axis)
        return result


class RandomVerticalFlip(RandomHorizontalFlip):
    """Flips each image upside down with probability p."""

    axis = -2


class CenterCrop(Transform):
    """Crops the middle of each image: (N, C, H, W) → (N, C, h, w). Half of an odd margin is rounded to even.

    Args:
        size: (h, w), or one number for a square.

    Raises:
        TypeError, ValueError: the size is not a positive integer or a pair of them; or, when called, is larger than the images.
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = pair("CenterCrop", "size", size)

    def apply(self, images: Images, generator: random.Generator) -> Images:
        """Cropped images."""
        (height, width), (h, w) = images.shape[2:], self.size
        if h > height or w > width:
            raise ValueError(f"CenterCrop: {h} × {w} is larger than the images, {height} × {width}; Resize them first")
        top, left = round((height - h) / 2), round((width - w) / 2)
        return images[:, :, top : top + h, left : left + w].copy()


class RandomCrop(Transform):
    """Crops each image at a random position, all positions equally likely: (N, C, H, W) → (N, C, h, w).

    Args:
        size: (h, w), or one number for a square.
        padding: pixels added around the images first: one number for all sides, (left and right, top and bottom), or (left,
            top, right, bottom); None: no padding.
        fill: the value of those pixels in mode "constant": a number, or one per channel. 0 is black in images not yet
            normalised, and the mean in normalised ones.
        padding_mode: "constant"; "edge": repeat the edge pixel; "reflect": mirror without the edge pixel; "symmetric": mirror
            with it.

    Raises:
        TypeError, ValueError: an argument is invalid; or, when called, the size is larger than the padded images.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        padding: int | Sequence[int] | None = None,
        *,
        fill: float | Sequence[float] = 0,
        padding_mode: str = "constant",
    ) -> None:
        self.size = pair("RandomCrop", "size", size)
        sides = (0,) if padding is None else tuple(padding) if isinstance(padding, (tuple, list)) else (padding,)
        whole = all(is_integer(n) and n >= 0 for n in sides)
        if len(sides) not in (1, 2, 4) or not whole:
            raise ValueError(f"RandomCrop: padding: expected 1, 2 or 4 integers of 0 or more, got {padding!r}")
        self.padding = tuple(int(n) for n in sides * (4 // len(sides)))
        self.fill = numbers("RandomCrop", "fill", fill)
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"RandomCrop: padding_mode: expected one of {', '.join(PADDING_MODES)}, got {padding_mode!r}")
        self.padding_mode = padding_mode

    def apply(self, images: Images, generator: random.Generator) -> Images:
        """Cropped images."""
        images = self._padded(images)
        count, _, height, width = images.shape
        h, w = self.size
        if h > height or w > width:
            raise ValueError(f"RandomCrop: {h} × {w} is larger than the padded images, {height} × {width}; Resize or pad more")
        top, left = (generator.integers(0, n + 1, (count,)) for n in (height - h, width - w))
        pieces = np.lib.stride_tricks.sliding_window_view(images, self.size, axis=(2, 3))  # (N, C, H−h+1, W−w+1, h, w)
        return pieces[np.arange(count), :, top, left]

    def _padded(self, images: Images) -> Images:
        left, top, right, bottom = self.padding
        if not any(self.padding):
            return images
        if self.padding_mode != "constant":
            return np.pad(images, ((0, 0), (0, 0), (top, bottom), (left, right)), self.padding_mode)  # type: ignore[call-overload]
        height, width = images.shape[2:]
        padded = filled((*images.shape[:2], height + top + bottom, width + left + right), self.fill, images.dtype)
        padded[:, :, top : top + height, left : left + width] = images
        return padded


class RandomRotation(Transform):
    """Rotates each image about its centre by a random angle, counter-clockwise. The size stays the same.

    Bilinear interpolation between the four nearest pixels; pixels outside of the image have the value `fill`.

    Args:
        degrees: (lowest, highest), all angles in between equally likely; or one number d for (−d, d).
        fill: the value outside: a number, or one per channel.

    Raises:
        TypeError, ValueError: degrees is not a number or a pair (lowest, highest).

    >>> turn = RandomRotation((90, 90))
    >>> turn(np.arange(4.0).reshape(1, 1, 2, 2)).round(6)
    array([[[[1., 3.],
             [0., 2.]]]])
    """

    def __init__(self, degrees: float | Sequence[float], *, fill: float | Sequence[float] = 0) -> None:
        bounds = numbers("RandomRotation", "degrees", degrees)
        lowest, highest = bounds if len(bounds) == 2 else (-bounds[0], bounds[0])
        if len(bounds) > 2 or not -math.inf < lowest <= highest < math.inf:
            raise ValueError(f"RandomRotation: degrees: expected d of 0 or more, or (lowest, highest), got {degrees!r}")
        self.degrees = lowest, highest
        self.fill = numbers("RandomRotation", "fill", fill)

    def apply(self, images: Images, generator: random.Generator) -> Images:
        """Rotated images."""
        count, _, height, width = images.shape
        angle = np.deg2rad(generator.uniform(*self.degrees, (count, 1, 1), np.float64))
        cos, sin = np.cos(angle), np.sin(angle)
        y, x = np.arange(height)[:, None] - (height - 1) / 2, np.arange(width) - (width - 1) / 2  # from the centre
        from_x = cos * x - sin * y + (width - 1) / 2  # (N, H, W)
        from_y = sin * x + cos * y + (height - 1) / 2
        return _bilinear(images, from_x, from_y, self.fill)


class Resize(Transform):
    """Resizes images by bilinear interpolation: (N, C, H, W) → (N, C, h, w).

    Pixels are squares: the centre of the first is at 0.5. Each output pixel is a weighted mean of input pixels; the weights are
    a triangle two input pixels wide, or two output pixels when shrinking with antialiasing, as in Pillow and torchvision.

    Args:
        size: (h, w); or one number for the shorter side, the other following in proportion, rounded down.
        antialias: widen the triangle when shrinking, so that every input pixel counts.

    Raises:
        TypeError, ValueError: the size is not a positive integer or a pair of them.
    """

    def __init__(self, size: int | Sequence[int], *, antialias: bool = True) -> None:
        pair("Resize", "size", size)
        self.size = int(size) if is_integer(size) else pair("Resize", "size", size)
        self.antialias = flag("Resize", "antialias", antialias)

    def apply(self, images: Images, generator: random.Generator) -> Images:
        """Resized images."""
        height, width = self.size if isinstance(self.size, tuple) else _in_proportion(images, self.size)
        return _resampled(images, (height, 0, height), (width, 0, width), self.antialias)


def resized_middle(images: Images, short: int, size: int) -> Images:
    """`Resize(short)`, then `CenterCrop(size)`, computing only the pixels of the crop: (N, C, H, W) → (N, C, size, size).

    For a panorama, the resized image may be far larger than the crop.

    Raises:
        ValueError: `size` is larger than `short`.
    """
    if size > short:
        raise ValueError(f"CenterCrop: {size} × {size} is larger than the images, whose shorter side is {short}")
    height, width = ((n, round((n - size) / 2), size) for n in _in_proportion(images, short))
    return _resampled(images, height, width, antialias=True)


def _in_proportion(images: Images, short: int) -> tuple[int, int]:
    """The height and width after resizing the shorter side to `short`."""
    height, width = images.shape[2:]
    return short * height // min(height, width), short * width // min(height, width)


def _resampled(images: Images, height: tuple[int, int, int], width: tuple[int, int, int], antialias: bool) -> Images:
    """Resized images. Height and width: (new length, first pixel to compute, number of pixels to compute)."""
    dtype = images.dtype if images.dtype.kind == "f" else np.dtype(np.float32)
    (top, rows), (left, columns) = (_weights(n, *new, antialias) for n, new in zip(images.shape[2:], (height, width)))
    images = images[:, :, top : top + rows.shape[1], left : left + columns.shape[1]]  # the part that these pixels depend on
    flat = images.reshape(-1, images.shape[3]).astype(dtype, copy=False) @ columns.T.astype(
        dtype
    )  # one matrix product, not N·C·H
    return as_dtype_of(images.dtype, rows.astype(dtype) @ flat.reshape(*images.shape[:3], width[2]))


def _weights(given: int, wanted: int, first: int, count: int, antialias: bool) -> tuple[int, NDArray[np.float64]]:
    """Interpolation weights of `count` of the `wanted` output pixels: the first input pixel that they depend on, and weights
    (count, m) of the m input pixels from there on. Rows add up to 1."""
    scale = given / wanted
    reach = max(scale, 1.0) if antialias else 1.0
    centre = (np.arange(first, first + count)[:, None] + 0.5) * scale - 0.5
    begin, end = max(0, math.floor(centre[0, 0] - reach)), min(given, math.ceil(centre[-1, 0] + reach) + 1)
    weights = np.maximum(1 - np.abs(np.arange(begin, end) - centre) / reach, 0)
    return begin, weights / weights.sum(axis=1, keepdims=True)


def _bilinear(images: Images, x: NDArray[np.float64], y: NDArray[np.float64], fill: tuple[float, ...]) -> Images:
    """Sample the images at positions x, y (N, h, w), in pixels from the centre of the first pixel; outside: `fill`."""
    count, channels, height, width = images.shape
    dtype = images.dtype if images.dtype.kind == "f" else np.dtype(np.float32)
    framed = filled((count, channels, height + 2, width + 2), fill, images.dtype)
    framed[:, :, 1:-1, 1:-1] = images
    pixels = framed.transpose(0, 2, 3, 1).astype(dtype, order="C").reshape(-1, channels)  # channels last
    x, y = np.clip(x, -1, width) + 1, np.clip(y, -1, height) + 1  # clip to the frame: beyond it is `fill` as well
    left, top = np.minimum(x.astype(np.intp), width), np.minimum(y.astype(np.intp), height)
    corner = (np.arange(count)[:, None, None] * (height + 2) + top) * (width + 2) + left

    def row(first: NDArray[np.intp]) -> Images:
        return _between(pixels.take(first, axis=0), pixels.take(first + 1, axis=0), (x - left).astype(dtype))

    result = _between(row(corner), row(corner + width + 2), (y - top).astype(dtype))  # (N, h, w, C)
    return as_dtype_of(images.dtype, np.ascontiguousarray(result.transpose(0, 3, 1, 2)))


def _between(a: Images, b: Images, share: NDArray[Any]) -> Images:
    """a + share · (b − a), computed in place in b."""
    b -= a
    b *= share[..., None]
    b += a
    return b
