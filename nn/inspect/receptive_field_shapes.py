"""Rules for operations that only move elements: pad, cat, reshape, indexing, flip … See receptive_field_rules.py."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from microtensor.autograd.graph import Node
from microtensor.ops.shape import normalize_dims
from microtensor.runtime.arrays import is_array, to_numpy

from . import receptive_field_spans as spans
from .receptive_field_track import Call, Track, slide, union


def pad(tracks: Sequence[Track | None], call: Call) -> Track:
    """Padding: the first unit moves outwards."""
    track = union(tracks)
    before, after = (0, 0) if track.axis is None else call.settings["pairs"][track.axis]
    if (before, after) == (0, 0) or track.merged:
        return track
    jump, places = track.jump / track.repeat, track.places * track.repeat + before + after
    span = spans.at(track.span, np.arange(places) - before, jump)
    return track._replace(center=track.center - before * jump, jump=jump, places=places, repeat=1, span=span)


def cat(tracks: Sequence[Track | None], call: Call) -> Track:
    """Concatenation. Along an axis of the image it is taken for padding with parts of the image, the longest of the inputs."""
    dim = call.settings["dim"]
    if all(track is None or track.axis != dim for track in tracks):
        return union(tracks)
    lengths = [shape[dim] for shape in call.shapes]
    known = [i for i, track in enumerate(tracks) if track is not None]
    longest = max(known, key=lambda i: lengths[i])
    track = union([tracks[longest]])
    if track.axis != dim or track.merged:
        return union([track.everything() for track in tracks if track is not None])
    jump, before = track.jump / track.repeat, sum(lengths[:longest])
    # The parts before and after the image are padding, unless their fields are known.
    span = spans.at(track.span, np.arange(sum(lengths)) - before, jump)
    ends = np.cumsum(lengths)
    for part, start, end in zip(tracks, ends - lengths, ends):
        if part is not None and not (part.axis == dim and not part.merged and part.span.shape[1] == end - start):
            span[:, start:end] = spans.hull(part.span)
        elif part is not None:
            span[:, start:end] = part.span
    size = max(track.size for track in tracks if track is not None)
    return track._replace(size=size, center=track.center - before * jump, places=sum(lengths), jump=jump, repeat=1, span=span)


def broadcast(tracks: Sequence[Track | None], call: Call) -> Track:
    """New axes come first; along an axis of length 1 that is expanded, all units have the same field."""
    track, (before, *_) = union(tracks), call.shapes
    if track.axis is None:
        return track
    axis = track.axis + len(call.shape) - len(before)
    return track._replace(axis=axis) if call.shape[axis] == before[track.axis] else track.everything()


def permute(tracks: Sequence[Track | None], call: Call) -> Track:
    """The units lie along another axis."""
    track, ndim = union(tracks), len(call.shape)
    dims = [dim % ndim for dim in call.settings["dims"]]
    return track if track.axis is None else track._replace(axis=dims.index(track.axis))


def reshape(tracks: Sequence[Track | None], call: Call) -> Track:
    """Axes are split and merged in groups with the same number of elements before and after; axes of length 1 are in none."""
    track, (before, *_) = union(tracks), call.shapes
    if track.axis is None or 0 in call.shape:
        return track.everything()
    if before[track.axis] == 1:  # only axes of length 1 were added or removed, as in a 1-D convolution
        axis = track.axis - len(before) + len(call.shape)
        alike = [n for n in before if n != 1] == [n for n in call.shape if n != 1]
        return track._replace(axis=axis) if alike and axis >= 2 and call.shape[axis] == 1 else track.everything()
    old, new = _group(before, call.shape, track.axis)
    length = track.places * track.repeat
    # How many elements of the group lie between a unit and the next; and whether no other axis of the image is in the group.
    step = max(track.merged, 1) * math.prod(before[i] for i in old if i > track.axis)
    alone = call.located.isdisjoint(i for i in old if i != track.axis) and not track.merged
    for axis in new:
        inner = math.prod(call.shape[i] for i in new if i > axis)
        outer = inner * call.shape[axis]
        if (step, step * length) == (inner, outer):  # an axis of its own
            return track._replace(axis=axis, merged=0)
        if step % inner == 0 and step * length <= outer:  # merged into a longer axis
            times = step // inner
            if step * length == outer and alone:
                return track._replace(axis=axis, repeat=track.repeat * times, span=track.span.repeat(times, axis=1))
            return track._replace(axis=axis, merged=step // inner)
        if step * length == outer and inner % step == 0:  # split into two axes
            count = inner // step
            if track.repeat % count == 0:  # units with the same field are separated
                span = spans.grouped(track.span, call.shape[axis])
                return track._replace(axis=axis, repeat=track.repeat // count, merged=0, span=span)
            if track.repeat == 1:  # a unit of the outer axis has the union of the fields of the inner one
                extent = (count - 1) * track.jump
                span = spans.grouped(track.span, call.shape[axis])
                return Track(track.size + extent, track.jump * count, track.center + extent / 2, call.shape[axis], axis, span)
    return track.everything()


def _group(before: Sequence[int], after: Sequence[int], axis: int) -> tuple[list[int], list[int]]:
    """The group of `axis` in a reshape: its axes in the shape `before`, and those in the shape `after`."""
    olds = [i for i, n in enumerate(before) if n != 1]
    news = [i for i, n in enumerate(after) if n != 1]
    while olds:
        old, new = [olds.pop(0)], [news.pop(0)]
        while (a := math.prod(before[i] for i in old)) != (b := math.prod(after[i] for i in new)):
            if a < b:
                old.append(olds.pop(0))
            else:
                new.append(news.pop(0))
        if axis in old:
            break
    return old, new


def getitem(tracks: Sequence[Track | None], call: Call) -> Track:
    """Integers and slices select units along the axis; with an array of indices any unit may depend on all of the input."""
    track, index, before = union(tracks), call.settings["index"], call.shapes[0]
    parts = list(index) if isinstance(index, tuple) else [index]
    parts = [_indices(part) for part in parts]
    chosen = [part for part in parts if isinstance(part, np.ndarray)]
    known = all(part is None or part is Ellipsis or type(part) in (int, slice, np.ndarray) for part in parts)
    lone = not chosen or (len(chosen) == 1 and chosen[0].ndim == 1 and not any(type(part) is int for part in parts))
    if track.axis is None or not known or not lone:
        return track.everything()
    used = sum(type(part) in (int, slice, np.ndarray) for part in parts)
    rest = [slice(None)] * (len(before) - used)
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    parts[at : at + 1] = rest
    old = new = 0
    for part in parts:
        if part is not None and old == track.axis:
            break
        old, new = old + (part is not None), new + (type(part) is not int)
    if isinstance(part, np.ndarray):  # in any order
        return track.everything()
    if part == slice(None):
        return track._replace(axis=new)
    if track.merged:
        return track.everything()
    jump = track.jump / track.repeat
    if isinstance(part, int):
        span = track.span[:, [part]]
        return Track(track.size, jump, float(span.mean()), 1, None, span)
    start, _, step = part.indices(before[old])
    if track.repeat > 1:
        span = track.span[:, part]
        center = float(span[:, 0].mean()) if span.size else track.center
        return Track(track.size, jump * step, center, call.shape[new], new, span)
    return track._replace(
        center=track.center + start * jump, jump=jump * step, places=call.shape[new], axis=new, span=track.span[:, part]
    )


def _indices(part: Any) -> Any:
    """A part of an index; a tensor, a list or a mask of bools as an array of indices."""
    if isinstance(part, Node):
        part = to_numpy(part.array)
    if is_array(part) or isinstance(part, list):
        places = to_numpy(part) if is_array(part) else np.array(part)
        return np.flatnonzero(places) if places.dtype == bool and places.ndim == 1 else places
    return part


def flip(tracks: Sequence[Track | None], call: Call) -> Track:
    """The order of the units is reversed, and the jump negated."""
    track = union(tracks)
    if track.axis is None or track.axis not in normalize_dims("flip", call.settings["dims"], call.shapes[0]):
        return track
    if track.merged:
        return track.everything()
    extent = (track.places - 1) * track.jump
    return track._replace(center=track.center + extent, jump=-track.jump, span=track.span[:, ::-1])


def roll(tracks: Sequence[Track | None], call: Call) -> Track:
    """Units are shifted, and those that leave at the end come in at the start."""
    track, dims, shifts = union(tracks), call.settings.get("dims"), call.settings["shifts"]
    if track.axis is None:
        return track
    axes = range(len(call.shape)) if dims is None else normalize_dims("roll", dims, call.shapes[0])
    steps = dict(zip(axes, shifts if isinstance(shifts, (tuple, list)) else (shifts,)))
    if track.axis not in axes:
        return track
    if dims is None or track.merged:
        return track.everything()
    span = np.roll(track.span, operator.index(steps[track.axis]), axis=1)
    whole = track.everything()
    return track._replace(size=whole.size, center=whole.center, jump=0, span=span)


def cumsum(tracks: Sequence[Track | None], call: Call) -> Track:
    """Each unit depends on itself and on all units before it."""
    track = union(tracks)
    if track.axis not in normalize_dims("cumsum", call.settings["dim"], call.shapes[0]):
        return track
    if track.merged:
        return track.everything()
    whole = track.everything()
    span = np.stack([np.minimum.accumulate(track.span[0]), np.maximum.accumulate(track.span[1])])
    return whole._replace(places=span.shape[1], axis=track.axis, span=span, jump=0)


def view_windows(tracks: Sequence[Track | None], call: Call) -> Track:
    """Windows along one axis, whose elements are a new last axis: the field of a unit is that of its window."""
    track, dim = union(tracks), call.settings["dim"]
    if track.axis != dim:
        return track
    if track.merged:
        return track.everything()
    return slide(track, call.settings["size"], 1, call.settings["step"], 0, call.shape[dim])
