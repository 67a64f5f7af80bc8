"""Where the units of a network lie, and what they see: the triangles of a sequence, the grids of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..runtime.integers import is_integer
from ..runtime.text import shape_text, sides_text
from .style import BLUE, FAINT, INK, VERMILION, host, new_figure, plain, whole_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..nn.inspect.receptive_field import Field
    from ..nn.module import Module

MOST_PLACES = 100
"""Of a line of units: more would run into each other."""


class Layer(NamedTuple):
    """A module with windows, among those that compute one after the other."""

    field: Field
    """What its units see of the input."""
    module: Module
    before: tuple[int, ...]
    """The shape (C, …) of what it takes."""

    @property
    def title(self) -> str:
        """Its name and class."""
        return f"{self.field.name} {self.field.type}"


def receptive_field_triangles(model: Any, input_shape: Any, unit: int | None = None) -> Figure:
    """A sequence and the layers above it, with all that one unit of the last layer sees of each: a triangle.

    Each unit stands above the middle of what it sees; lines lead to the units below that it depends on. Which they are is asked
    of the gradient, the sizes are those of `nn.receptive_field`. Where the kernels are dilated, the lines spread, and the
    field grows faster.

    Args:
        model: modules that compute one after the other, such as a Sequential of `nn.Conv1d`. Those without windows, such as
            ReLU, get no line of their own.
        input_shape: (C, L), with at most 100 places L.
        unit: of the last layer; the one in the middle if None.

    Raises:
        TypeError: `model` is no Module, or `unit` no integer.
        ValueError: the model has no windows over a sequence, does not compute its modules one after the other, or has no such
            unit.

    >>> from microtensor.nn import Conv1d, Sequential
    >>> figure = receptive_field_triangles(Sequential(Conv1d(1, 1, 3), Conv1d(1, 1, 3)), (1, 5))
    """
    who = "receptive_field_triangles"
    layers = _layers(who, model, input_shape, axes=1)
    length = layers[0].before[1]
    if length > MOST_PLACES:
        raise ValueError(f"{who}: {length} places are more than 800 pixels can show: take at most {MOST_PLACES}")
    top = layers[-1].field
    at = top.output_shape[1] // 2 if unit is None else unit
    if not is_integer(at):
        raise TypeError(f"{who}: unit must be an integer, got {unit!r}")
    if not 0 <= at < top.output_shape[1]:
        raise ValueError(f"{who}: the last layer has the units 0 to {top.output_shape[1] - 1}, got {unit}")

    from ..nn.inspect.effective_field import seen_pixels

    figure = new_figure(height=min(1.6 + 0.85 * len(layers), 9.0))
    axes = figure.subplots()
    from matplotlib.patches import Polygon

    low, high = top.of(int(at))[0]
    left, right = [(low, 0.0)], [(high, 0.0)]  # the borders of the triangle
    seen = {int(at)}
    for level in range(len(layers), 0, -1):
        layer, below = layers[level - 1], layers[level - 2].field if level > 1 else None
        _line_of_units(axes, level, [_place(layer.field, i) for i in range(layer.field.output_shape[1])], seen)
        left.insert(1, (_place(layer.field, min(seen)), level))
        right.insert(1, (_place(layer.field, max(seen)), level))
        reached: set[int] = set()
        for i in seen:
            ways = host(seen_pixels(layer.module, layer.before, "", (i,)))
            for j in np.flatnonzero(ways).tolist():
                axes.plot((_place(layer.field, i), _place(below, j)), (level, level - 1), color=BLUE, linewidth=1.2, zorder=1)
                reached.add(j)
        seen = reached
    _line_of_units(axes, 0, [i + 0.5 for i in range(length)], seen)
    axes.add_patch(Polygon([*left, *right[::-1]], facecolor=BLUE, alpha=0.13, linewidth=0, zorder=0))
    whole_ticks(axes)
    axes.set_yticks(range(len(layers) + 1), ["input", *(plain(layer.title) for layer in layers)], fontsize=11)
    for level, layer in enumerate(layers, 1):
        axes.annotate(
            f"field {sides_text(layer.field.size)}", (1.01, level), xycoords=("axes fraction", "data"), fontsize=12, va="center"
        )
    axes.annotate(f"{len(seen)} seen", (1.01, 0), xycoords=("axes fraction", "data"), fontsize=12, va="center")
    axes.set(xlim=(min(0, low) - 0.5, max(length, high) + 0.5), ylim=(-0.4, len(layers) + 0.4))
    axes.set_xlabel("place in the sequence: unit i lies between i and i + 1", fontsize=12)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    return figure


def receptive_field_grids(model: Any, input_shape: Any) -> Figure:
    """An image and, layer by layer, where on it the units lie: size, jump and first centre of their fields, as drawn.

    A dot stands in the middle of what each unit sees. The frame is the field of the first unit, the dashed one that of its
    neighbour, one jump further. What of it lies outside the image is padding.

    Args:
        model: modules that compute one after the other, such as a Sequential of `nn.Conv2d`. Those without windows, such as
            ReLU, get no picture of their own.
        input_shape: (C, H, W).

    Raises:
        TypeError: `model` is no Module.
        ValueError: the model has no windows over an image, more than 12 layers of them, or does not compute its modules one
            after the other.

    >>> from microtensor.nn import Conv2d, Sequential
    >>> figure = receptive_field_grids(Sequential(Conv2d(1, 1, 3, 2, 1), Conv2d(1, 1, 3, 2, 1)), (1, 5, 5))
    """
    layers = _layers("receptive_field_grids", model, input_shape, axes=2)
    if len(layers) > 12:
        raise ValueError(f"receptive_field_grids: {len(layers)} layers are more than one figure can show: take at most 12")
    size = layers[0].before[1:]
    boxes = [[layer.field.of(0, j) for j in range(min(2, layer.field.output_shape[2]))] for layer in layers]
    spans = [box[axis] for group in boxes for box in group for axis in (0, 1)]
    low, high = min(0.0, *(a for a, _ in spans)) - 0.5, max(float(max(size)), *(b for _, b in spans)) + 0.5
    columns = min(3, len(layers) + 1)
    rows = -(-(len(layers) + 1) // columns)
    figure = new_figure(height=rows * (7.2 / columns + 0.9) + 0.4)
    places = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axes in places[len(layers) + 1 :]:
        axes.set_axis_off()
    _image_grid(places[0], size, low, high)
    places[0].set_title(f"input: {shape_text(size)} pixels\n\n", fontsize=11)
    for axes, layer, group in zip(places[1:], layers, boxes):
        _image_grid(axes, size, low, high)
        _units_on_image(axes, layer.field, group)
    figure.supylabel("row (pixels)", fontsize=11, color=INK)
    figure.supxlabel("column (pixels): pixel i lies between i and i + 1; • middle of what a unit sees", fontsize=11, color=INK)
    return figure


def _layers(who: str, model: Any, input_shape: Any, axes: int) -> list[Layer]:
    """The modules with windows directly below `model`, in their order.

    Raises:
        TypeError: it is no Module.
        ValueError: there is none; or they are not computed one after the other, so that one's input is no other's result.
    """
    from ..nn.inspect.activations import check_model
    from ..nn.inspect.receptive_field import receptive_field, unknown_text

    check_model(who, model)
    fields = receptive_field(model, input_shape)
    modules, layers = dict(model.named_children()), []
    shape, jump = tuple(input_shape), (1.0,) * axes
    if len(shape) != 1 + axes:
        raise ValueError(f"{who}: input_shape must be {('(C, L)', '(C, H, W)')[axes - 1]}, got {input_shape}")
    size: tuple[float, ...] = jump
    for field in (row for row in fields if row.depth == 1):
        if field.size is None or field.jump is None:
            raise ValueError(f"{who}: what the units of {field.name!r} see is {unknown_text(field.unknown)}")
        if len(field.output_shape) != 1 + axes or None in field.jump:
            break
        own = receptive_field(modules[field.name], shape)[0]
        alone = own.size or ()  # known, for it was known of all
        expected = tuple(s + (o - 1) * j for s, o, j in zip(size, alone, jump))
        if own.output_shape != field.output_shape or expected != field.size:
            raise ValueError(
                f"{who}: {type(model).__name__} does not compute its modules one after the other: see {field.name!r}"
            )
        if any(n != 1 for n in alone) or own.jump != (1,) * axes:
            layers.append(Layer(field, modules[field.name], shape))
        shape, size = field.output_shape, field.size
        jump = tuple(float(j) for j in field.jump if j is not None)
    if not layers:
        what = ("a sequence", "an image")[axes - 1]
        raise ValueError(f"{who}: {type(model).__name__} has no modules with windows over {what} {shape_text(input_shape)}")
    return layers


def _place(field: Field | None, i: int) -> float:
    """The middle of what unit i of a line sees; of the input itself if there is no layer."""
    return i + 0.5 if field is None else sum(field.of(i)[0]) / 2


def _line_of_units(axes: Axes, level: int, places: Sequence[float], seen: set[int]) -> None:
    """Dots at one height: full ones for the units that are seen."""
    size = max(3.0, min(9.0, 300 / max(len(places), 1)))
    rest = [x for i, x in enumerate(places) if i not in seen]
    axes.plot(rest, [level] * len(rest), "o", markersize=size, markerfacecolor="white", markeredgecolor=FAINT, zorder=2)
    full = [places[i] for i in sorted(seen)]
    axes.plot(full, [level] * len(full), "o", markersize=size, color=BLUE, zorder=3)


def _image_grid(axes: Axes, size: Sequence[int], low: float, high: float) -> None:
    """The pixels of an image, with room for padding around it."""
    from matplotlib.patches import Rectangle

    height, width = size
    axes.add_patch(Rectangle((0, 0), width, height, facecolor="#f0f0f0", edgecolor=INK, linewidth=1.2, zorder=1))
    if max(size) <= 40:
        for i in range(1, height):
            axes.plot((0, width), (i, i), color="#bbbbbb", linewidth=0.7, zorder=1)
        for j in range(1, width):
            axes.plot((j, j), (0, height), color="#bbbbbb", linewidth=0.7, zorder=1)
    axes.set(xlim=(low, high), ylim=(high, low), aspect="equal")
    whole_ticks(axes)


def _units_on_image(axes: Axes, field: Field, boxes: Sequence[Any]) -> None:
    """The middles of all fields, and the first two fields."""
    from matplotlib.patches import FancyArrowPatch, Rectangle

    rows, columns = field.output_shape[1:]
    ys, xs = (c + np.arange(n) * (j or 0) for c, n, j in zip(field.center or (), (rows, columns), field.jump or ()))
    across, down = np.meshgrid(xs, ys)
    size = max(1.5, min(6.0, 150 / max(rows, columns)))
    axes.plot(across.reshape(-1), down.reshape(-1), "o", color=INK, markersize=size, zorder=3)
    for box, color, style in zip(boxes, (BLUE, VERMILION), ("-", "--")):
        (top, bottom), (left, right) = box
        frame: dict[str, Any] = {"fill": False, "edgecolor": color, "linestyle": style, "linewidth": 2.2, "zorder": 4}
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, **frame))
    if len(boxes) == 2:
        ends = ((xs[0], ys[0]), (xs[1], ys[0]))
        axes.add_patch(
            FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=14, color=INK, linewidth=1.4, shrinkB=2, zorder=5)
        )
    facts = f"field {sides_text(field.size)}, jump {sides_text(field.jump)}\nfirst centre {sides_text(field.center)}"
    axes.set_title(f"{plain(field.name)} {field.type}: {rows}×{columns} units\n{facts}", fontsize=11)
