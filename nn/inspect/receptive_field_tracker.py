"""What the units of a tensor see of the input, followed along the operations that compute it.

A unit of a convolutional network depends on a patch of the image alone, its receptive field. Along each axis of the image three
numbers say which: the field's size, the jump from one unit's field to the next one's, and the centre of the first. A window of
`kernel` units, `stride` apart, makes of them (Araujo, Norris & Sim 2019, "Computing receptive fields of convolutional neural
networks", distill.pub/2019/computing-receptive-fields)

    size + (kernel − 1) · dilation · jump,    jump · stride,    centre + ((kernel − 1) · dilation / 2 − padding) · jump

and where branches meet, a unit sees what any of them sees. What the statistics of a normalisation see is not counted.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from microtensor.autograd.graph import Node

from ..layers.embedding import _embedding
from . import receptive_field_spans as spans
from .receptive_field_rules import Call, Track, Tracks, rule


@dataclass(frozen=True)
class Reach:
    """What units see along one axis of the input, in pixels. Pixel i lies between i and i + 1; padding lies outside."""

    size: float
    """From the first pixel to the last that one unit depends on: the receptive field."""
    jump: float | None
    """From the middle of one unit's field to that of its neighbour's; None where no axis is left to have neighbours along."""
    center: float
    """The middle of the first unit's field."""
    axis: int | None = field(default=None, compare=False, repr=False)
    """The axis of the tensor along which the units are; None if along none any more."""
    span: spans.Spans | None = field(default=None, compare=False, repr=False)
    """None where the three numbers say it all. Where fields differ from unit to unit, the beginning and the end of each,
    (2, units). Where several axes were made one, so that units have no place along this one, (2, 0)."""

    @property
    def low(self) -> float:
        """Where the first unit's field begins: below 0 in the padding."""
        return self.center - self.size / 2

    @property
    def high(self) -> float:
        """Where it ends."""
        return self.center + self.size / 2


class Unknown(NamedTuple):
    """What units see is not known, for an operation on the way says nothing of what it looks at."""

    operation: str


class Reaches:
    """Follows what tensors see of an input: `observe` is told of every operation."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Tracks | Unknown]] = {}

    def start(self, x: Node) -> None:
        """x (N, C, …) is an input: along each axis but the first two, each unit sees itself."""
        self._set(x, tuple(Track(1, 1, 0.5, n, axis + 2, spans.pixels(n)) for axis, n in enumerate(x.shape[2:])))

    def observe(self, operation: Callable[..., Any], inputs: Sequence[Any], settings: dict[str, Any], result: Node) -> None:
        """An operation has run: what its result sees follows from what its inputs see."""
        seen = [self._tracks(x) for x in inputs]
        if any(tracks is not None for tracks in seen):
            self._set(result, follow(operation, inputs, seen, settings, result.shape))
        elif operation is _embedding:  # it looks up what the input says, in a table that does not depend on it
            self._set(result, ())

    def of(self, x: Any) -> tuple[Reach, ...] | Unknown | None:
        """What the units of x see along each axis of the input, if that is known; None where x does not depend on it."""
        tracks = self._tracks(x)
        if tracks is None or isinstance(tracks, Unknown):
            return tracks
        axes = [track.axis for track in tracks]
        return tuple(_reach(track, x.shape, axes.count(track.axis) > 1) for track in tracks)

    def _tracks(self, x: Any) -> Tracks | Unknown | None:
        return self._known[id(x)][1] if id(x) in self._known else None

    def _set(self, x: Node, tracks: Tracks | Unknown) -> None:
        key = id(x)
        self._known[key] = weakref.ref(x, lambda _: self._known.pop(key, None)), tracks


def follow(
    operation: Callable[..., Any],
    inputs: Sequence[Any],
    seen: Sequence[Tracks | Unknown | None],
    settings: dict[str, Any],
    shape: tuple[int, ...],
) -> Tracks | Unknown:
    """What the result of an operation sees, if its inputs see `seen` and it has this shape."""
    known: list[Tracks | None] = []
    for tracks in seen:
        if isinstance(tracks, Unknown):
            return tracks
        known.append(tracks)
    looks = rule(operation)
    if looks is None:
        return Unknown(operation.__name__.lstrip("_"))
    axes = max(len(tracks) for tracks in known if tracks is not None)
    known = [tracks if tracks is not None and len(tracks) == axes else None for tracks in known]
    located = {track.axis for tracks in known for track in tracks or ()}
    call = Call(operation, [x.shape if isinstance(x, Node) else () for x in inputs], settings, shape, located)
    return tuple(looks([None if tracks is None else tracks[k] for tracks in known], call) for k in range(axes))


def _reach(track: Track, shape: Sequence[int], shared: bool) -> Reach:
    """What is told of a track, along an axis of a tensor of this shape, which may be another track's too."""
    size, jump, center, span = track.size, track.jump / track.repeat, track.center, track.span
    if track.merged and track.axis is not None and span.size:
        units = np.arange(shape[track.axis]) // track.merged % span.shape[1]
        return Reach(_whole(size), None, _whole(center), track.axis, span[:, units if not shared else ()])
    even = spans.regular(span, jump)
    if even is not None:
        size, jump, center = even
        span = None
    elif span.size:
        size = max(size, float((span[1] - span[0]).max()))
    return Reach(_whole(size), None if track.axis is None else _whole(jump), _whole(center), track.axis, span)


def _whole(number: float) -> float:
    return int(number) if number == int(number) else number
