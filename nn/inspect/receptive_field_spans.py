"""The receptive field of each single unit along one axis of the image: an array (2, units) of where it starts and ends.

The three numbers of a track (size, jump, centre) describe fields that are alike and evenly spaced. After an interpolation, an
adaptive pooling or a roll they are neither. So each track also has the fields of its units, and each rule transforms them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

Spans: TypeAlias = np.ndarray[Any, Any]
"""(2, units): the start and the end of each unit's field, in pixels. Pixel i lies between i and i + 1."""


def pixels(count: int) -> Spans:
    """Units that depend on one pixel each: those of the image itself.

    >>> pixels(3)
    array([[0., 1., 2.],
           [1., 2., 3.]])
    """
    return np.arange(count, dtype=float) + np.array([[0.0], [1.0]])


def hull(spans: Spans) -> Spans:
    """The union of the fields of all units, as one unit."""
    return np.array([[spans[0].min()], [spans[1].max()]]) if spans.size else np.zeros((2, 1))


def union(several: Sequence[Spans]) -> Spans:
    """The union of the fields of several inputs, unit by unit."""
    return np.stack([np.min([spans[0] for spans in several], axis=0), np.max([spans[1] for spans in several], axis=0)])


def at(spans: Spans, units: Any, jump: float) -> Spans:
    """The fields of the units with these indices. Indices outside are units of the padding: their fields are those of the units
    inside, mirrored at the border, so that they continue with the same spacing.

    >>> at(pixels(2), np.array([-2, -1, 0, 1, 2]), 1)
    array([[-2., -1.,  0.,  1.,  2.],
           [-1.,  0.,  1.,  2.,  3.]])
    """
    count = spans.shape[1]
    result = spans[:, np.clip(units, 0, count - 1)]
    first, last = spans[:, 0].mean() - jump / 2, spans[:, -1].mean() + jump / 2
    for edge, depth, inward, step in ((first, -1 - units, 1, -jump), (last, units - count, -1, jump)):
        outside = depth >= 0
        if outside.any():
            inside = np.minimum(depth[outside], count - 1)
            mirrored = 2 * edge - spans[::-1, inside if inward == 1 else count - 1 - inside]
            result[:, outside] = mirrored + (depth[outside] - inside) * step
    return result


def slide(spans: Spans, kernel: int, dilation: int, stride: int, before: int, places: int, jump: float) -> Spans:
    """The fields of windows of `kernel` units, `dilation` apart, `stride` from one to the next; the first begins at −before."""
    if not places:
        return spans[:, :0]
    taps = np.arange(places)[:, None] * stride - before + np.arange(kernel) * dilation  # (places, kernel)
    seen = at(spans, taps, jump)
    return np.stack([seen[0].min(1), seen[1].max(1)])


def spread(spans: Spans, kernel: int, dilation: int, stride: int, before: int, places: int, jump: float) -> Spans:
    """The adjoint of `slide`: each of `places` units depends on those whose windows cover it. A unit that none covers is given
    the field of a unit nearby."""
    taps = np.arange(places)[:, None] + before - np.arange(kernel) * dilation
    units = taps // stride
    covers = (taps % stride == 0) & (units >= 0) & (units < spans.shape[1])
    seen = spans[:, np.clip(units, 0, spans.shape[1] - 1)]
    found = np.stack([np.where(covers, seen[0], np.inf).min(1), np.where(covers, seen[1], -np.inf).max(1)])
    return np.where(covers.any(1), found, at(spans, (np.arange(places) + before) // stride, jump))


def gathered(spans: Spans, place: Any, index: Any, after: int) -> Spans:
    """The fields of `after` new units: for each pair (place, index), the new unit `place` depends on the old unit `index`."""
    result = np.stack([np.full(after, np.inf), np.full(after, -np.inf)])
    np.minimum.at(result[0], place, spans[0][index])
    np.maximum.at(result[1], place, spans[1][index])
    return np.where(result[0] <= result[1], result, hull(spans))


def grouped(spans: Spans, outer: int) -> Spans:
    """The fields of `outer` groups of units in succession: the union of each group."""
    groups = spans.reshape(2, outer, -1)
    return np.stack([groups[0].min(1), groups[1].max(1)])


def regular(spans: Spans, jump: float) -> tuple[float, float, float] | None:
    """The size of the fields, the jump from one to the next, and the centre of the first; None if they are not all alike.

    Args:
        jump: the jump, if there is only one field.

    >>> regular(pixels(3), 1), regular(np.array([[0.0, 1.0, 1.0], [1.0, 2.0, 2.0]]), 1)
    ((1.0, 1.0, 0.5), None)
    """
    if not spans.size:
        return None
    middles, sizes = spans.sum(0) / 2, spans[1] - spans[0]
    steps = np.diff(middles) if len(middles) > 1 else np.array([float(jump)])
    if np.ptp(steps) > 1e-9 * max(1.0, abs(steps[0])) or np.ptp(sizes) > 1e-9 * max(1.0, sizes[0]):
        return None
    return float(sizes[0]), float(steps[0]), float(middles[0])
