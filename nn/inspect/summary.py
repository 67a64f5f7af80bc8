"""A model layer by layer: shapes, parameters, multiply-adds, what a unit sees, memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

from microtensor.runtime.console import legible
from microtensor.runtime.integers import as_integer
from microtensor.runtime.text import branches, bytes_text, shape_text, sides_text, table

from ..layers.activation import PReLU
from ..layers.batch_norm import BatchNorm1d, BatchNorm2d
from ..layers.conv import Conv1d, Conv2d
from ..layers.conv_transpose import ConvTranspose2d
from ..layers.embedding import Embedding
from ..layers.group_norm import GroupNorm, InstanceNorm2d
from ..layers.layer_norm import LayerNorm
from ..layers.linear import Bilinear, Linear
from ..module import Module, Parameter
from .reach import Unknown
from .receptive_field import unknown_text
from .trace import Called, trace

WORDS: dict[type[Module], str] = {
    Conv1d: "kernels × (channels · length) + biases",
    Conv2d: "kernels × (channels · height · width) + biases",
    ConvTranspose2d: "channels × (kernels · height · width) + biases",
    Linear: "outputs × inputs + biases",
    Bilinear: "outputs × (inputs · inputs) + biases",
    Embedding: "words × numbers for each",
    BatchNorm1d: "scales and shifts",
    BatchNorm2d: "scales and shifts",
    LayerNorm: "scales and shifts",
    GroupNorm: "scales and shifts",
    InstanceNorm2d: "scales and shifts",
    PReLU: "slopes",
}
"""What the numbers of a formula stand for: in these layers, not in another class that bears such a name."""


@legible
class LayerRow(NamedTuple):
    """One call of a module. What the modules below it do is in their rows, not in its own, unless `depth` left them out."""

    name: str
    """The dotted name; empty for the model itself."""
    type: str
    """The class."""
    depth: int
    """How many modules it is below the model."""
    output_shape: Any
    """Without the batch axis; a tuple of shapes where the result is several tensors."""
    parameters: int
    """How many numbers it learns, or learned before it was frozen; 0 for those that an earlier row counts."""
    formula: str
    """How they come about, "16 × (3·3·3) + 16"; empty where there are none, "shared" where an earlier row counts them."""
    trainable_parameters: int
    """How many of these require a gradient; the others are frozen."""
    multiply_adds: int
    """For one sample."""
    receptive_field: tuple[float, ...] | None
    """Pixels of the input, along each axis, that one unit of the result depends on, padding included; None where none does,
    or where it is `unknown`."""
    jump: tuple[float | None, ...] | None
    """Pixels from one unit's field to its neighbour's; None where units have no neighbours along this axis any more."""
    sees_all: bool
    """Whether one unit depends on the whole input."""
    activation_bytes: int
    """Memory of what its operations computed for one sample, views not counted."""
    unknown: str = ""
    """The operation that says nothing of what it looks at, so that receptive_field and jump, None then, are unknown."""
    words: str = ""
    """What the numbers of the formula stand for, where the class is a layer of the library."""


@legible
class Summary:
    """What `summary` found: `print` it for the table, or take the numbers."""

    def __init__(
        self, title: str, rows: Sequence[LayerRow], parameters: Sequence[Parameter], unused: dict[str, int], buffers: int
    ):
        self.title, self.rows, self.unused, self.buffers = title, tuple(rows), unused, buffers
        self.total_parameters = sum(p.numel() for p in parameters)
        """All numbers in the parameters, each parameter once, also those that this input does not use."""
        self.trainable_parameters = sum(p.numel() for p in parameters if p.requires_grad)
        self.frozen_parameters = self.total_parameters - self.trainable_parameters
        self.weight_bytes = sum(p.nbytes for p in parameters)
        """Memory of the parameters."""
        self.multiply_adds = sum(row.multiply_adds for row in rows)
        """For one sample."""
        self.activation_bytes = sum(row.activation_bytes for row in rows)
        """Memory of all results, for one sample: what training has to keep, about."""

    def __repr__(self) -> str:
        header = ["layer", "output", "", "parameters", "trainable", "multiply-adds", "field", "jump", "memory"]
        lines = [_cells(row, branch) for row, branch in zip(self.rows, branches([row.depth for row in self.rows]))]
        sums = [f"{self.total_parameters:,}", "", f"{self.multiply_adds:,}", "", "", bytes_text(self.activation_bytes)]
        learned = f"{self.trainable_parameters:,} trainable, {self.frozen_parameters:,} frozen"
        notes = [f"parameters: {learned}; {bytes_text(self.weight_bytes)} of weights; {self.buffers:,} more numbers in buffers"]
        if self.unused:
            names = ", ".join(f"{name} ({count:,})" for name, count in self.unused.items())
            notes.append(f"not used by this input: {names}")
        kinds: dict[str, list[str]] = {}
        for kind, words in dict.fromkeys((row.type, row.words) for row in self.rows if row.parameters and row.words):
            kinds.setdefault(words, []).append(kind)
        notes += [f"{', '.join(alike)}: {words}" for words, alike in kinds.items()]
        notes.append("field: pixels of the input that a unit sees, per side; jump: from its field to the next unit's")
        notes += [unknown_text(operation) for operation in dict.fromkeys(row.unknown for row in self.rows if row.unknown)]
        notes.append("multiply-adds, memory (of what the operations computed): for one sample")
        body = table(header, [*lines, ["total", "", "", *sums]], left=(0, 1, 4), totals=1)
        return "\n".join([self.title, "", body, "", *notes])


def summary(model: Any, input_shape: Any, dtype: Any = None, depth: int | None = None) -> Summary:
    """Layer by layer what `model` computes for such an input: shapes, parameters, multiply-adds, receptive fields, memory.

    The model computes once, on zeros, in eval mode and without gradients; nothing of it is changed. What is counted is counted
    at the operations that run: a layer that is called twice costs twice, a function called in `forward` counts for the module
    whose `forward` it is, and a parameter counts where it is used first.

    Args:
        model: a Module.
        input_shape: of one sample, without the batch axis: (1, 28, 28) for images of one channel. A list of shapes where the
            model takes several inputs.
        dtype: of the input, "int64" for words; or a list with one for each. The model's own if None.
        depth: how many levels of modules get rows of their own; None: all. What is below counts for the row above.

    Returns:
        A `Summary`: prints as a table; `rows`, `total_parameters`, `multiply_adds`, `weight_bytes` and so on are the numbers.

    Raises:
        TypeError: `model` is no Module, `input_shape` is no shape, `depth` no integer.
        ValueError: the model cannot compute on such an input; the message says which layer cannot, and why; or
            `depth` is below 0.

    >>> from microtensor.nn import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential
    >>> found = summary(Sequential(Conv2d(3, 16, 3), ReLU(), MaxPool2d(2), Flatten(), Linear(16 * 15 * 15, 10)), (3, 32, 32))
    >>> [(row.type, row.formula, row.receptive_field) for row in found.rows if row.parameters]
    [('Conv2d', '16 × (3·3·3) + 16', (3, 3)), ('Linear', '10 × 3600 + 10', (32, 32))]
    >>> found.total_parameters, found.multiply_adds
    (36458, 424800)
    """
    if depth is not None:
        as_integer("summary", "depth", depth, least=0)
    watched = trace("summary", model, input_shape, dtype, depth)
    unused: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if id(parameter) not in watched.met:
            place = name.rpartition(".")[0] or name
            unused[place] = unused.get(place, 0) + parameter.numel()
    buffers = sum(buffer.numel() for buffer in model.buffers())
    title = f"{type(model).__name__} for {shape_text(input_shape)}"
    rows = [_row(call, watched.size) for call in watched.calls]
    return Summary(title, rows, list(model.parameters()), unused, buffers)


def formula(shapes: Sequence[tuple[int, ...]]) -> str:
    """How the number of parameters comes about: what each shape multiplies to, alike ones together.

    >>> formula([(16, 3, 3, 3), (16,)]), formula([(64,), (64,)]), formula([(10, 84), (10,)])
    ('16 × (3·3·3) + 16', '2 × 64', '10 × 84 + 10')
    """
    terms = []
    for shape, alike in groupby(shapes):
        first, *rest = shape or (1,)
        term = f"{first} × ({'·'.join(map(str, rest))})" if len(rest) > 1 else " × ".join(map(str, [first, *rest]))
        count = len(list(alike))
        terms.append(term if count == 1 else f"{count} × ({term})" if rest else f"{count} × {term}")
    return " + ".join(terms)


def _row(call: Called, size: Sequence[int]) -> LayerRow:
    found = formula([p.shape for p in call.parameters])
    parts = [found] if found else []
    unknown = call.reach.operation if isinstance(call.reach, Unknown) else ""
    reaches = None if isinstance(call.reach, Unknown) else call.reach
    return LayerRow(
        name=call.name,
        type=type(call.module).__name__,
        depth=call.depth,
        output_shape=call.shapes[0] if len(call.shapes) == 1 else tuple(call.shapes),
        parameters=sum(p.numel() for p in call.parameters),
        formula=", ".join(parts + (["shared"] if call.again else [])),
        trainable_parameters=sum(p.numel() for p in call.parameters if p.requires_grad),
        multiply_adds=call.multiply_adds,
        receptive_field=None if reaches is None else tuple(reach.size for reach in reaches),
        jump=None if reaches is None else tuple(reach.jump for reach in reaches),
        sees_all=bool(reaches) and all(field.low <= 0 and field.high >= n for field, n in zip(reaches or (), size)),
        activation_bytes=call.activation_bytes,
        unknown=unknown,
        words=WORDS.get(type(call.module), ""),
    )


# As text


def _cells(row: LayerRow, branch: str) -> list[str]:
    name, count = row.name.rpartition(".")[2], f"{row.parameters:,}"
    learned = {0: "frozen", row.parameters: "yes"}.get(row.trainable_parameters, "in part")
    short = row.formula if len(row.formula) <= 40 else row.formula[:39].rpartition(" + ")[0] + " + …"
    return [
        branch + (f"{name} {row.type}" if name else row.type),
        shape_text(row.output_shape),
        short + (" =" if row.parameters else ""),
        count if row.parameters else "",
        learned if row.parameters else "",
        f"{row.multiply_adds:,}" if row.multiply_adds else "",
        "unknown" if row.unknown else "all" if row.sees_all else sides_text(row.receptive_field),
        sides_text(row.jump),
        bytes_text(row.activation_bytes) if row.activation_bytes else "",
    ]
