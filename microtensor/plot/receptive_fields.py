"""The geometry of receptive fields: triangles over a sequence, grids over an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..runtime.integers import is_integer
from ..runtime.text import shape_text, sides_text
from .style import BLUE, FAINT, INK, VERMILION, escaped, integer_ticks, new_figure, on_host

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..nn.inspect.receptive_field import Field
    from ..nn.module import Module

MAX_LENGTH = 100
"""Units of a sequence; more would overlap."""


class Layer(NamedTuple):
    """A module with windows (a convolution or a pooling) in a chain of modules."""

    field: Field
    """The receptive field of its units in the input."""
    module: Module
    before: tuple[int, ...]
    """The shape (C, …) of its input."""

    @property
    def title(self) -> str:
        """Its name and class."""
        return f"{self.field.name} {self.field.type}"


def receptive_field_triangles(model: Any, input_shape: Any, unit: int | None = None) -> Figure:
    """The receptive field of one unit of the last layer, layer by layer down to the sequence: a triangle.

    Each unit is drawn above the centre of its receptive field, with lines to the units below that it depends on. The lines come
    from gradients, the sizes from `nn.receptive_field`. With dilated kernels the lines spread, and the field grows faster.

    Args:
        model: modules that compute one after the other, such as a Sequential of `nn.Conv1d`. Modules without windows, such as
            ReLU, are not drawn.
        input_shape: (C, L), with L of at most 100.
        unit: of the last layer; None: the one in the middle.

    Raises:
        TypeError: `model` is not a Module, or `unit` not an integer.
        ValueError: the model has no windows over a sequence, does not compute its modules one after the other, or has no such
            unit.

    >>> from microtensor.nn import Conv1d, Sequential
    >>> figure = receptive_field_triangles(Sequential(Conv1d(1, 1, 3), Conv1d(1, 1, 3)), (1, 5))
    """
    who = "receptive_field_triangles"
    layers = _layers(who, model, input_shape, axes=1)
    length = layers[0].before[1]
    if length > MAX_LENGTH:
        raise ValueError(f"{who}: a sequence of {length} is too long to be drawn: take at most {MAX_LENGTH}")
    top = layers[-1].field
    at = top.output_shape[1] // 2 if unit is None else unit
    if not is_integer(at):
        raise TypeError(f"{who}: unit must be an integer, got {unit!r}")
    if not 0 <= at < top.output_shape[1]:
        raise ValueError(f"{who}: the last layer has the units 0 to {top.output_shape[1] - 1}, got {unit}")

    figure = new_figure(height=min(1.6 + 0.85 * len(layers), 9.0))
    axes = figure.subplots()
    low, high = top.of(int(at))[0]
    inputs = _draw_triangle(axes, layers, int(at), (low, high))
    integer_ticks(axes)
    axes.set_yticks(range(len(layers) + 1), ["input", *(escaped(layer.title) for layer in layers)], fontsize=11)
    sizes = [f"{inputs} inputs", *(f"field {sides_text(layer.field.size)}" for layer in layers)]
    for level, text in enumerate(sizes):
        axes.annotate(text, (1.01, level), xycoords=("axes fraction", "data"), fontsize=12, va="center")
    axes.set(xlim=(min(0, low) - 0.5, max(length, high) + 0.5), ylim=(-0.4, len(layers) + 0.4))
    axes.set_xlabel("position in the sequence: unit i lies between i and i + 1", fontsize=12)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    return figure


def _draw_triangle(axes: Axes, layers: Sequence[Layer], unit: int, box: tuple[float, float]) -> int:
    """The units of all layers, lines from `unit` of the last down to the inputs that it depends on; returns their number."""
    from matplotlib.patches import Polygon

    from ..nn.inspect.effective_field import seen_pixels

    left, right = [(box[0], 0.0)], [(box[1], 0.0)]  # the sides of the triangle
    used = {unit}
    for level in range(len(layers), 0, -1):
        layer, below = layers[level - 1], layers[level - 2].field if level > 1 else None
        _line_of_units(axes, level, [_center(layer.field, i) for i in range(layer.field.output_shape[1])], used)
        left.insert(1, (_center(layer.field, min(used)), level))
        right.insert(1, (_center(layer.field, max(used)), level))
        sources: set[int] = set()
        for i in used:
            paths = on_host(seen_pixels(layer.module, layer.before, "", (i,)))
            for j in np.flatnonzero(paths).tolist():
                ends = (_center(layer.field, i), _center(below, j))
                axes.plot(ends, (level, level - 1), color=BLUE, linewidth=1.2, zorder=1)
                sources.add(j)
        used = sources
    _line_of_units(axes, 0, [i + 0.5 for i in range(layers[0].before[1])], used)
    axes.add_patch(Polygon([*left, *right[::-1]], facecolor=BLUE, alpha=0.13, linewidth=0, zorder=0))
    return len(used)


def receptive_field_grids(model: Any, input_shape: Any) -> Figure:
    """The units of each layer on the image: the size, jump and first centre of their receptive fields, to scale.

    A dot is the centre of a unit's receptive field. The solid frame is the field of the first unit, the dashed frame that of
    its neighbour, one jump further. Parts outside the image are padding.

    Args:
        model: modules that compute one after the other, such as a Sequential of `nn.Conv2d`. Modules without windows, such as
            ReLU, are not drawn.
        input_shape: (C, H, W).

    Raises:
        TypeError: `model` is not a Module.
        ValueError: the model has no windows over an image, more than 12 layers of them, or does not compute its modules one
            after the other.

    >>> from microtensor.nn import Conv2d, Sequential
    >>> figure = receptive_field_grids(Sequential(Conv2d(1, 1, 3, 2, 1), Conv2d(1, 1, 3, 2, 1)), (1, 5, 5))
    """
    layers = _layers("receptive_field_grids", model, input_shape, axes=2)
    if len(layers) > 12:
        raise ValueError(f"receptive_field_grids: {len(layers)} layers are too many for a figure: take at most 12")
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
    figure.supxlabel("column (pixels): pixel i lies between i and i + 1; • centre of a receptive field", fontsize=11, color=INK)
    return figure


def _layers(who: str, model: Any, input_shape: Any, axes: int) -> list[Layer]:
    """The direct children of `model` with windows, in order.

    Raises:
        TypeError: it is not a Module.
        ValueError: there are none; or they are not computed one after the other, each from the result of the one before.
    """
    from ..nn.inspect.layer_outputs import check_model
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
            raise ValueError(f"{who}: the receptive field of {field.name!r} is {unknown_text(field.unknown)}")
        if len(field.output_shape) != 1 + axes or None in field.jump:
            break
        own = receptive_field(modules[field.name], shape)[0]
        alone = own.size or ()  # known, as the sizes of the whole are
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


def _center(field: Field | None, i: int) -> float:
    """The centre of the receptive field of unit i of a sequence; with no layer, of input i itself."""
    return i + 0.5 if field is None else sum(field.of(i)[0]) / 2


def _line_of_units(axes: Axes, level: int, places: Sequence[float], used: set[int]) -> None:
    """The units of a layer as dots at one height, filled for the units in `used`."""
    size = max(3.0, min(9.0, 300 / max(len(places), 1)))
    rest = [x for i, x in enumerate(places) if i not in used]
    axes.plot(rest, [level] * len(rest), "o", markersize=size, markerfacecolor="white", markeredgecolor=FAINT, zorder=2)
    full = [places[i] for i in sorted(used)]
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
    integer_ticks(axes)


def _units_on_image(axes: Axes, field: Field, boxes: Sequence[Any]) -> None:
    """The centres of all receptive fields, and the fields of the first two units."""
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
    axes.set_title(f"{escaped(field.name)} {field.type}: {rows}×{columns} units\n{facts}", fontsize=11)
