"""`trace_backward`: what a backward pass does, step by step."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from typing import Any, NamedTuple

from ..autograd.backward import Pass
from ..autograd.graph import Node, Origin, mode
from ..autograd.observers import Observer
from ..autograd.versions import inside
from ..io.files import whole_file
from ..runtime.arrays import Array, is_array
from ..runtime.console import legible
from ..runtime.scoped import Block, Entry
from ..runtime.text import bytes_text, kind_of, shape_text, table


class Step(NamedTuple):
    """One step: the gradient of one result is complete, and is passed on to the inputs of its operation."""

    number: int
    """Of the backward pass, from 1: a block may hold several."""
    operation: str
    """What computed the result; "leaf" where the gradient stays."""
    name: str
    """Of a leaf, where the model has one for it."""
    shape: tuple[int, ...]
    """Of the gradient, as of the result."""
    onward: tuple[tuple[int, ...], ...]
    """Shapes of the gradients that it is passed on as, one for each input that needs one."""
    norm: float
    """Of the gradient: the root of the sum of its squares."""
    gradient_bytes: int
    """Memory of all gradients at this step: this one, those still to be passed on, those in the leaves."""
    kept_bytes: int
    """Memory of the arrays of the forward pass that this derivative and those to come need; leaves, such as weights, not
    counted. What the graph has released is not counted either."""


@legible
class BackwardTrace(Observer):
    """What `trace_backward` logged: `print` it for a table, iterate over its steps, or write them to a file."""

    def __init__(self, names: Mapping[str, Node]) -> None:
        self.steps: list[Step] = []
        self._names = {id(origin): name for name, node in names.items() if (origin := node.origin) is not None}
        self._number = 0
        self._depth = 0
        """How many passes are running, each inside a derivative of the one before."""
        self._passed: Origin | None = None
        """The origin of the step before."""
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
            f"{len(self)} steps; at most {bytes_text(self.peak_bytes)} of gradients and arrays kept from the forward pass",
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

    def begin(self, what: Any, inputs: Any) -> None:
        """A backward pass begins: one inside a derivative, as of `checkpoint`, is part of its step."""
        self._depth += isinstance(what, Pass)

    def end(self, what: Any) -> None:
        """A backward pass has ended: hold nothing of it but its steps."""
        if isinstance(what, Pass):
            self._depth -= 1
            if not self._depth:
                self._passed = None
                self._needs.clear()

    def step(self, run: Pass, origin: Origin) -> None:
        """A backward pass is about to pass on the gradient of an origin."""
        if self._depth != 1:
            return
        if self._passed is None:
            self._begin_pass(run, origin)
        elif self._passed.sources is None:
            self._release(self._passed)
        self._passed = origin
        g, needed = run.gradients[origin], run.needed
        owners = [_owner(x._data) for x in (*run.gradients.values(), *run.found.values())]
        alive = {id(owner): owner.nbytes for owner in owners}
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

    def _begin_pass(self, run: Pass, first: Origin) -> None:
        """Find what every derivative of this pass needs. Arrays that several need are counted until the last has used them."""
        self._number += 1
        places = [place for place in (first, *run.order) if run.needed is None or place in run.needed]
        self._needs = {place: _needs(place, run.needed) for place in places}
        self._users = Counter(key for needs in self._needs.values() for key in needs)
        self._kept = sum({key: size for needs in self._needs.values() for key, size in needs.items()}.values())

    def _release(self, origin: Origin) -> None:
        for key, size in self._needs.pop(origin, {}).items():
            self._users[key] -= 1
            self._kept -= 0 if self._users[key] else size


class trace_backward(Block):
    """Log every backward pass inside: operation by operation, with shapes, the norm of the gradient, and memory.

    A step is one node of the graph, whose gradient is complete. The log shows where gradients vanish or explode, and how the
    memory of the forward pass is released while that of the gradients grows. Passes of `backward()` and of `grad()` in this
    thread are logged; one that runs inside a derivative, as after `checkpoint`, is part of its step. Each norm is read at once,
    on a GPU by waiting for it: use it to inspect, not to train.

    Args:
        model: a Module, or a dict of tensors by name: leaves then have the names of its parameters.

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
    4 steps; at most 20 B of gradients and arrays kept from the forward pass
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
        """The observers of this thread, and the log that becomes one more."""
        return mode.observers, self._trace

    def enter(self, entry: Entry) -> None:
        """The log observes too."""
        observers, trace = entry.before
        mode.observers = (*observers, trace)

    def leave(self, entry: Entry) -> None:
        """It observes no more."""
        mode.observers, _ = entry.before


def _shape(shape: tuple[int, ...]) -> str:
    return shape_text(shape) or "number"


def _norm(g: Node) -> float:
    """The norm, divided by the largest element first, so that squares neither overflow nor underflow."""
    if not g._data.size:
        return 0.0
    largest = float(abs(g._data).max())
    if largest == 0 or not 0 < largest < float("inf"):
        return largest
    part = g._data.astype("float64") / largest
    return largest * float((part * part).sum()) ** 0.5


def _owner(data: Array) -> Array:
    """The array that owns the memory of a view."""
    while is_array(data.base):
        data = data.base
    return data


def _needs(origin: Origin, needed: Set[Origin] | None) -> dict[int, int]:
    """The arrays that the vjps of an origin hold, by id, with their bytes; without those of leaves."""
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
