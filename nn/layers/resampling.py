"""Weighted sums of few numbers of a line: what resizing an image and adaptive pooling have in common.

`Taps` says for one axis which numbers of the old line each number of the new one takes, with which weights. An image is
resampled down its columns, then across its rows, or the other way round. The derivative is a resampling too: with the taps
turned round, each old number takes what the new ones took of it.

A product with a matrix of weights would do the same, but a weight of 0 times an infinity or a nan, somewhere on the line, is a
nan everywhere. Here what is not taken is not touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from microtensor.autograd.graph import T
from microtensor.autograd.op import Rule, op
from microtensor.ops.elementwise import clone
from microtensor.runtime.arrays import Array, array_module, device_of, take, to_device
from microtensor.runtime.blocking import parts, planes
from microtensor.runtime.forking import cached_property
from microtensor.runtime.sizes import check_size


class Taps:
    """Which numbers of a line of length `before` make one of length `after`: new[place] = Σ weight · old[index].

    The three arrays list all products. They are put in rounds: in one round, no place occurs twice, so that it is one step.

    Args:
        weight: None if all are 1.

    >>> halves = Taps(4, 2, np.array([0, 0, 1, 1]), np.array([0, 1, 2, 3]), np.full(4, 0.5))
    >>> halves.rounds
    [slice(0, 2, None), slice(2, 4, None)]
    >>> halves.turned.place
    array([0, 1, 2, 3])
    """

    def __init__(self, before: int, after: int, place: np.ndarray, index: np.ndarray, weight: np.ndarray | None) -> None:
        self.before, self.after = before, after
        in_turn = np.argsort(place, kind="stable")
        sorted_places = place[in_turn]
        number = np.arange(place.size) - np.searchsorted(
            sorted_places, sorted_places
        )  # 0 for a place's first product, 1 for its second …
        order = in_turn[np.argsort(number, kind="stable")]
        self.place, self.index = place[order], index[order]
        self.weight = None if weight is None else weight[order]
        ends = np.cumsum(np.bincount(number)).tolist()
        self.rounds = [slice(start, end) for start, end in zip([0, *ends], ends)]
        self._beside: dict[tuple[str, str], tuple[Array, Array, Array | None]] = {}

    def beside(self, images: Array, wide: Any) -> tuple[Array, Array, Array | None]:
        """Index, place and weights, (products, 1) in the dtype `wide`, on the device of `images`: copied there once."""
        device = device_of(images)
        key = device, np.dtype(wide).char
        if key not in self._beside:
            weight = None if self.weight is None else to_device(self.weight.astype(wide)[:, None], device)
            self._beside[key] = to_device(self.index, device), to_device(self.place, device), weight
        return self._beside[key]

    @cached_property
    def turned(self) -> Taps:
        """The taps of the derivative."""
        return Taps(self.after, self.before, self.index, self.place, self.weight)


def check_lines(name: str, x: T, size: Sequence[int], hint: str) -> None:
    """Refuse images of a `size` that is larger than the memory, or the tables of where each new number comes from.

    Raises:
        MemoryError: it is.
    """
    check_size(name, "the result", (*x.shape[:2], *size), x, hint)
    check_size(name, "the table of a new line", (max(size), TAP_BYTES), np.empty(0, np.uint8), hint)


TAP_BYTES = 64
"""What `Taps` take of each new number, at least: places, indices, weights, and the order of these."""


def resample(x: T, down: Taps | None, across: Taps | None) -> T:
    """Images with other lines: (N, C, H, W) → (N, C, H', W'). None leaves an axis as it is."""
    return clone(x) if down is None and across is None else _resample(x, down=down, across=across)


def floats(x: T) -> T:
    """x, integers as float32: so all functions of reals take them."""
    tensor: Any = x
    return x if x.dtype.kind == "f" else tensor.to(np.float32)


@op
def _resample(x: T, *, down: Taps | None, across: Taps | None) -> Rule[T]:
    xp, (height, width) = x.xp, x.shape[2:]
    new_height, new_width = down.after if down else height, across.after if across else width
    data = xp.empty((*x.shape[:2], new_height, new_width), x.dtype)
    images, results = planes(x.array), planes(data)
    for part in parts(images if images.nbytes > results.nbytes else results):
        image = images[part]
        if down and new_height * width <= height * new_width:  # the fewer numbers in between, the better
            image, rest = _along_columns(image, down), None
        else:
            rest = down
        if across:  # rows are turned to columns: taking whole rows is much faster than single numbers
            image = xp.ascontiguousarray(image.swapaxes(1, 2))
            image = _along_columns(image, across).swapaxes(1, 2)
        results[part] = _along_columns(xp.ascontiguousarray(image), rest) if rest else image
    return data, (lambda g: _resample(g, down=down and down.turned, across=across and across.turned),)


def _along_columns(images: Array, taps: Taps) -> Array:
    """(images, before, width) → (images, after, width), in float32 at least if there are weights or sums."""
    xp = array_module(images)
    wide = np.promote_types(images.dtype, np.float32) if images.dtype.kind == "f" else images.dtype
    index, place, weight = taps.beside(images, wide)
    result = None
    for step in taps.rounds:
        taken = take(images, index[step], axis=1).astype(wide, copy=False)
        if weight is not None:
            taken *= weight[step]
        everywhere = step.stop - step.start == taps.after
        if result is None:
            result = taken if everywhere else xp.zeros((len(images), taps.after, images.shape[2]), wide)
        if result is taken:
            continue
        if everywhere:
            result += taken
        else:
            result[:, place[step]] += taken
    return result
