"""Receptive fields measured by gradients: which pixels a unit depends on, and how strongly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runtime.text import kind_of, sides_text
from .style import FAINT, INK, WIDTH, escaped, integer_ticks, new_figure, on_host

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..nn.inspect.effective_field import EffectiveField
    from ..nn.module import Module


def gridding(models: Any, input_shape: Any, unit: Sequence[int] | None = None) -> Figure:
    """The pixels that a unit depends on, and the number of paths from each, for one network or several side by side.

    The darker a pixel, the more paths lead from it to the unit; a pixel without a path has a cross. Dilations with a common
    factor, such as 2-2-2, leave holes ("gridding"); 1-2-4 leaves none. Computed from gradients: see `nn.seen_pixels`.

    Args:
        models: a Module, or several by the names written above them: {"2-2-2": …, "1-2-4": …}; up to 6.
        input_shape: (C, H, W), the same for all.
        unit: (row, column) in the last layer; None: the one in the middle.

    Raises:
        TypeError: `models` is neither a Module nor a dict of them.
        ValueError: as `nn.seen_pixels`; or there are no models, or more than 6.

    >>> from microtensor.nn import Conv2d, Sequential
    >>> figure = gridding(Sequential(Conv2d(1, 1, 3, dilation=2), Conv2d(1, 1, 3, dilation=2)), (1, 9, 9))
    """
    from ..nn.module import Module

    named = _named("gridding", models, Module, "a Module")
    found = [(name, *_paths(model, input_shape, unit)) for name, model in named.items()]
    figure, places, columns = _panels([box for _, _, box in found], lines=2)
    for axes, (name, paths, box) in zip(places, found):
        (top, bottom), (left, right) = box
        part = paths[top:bottom, left:right] / paths.max()
        shown = axes.imshow(part, extent=(left, right, bottom, top), cmap="Blues", vmin=0, vmax=1.25, interpolation="nearest")
        holes = np.argwhere(part == 0)
        if len(holes):
            cell = min(WIDTH / columns, 5.0) * 72 / max(part.shape)
            axes.plot(
                *(holes[:, ::-1].T + [[left + 0.5], [top + 0.5]]), "x", color=FAINT, markersize=min(7, cell / 2.5), linestyle=""
            )
        title = f"{escaped(name)}\n" if name else ""
        axes.set_title(f"{title}depends on {part.size - len(holes):,} of {bottom - top}×{right - left} pixels", fontsize=11)
    bar = _label_and_bar(figure, places, columns, shown, ("×  none", "most"), "paths from the pixel to the unit")
    bar.ax.set_xlim(0, 1)
    return figure


def effective_field(fields: Any, k: float = 2.0) -> Figure:
    """The effective receptive field as a heat map inside the theoretical one, for one unit or several.

    The dashed frame is the theoretical receptive field, cut off far outside the image; the ellipse has the half-axes k · sigma,
    and the title gives the share of the map inside it.

    Args:
        fields: a result of `nn.effective_receptive_field`, or several by the names written above them; up to 6.
        k: standard deviations.

    Raises:
        TypeError: it is something else, or k is not a number.
        ValueError: there is nothing to draw, more than 6, or the inputs were not images; k is negative.

    >>> from microtensor.nn import Conv2d, Sequential, effective_receptive_field
    >>> net = Sequential(Conv2d(1, 1, 3), Conv2d(1, 1, 3))
    >>> figure = effective_field(effective_receptive_field(net, (1, 9, 9)))
    """
    from ..nn.inspect.effective_field import EffectiveField

    named = _named("effective_field", fields, EffectiveField, "a result of nn.effective_receptive_field")
    for name, found in named.items():
        if found.map.ndim != 2:
            raise ValueError(f"effective_field: {name or 'the map'} must be of an image (H, W), got {found.map.shape}")
    shares = [found.share(k) for found in named.values()]
    spans = [_spans(found) for found in named.values()]
    figure, places, columns = _panels(spans, lines=3)
    from matplotlib.patches import Ellipse, Rectangle

    for axes, (name, found), share, (rows, across) in zip(places, named.items(), shares, spans):
        heat, (height, width) = on_host(found.map).astype(np.float64), found.map.shape
        shown = axes.imshow(
            heat / heat.max(), extent=(0, width, height, 0), cmap="inferno", vmin=0, vmax=1, interpolation="nearest"
        )
        (top, bottom), (left, right) = found.box
        axes.set(xlim=across, ylim=rows[::-1], facecolor="#dddddd")
        frame: dict[str, Any] = {"fill": False, "linewidth": 2, "edgecolor": "white"}
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, **(frame | {"edgecolor": INK, "linewidth": 3.2})))
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, linestyle="--", **frame))
        (y, x), (sy, sx) = found.center, found.sigma
        axes.add_patch(Ellipse((x, y), 2 * k * sx, 2 * k * sy, **frame))
        lines = [escaped(name or found.field.name or found.field.type), f"receptive field {sides_text(found.field.size)}"]
        lines.append(f"{k:g} σ = {k * sy:.1f}×{k * sx:.1f} pixels: {share:.0%} of |gradient|")
        axes.set_title("\n".join(lines), fontsize=11)
    what = f"mean |gradient|; dashed: receptive field; ellipse: {k:g} σ; grey: padding"
    _label_and_bar(figure, places, columns, shown, ("0", "largest"), what)
    return figure


def _panels(spans: Sequence[Any], lines: int) -> tuple[Figure, Any, int]:
    """A figure with panels for images of ((top, bottom), (left, right)), under titles of `lines` lines; and its columns."""
    count, aspect = len(spans), max((bottom - top) / (right - left) for (top, bottom), (left, right) in spans)
    columns = min(3, count)
    rows = -(-count // columns)
    side = min((WIDTH - 0.4) / columns, 5.0)
    figure = new_figure(height=rows * (side * min(max(aspect, 0.3), 2.0) + 0.3 + 0.22 * lines) + 1.1)
    places = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axes in places[count:]:
        axes.set_axis_off()
    return figure, places, columns


def _label_and_bar(figure: Figure, places: Any, columns: int, shown: Any, ends: tuple[str, str], what: str) -> Any:
    """Label the axes of all panels, and add one colour bar for them, from 0 to 1; returns the bar."""
    for i, axes in enumerate(places):
        integer_ticks(axes)
        axes.set_xlabel("column (pixels)", fontsize=11)
        if i % columns == 0:
            axes.set_ylabel("row (pixels)", fontsize=11)
    bar = figure.colorbar(shown, ax=list(places), orientation="horizontal", fraction=0.04, ticks=(0, 1), aspect=30, shrink=0.5)
    bar.ax.set_xticklabels(ends, fontsize=11)
    bar.ax.set_xlabel(what, fontsize=11)
    return bar


def _spans(found: EffectiveField) -> list[tuple[float, float]]:
    """The part of the field that is drawn along each axis: outside the image at most 0.3 of its longer side."""
    sides = found.map.shape
    outside, margin = 0.3 * max(sides), 0.01 * max(sides)
    return [
        (max(min(0, low), -outside) - margin, min(max(n, high), n + outside) + margin)
        for (low, high), n in zip(found.box, sides)
    ]


def _named(who: str, value: Any, kind: type[Any], words: str) -> dict[str, Any]:
    """A dict by name, of a single thing or several."""
    named = {"": value} if isinstance(value, kind) else dict(value) if isinstance(value, Mapping) else None
    if named is None or not all(isinstance(one, kind) for one in named.values()):
        raise TypeError(f"{who}: expected {words}, or a dict of them by name, got {kind_of(value)}")
    if not 0 < len(named) <= 6:
        raise ValueError(f"{who}: a figure shows 1 to 6 of them, got {len(named)}")
    return {str(name): one for name, one in named.items()}


def _paths(model: Module, input_shape: Any, unit: Sequence[int] | None) -> tuple[Any, list[tuple[int, int]]]:
    """The number of paths from each pixel to a unit, and its receptive field inside the image."""
    from ..nn.inspect.effective_field import asked, seen_pixels

    field, place, shape = asked("gridding", model, input_shape, None, unit)
    paths = on_host(seen_pixels(model, input_shape, field.name, place))
    if paths.ndim != 2:
        raise ValueError(f"gridding: input_shape must be (C, H, W), got {input_shape}")
    return paths, [(max(0, math.floor(low)), min(n, math.ceil(high))) for (low, high), n in zip(field.of(*place), shape[1:])]
