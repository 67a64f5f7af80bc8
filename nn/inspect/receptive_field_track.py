"""The receptive fields of the units along one axis of the image, as they are followed through the operations of a model.

Three numbers describe fields that are alike and evenly spaced (Araujo, Norris & Sim 2019, "Computing receptive fields of
convolutional neural networks", distill.pub/2019/computing-receptive-fields): the size of a field, the jump from one field to
the next (the product of the strides so far), and the centre of the first. A window of `kernel` units makes of them

    size + (kernel − 1) · dilation · jump,    jump · stride,    center + ((kernel − 1) · dilation / 2 − padding) · jump
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from . import receptive_field_spans as spans


class Track(NamedTuple):
    """The receptive fields along one axis of the image of the units of a tensor, in pixels."""

    size: float
    """Of a unit's field."""
    jump: float
    """From one field to the next: the product of the strides so far; 0 if all units have the same field."""
    center: float
    """Of the first field."""
    places: int
    """How many fields there are along the axis."""
    axis: int | None
    """The axis of the tensor along which the units are; None if there is none any more, as after a sum over it."""
    span: Any
    """The field of each single unit, exactly: (2, places · repeat), see receptive_field_spans.py."""
    repeat: int = 1
    """How many units in succession have the same field, as after nearest-neighbour upsampling."""
    merged: int = 0
    """Not 0 if a reshape made one axis of several: then neighbours are this many units apart."""

    def everything(self) -> Track:
        """The union of the fields of all units: the field of a unit that depends on all of them, such as their sum."""
        low, high = (float(end[0]) for end in spans.hull(self.span))
        return Track(high - low, self.jump, (low + high) / 2, 1, None, spans.hull(self.span))


Tracks: TypeAlias = tuple[Track, ...]
"""One for each axis of the image."""


class Call(NamedTuple):
    """An operation that has run."""

    operation: Callable[..., Any]
    shapes: list[tuple[int, ...]]
    """Of its inputs; () for a number."""
    settings: dict[str, Any]
    shape: tuple[int, ...]
    """Of its result."""
    located: set[int | None]
    """The axes of the inputs along which there is a track."""


def union(tracks: Sequence[Track | None]) -> Track:
    """The fields of units that depend on several branches, added, multiplied or concatenated along channels."""
    branches = [track for track in tracks if track is not None]
    first = max(branches, key=lambda track: (track.axis is not None, track.places))
    along = [track.axis == first.axis and track.merged == first.merged for track in branches]
    apart = not all(along) or any(track.jump * first.jump < 0 for track in branches)  # or one was flipped
    seen = [track.span if same else spans.hull(track.span) for track, same in zip(branches, along)]
    span = spans.union(np.broadcast_arrays(*seen))
    if apart:  # such as a squeeze-and-excitation gate, computed from the whole image
        branches = [track.everything() for track in branches]
    low = min(track.center - track.size / 2 for track in branches)
    high = max(track.center + track.size / 2 for track in branches)
    finest = first._replace(jump=0) if apart else min(branches, key=lambda track: track.repeat)
    return finest._replace(size=high - low, center=(low + high) / 2, span=span)


def slide(track: Track, kernel: int, dilation: int, stride: int, before: int, places: int) -> Track:
    """Windows of `kernel` units, `dilation` apart, `stride` from one to the next; the first begins at unit −before."""
    repeat, jump, extent = track.repeat, track.jump, (kernel - 1) * dilation
    span = spans.slide(track.span, kernel, dilation, stride, before, places, jump / repeat)
    if extent == 0 and before == 0 and repeat % stride == 0 and places * stride == track.places * repeat:
        return track._replace(repeat=repeat // stride, span=span)
    first, last = -before // repeat, (extent - before) // repeat
    size, center = track.size + math.ceil(extent / repeat) * jump, track.center + (first + last) / 2 * jump
    return Track(size, jump * stride / repeat, center, places, track.axis, span)
