"""Which pixels a unit depends on, layer by layer."""

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
    """What the units of one layer see, in pixels along each axis of the input. Pixel i lies between i and i + 1."""

    name: str
    """The dotted name of the module; empty for the model itself."""
    type: str
    depth: int
    """How many modules it is below the model."""
    output_shape: Any
    size: tuple[float, ...] | None
    """Of a unit's field, padding included: the receptive field. None where it is unknown, as are jump and center then."""
    jump: tuple[float | None, ...] | None
    """From a unit's field to its neighbour's; None where units have no neighbours along this axis any more."""
    center: tuple[float, ...] | None
    """Of the first unit's field."""
    spans: tuple[Any, ...] = ()
    """Along each axis None where the three numbers say it all; where fields differ from unit to unit, an array (2, units) of
    where each begins and ends; of no units where several axes were made one, so that none has a place along this one."""
    axes: tuple[int | None, ...] = ()
    """Along which axis of the layer's result the units of each axis of the image are; None if along none any more."""
    unknown: str = ""
    """The operation that says nothing of what it looks at, so that what units see is unknown from there on; empty if none."""

    def of(self, *unit: int) -> list[tuple[float, float]]:
        """The pixels that one unit sees, as (from, to) along each axis; what is below 0 or beyond the image is padding.

        That of the unit itself: behind an interpolation or an adaptive pooling, fields differ from unit to unit, and `size`,
        `jump` and `center` say what they are at most and in the mean.

        Args:
            unit: its place in the layer's maps: (row, column) for images, 0 along an axis that is gone. Where a layer exchanges
                the axes, the row is that of its result. One before the first, or behind the last, is a unit of the padding.

        Raises:
            ValueError: there is another number of axes, or what units see is unknown, or several axes were made one.
        """
        if self.size is None or self.jump is None or self.center is None:
            raise ValueError(
                f"receptive_field: what the units of {self.name or self.type} see is unknown, for the operation "
                f"`{self.unknown}` does not say what it looks at: @op(elementwise=True), or @op(receptive_field=...)"
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
    """Why what units see is unknown, and what to do."""
    return (
        f"unknown: the operation `{operation}` does not say what it looks at: @op(elementwise=True) if each number depends on "
        "its own place alone, else @op(receptive_field=...)"
    )


@legible
class Fields:
    """What `receptive_field` found: `print` it for the table, iterate over its rows, or ask for one by its name."""

    def __init__(self, title: str, rows: list[Field]) -> None:
        self.title, self.rows = title, tuple(rows)

    def __iter__(self) -> Iterator[Field]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str | int) -> Field:
        """The row of this number, or the first of the module of this name.

        Raises:
            KeyError: no such module computed.
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
    """How large a patch of the input a unit of each layer depends on, how far apart the patches are, and where the first is.

    Found at the operations, as `summary` counts: of any model, with branches, dilation and functions called in `forward`.
    The statistics that normalisation takes of whole images are not counted. A unit of a linear layer, and of a global
    pooling, sees what all that went in do. Behind an operation of your own it is unknown, unless the operation says what it
    looks at: by `@op(elementwise=True)` or `@op(receptive_field=…)`.

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
        if isinstance(call.reach, Unknown):
            rows.append(Field(*layer, None, None, None, unknown=call.reach.operation))
        else:
            size, jump, center, span, axes = (
                tuple(getattr(r, name) for r in call.reach or ()) for name in ("size", "jump", "center", "span", "axis")
            )
            rows.append(Field(*layer, size, jump, center, span, axes))
    return Fields(f"{type(model).__name__} for {shape_text(input_shape)}", rows)
