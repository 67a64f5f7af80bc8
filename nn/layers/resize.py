"""Resizing images by interpolation between pixels.

All modes are separable: along each axis, a new pixel is a weighted sum of the old pixels around its position. Linear along both
axes is "bilinear", cubic is "bicubic".
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from microtensor.autograd.arguments import is_number
from microtensor.autograd.graph import T
from microtensor.ops.shape import squeeze, unsqueeze
from microtensor.runtime.integers import as_integer
from microtensor.tensor import Tensor

from ..module import Module
from .adaptive import adaptive_avg_pool1d, adaptive_avg_pool2d
from .resampling import Taps, as_floating, check_resampled_size, resample
from .windows import check_images

MODES = {1: ("nearest", "nearest-exact", "linear", "area"), 2: ("nearest", "nearest-exact", "bilinear", "bicubic", "area")}
"""The modes for sequences and for images."""

SMOOTH = ("linear", "bilinear", "bicubic")
"""The modes that take `align_corners`."""


def interpolate(
    x: T,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> T:
    """Resize x: (N, C, H, W) → (N, C, H', W'), or (N, C, L) → (N, C, L').

    A pixel is a square of side 1 with its value at its centre. So the centre of new pixel i has the old coordinate
    (i + ½) · H / H' − ½. With t = its distance to the old pixel before it, the new value is:

        "nearest"        old pixel ⌊i · H / H'⌋, up to half a pixel too early; for networks that were trained so
        "nearest-exact"  the old pixel in which the centre lies
        "linear", "bilinear"  (1 − t) · the old pixel before + t · the old pixel after
        "bicubic"        the two old pixels before and after, by cubic convolution (Keys 1981, IEEE ASSP 29 (6)), a = −3/4
        "area"           the mean of the old pixels that it covers: `adaptive_avg_pool2d`

    Beyond the border, the outermost pixel is repeated.

    Args:
        size: (H', W'), one integer for both, or L'.
        scale_factor: instead of `size`: H' = ⌊H · scale_factor⌋; one number for both axes, or two.
        align_corners: for linear and cubic modes: align the centres of the outermost pixels, so that new pixel i has the old
            coordinate i · (H − 1) / (H' − 1).
        recompute_scale_factor: compute coordinates from H / H', as if `size` were given; else from 1 / scale_factor, as PyTorch
            does. They differ where H · scale_factor is no integer.
        antialias: for "bilinear" and "bicubic": for a smaller image, widen the interpolation kernel by H / H' (with a = −1/2),
            so that fine patterns do not alias into coarse ones.

    Raises:
        MemoryError: the result would be larger than the memory.
        TypeError: x is no tensor, or a size no integer, or a factor no number.
        ValueError: x is neither images nor sequences, or has no pixels; both or neither of `size` and `scale_factor` are given;
            one is too small; the mode is unknown, or does not take a setting.

    >>> x = Tensor([[[[1.0, 3.0]]]])
    >>> interpolate(x, scale_factor=(1, 2))
    Tensor([[[[1., 1., 3., 3.]]]])
    >>> interpolate(x, size=(1, 4), mode="bilinear")
    Tensor([[[[1. , 1.5, 2.5, 3. ]]]])
    """
    axes = 1 if getattr(x, "ndim", 4) == 3 else 2
    check_images("interpolate", x, axes)
    _check_mode(mode, axes, align_corners, antialias)
    if 0 in x.shape[2:]:
        raise ValueError(f"interpolate: x of shape {x.shape} has no pixels to interpolate")
    sizes, factors = _target("interpolate", x.shape[2:], size, scale_factor, recompute_scale_factor)
    check_resampled_size("interpolate", x, sizes, "give a smaller size or scale_factor")
    if mode == "area":
        return adaptive_avg_pool2d(x, sizes) if axes == 2 else adaptive_avg_pool1d(x, sizes)
    if mode in SMOOTH:
        x = as_floating(x)
    taps = [_taps(n, m, f, mode, bool(align_corners), antialias) for n, m, f in zip(x.shape[2:], sizes, factors)]
    return resample(x, taps[0], taps[1]) if axes == 2 else squeeze(resample(unsqueeze(x, 2), None, taps[0]), 2)


def _check_mode(mode: str, axes: int, align_corners: bool | None, antialias: bool) -> None:
    if mode not in MODES[axes]:
        shape = "images (N, C, H, W)" if axes == 2 else "sequences (N, C, L)"
        raise ValueError(f"interpolate: mode for {shape} must be one of {', '.join(MODES[axes])}, got {mode!r}")
    if align_corners is not None and mode not in SMOOTH:
        raise ValueError(f"interpolate: align_corners is for the modes {', '.join(SMOOTH)}, not {mode!r}; leave it out")
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(f"interpolate: antialias is for the modes bilinear and bicubic, not {mode!r}")


def _target(
    name: str, before: tuple[int, ...], size: Any, scale_factor: Any, recompute: bool | None
) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
    """The new length of each axis, and the scale factor for its coordinates, or None to compute them from the lengths."""
    axes = len(before)

    def each(what: str, value: Any) -> tuple[Any, ...]:
        several = tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes
        if len(several) != axes:
            raise ValueError(f"{name}: {what} must be one number, or {axes} of them, got {value!r}")
        return several

    if (size is None) == (scale_factor is None):
        raise ValueError(f"{name}: give either size or scale_factor, got size={size!r} and scale_factor={scale_factor!r}")
    if size is not None:
        if recompute:
            raise ValueError(f"{name}: recompute_scale_factor=True is for a scale_factor, but size={size!r} is given")
        return tuple(as_integer(name, "size", n, least=1) for n in each("size", size)), (None,) * axes
    factors = []
    for factor in each("scale_factor", scale_factor):
        if not is_number(factor):
            raise TypeError(f"{name}: scale_factor must be a number, got {factor!r}")
        if not 0 < factor < math.inf:
            raise ValueError(f"{name}: scale_factor must be above 0, and finite, got {factor!r}")
        factors.append(float(factor))
    after = tuple(math.floor(min(n * factor, sys.float_info.max)) for n, factor in zip(before, factors))
    if min(after) < 1:
        raise ValueError(f"{name}: scale_factor {scale_factor!r} leaves nothing of {before}")
    return after, (None,) * axes if recompute else tuple(factors)


# The weights along one axis


@functools.lru_cache(256)
def _taps(before: int, after: int, factor: float | None, mode: str, align_corners: bool, antialias: bool) -> Taps | None:
    """The old pixels that each new one is a sum of, and their weights; None if the axis stays as it is."""
    cubic, exact = mode == "bicubic", mode == "nearest-exact"
    if mode == "nearest" and after in (before, 2 * before):
        factor = None
    if before == after and (factor is None or antialias or not (cubic or exact)):
        return None
    if exact or mode == "nearest":
        return _nearest(before, after, factor, 0.5 if exact else 0.0)
    step = 1 / factor if factor else before / after
    if align_corners:
        step = (before - 1) / (after - 1) if after > 1 else 0.0
    if antialias:
        return _filtered(before, after, step, functools.partial(_cubic, a=-0.5) if cubic else _triangle, 2 if cubic else 1)
    source = np.arange(after) * step if align_corners else (np.arange(after) + 0.5) * step - 0.5
    first = np.floor(source)
    around = first[:, None] + (np.arange(-1, 3) if cubic else np.arange(2))
    weight = (functools.partial(_cubic, a=-0.75) if cubic else _triangle)(around - source[:, None])
    place = np.broadcast_to(np.arange(after)[:, None], around.shape)
    index = np.clip(around, 0, before - 1).astype(np.int64)  # the outermost pixel is repeated
    return Taps(before, after, place.reshape(-1), index.reshape(-1), weight.reshape(-1))


def _nearest(before: int, after: int, factor: float | None, offset: float) -> Taps:
    """One old pixel each. Coordinates are rounded to float32 as in PyTorch: near an integer, rounding decides the pixel."""
    place = np.arange(after)
    step = np.float32(1 / factor) if factor else np.float32(before) / np.float32(after)
    source = ((place + offset) * float(step) - offset).astype(np.float32) + np.float32(offset)
    return Taps(before, after, place, np.minimum(np.floor(source), before - 1).astype(np.int64), None)


def _filtered(before: int, after: int, step: float, curve: Callable[[np.ndarray], np.ndarray], support: int) -> Taps:
    """Antialiasing: the mean weighted by an interpolation kernel `curve`, widened by the factor by which the axis shrinks."""
    width = max(step, 1.0)
    centre = step * (np.arange(after) + 0.5)
    start = np.maximum((centre - support * width + 0.5).astype(np.int64), 0)
    end = np.minimum((centre + support * width + 0.5).astype(np.int64), before)
    index = start[:, None] + np.arange((end - start).max())
    inside = index < end[:, None]
    weight = curve((index - centre[:, None] + 0.5) / width) * inside
    weight /= weight.sum(1, keepdims=True)
    place = np.broadcast_to(np.arange(after)[:, None], index.shape)
    return Taps(before, after, place[inside], index[inside], weight[inside])


def _triangle(distance: np.ndarray) -> np.ndarray:
    """The kernel of linear interpolation: the weight of a pixel at this distance, in pixels."""
    return np.maximum(1 - np.abs(distance), 0)


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """The kernel of cubic convolution: the weight of a pixel at this distance, in pixels; a is the slope at 1."""
    d = np.abs(distance)
    near, far = ((a + 2) * d - (a + 3)) * d * d + 1, ((d - 5) * d + 8) * d * a - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


# Layers


class Upsample(Module):
    """`interpolate` as a layer: (N, C, H, W) → (N, C, H', W'), or (N, C, L) → (N, C, L').

    >>> Upsample(scale_factor=2, mode="bilinear")
    Upsample(scale_factor=2, mode='bilinear')
    """

    def __init__(
        self,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        name = type(self).__name__
        if mode not in {*MODES[1], *MODES[2]}:
            raise ValueError(f"{name}: mode must be one of {', '.join(dict.fromkeys(MODES[1] + MODES[2]))}, got {mode!r}")
        given = size if scale_factor is None else scale_factor
        axes = len(given) if isinstance(given, (tuple, list)) and len(given) in (1, 2) else 2
        _target(name, (1 << 30,) * axes, size, scale_factor, recompute_scale_factor)  # checks the settings
        self.size, self.scale_factor, self.mode = size, scale_factor, mode
        self.align_corners, self.recompute_scale_factor = align_corners, recompute_scale_factor

    def forward(self, x: Tensor) -> Tensor:
        return interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor)

    def extra_repr(self) -> str:
        target = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{target}, mode={self.mode!r}" + ("" if self.align_corners is None else f", align_corners={self.align_corners}")


class UpsamplingNearest2d(Upsample):
    """`Upsample(mode="nearest")` for images: (N, C, H, W) → (N, C, H', W')."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "nearest")


class UpsamplingBilinear2d(Upsample):
    """`Upsample(mode="bilinear", align_corners=True)` for images: (N, C, H, W) → (N, C, H', W')."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "bilinear", True)
