"""A model layer by layer: shapes, parameters, multiply-adds, receptive fields, memory."""

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
from .receptive_field import unknown_text
from .receptive_field_tracker import Unknown
from .trace import Called, trace

FORMULA_WORDS: dict[type[Module], str] = {
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
"""What the factors of the parameter formula of a layer are."""


@legible
class LayerRow(NamedTuple):
    """One call of a module. The modules that it calls have rows of their own, unless they are deeper than `depth`."""

    name: str
    """The dotted name; empty for the model itself."""
    type: str
    """The class."""
    depth: int
    """How many modules it is below the model."""
    output_shape: Any
    """Without the batch axis; a tuple of shapes where the result is several tensors."""
    parameters: int
    """The number of elements of its parameters, also frozen ones; those that an earlier row counts are left out."""
    formula: str
    """How this number is computed: "16 × (3·3·3) + 16"; empty if there are none, "shared" if an earlier row counts them."""
    trainable_parameters: int
    """The number of these that require a gradient; the others are frozen."""
    multiply_adds: int
    """For one sample."""
    receptive_field: tuple[float, ...] | None
    """Its size along each axis, in pixels of the input, padding included; None if the result does not depend on the input, or
    it is `unknown`."""
    jump: tuple[float | None, ...] | None
    """Pixels from one unit's field to its neighbour's; None if units have no neighbours along this axis any more."""
    sees_all: bool
    """Whether one unit depends on the whole input."""
    activation_bytes: int
    """Memory of the results of its operations for one sample, without views."""
    unknown: str = ""
    """The operation for which there is no rule, so that receptive_field and jump are None; empty if there is none."""
    words: str = ""
    """What the factors of the formula are, if the class is a layer of this library."""


@legible
class Summary:
    """The result of `summary`: print it as a table, or use the numbers."""

    def __init__(
        self, title: str, rows: Sequence[LayerRow], parameters: Sequence[Parameter], unused: dict[str, int], buffers: int
    ):
        self.title, self.rows, self.unused, self.buffers = title, tuple(rows), unused, buffers
        self.total_parameters = sum(p.numel() for p in parameters)
        """The number of elements of all parameters, each counted once, also those that this input does not use."""
        self.trainable_parameters = sum(p.numel() for p in parameters if p.requires_grad)
        self.frozen_parameters = self.total_parameters - self.trainable_parameters
        self.weight_bytes = sum(p.nbytes for p in parameters)
        """Memory of the parameters."""
        self.multiply_adds = sum(row.multiply_adds for row in rows)
        """For one sample."""
        self.activation_bytes = sum(row.activation_bytes for row in rows)
        """Memory of all results, for one sample: about what training has to keep for the backward pass."""

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
    """A table of the layers of `model`: shapes, parameters, multiply-adds, receptive fields, memory.

    The model is called once, on zeros, in eval mode and without gradients, and is not changed. The numbers come from the
    operations that run: a layer that is called twice costs twice, a function called in `forward` counts for the module of that
    `forward`, and a parameter counts where it is used first.

    Args:
        model: a Module.
        input_shape: of one sample, without the batch axis: (1, 28, 28) for images with one channel. A list of shapes for
            several inputs.
        dtype: of the input, "int64" for indices of words; or a list with one per input. None: that of the model.
        depth: how many levels of modules get rows; None: all. Deeper modules count for the row above.

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
    traced = trace("summary", model, input_shape, dtype, depth)
    unused: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if id(parameter) not in traced.counted:
            place = name.rpartition(".")[0] or name
            unused[place] = unused.get(place, 0) + parameter.numel()
    buffers = sum(buffer.numel() for buffer in model.buffers())
    title = f"{type(model).__name__} for {shape_text(input_shape)}"
    rows = [_row(call, traced.size) for call in traced.calls]
    return Summary(title, rows, list(model.parameters()), unused, buffers)


def formula(shapes: Sequence[tuple[int, ...]]) -> str:
    """How the number of parameters is computed: the product of each shape, with equal ones together.

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
    unknown = call.fields.operation if isinstance(call.fields, Unknown) else ""
    fields = None if isinstance(call.fields, Unknown) else call.fields
    return LayerRow(
        name=call.name,
        type=type(call.module).__name__,
        depth=call.depth,
        output_shape=call.shapes[0] if len(call.shapes) == 1 else tuple(call.shapes),
        parameters=sum(p.numel() for p in call.parameters),
        formula=", ".join(parts + (["shared"] if call.again else [])),
        trainable_parameters=sum(p.numel() for p in call.parameters if p.requires_grad),
        multiply_adds=call.multiply_adds,
        receptive_field=None if fields is None else tuple(field.size for field in fields),
        jump=None if fields is None else tuple(field.jump for field in fields),
        sees_all=bool(fields) and all(field.low <= 0 and field.high >= n for field, n in zip(fields or (), size)),
        activation_bytes=call.activation_bytes,
        unknown=unknown,
        words=FORMULA_WORDS.get(type(call.module), ""),
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
