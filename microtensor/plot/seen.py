"""Which pixels a unit sees, and how much each of them matters to it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runtime.text import kind_of, sides_text
from .style import FAINT, INK, WIDTH, host, new_figure, plain, whole_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..nn.inspect.effective_field import EffectiveField
    from ..nn.module import Module


def gridding(models: Any, input_shape: Any, unit: Sequence[int] | None = None) -> Figure:
    """Which pixels of its field a unit sees, and by how many ways, for one network or several side by side.

    A pixel is the darker, the more ways lead from it to the unit; one that is not seen has a cross. Dilations that share a
    factor, such as 2-2-2, leave holes ("gridding"); 1-2-4 leave none. Asked of the gradient: see `nn.seen_pixels`.

    Args:
        models: a Module, or several by the names that are to stand above their pictures: {"2-2-2": …, "1-2-4": …}; up to 6.
        input_shape: (C, H, W), the same for all.
        unit: (row, column) in the last layer; the one in the middle if None.

    Raises:
        TypeError: `models` is no Module, and no dict of them.
        ValueError: as `nn.seen_pixels`; or there are no models, or more than 6.

    >>> from microtensor.nn import Conv2d, Sequential
    >>> figure = gridding(Sequential(Conv2d(1, 1, 3, dilation=2), Conv2d(1, 1, 3, dilation=2)), (1, 9, 9))
    """
    from ..nn.module import Module

    named = _named("gridding", models, Module, "a Module")
    found = [(name, *_seen(model, input_shape, unit)) for name, model in named.items()]
    figure, places, columns = _panels([box for _, _, box in found], lines=2)
    for axes, (name, ways, box) in zip(places, found):
        (top, bottom), (left, right) = box
        part = ways[top:bottom, left:right] / ways.max()
        shown = axes.imshow(part, extent=(left, right, bottom, top), cmap="Blues", vmin=0, vmax=1.25, interpolation="nearest")
        holes = np.argwhere(part == 0)
        if len(holes):
            cell = min(WIDTH / columns, 5.0) * 72 / max(part.shape)
            axes.plot(
                *(holes[:, ::-1].T + [[left + 0.5], [top + 0.5]]), "x", color=FAINT, markersize=min(7, cell / 2.5), linestyle=""
            )
        title = f"{plain(name)}\n" if name else ""
        axes.set_title(f"{title}sees {part.size - len(holes):,} of {bottom - top}×{right - left} pixels", fontsize=11)
    bar = _labelled(figure, places, columns, shown, ("×  not seen", "most"), "ways from the pixel to the unit")
    bar.ax.set_xlim(0, 1)
    return figure


def effective_field(fields: Any, k: float = 2.0) -> Figure:
    """How much each pixel matters to a unit, as a heat map, beside what it could see: for one unit or several.

    The dashed frame is the theoretical receptive field, cut off where it is far outside the image; the ellipse has the
    half-axes k · sigma, and above stands which share of the map lies in it.

    Args:
        fields: what `nn.effective_receptive_field` found; or several by the names that are to stand above; up to 6.
        k: standard deviations.

    Raises:
        TypeError: it is something else, or k is no number.
        ValueError: there is nothing to draw, more than 6, or the inputs were no images; k is negative.

    >>> from microtensor.nn import Conv2d, Sequential, effective_receptive_field
    >>> net = Sequential(Conv2d(1, 1, 3), Conv2d(1, 1, 3))
    >>> figure = effective_field(effective_receptive_field(net, (1, 9, 9)))
    """
    from ..nn.inspect.effective_field import EffectiveField

    named = _named("effective_field", fields, EffectiveField, "what nn.effective_receptive_field found")
    for name, found in named.items():
        if found.map.ndim != 2:
            raise ValueError(f"effective_field: {name or 'the map'} must be of an image (H, W), got {found.map.shape}")
    shares = [found.share(k) for found in named.values()]
    spans = [_shown(found) for found in named.values()]
    figure, places, columns = _panels(spans, lines=3)
    from matplotlib.patches import Ellipse, Rectangle

    for axes, (name, found), share, (rows, across) in zip(places, named.items(), shares, spans):
        heat, (height, width) = host(found.map).astype(np.float64), found.map.shape
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
        lines = [plain(name or found.field.name or found.field.type), f"field {sides_text(found.field.size)}"]
        lines.append(f"{k:g} σ = {k * sy:.1f}×{k * sx:.1f} pixels: {share:.0%}")
        axes.set_title("\n".join(lines), fontsize=11)
    what = f"mean |gradient|; dashed: field; ellipse: {k:g} σ; grey: padding"
    _labelled(figure, places, columns, shown, ("0", "largest"), what)
    return figure


def _panels(spans: Sequence[Any], lines: int) -> tuple[Figure, Any, int]:
    """A figure with places for pictures of ((top, bottom), (left, right)), under titles of so many lines; and its columns."""
    count, aspect = len(spans), max((bottom - top) / (right - left) for (top, bottom), (left, right) in spans)
    columns = min(3, count)
    rows = -(-count // columns)
    side = min((WIDTH - 0.4) / columns, 5.0)
    figure = new_figure(height=rows * (side * min(max(aspect, 0.3), 2.0) + 0.3 + 0.22 * lines) + 1.1)
    places = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axes in places[count:]:
        axes.set_axis_off()
    return figure, places, columns


def _labelled(figure: Figure, places: Any, columns: int, shown: Any, ends: tuple[str, str], what: str) -> Any:
    """Names the axes of the pictures, and adds the colour bar of one of them for all, from 0 to 1; returns it."""
    for i, axes in enumerate(places):
        whole_ticks(axes)
        axes.set_xlabel("column (pixels)", fontsize=11)
        if i % columns == 0:
            axes.set_ylabel("row (pixels)", fontsize=11)
    bar = figure.colorbar(shown, ax=list(places), orientation="horizontal", fraction=0.04, ticks=(0, 1), aspect=30, shrink=0.5)
    bar.ax.set_xticklabels(ends, fontsize=11)
    bar.ax.set_xlabel(what, fontsize=11)
    return bar


def _shown(found: EffectiveField) -> list[tuple[float, float]]:
    """What of the field is drawn along each axis: beyond the image no more than three tenths of its size."""
    sides = found.map.shape
    room, little = 0.3 * max(sides), 0.01 * max(sides)
    return [
        (max(min(0, low), -room) - little, min(max(n, high), n + room) + little) for (low, high), n in zip(found.box, sides)
    ]


def _named(who: str, value: Any, kind: type[Any], words: str) -> dict[str, Any]:
    """One thing, or several by name."""
    named = {"": value} if isinstance(value, kind) else dict(value) if isinstance(value, Mapping) else None
    if named is None or not all(isinstance(one, kind) for one in named.values()):
        raise TypeError(f"{who}: expected {words}, or a dict of such by name, got {kind_of(value)}")
    if not 0 < len(named) <= 6:
        raise ValueError(f"{who}: a figure shows 1 to 6 of them, got {len(named)}")
    return {str(name): one for name, one in named.items()}


def _seen(model: Module, input_shape: Any, unit: Sequence[int] | None) -> tuple[Any, list[tuple[int, int]]]:
    """The ways from each pixel to a unit, and its field inside the image."""
    from ..nn.inspect.effective_field import asked, seen_pixels

    field, place, shape = asked("gridding", model, input_shape, None, unit)
    ways = host(seen_pixels(model, input_shape, field.name, place))
    if ways.ndim != 2:
        raise ValueError(f"gridding: input_shape must be (C, H, W), got {input_shape}")
    return ways, [(max(0, math.floor(low)), min(n, math.ceil(high))) for (low, high), n in zip(field.of(*place), shape[1:])]
