"""How operations change receptive fields: a rule for each, applied along each axis of the image.

A rule gets, for each input of the operation, the track of its units along the axis (None for a constant, which does not depend
on the image), and returns the track of the units of the result. Those of operations that only move elements are in
receptive_field_shapes.py.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

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
    softmax,
)
from microtensor.ops.shape import normalize_dims

from ..layers import batch_norm, conv, dropout, layer_norm, linear, pool, pool_argmax, resampling, response_norm, windows
from ..losses import classification
from . import receptive_field_shapes as shape_rules
from . import receptive_field_spans as spans
from .receptive_field_track import Call, Track, slide, union


def _alike(tracks: Sequence[Track | None], call: Call) -> Track:
    """Elementwise. If the result has another shape than an input, its units are taken to depend on all of the input."""
    alike = all(shape == call.shape for shape, track in zip(call.shapes, tracks) if track is not None)
    track = union(tracks)
    return track if alike else track.everything()


def _windows(tracks: Sequence[Track | None], call: Call) -> Track:
    """Convolution and pooling: a window slides over the last two axes."""
    track, window = union(tracks), call.settings["window"]
    side = -1 if track.axis is None else track.axis - len(call.shapes[0]) + 2
    if side < 0 or track.merged:
        return track.everything() if track.merged else track
    kernel, dilation, before = window.kernel[side], window.dilation[side], window.padding[side][0]
    return slide(track, kernel, dilation, window.stride[side], before, call.shape[side - 2])


def _spread(tracks: Sequence[Track | None], call: Call) -> Track:
    """Transposed convolution: each unit is spread over a window; a unit of the result depends on those that cover it."""
    track, window = union(tracks), call.settings["window"]
    side = -1 if track.axis is None else track.axis - len(call.shapes[0]) + 2
    if side < 0 or track.merged:
        return track.everything() if track.merged else track
    stride, before = window.stride[side], window.padding[side][0]
    extent, places = (window.kernel[side] - 1) * window.dilation[side], call.shape[side - 2]
    jump = track.jump / track.repeat
    span = spans.spread(track.span, window.kernel[side], window.dilation[side], stride, before, places, jump)
    if extent < stride and before == 0 and places == track.places * track.repeat * stride:
        return track._replace(repeat=track.repeat * stride, span=span)
    first, last = math.ceil((before - extent) / stride), before // stride
    center = track.center + (first + last) / 2 * jump
    return Track(track.size + extent // stride * jump, jump / stride, center, places, track.axis, span)


def _unfold(tracks: Sequence[Track | None], call: Call) -> Track:
    """im2col: (N, C, H, W) → (N, C · kh · kw, H' · W')."""
    window = call.settings["window"]
    places = window.places("unfold", call.shapes[0][2:])
    track = _windows(tracks, call._replace(shape=(0, 0, *places)))
    return track if track.axis is None else track._replace(axis=2, merged=places[1] if track.axis == 2 else 1)


def _reduce(tracks: Sequence[Track | None], call: Call) -> Track:
    """Sums, means, maxima: over an axis of the image the result depends on all units along it."""
    track = union(tracks)
    dims = normalize_dims(call.operation.__name__, call.settings.get("dim"), call.shapes[0])
    if track.axis is None or track.axis in dims:
        return track.everything()
    return track if call.settings.get("keepdim") else track._replace(axis=track.axis - sum(dim < track.axis for dim in dims))


def _product(tracks: Sequence[Track | None], call: Call) -> Track:
    """Linear layers and matrix products: sums over the last axis of the first tensor, the last but one of the second."""
    track = union(tracks)
    second = call.operation is product._matmul and tracks[0] is None
    summed = len(call.shape) - 2 if second else len(call.shapes[0]) - 1
    both = call.operation is product._matmul and tracks[0] is not None and tracks[1] is not None
    return track.everything() if both or track.axis is None or track.axis == summed else track


def _resample(tracks: Sequence[Track | None], call: Call) -> Track:
    """Interpolation and adaptive average pooling: each unit is a weighted sum of some along the axis, listed in `Taps`."""
    track = union(tracks)
    taps = None if track.axis is None else call.settings[("down", "across")[track.axis - 2]]
    if taps is None or track.merged:
        return track.everything() if track.merged else track
    used = np.full(taps.place.shape, True) if taps.weight is None else taps.weight != 0
    low, high = np.full(taps.after, taps.before), np.zeros(taps.after, int)
    np.minimum.at(low, taps.place[used], taps.index[used])
    np.maximum.at(high, taps.place[used], taps.index[used])
    span = spans.gathered(track.span, taps.place[used], taps.index[used], taps.after)
    times = taps.after // taps.before
    if taps.after % taps.before == 0 and (low == np.arange(taps.after) // times).all() and (low == high).all():
        return track._replace(repeat=track.repeat * times, span=span)
    jump, wide = track.jump / track.repeat, int((high - low).max())
    center = track.center + (int(low[0]) + int(high[0])) / 2 * jump
    return Track(track.size + wide * jump, jump * taps.before / taps.after, center, taps.after, track.axis, span)


def _adapt(tracks: Sequence[Track | None], call: Call) -> Track:
    """Adaptive max pooling: windows of nearly equal size that cover the axis."""
    track = union(tracks)
    if track.axis is None or track.merged:
        return track.everything()
    n, m, jump = call.shapes[0][track.axis], call.shape[track.axis], track.jump / track.repeat
    windows = [range(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
    places, index = np.array([(i, unit) for i, window in enumerate(windows) for unit in window]).T
    extents = [len(window) - 1 for window in windows]
    span = spans.gathered(track.span, places, index, m)
    return Track(track.size + max(extents) * jump, jump * n / m, track.center + extents[0] / 2 * jump, m, track.axis, span)


def _anywhere(tracks: Sequence[Track | None], call: Call) -> Track:
    """Any unit may depend on all of the input."""
    return union(tracks).everything()


def _along(tracks: Sequence[Track | None], call: Call) -> Track:
    """Softmax, gather and so on: a unit may depend on all units along `dim`, and along other axes only on its own position."""
    track, settings = union(tracks), {**call.operation.form.defaults, **call.settings}  # type: ignore[attr-defined]
    dims = [settings[key] for key in ("dim", "dims", "axis") if settings.get(key) is not None]
    if track.axis is None or not dims or track.axis in normalize_dims(call.operation.__name__, dims[0], call.shapes[0]):
        return track.everything()
    return _alike(tracks, call)


def _declared(tracks: Sequence[Track | None], call: Call) -> Track:
    """An operation with `@op(receptive_field=…)`: that function returns the kernel, the stride and the padding of a window.

    Raises:
        ValueError: it returns something else, or the result has other axes than the input.
    """
    track, operation, name = union(tracks), call.operation, call.operation.__name__
    settings = {**operation.form.defaults, **call.settings}  # type: ignore[attr-defined]
    declared = operation.receptive_field(**settings)  # type: ignore[attr-defined]
    if not isinstance(declared, (tuple, list)) or len(declared) != 3:
        raise ValueError(f"{name}: its receptive_field must return (kernel, stride, padding), it returned {declared!r}")
    if track.axis is None or track.merged:
        return track.everything()
    ndim = len(call.shape)
    if any(len(before) != ndim for before, found in zip(call.shapes, tracks) if found is not None):
        raise ValueError(
            f"{name}: receptive_field is for windows over images, but of {call.shapes} the operation makes {call.shape}; leave "
            "it out, and what its units see is reported as unknown"
        )
    kernel, stride, before = (
        operator.index(part if not isinstance(part, (tuple, list)) else part[track.axis - ndim]) for part in declared
    )
    if kernel < 1 or stride < 1:
        raise ValueError(f"{name}: its receptive_field returned {declared!r}: kernel and stride must be 1 or more")
    return slide(track, kernel, 1, stride, before, call.shape[track.axis])


Rule: TypeAlias = Callable[[Sequence[Track | None], Call], Track]

RULES: dict[Callable[..., Any], Rule] = {
    conv._conv2d: _windows,
    pool._max_pool2d: _windows,
    pool._avg_pool2d: _windows,
    conv._grad_input: _spread,
    pool._avg_pool2d_grad: _spread,
    windows._unfold: _unfold,
    padding._pad: shape_rules.pad,
    join._cat: shape_rules.cat,
    repeating.broadcast_to: shape_rules.broadcast,
    shape.permute: shape_rules.permute,
    shape.reshape: shape_rules.reshape,
    indexing.getitem: shape_rules.getitem,
    resampling._resample: _resample,
    pool_argmax._gather_argmax: _adapt,
    linear._linear: _product,
    product._matmul: _product,
    **dict.fromkeys((reduce.sum, reduce.mean, reduce.var, reduce.any, reduce.all, reduce.count_nonzero), _reduce),
    **dict.fromkeys((reduce.logsumexp, extremes.amax, extremes.amin, extremes.argmax, extremes.argmin), _reduce),
    extremes._length: _reduce,
    **dict.fromkeys((softmax.softmax, softmax.log_softmax, scan._index_so_far, order.argsort), _along),
    scan.cumsum: shape_rules.cumsum,
    repeating._windows: shape_rules.view_windows,
    shape.flip: shape_rules.flip,
    shape.roll: shape_rules.roll,
    **dict.fromkeys((gathering.gather, gathering._collect, gathering._scatter), _along),
    **dict.fromkeys((batch_norm._batch_norm, batch_norm._normalise_by, batch_norm._affine), _alike),
    **dict.fromkeys((layer_norm._normalize_rows, response_norm._neighbours, dropout._drop), _alike),
    **dict.fromkeys((diagonals.tril, diagonals.triu, elementwise._choose), _alike),
    **dict.fromkeys((diagonals.diagonal, diagonals._on_diagonal, repeating._overlay), _anywhere),
    **dict.fromkeys((windows._fold, conv._grad_weight, pool_argmax._scatter_argmax, indexing._put), _anywhere),
    **dict.fromkeys((order._median_of_all, order._index_of_median), _anywhere),
    **dict.fromkeys((classification._cross_entropy, classification._soft_cross_entropy), _anywhere),
    **dict.fromkeys((classification._pick, classification._place), _anywhere),
}
"""Operation → rule. The keys are the operations themselves: names may occur twice. Elementwise operations need no entry."""


def rule(operation: Any) -> Rule | None:
    """The rule for an operation; None if nothing is known about it."""
    if getattr(operation, "receptive_field", None) is not None:
        return _declared
    return RULES.get(operation) or (_alike if getattr(operation, "elementwise", False) else None)
