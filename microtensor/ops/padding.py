"""Padding: a border around a tensor, of a constant or of the tensor's own elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd.arguments import composed
from ..autograd.graph import T
from ..autograd.op import Rule, op
from ..runtime.integers import as_integers
from ..runtime.sizes import check_size
from .indexing import getitem
from .join import cat
from .repeating import broadcast_to
from .shape import flip

Pair = tuple[int, int]


@composed
def pad(x: T, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> T:
    """x with this many more elements on each side; a negative number crops that side.

    Args:
        pad: (left, right, top, bottom, …): a pair for the last axis, then for the one before it, as in PyTorch.
        mode: what the border is filled with, shown for 1 2 3 4 and a pad of (2, 2):
            "constant"   0 0 1 2 3 4 0 0, or another `value`
            "reflect"    3 2 1 2 3 4 3 2, mirrored at the outermost element
            "replicate"  1 1 1 2 3 4 4 4, the outermost element repeated
            "circular"   3 4 1 2 3 4 1 2, the other end
        value: for "constant"; 0 if None.

    Raises:
        MemoryError: the result is larger than the memory.
        TypeError: `pad` is not of integers, or `value` is no number or does not fit the dtype of x.
        ValueError: `pad` is no list of pairs, has more pairs than x has axes, or crops more than there is; the mode is unknown;
            there are too few elements to reflect or wrap around.

    >>> import microtensor as mt
    >>> pad(mt.Tensor([1.0, 2.0]), (1, 2))
    Tensor([0., 1., 2., 0., 0.])
    >>> pad(mt.Tensor([1.0, 2.0, 3.0]), (2, -1), mode="reflect")
    Tensor([3., 2., 1., 2.])
    """
    amounts = as_integers("pad", "pad", pad)
    if len(amounts) % 2 or len(amounts) > 2 * x.ndim:
        raise ValueError(
            f"pad: pad {amounts} must be pairs (before, after), last axis first, at most {x.ndim} pairs for shape {x.shape}"
        )
    if mode not in _BORDERS and mode != "constant":
        modes = ", ".join(["constant", *_BORDERS])
        raise ValueError(f"pad: mode must be one of {modes}, got {mode!r}; the constant goes by name: value=…")
    if mode != "constant" and value is not None:
        raise ValueError(f'pad: value={value!r} is for mode "constant", not {mode!r}')
    pairs = [(0, 0)] * (x.ndim - len(amounts) // 2) + [*zip(amounts[-2::-2], amounts[-1::-2])]
    for axis, (before, after) in enumerate(pairs):
        if max(-before, 0) + max(-after, 0) > x.shape[axis]:
            raise ValueError(
                f"pad: ({before}, {after}) crops more than the {x.shape[axis]} elements of axis {axis} of {x.shape}"
            )
    lengths = [before + n + after for (before, after), n in zip(pairs, x.shape)]
    check_size("pad", "the result", lengths, x, "give less padding")
    if mode == "constant":
        return _constant(x, pairs, 0 if value is None else value)
    for axis, pair in enumerate(pairs):
        if pair != (0, 0):
            x = _BORDERS[mode](x, axis, *pair)
    return x


def _part(x: T, axis: int, start: int, end: int) -> T:
    """Elements start to end of an axis."""
    return x if (start, end) == (0, x.shape[axis]) else getitem(x, (slice(None),) * axis + (slice(start, end),))


def _crop(x: T, axis: int, before: int, after: int) -> T:
    """x, cropped where a number is negative."""
    return _part(x, axis, max(-before, 0), x.shape[axis] - max(-after, 0))


def _join(left: T, middle: T, right: T, axis: int) -> T:
    """The three concatenated; an empty border is left out, so that no gradient is computed for it."""
    parts = [x for x in (left, middle, right) if x is middle or x.shape[axis]]
    return cat(parts, axis) if len(parts) > 1 else middle


def _constant(x: T, pairs: Sequence[Pair], value: Any) -> T:
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, (int, float)):
        raise TypeError(f"pad: value must be a number, got {type(value).__name__}")
    if isinstance(value, float) and x.dtype.kind != "f":
        if not value.is_integer():
            raise TypeError(f"pad: value {value} does not fit {x.dtype}; use .to('float32') first")
        value = int(value)
    for axis, (before, after) in enumerate(pairs):
        x = _crop(x, axis, before, after)
    borders = [(max(before, 0), max(after, 0)) for before, after in pairs]
    return _pad(x, pairs=borders, value=value) if any(pair != (0, 0) for pair in borders) else x


@op
def _pad(x: T, *, pairs: Sequence[Pair], value: float) -> Rule[T]:
    data = x.xp.full(tuple(before + n + after for (before, after), n in zip(pairs, x.shape)), value, x.dtype)
    inside = tuple(slice(before, before + n) for (before, _), n in zip(pairs, x.shape))
    data[inside] = x.array
    return data, (lambda g: g[inside],)


def _reflect(x: T, axis: int, before: int, after: int) -> T:
    n = x.shape[axis]
    if max(before, after) >= n:
        raise ValueError(
            f"pad: to reflect {max(before, after)} elements needs an axis of at least {max(before, after) + 1}, "
            f"as the outermost one is not repeated, but axis {axis} of {x.shape} has {n}"
        )
    left = flip(_part(x, axis, 1, 1 + max(before, 0)), axis)
    right = flip(_part(x, axis, n - 1 - max(after, 0), n - 1), axis)
    return _join(left, _crop(x, axis, before, after), right, axis)


def _replicate(x: T, axis: int, before: int, after: int) -> T:
    n = x.shape[axis]
    if not n:
        raise ValueError(f"pad: axis {axis} of {x.shape} has no element to replicate")

    def copies(of: int, count: int) -> T:
        one = _part(x, axis, of, of + 1)
        return broadcast_to(one, (*x.shape[:axis], max(count, 0), *x.shape[axis + 1 :]))

    return _join(copies(0, before), _crop(x, axis, before, after), copies(n - 1, after), axis)


def _circular(x: T, axis: int, before: int, after: int) -> T:
    x = _crop(x, axis, before, after)
    n = x.shape[axis]
    if max(before, after) > n:
        raise ValueError(f"pad: {max(before, after)} elements wrap around the {n} of axis {axis} of {x.shape} more than once")
    return _join(_part(x, axis, n - max(before, 0), n), x, _part(x, axis, 0, max(after, 0)), axis)


_BORDERS = {"reflect": _reflect, "replicate": _replicate, "circular": _circular}
