"""`trace_backward`: what a backward pass does, step by step."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from typing import Any, NamedTuple

from ..autograd.graph import Node, Origin, mode
from ..autograd.versions import inside
from ..io.files import whole_file
from ..runtime.arrays import Array, is_array
from ..runtime.console import legible
from ..runtime.scoped import Block, Entry
from ..runtime.text import bytes_text, kind_of, shape_text, table


class Step(NamedTuple):
    """One step: the gradient of one result is complete, and its operation hands it on to what the result was computed from."""

    number: int
    """Of the backward pass, from 1: a block may hold several."""
    operation: str
    """What computed the result; "leaf" where the gradient stays."""
    name: str
    """Of a leaf, where the model has one for it."""
    shape: tuple[int, ...]
    """Of the gradient, which is that of the result."""
    onward: tuple[tuple[int, ...], ...]
    """Shapes of the gradients that the operation makes of it, one for each input that needs one."""
    norm: float
    """Of the gradient: the root of the sum of its squares."""
    gradient_bytes: int
    """Memory of all gradients that there are at this moment: this one, those under way, those that stay in the leaves."""
    kept_bytes: int
    """Memory of the numbers from the forward pass that derivatives still to come, this one's included, need; leaves, such as
    weights, not counted. What the graph has released is gone."""


@legible
class BackwardTrace:
    """What `trace_backward` saw: `print` it for a table, iterate over its steps, or write them to a file."""

    def __init__(self, names: Mapping[str, Node]) -> None:
        self.steps: list[Step] = []
        self._names = {id(origin): name for name, node in names.items() if (origin := node.origin) is not None}
        self._number = 0
        self._order: list[Origin] | None = None
        self._passed: Origin | None = None
        self._needs: dict[Origin, dict[int, int]] = {}
        self._users: Counter[int] = Counter()
        self._kept = 0

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, i: int) -> Step:
        return self.steps[i]

    @property
    def peak_bytes(self) -> int:
        """The most memory that gradients and what derivatives need took together."""
        return max((step.gradient_bytes + step.kept_bytes for step in self.steps), default=0)

    def __repr__(self) -> str:
        several = len({step.number for step in self.steps}) > 1
        header = ["pass"] * several + ["operation", "gradient", "goes on to", "norm", "gradients", "kept"]
        lines = [
            [str(step.number)] * several
            + [
                f"{step.operation} {step.name}".strip(),
                _shape(step.shape),
                ", ".join(map(_shape, step.onward)) or "stays",
                f"{step.norm:.4g}",
                bytes_text(step.gradient_bytes),
                bytes_text(step.kept_bytes),
            ]
            for step in self.steps
        ]
        notes = [
            f"{len(self)} steps; at most {bytes_text(self.peak_bytes)} of gradients and numbers kept from the forward pass",
            "gradients: memory of all that there are at this step; kept: of what derivatives to come need, weights not counted",
        ]
        left = (several, several + 1, several + 2)
        return "\n".join([table(header, lines, left=left), "", *notes])

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one line per step under a line of names, whole or not at all. Shapes are written as 8×16×16.

        Raises:
            OSError: the folder does not exist, or the file cannot be written.
        """
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(Step._fields)
        for step in self.steps:
            writer.writerow(step._replace(shape=shape_text(step.shape), onward=shape_text(step.onward)))  # type: ignore[arg-type]
        with whole_file(path) as file:
            file.write(text.getvalue().encode())

    def watch(
        self,
        origin: Origin,
        g: Node,
        gradients: Mapping[Origin, Node],
        found: Mapping[Origin, Node],
        order: list[Origin],
        needed: Set[Origin] | None,
    ) -> None:
        """A backward pass is about to hand on the gradient of an origin.

        Args:
            gradients: those under way, by what they are for.
            found: those that stay.
            order: what comes after, last first.
            needed: what gradients flow through; None if through everything.
        """
        if order is not self._order:
            self._begin([place for place in (origin, *order) if needed is None or place in needed], order, needed)
        elif self._passed is not None and self._passed.sources is None:
            self._release(self._passed)
        self._passed = origin
        alive = {id(owner): owner.nbytes for x in (g, *gradients.values(), *found.values()) for owner in (_owner(x._data),)}
        self.steps.append(
            Step(
                number=self._number,
                operation="leaf" if origin.op is None else origin.op.__name__.lstrip("_"),
                name=self._names.get(id(origin), ""),
                shape=origin.shape,
                onward=tuple(parent.shape for parent, _ in origin.sources or () if needed is None or parent in needed),
                norm=_norm(g),
                gradient_bytes=sum(alive.values()),
                kept_bytes=self._kept,
            )
        )

    def _begin(self, places: list[Origin], order: list[Origin], needed: Set[Origin] | None) -> None:
        """Find what every derivative of this pass needs. Arrays that several need are counted until the last has had them."""
        self._order, self._number = order, self._number + 1
        self._needs = {place: _needs(place, needed) for place in places}
        self._users = Counter(key for needs in self._needs.values() for key in needs)
        self._kept = sum({key: size for needs in self._needs.values() for key, size in needs.items()}.values())

    def _release(self, origin: Origin) -> None:
        for key, size in self._needs.pop(origin, {}).items():
            self._users[key] -= 1
            self._kept -= 0 if self._users[key] else size


class trace_backward(Block):
    """Log every backward pass inside: operation by operation, with shapes, the norm of the gradient, and memory.

    A step is one node of the graph: its gradient is complete, for all that depends on it has been passed. The log shows where
    gradients vanish or explode, and how the memory of the forward pass is released while that of the gradients grows. Passes
    of `backward()` and of `grad()` are logged, those of this thread; one that runs inside a derivative, as after `checkpoint`,
    is part of its step. Each norm is read at once, on a GPU with a wait: use it to look, not to train.

    Args:
        model: a Module, or a dict of tensors by name: leaves then bear the names of its parameters.

    The block gives:
        A `BackwardTrace`: prints as a table; iterate over it for the steps; `to_csv(path)` writes them.

    Raises:
        TypeError: `model` is neither.

    >>> import microtensor as mt
    >>> x, w = mt.Tensor([3.0, 4.0]), mt.Tensor([1.0, 2.0], requires_grad=True)
    >>> with trace_backward({"w": w}) as trace:
    ...     ((w * x) ** 2).sum().backward()
    >>> print(trace)
    operation  gradient  goes on to   norm  gradients  kept
    ───────────────────────────────────────────────────────
    sum        number    2               1        4 B  16 B
    pow        2         2           1.414        4 B  16 B
    multiply   2         2           17.09        8 B   8 B
    leaf w     2         stays       66.48        8 B   0 B
    <BLANKLINE>
    4 steps; at most 20 B of gradients and numbers kept from the forward pass
    gradients: memory of all that there are at this step; kept: of what derivatives to come need, weights not counted
    """

    def __init__(self, model: Any = None) -> None:
        names = dict(model.named_parameters()) if hasattr(model, "named_parameters") else {} if model is None else model
        if not isinstance(names, Mapping) or not all(isinstance(node, Node) for node in names.values()):
            raise TypeError(f"trace_backward: expected a Module, or a dict of tensors by name, got {kind_of(model)}")
        self._names = names
        self._trace: BackwardTrace

    def __enter__(self) -> BackwardTrace:  # type: ignore[override]
        self._trace = trace = BackwardTrace(self._names)
        super().__enter__()
        return trace

    def now(self) -> Any:
        """Who is told of steps, and the log that is one more."""
        return mode.watchers, self._trace

    def enter(self, entry: Entry) -> None:
        """The log is told too."""
        watchers, trace = entry.before
        mode.watchers = (*watchers, trace.watch)

    def leave(self, entry: Entry) -> None:
        """It is told no more, and holds nothing but its steps."""
        mode.watchers, trace = entry.before
        trace._order = trace._passed = None
        trace._needs.clear()


def _shape(shape: tuple[int, ...]) -> str:
    return shape_text(shape) or "number"


def _norm(g: Node) -> float:
    """Over the largest first, so that squares neither overflow nor vanish."""
    if not g._data.size:
        return 0.0
    largest = float(abs(g._data).max())
    if largest == 0 or not 0 < largest < float("inf"):
        return largest
    part = g._data.astype("float64") / largest
    return largest * float((part * part).sum()) ** 0.5


def _owner(data: Array) -> Array:
    """The array whose memory a view shows."""
    while is_array(data.base):
        data = data.base
    return data


def _needs(origin: Origin, needed: Set[Origin] | None) -> dict[int, int]:
    """The arrays that the derivatives at one place of the graph hold, by id, with their bytes; those of leaves not."""
    found: dict[int, int] = {}
    visited: set[int] = set()
    stack: list[Any] = [vjp for parent, vjp in origin.sources or () if needed is None or parent in needed]
    if stack and origin.output is not None:
        stack.append(origin.output[0])
    while stack:
        value = stack.pop()
        if isinstance(value, Node):
            if value.origin is not None and value.is_leaf:
                continue
            value = value._data
        if is_array(value):
            owner = _owner(value)
            found[id(owner)] = owner.nbytes
        elif id(value) not in visited:
            visited.add(id(value))
            stack += inside(value)
    return found
