"""How what units see changes with each operation: a rule for each, that follows one axis of the image. See reach.py."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from microtensor.autograd.graph import Node
from microtensor.ops import (
    diagonals,
    elementwise,
    extremes,
    gathering,
    indexing,
    join,
    order,
    padding,
    product,
    reduce,
    repeating,
    scan,
    shape,
)
from microtensor.ops.shape import normalize_dims
from microtensor.runtime.arrays import is_array, to_numpy

from ..layers import batch_norm, conv, dropout, layer_norm, linear, pool, resampling, response_norm, windows
from ..losses import classification
from . import spans


class Track(NamedTuple):
    """What units see along one axis of the image, on its way through the operations."""

    size: float
    """Of a unit's field."""
    jump: float
    """From one field to the next; 0 where all units see the same."""
    center: float
    """Of the first field."""
    places: int
    """How many fields there are, one after the other."""
    axis: int | None
    """The axis of the tensor along which they are; None if along none any more."""
    span: Any
    """What each unit sees, exactly: (2, places · repeat), see spans.py."""
    repeat: int = 1
    """How many units in succession see the same, as after an upsampling."""
    merged: int = 0
    """If the axis was made of several, so that units in succession are no neighbours: how many units further a neighbour is."""

    def everything(self) -> Track:
        """What all units together see."""
        low, high = (float(end[0]) for end in spans.hull(self.span))
        return Track(high - low, self.jump, (low + high) / 2, 1, None, spans.hull(self.span))


Tracks: TypeAlias = tuple[Track, ...]
"""One for each axis of the image."""


class Call(NamedTuple):
    """An operation that ran."""

    operation: Callable[..., Any]
    shapes: list[tuple[int, ...]]
    """Of its inputs; () for a number."""
    settings: dict[str, Any]
    shape: tuple[int, ...]
    """Of its result."""
    located: set[int | None]
    """The axes of the inputs along which there is a track."""


# The rules: what each input sees along one axis of the image, None for a constant → what the result sees along it


def _meet(tracks: Sequence[Track | None]) -> Track:
    """Branches that are added, multiplied or laid side by side."""
    branches = [track for track in tracks if track is not None]
    first = max(branches, key=lambda track: (track.axis is not None, track.places))
    beside = [track.axis == first.axis and track.merged == first.merged for track in branches]
    apart = not all(beside) or any(track.jump * first.jump < 0 for track in branches)  # or one runs backwards
    seen = [track.span if along else spans.hull(track.span) for track, along in zip(branches, beside)]
    span = spans.together(np.broadcast_arrays(*seen))
    if apart:  # such as a gate, which was computed from the whole image
        branches = [track.everything() for track in branches]
    low = min(track.center - track.size / 2 for track in branches)
    high = max(track.center + track.size / 2 for track in branches)
    finest = first._replace(jump=0) if apart else min(branches, key=lambda track: track.repeat)
    return finest._replace(size=high - low, center=(low + high) / 2, span=span)


def _alike(tracks: Sequence[Track | None], call: Call) -> Track:
    """Element by element. What gives another shape is taken to look at everything."""
    alike = all(shape == call.shape for shape, track in zip(call.shapes, tracks) if track is not None)
    met = _meet(tracks)
    return met if alike else met.everything()


def _windows(tracks: Sequence[Track | None], call: Call) -> Track:
    """A window slides over the last two axes: convolution and pooling."""
    track, window = _meet(tracks), call.settings["window"]
    side = -1 if track.axis is None else track.axis - len(call.shapes[0]) + 2
    if side < 0 or track.merged:
        return track.everything() if track.merged else track
    kernel, dilation, before = window.kernel[side], window.dilation[side], window.padding[side][0]
    return _slide(track, kernel, dilation, window.stride[side], before, call.shape[side - 2])


def _slide(track: Track, kernel: int, dilation: int, stride: int, before: int, places: int) -> Track:
    """The first window covers `kernel` units from −before on, `dilation` apart, each further one those `stride` after."""
    repeat, jump, way = track.repeat, track.jump, (kernel - 1) * dilation
    span = spans.slide(track.span, kernel, dilation, stride, before, places, jump / repeat)
    if way == 0 and before == 0 and repeat % stride == 0 and places * stride == track.places * repeat:
        return track._replace(repeat=repeat // stride, span=span)
    first, last = -before // repeat, (way - before) // repeat
    size, center = track.size + math.ceil(way / repeat) * jump, track.center + (first + last) / 2 * jump
    return Track(size, jump * stride / repeat, center, places, track.axis, span)


def _spread(tracks: Sequence[Track | None], call: Call) -> Track:
    """The adjoint of a window: each unit is spread over a window, so one of the result sees those whose windows cover it."""
    track, window = _meet(tracks), call.settings["window"]
    side = -1 if track.axis is None else track.axis - len(call.shapes[0]) + 2
    if side < 0 or track.merged:
        return track.everything() if track.merged else track
    stride, before = window.stride[side], window.padding[side][0]
    way, places = (window.kernel[side] - 1) * window.dilation[side], call.shape[side - 2]
    jump = track.jump / track.repeat
    span = spans.spread(track.span, window.kernel[side], window.dilation[side], stride, before, places, jump)
    if way < stride and before == 0 and places == track.places * track.repeat * stride:
        return track._replace(repeat=track.repeat * stride, span=span)
    first, last = math.ceil((before - way) / stride), before // stride
    center = track.center + (first + last) / 2 * jump
    return Track(track.size + way // stride * jump, jump / stride, center, places, track.axis, span)


def _unfold(tracks: Sequence[Track | None], call: Call) -> Track:
    """(N, C, H, W) → (N, C · kh · kw, H' · W'): windows in a row."""
    window = call.settings["window"]
    places = window.places("unfold", call.shapes[0][2:])
    track = _windows(tracks, call._replace(shape=(0, 0, *places)))
    return track if track.axis is None else track._replace(axis=2, merged=places[1] if track.axis == 2 else 1)


def _pad(tracks: Sequence[Track | None], call: Call) -> Track:
    track = _meet(tracks)
    before, after = (0, 0) if track.axis is None else call.settings["pairs"][track.axis]
    if (before, after) == (0, 0) or track.merged:
        return track
    jump, places = track.jump / track.repeat, track.places * track.repeat + before + after
    span = spans.at(track.span, np.arange(places) - before, jump)
    return track._replace(center=track.center - before * jump, jump=jump, places=places, repeat=1, span=span)


def _cat(tracks: Sequence[Track | None], call: Call) -> Track:
    """Side by side along an axis: of the image only where it is padded, by a part of itself; the longest part is the image."""
    dim = call.settings["dim"]
    if all(track is None or track.axis != dim for track in tracks):
        return _meet(tracks)
    lengths = [shape[dim] for shape in call.shapes]
    known = [i for i, track in enumerate(tracks) if track is not None]
    longest = max(known, key=lambda i: lengths[i])
    track = _meet([tracks[longest]])
    if track.axis != dim or track.merged:
        return _meet([track.everything() for track in tracks if track is not None])
    jump, before = track.jump / track.repeat, sum(lengths[:longest])
    span = spans.at(track.span, np.arange(sum(lengths)) - before, jump)  # beside the image: padding, unless it is known better
    ends = np.cumsum(lengths)
    for part, start, end in zip(tracks, ends - lengths, ends):
        if part is not None and not (part.axis == dim and not part.merged and part.span.shape[1] == end - start):
            span[:, start:end] = spans.hull(part.span)
        elif part is not None:
            span[:, start:end] = part.span
    size = max(track.size for track in tracks if track is not None)
    return track._replace(size=size, center=track.center - before * jump, places=sum(lengths), jump=jump, repeat=1, span=span)


def _reduce(tracks: Sequence[Track | None], call: Call) -> Track:
    """Sums, means, maxima: over an axis of the image they see all of it."""
    track = _meet(tracks)
    dims = normalize_dims(call.operation.__name__, call.settings.get("dim"), call.shapes[0])
    if track.axis is None or track.axis in dims:
        return track.everything()
    return track if call.settings.get("keepdim") else track._replace(axis=track.axis - sum(dim < track.axis for dim in dims))


def _broadcast(tracks: Sequence[Track | None], call: Call) -> Track:
    track, (before, *_) = _meet(tracks), call.shapes
    if track.axis is None:
        return track
    axis = track.axis + len(call.shape) - len(before)
    return track._replace(axis=axis) if call.shape[axis] == before[track.axis] else track.everything()


def _permute(tracks: Sequence[Track | None], call: Call) -> Track:
    track, ndim = _meet(tracks), len(call.shape)
    dims = [dim % ndim for dim in call.settings["dims"]]
    return track if track.axis is None else track._replace(axis=dims.index(track.axis))


def _product(tracks: Sequence[Track | None], call: Call) -> Track:
    """Weighted sums over the last axis of the first tensor; in a matrix product, the last but one of the second."""
    track = _meet(tracks)
    second = call.operation is product._matmul and tracks[0] is None
    summed = len(call.shape) - 2 if second else len(call.shapes[0]) - 1
    both = call.operation is product._matmul and tracks[0] is not None and tracks[1] is not None
    return track.everything() if both or track.axis is None or track.axis == summed else track


def _getitem(tracks: Sequence[Track | None], call: Call) -> Track:
    """Numbers and slices move and thin out what is seen; an array of places along this axis may look anywhere."""
    track, index, before = _meet(tracks), call.settings["index"], call.shapes[0]
    parts = list(index) if isinstance(index, tuple) else [index]
    parts = [_places(part) for part in parts]
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


def _places(part: Any) -> Any:
    """A part of an index: an array of places, of which a list or a mask is another form, as an array."""
    if isinstance(part, Node):
        part = to_numpy(part.array)
    if is_array(part) or isinstance(part, list):
        places = to_numpy(part) if is_array(part) else np.array(part)
        return np.flatnonzero(places) if places.dtype == bool and places.ndim == 1 else places
    return part


def _reshape(tracks: Sequence[Track | None], call: Call) -> Track:
    """Axes are cut and joined in groups, each of as many numbers before as after; axes of length 1 belong to none."""
    track, (before, *_) = _meet(tracks), call.shapes
    if track.axis is None or 0 in call.shape:
        return track.everything()
    if before[track.axis] == 1:  # it belongs to no group; beside it, axes of length 1 came or went, as in a 1-D convolution
        axis = track.axis - len(before) + len(call.shape)
        alike = [n for n in before if n != 1] == [n for n in call.shape if n != 1]
        return track._replace(axis=axis) if alike and axis >= 2 and call.shape[axis] == 1 else track.everything()
    old, new = _group(before, call.shape, track.axis)
    length = track.places * track.repeat
    step = max(track.merged, 1) * math.prod(before[i] for i in old if i > track.axis)  # from a unit to the next, in the group
    alone = call.located.isdisjoint(i for i in old if i != track.axis) and not track.merged  # no other axis of the image
    for axis in new:
        inner = math.prod(call.shape[i] for i in new if i > axis)
        outer = inner * call.shape[axis]
        if (step, step * length) == (inner, outer):  # an axis of its own
            return track._replace(axis=axis, merged=0)
        if step % inner == 0 and step * length <= outer:  # inside a longer one
            times = step // inner
            if step * length == outer and alone:
                return track._replace(axis=axis, repeat=track.repeat * times, span=track.span.repeat(times, axis=1))
            return track._replace(axis=axis, merged=step // inner)
        if step * length == outer and inner % step == 0:  # cut in two
            count = inner // step
            if track.repeat % count == 0:  # units that saw the same come apart
                span = spans.cut(track.span, call.shape[axis])
                return track._replace(axis=axis, repeat=track.repeat // count, merged=0, span=span)
            if track.repeat == 1:  # an outer unit stands for what the inner ones see
                way = (count - 1) * track.jump
                span = spans.cut(track.span, call.shape[axis])
                return Track(track.size + way, track.jump * count, track.center + way / 2, call.shape[axis], axis, span)
    return track.everything()


def _group(before: Sequence[int], after: Sequence[int], axis: int) -> tuple[list[int], list[int]]:
    """The axes of `before` that `axis` is reshaped together with, and those of `after` that are made of them."""
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


def _resample(tracks: Sequence[Track | None], call: Call) -> Track:
    """Each unit takes a few of the old line's, as `Taps` lists them: resizing, and pooling with windows of several sizes."""
    track = _meet(tracks)
    taps = None if track.axis is None else call.settings[("down", "across")[track.axis - 2]]
    if taps is None or track.merged:
        return track.everything() if track.merged else track
    used = np.full(taps.place.shape, True) if taps.weight is None else taps.weight != 0
    low, high = np.full(taps.after, taps.before), np.zeros(taps.after, int)
    np.minimum.at(low, taps.place[used], taps.index[used])
    np.maximum.at(high, taps.place[used], taps.index[used])
    span = spans.taken(track.span, taps.place[used], taps.index[used], taps.after)
    times = taps.after // taps.before
    if taps.after % taps.before == 0 and (low == np.arange(taps.after) // times).all() and (low == high).all():
        return track._replace(repeat=track.repeat * times, span=span)
    jump, wide = track.jump / track.repeat, int((high - low).max())
    center = track.center + (int(low[0]) + int(high[0])) / 2 * jump
    return Track(track.size + wide * jump, jump * taps.before / taps.after, center, taps.after, track.axis, span)


def _adapt(tracks: Sequence[Track | None], call: Call) -> Track:
    """Adaptive max pooling: windows of nearly equal size that cover the axis."""
    track = _meet(tracks)
    if track.axis is None or track.merged:
        return track.everything()
    n, m, jump = call.shapes[0][track.axis], call.shape[track.axis], track.jump / track.repeat
    windows = [range(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
    places, index = np.array([(i, unit) for i, window in enumerate(windows) for unit in window]).T
    ways = [len(window) - 1 for window in windows]
    span = spans.taken(track.span, places, index, m)
    return Track(track.size + max(ways) * jump, jump * n / m, track.center + ways[0] / 2 * jump, m, track.axis, span)


def _anywhere(tracks: Sequence[Track | None], call: Call) -> Track:
    """It may look anywhere."""
    return _meet(tracks).everything()


def _flip(tracks: Sequence[Track | None], call: Call) -> Track:
    """Read backwards: the first unit sees what the last one saw."""
    track = _meet(tracks)
    if track.axis is None or track.axis not in normalize_dims("flip", call.settings["dims"], call.shapes[0]):
        return track
    if track.merged:
        return track.everything()
    way = (track.places - 1) * track.jump
    return track._replace(center=track.center + way, jump=-track.jump, span=track.span[:, ::-1])


def _roll(tracks: Sequence[Track | None], call: Call) -> Track:
    """Moved along, what leaves at the end coming in at the start."""
    track, dims, shifts = _meet(tracks), call.settings.get("dims"), call.settings["shifts"]
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


def _so_far(tracks: Sequence[Track | None], call: Call) -> Track:
    """Each unit sees what it and all before it do."""
    track = _meet(tracks)
    if track.axis not in normalize_dims("cumsum", call.settings["dim"], call.shapes[0]):
        return track
    if track.merged:
        return track.everything()
    whole = track.everything()
    span = np.stack([np.minimum.accumulate(track.span[0]), np.maximum.accumulate(track.span[1])])
    return whole._replace(places=span.shape[1], axis=track.axis, span=span, jump=0)


def _view_windows(tracks: Sequence[Track | None], call: Call) -> Track:
    """Windows along one axis, whose elements are a new last axis: a unit stands for all of its window."""
    track, dim = _meet(tracks), call.settings["dim"]
    if track.axis != dim:
        return track
    if track.merged:
        return track.everything()
    return _slide(track, call.settings["size"], 1, call.settings["step"], 0, call.shape[dim])


def _along(tracks: Sequence[Track | None], call: Call) -> Track:
    """Each number of the result may depend on a whole line along `dim`, and in the other axes on its own place alone."""
    track, said = _meet(tracks), {**call.operation.form.defaults, **call.settings}  # type: ignore[attr-defined]
    dims = [said[key] for key in ("dim", "dims", "axis") if said.get(key) is not None]
    if track.axis is None or not dims or track.axis in normalize_dims(call.operation.__name__, dims[0], call.shapes[0]):
        return track.everything()
    return _alike(tracks, call)


def _declared(tracks: Sequence[Track | None], call: Call) -> Track:
    """What `@op(receptive_field=…)` says: the kernel, the stride and the padding of a window.

    Raises:
        ValueError: it says something else, or the result has other axes than the images.
    """
    track, operation, name = _meet(tracks), call.operation, call.operation.__name__
    settings = {**operation.form.defaults, **call.settings}  # type: ignore[attr-defined]
    said = operation.receptive_field(**settings)  # type: ignore[attr-defined]
    if not isinstance(said, (tuple, list)) or len(said) != 3:
        raise ValueError(f"{name}: its receptive_field must return (kernel, stride, padding), it returned {said!r}")
    if track.axis is None or track.merged:
        return track.everything()
    ndim = len(call.shape)
    if any(len(before) != ndim for before, found in zip(call.shapes, tracks) if found is not None):
        raise ValueError(
            f"{name}: receptive_field is for windows over images, but of {call.shapes} the operation makes {call.shape}; leave "
            "it out, and what its units see is reported as unknown"
        )
    kernel, stride, before = (
        operator.index(part if not isinstance(part, (tuple, list)) else part[track.axis - ndim]) for part in said
    )
    if kernel < 1 or stride < 1:
        raise ValueError(f"{name}: its receptive_field returned {said!r}: kernel and stride must be 1 or more")
    return _slide(track, kernel, 1, stride, before, call.shape[track.axis])


Rule: TypeAlias = Callable[[Sequence[Track | None], Call], Track]

RULES: dict[Callable[..., Any], Rule] = {
    conv._conv2d: _windows,
    pool._max_pool2d: _windows,
    pool._avg_pool2d: _windows,
    conv._grad_input: _spread,
    pool._spread_windows: _spread,
    windows._unfold: _unfold,
    padding._pad: _pad,
    join._cat: _cat,
    repeating.broadcast_to: _broadcast,
    shape.permute: _permute,
    shape.reshape: _reshape,
    indexing.getitem: _getitem,
    resampling._resample: _resample,
    pool._from_winners: _adapt,
    linear._linear: _product,
    product._matmul: _product,
    **dict.fromkeys((reduce.sum, reduce.mean, reduce.var, reduce.any, reduce.all, reduce.count_nonzero), _reduce),
    **dict.fromkeys((reduce.logsumexp, extremes.amax, extremes.amin, extremes.argmax, extremes.argmin), _reduce),
    extremes._length: _reduce,
    **dict.fromkeys((reduce.softmax, reduce.log_softmax, scan._index_so_far, order.argsort), _along),
    scan.cumsum: _so_far,
    repeating._windows: _view_windows,
    shape.flip: _flip,
    shape.roll: _roll,
    **dict.fromkeys((gathering.gather, gathering._collect, gathering._scatter), _along),
    **dict.fromkeys((batch_norm._batch_norm, batch_norm._normalise_by, batch_norm._affine), _alike),
    **dict.fromkeys((layer_norm._normalize_rows, response_norm._neighbours, dropout._drop), _alike),
    **dict.fromkeys((diagonals.tril, diagonals.triu, elementwise._choose), _alike),
    **dict.fromkeys((diagonals.diagonal, diagonals._on_diagonal, repeating._overlay), _anywhere),
    **dict.fromkeys((windows._fold, conv._grad_weight, pool._to_winners, indexing._put), _anywhere),
    **dict.fromkeys((order._median_of_all, order._index_of_median), _anywhere),
    **dict.fromkeys((classification._cross_entropy, classification._soft_cross_entropy), _anywhere),
    **dict.fromkeys((classification._pick, classification._place), _anywhere),
}
"""By the operation itself, for another may bear its name. An elementwise one needs no rule."""


def rule(operation: Any) -> Rule | None:
    """The rule for an operation; None where nothing is known of it."""
    if getattr(operation, "receptive_field", None) is not None:
        return _declared
    return RULES.get(operation) or (_alike if getattr(operation, "elementwise", False) else None)
