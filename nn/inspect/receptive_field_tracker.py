"""Follows receptive fields through the computation of a model, operation by operation: an observer of operations.

For each tensor that depends on the image it keeps a track per axis of the image (receptive_field_track.py), and after each
operation computes those of the result (receptive_field_rules.py). Where branches meet, the field is the union of theirs. The
statistics of a normalisation are not counted.
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
from .receptive_field_rules import rule as rule_of
from .receptive_field_track import Call, Track, Tracks


@dataclass(frozen=True)
class AxisField:
    """The receptive fields of units along one axis of the input, in pixels. Pixel i lies between i and i + 1."""

    size: float
    """Of a unit's field: from the first pixel to the last that it depends on, padding included."""
    jump: float | None
    """From the centre of a unit's field to that of its neighbour; None if units have no neighbours along this axis."""
    center: float
    """Of the first unit's field."""
    axis: int | None = field(default=None, compare=False, repr=False)
    """The axis of the tensor along which the units are; None if there is none any more."""
    span: spans.Spans | None = field(default=None, compare=False, repr=False)
    """None if the three numbers describe all fields. If these differ from unit to unit, the start and the end of each,
    (2, units). If a reshape merged several axes, so that units have no position along this one, (2, 0)."""

    @property
    def low(self) -> float:
        """The start of the first unit's field: below 0 in the padding."""
        return self.center - self.size / 2

    @property
    def high(self) -> float:
        """Its end."""
        return self.center + self.size / 2


class Unknown(NamedTuple):
    """The receptive field is unknown, because there is no rule for an operation."""

    operation: str


class FieldTracker:
    """The receptive fields of all tensors of a computation. `observe` is called after each operation."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Tracks | Unknown]] = {}

    def start(self, x: Node) -> None:
        """x (N, C, …) is an input: along each axis after the first two, the field of a unit is the unit itself."""
        self._set(x, tuple(Track(1, 1, 0.5, n, axis + 2, spans.pixels(n)) for axis, n in enumerate(x.shape[2:])))

    def observe(self, operation: Callable[..., Any], inputs: Sequence[Any], settings: dict[str, Any], result: Node) -> None:
        """After an operation: the fields of its result, from those of its inputs."""
        known = [self._tracks(x) for x in inputs]
        if any(tracks is not None for tracks in known):
            self._set(result, apply_rule(operation, inputs, known, settings, result.shape))
        elif operation is _embedding:  # rows of a table, at indices that have no position in an image
            self._set(result, ())

    def of(self, x: Any) -> tuple[AxisField, ...] | Unknown | None:
        """The receptive fields of the units of x along each axis of the input, or Unknown; None if x does not depend on it."""
        tracks = self._tracks(x)
        if tracks is None or isinstance(tracks, Unknown):
            return tracks
        axes = [track.axis for track in tracks]
        return tuple(_axis_field(track, x.shape, axes.count(track.axis) > 1) for track in tracks)

    def _tracks(self, x: Any) -> Tracks | Unknown | None:
        return self._known[id(x)][1] if id(x) in self._known else None

    def _set(self, x: Node, tracks: Tracks | Unknown) -> None:
        key = id(x)
        self._known[key] = weakref.ref(x, lambda _: self._known.pop(key, None)), tracks


def apply_rule(
    operation: Callable[..., Any],
    inputs: Sequence[Any],
    input_tracks: Sequence[Tracks | Unknown | None],
    settings: dict[str, Any],
    shape: tuple[int, ...],
) -> Tracks | Unknown:
    """The tracks of the result of an operation, which has this shape, from those of its inputs."""
    known: list[Tracks | None] = []
    for tracks in input_tracks:
        if isinstance(tracks, Unknown):
            return tracks
        known.append(tracks)
    rule = rule_of(operation)
    if rule is None:
        return Unknown(operation.__name__.lstrip("_"))
    axes = max(len(tracks) for tracks in known if tracks is not None)
    known = [tracks if tracks is not None and len(tracks) == axes else None for tracks in known]
    located = {track.axis for tracks in known for track in tracks or ()}
    call = Call(operation, [x.shape if isinstance(x, Node) else () for x in inputs], settings, shape, located)
    return tuple(rule([None if tracks is None else tracks[k] for tracks in known], call) for k in range(axes))


def _axis_field(track: Track, shape: Sequence[int], shared: bool) -> AxisField:
    """A track as an `AxisField`. `shape` is that of the tensor; `shared`: another track is along the same axis of it."""
    size, jump, center, span = track.size, track.jump / track.repeat, track.center, track.span
    if track.merged and track.axis is not None and span.size:
        units = np.arange(shape[track.axis]) // track.merged % span.shape[1]
        return AxisField(_as_integer(size), None, _as_integer(center), track.axis, span[:, units if not shared else ()])
    even = spans.regular(span, jump)
    if even is not None:
        size, jump, center = even
        span = None
    elif span.size:
        size = max(size, float((span[1] - span[0]).max()))
    return AxisField(
        _as_integer(size), None if track.axis is None else _as_integer(jump), _as_integer(center), track.axis, span
    )


def _as_integer(number: float) -> float:
    """2 for 2.0; 2.5 for 2.5."""
    return int(number) if number == int(number) else number
