"""Resampling: each new pixel is a weighted sum of a few old ones. Used by interpolation and adaptive average pooling.

Resampling is linear and separable: one axis after the other is multiplied by a sparse matrix, `Taps`. The derivative multiplies
by the transposed matrix, which is a resampling too. With a dense matrix, an infinity or a nan would spread over the whole axis,
as 0 times either is a nan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from microtensor.autograd.graph import T
from microtensor.autograd.op import Rule, op
from microtensor.ops.elementwise import clone
from microtensor.runtime.arrays import Array, array_module, device_of, take, to_device
from microtensor.runtime.blocking import blocks, feature_maps
from microtensor.runtime.forking import cached_property
from microtensor.runtime.sizes import check_size


class Taps:
    """A sparse matrix (after, before) that resamples one axis: new[place] = Σ weight · old[index].

    The three arrays are its nonzero elements. They are sorted into rounds: in a round each place occurs at most once, so that a
    round is one array operation.

    Args:
        weight: None if all weights are 1.

    >>> halves = Taps(4, 2, np.array([0, 0, 1, 1]), np.array([0, 1, 2, 3]), np.full(4, 0.5))
    >>> halves.rounds
    [slice(0, 2, None), slice(2, 4, None)]
    >>> halves.transposed.place
    array([0, 1, 2, 3])
    """

    def __init__(self, before: int, after: int, place: np.ndarray, index: np.ndarray, weight: np.ndarray | None) -> None:
        self.before, self.after = before, after
        by_place = np.argsort(place, kind="stable")
        places = place[by_place]
        round_of = np.arange(place.size) - np.searchsorted(places, places)  # 0 for the first element of a place, 1 for the next
        order = by_place[np.argsort(round_of, kind="stable")]
        self.place, self.index = place[order], index[order]
        self.weight = None if weight is None else weight[order]
        ends = np.cumsum(np.bincount(round_of)).tolist()
        self.rounds = [slice(start, end) for start, end in zip([0, *ends], ends)]
        self._on_device: dict[tuple[str, str], tuple[Array, Array, Array | None]] = {}

    def on_device_of(self, images: Array, dtype: Any) -> tuple[Array, Array, Array | None]:
        """Index, place and weights (elements, 1) of this dtype on the device of `images`, to which they are copied once."""
        device = device_of(images)
        key = device, np.dtype(dtype).char
        if key not in self._on_device:
            weight = None if self.weight is None else to_device(self.weight.astype(dtype)[:, None], device)
            self._on_device[key] = to_device(self.index, device), to_device(self.place, device), weight
        return self._on_device[key]

    @cached_property
    def transposed(self) -> Taps:
        """The transposed matrix, for the derivative."""
        return Taps(self.after, self.before, self.index, self.place, self.weight)


def check_resampled_size(name: str, x: T, size: Sequence[int], hint: str) -> None:
    """Refuse to resample x to a `size` for which the result, or the `Taps` of an axis, are larger than the memory.

    Raises:
        MemoryError: they are.
    """
    check_size(name, "the result", (*x.shape[:2], *size), x, hint)
    check_size(name, "the table of its pixels", (max(size), TAP_BYTES), np.empty(0, np.uint8), hint)


TAP_BYTES = 64
"""Memory of `Taps` for each new pixel, at least: place, index, weight, and the order in which they are sorted."""


def resample(x: T, down: Taps | None, across: Taps | None) -> T:
    """Resample both axes of images: (N, C, H, W) → (N, C, H', W'). None leaves an axis as it is."""
    return clone(x) if down is None and across is None else _resample(x, down=down, across=across)


def as_floating(x: T) -> T:
    """x, with integers as float32, as in all functions of real numbers."""
    tensor: Any = x
    return x if x.dtype.kind == "f" else tensor.to(np.float32)


@op
def _resample(x: T, *, down: Taps | None, across: Taps | None) -> Rule[T]:
    xp, (height, width) = x.xp, x.shape[2:]
    new_height, new_width = down.after if down else height, across.after if across else width
    data = xp.empty((*x.shape[:2], new_height, new_width), x.dtype)
    images, results = feature_maps(x.array), feature_maps(data)
    for block in blocks(images if images.nbytes > results.nbytes else results):
        image = images[block]
        down_first = down and new_height * width <= height * new_width  # the smaller intermediate result
        if down and down_first:
            image = _resample_rows(image, down)
        if across:  # transposed: copying whole rows is much faster than single elements
            image = xp.ascontiguousarray(image.swapaxes(1, 2))
            image = _resample_rows(image, across).swapaxes(1, 2)
        if down and not down_first:
            image = _resample_rows(xp.ascontiguousarray(image), down)
        results[block] = image
    return data, (lambda g: _resample(g, down=down and down.transposed, across=across and across.transposed),)


def _resample_rows(images: Array, taps: Taps) -> Array:
    """(images, before, width) → (images, after, width). float16 is computed in float32."""
    xp = array_module(images)
    wide = np.promote_types(images.dtype, np.float32) if images.dtype.kind == "f" else images.dtype
    index, place, weight = taps.on_device_of(images, wide)
    result = None
    for part in taps.rounds:
        rows = take(images, index[part], axis=1).astype(wide, copy=False)
        if weight is not None:
            rows *= weight[part]
        is_full = part.stop - part.start == taps.after  # it has all places, in order
        if result is None and is_full:
            result = rows
            continue
        if result is None:
            result = xp.zeros((len(images), taps.after, images.shape[2]), wide)
        if is_full:
            result += rows
        else:
            result[:, place[part]] += rows
    return result
