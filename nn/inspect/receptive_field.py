"""Receptive fields: which pixels a unit of each layer depends on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from microtensor.runtime.console import legible
from microtensor.runtime.text import branches, shape_text, sides_text, table

from . import receptive_field_spans as spans
from .receptive_field_tracker import Unknown
from .trace import trace


class Field(NamedTuple):
    """The receptive fields of one layer, in pixels along each axis of the input. Pixel i lies between i and i + 1."""

    name: str
    """The dotted name of the module; empty for the model itself."""
    type: str
    depth: int
    """How many modules it is below the model."""
    output_shape: Any
    size: tuple[float, ...] | None
    """Of a unit's field, padding included. None if it is unknown, as are jump and center then."""
    jump: tuple[float | None, ...] | None
    """From the centre of a unit's field to that of its neighbour; None if units have no neighbours along this axis."""
    center: tuple[float, ...] | None
    """Of the first unit's field."""
    spans: tuple[Any, ...] = ()
    """Along each axis None if the three numbers describe all fields; an array (2, units) with the start and the end of each, if
    these differ from unit to unit; (2, 0) if a reshape merged several axes, so that units have no position along this one."""
    axes: tuple[int | None, ...] = ()
    """For each axis of the image, the axis of the layer's result along which its units are; None if there is none any more."""
    unknown: str = ""
    """The operation for which there is no rule, so that receptive fields are unknown from there on; empty if there is none."""

    def of(self, *unit: int) -> list[tuple[float, float]]:
        """The receptive field of one unit, as (from, to) along each axis; below 0 and beyond the image is padding.

        It is exact for this unit. After an interpolation or an adaptive pooling fields differ from unit to unit; then `size`
        is the largest, and `jump` the mean.

        Args:
            unit: its position in the layer's feature map: (row, column) for images, 0 along an axis that is gone. If a layer
                exchanges the axes, the row is that of its result. Positions outside are units of the padding.

        Raises:
            ValueError: the number of axes is another, the fields are unknown, or a reshape merged several axes.
        """
        if self.size is None or self.jump is None or self.center is None:
            raise ValueError(
                f"receptive_field: what the units of {self.name or self.type} see is unknown, for the operation "
                f"`{self.unknown}` does not declare its receptive field: @op(elementwise=True), or @op(receptive_field=...)"
            )
        if len(unit) != len(self.size):
            raise ValueError(
                f"receptive_field: {self.name or self.type} has {len(self.size)} axes of the input, got unit {unit}"
            )
        found = []
        place = dict(enumerate(unit, 2))
        for k, (size, jump, center, span) in enumerate(zip(self.size, self.jump, self.center, self.spans)):
            axis = self.axes[k]
            i = unit[k] if axis is None or {*self.axes} != {*place} else place[axis]
            if span is None:
                middle = center + i * (jump or 0)
                found.append((middle - size / 2, middle + size / 2))
            elif span.shape[1] == 0:
                raise ValueError(
                    f"receptive_field: the units of {self.name or self.type} lie in a row that was made of several axes: they "
                    "have no place along these; ask the layer before it"
                )
            else:
                low, high = spans.at(span, np.array([i]), jump or 0)[:, 0]
                found.append((float(low), float(high)))
        return found


def unknown_text(operation: str) -> str:
    """Why the receptive field is unknown, and what to do."""
    return (
        f"unknown: the operation `{operation}` does not declare its receptive field: @op(elementwise=True) if each element "
        "depends on its own position alone, else @op(receptive_field=...)"
    )


@legible
class Fields:
    """The result of `receptive_field`: print it as a table, iterate over its rows, or get one by the name of its module."""

    def __init__(self, title: str, rows: list[Field]) -> None:
        self.title, self.rows = title, tuple(rows)

    def __iter__(self) -> Iterator[Field]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str | int) -> Field:
        """The row with this index, or the first of the module with this name.

        Raises:
            KeyError: no module of this name was called.
        """
        if not isinstance(name, str):
            return self.rows[name]
        found = next((row for row in self.rows if row.name == name), None)
        if found is None:
            raise KeyError(f"receptive_field: no module {name!r} among {', '.join(row.name for row in self.rows if row.name)}")
        return found

    def __repr__(self) -> str:
        lines = [
            [
                branch + f"{row.name.rpartition('.')[2]} {row.type}".strip(),
                shape_text(row.output_shape),
                *(["unknown", "", ""] if row.unknown else map(sides_text, (row.size, row.jump, row.center))),
            ]
            for row, branch in zip(self.rows, branches([row.depth for row in self.rows]))
        ]
        text = f"{self.title}\n\n" + table(["layer", "output", "field", "jump", "first centre"], lines, left=(0, 1))
        silent = dict.fromkeys(row.unknown for row in self.rows if row.unknown)
        return text + "".join(f"\n\n{unknown_text(operation)}" for operation in silent)


def receptive_field(model: Any, input_shape: Any, dtype: Any = None) -> Fields:
    """The receptive field of the units of each layer: its size, the jump from one to the next, the centre of the first.

    Computed from the operations that run, so it works for any model, with branches, dilation and functions called in
    `forward` (Araujo, Norris & Sim 2019, distill.pub/2019/computing-receptive-fields). The statistics of normalisation layers
    are not counted. Units of a linear layer or of a global pooling depend on all of their input. After an operation of your own
    the field is unknown, unless it is declared by `@op(elementwise=True)` or `@op(receptive_field=…)`.

    Args:
        model: a Module.
        input_shape: of one sample, without the batch axis: (3, 224, 224) for colour images.

    Raises:
        TypeError, ValueError: as `summary`.

    >>> from microtensor.nn import Conv2d, Sequential
    >>> net = Sequential(Conv2d(1, 1, 3, stride=2, padding=1), Conv2d(1, 1, 3, stride=2, padding=1))
    >>> print(receptive_field(net, (1, 5, 5)))
    Sequential for 1×5×5
    <BLANKLINE>
    layer       output  field  jump  first centre
    ─────────────────────────────────────────────
    Sequential  1×2×2       7     4           0.5
    ├ 0 Conv2d  1×3×3       3     2           0.5
    └ 1 Conv2d  1×2×2       7     4           0.5
    >>> receptive_field(net, (1, 5, 5))["1"].of(0, 1)
    [(-3.0, 4.0), (1.0, 8.0)]
    """
    rows = []
    for call in trace("receptive_field", model, input_shape, dtype).calls:
        shapes = call.shapes[0] if len(call.shapes) == 1 else tuple(call.shapes)
        layer = (call.name, type(call.module).__name__, call.depth, shapes)
        if isinstance(call.fields, Unknown):
            rows.append(Field(*layer, None, None, None, unknown=call.fields.operation))
        else:
            size, jump, center, span, axes = (
                tuple(getattr(r, name) for r in call.fields or ()) for name in ("size", "jump", "center", "span", "axis")
            )
            rows.append(Field(*layer, size, jump, center, span, axes))
    return Fields(f"{type(model).__name__} for {shape_text(input_shape)}", rows)
