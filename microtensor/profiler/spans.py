"""How long operations take: a `Recorder` observes them, and notes a `Span` for each.

A span says when an operation began and ended, what ran inside it, what it read, wrote and multiplied. A backward pass is a span
too, and so is each of its steps, which begins where the gradient of a result is complete and ends where the next step begins.

A GPU computes asynchronously: the host's time is that of launching kernels. So a span also records two CUDA events in the GPU's
stream, one before and one after its work. Nobody waits for them: the profile reads them when it ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy import ndarray

from ..autograd.backward import Pass
from ..autograd.graph import Node, Origin
from ..autograd.observers import Observer
from ..runtime.arrays import device_of, is_array, on
from .costs import multiply_adds

PASS = "backward pass"
"""The name of its span."""

now: Callable[[], int] = time.perf_counter_ns
"""Nanoseconds."""


@dataclass(slots=True, eq=False)
class Span:
    """Some time of a thread: an operation, a backward pass, or a step of one."""

    name: str
    kind: str
    """"operation", "pass" or "step"."""
    of: Any
    """The operation, the pass, or the origin whose gradient is passed on; None once it has ended."""
    thread: tuple[int, str]
    """Identifier and name."""
    parent: Span | None
    """The span inside which it ran."""
    step: Span | None
    """The step of a backward pass that it is, or is part of."""
    layer: Any
    """The innermost module that was called; in a step, the one whose operation is differentiated. None outside of modules."""
    device: str
    began: int = 0
    ended: int = 0
    inner: int = 0
    """Nanoseconds of the spans directly inside."""
    read: int = 0
    """Bytes of an operation's inputs."""
    bytes: int = 0
    multiply_adds: int = 0
    marks: tuple[Any, ...] = ()
    """CUDA events, before and after its work in the GPU's stream."""
    depth: int = 0
    """Of a step: how many modules were being called when it began."""
    operations: int = 0
    """Of a step: how many operations ran inside."""
    passing: tuple[Any, list[Origin], Mapping[Origin, Any]] | None = None
    """Of a step: the gradient that it passes on, the inputs that it is for, and all gradients; None once it has ended."""

    @property
    def backward(self) -> bool:
        """Whether it ran in a backward pass, or is one."""
        span: Span | None = self
        while span is not None and span.kind == "operation":
            span = span.parent
        return span is not None


class Here(threading.local):
    """What each thread is in."""

    def __init__(self) -> None:
        self.layers: list[Any] = []
        """Modules that were called and have not returned, the innermost last: see `profile(model)`."""


here = Here()


class Stack(threading.local):
    """The spans of each thread that have begun and not ended, the innermost last."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.thread = (threading.get_ident(), threading.current_thread().name)


class Recorder(Observer):
    """Notes spans, of every thread that it observes."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        """Operations, backward passes and their steps, in the order in which they ended."""
        self._stack = Stack()

    def meet(self, device: str) -> None:
        """Something is about to run on this GPU."""

    def begin(self, what: Any, inputs: Sequence[Any]) -> None:
        """An operation, or a backward pass, begins."""
        arrays = [x._data if isinstance(x, Node) else x for x in inputs if isinstance(x, Node) or is_array(x)]
        if isinstance(what, Pass):
            self._begin(PASS, "pass", what, arrays)
            return
        span = self._begin(what.__name__.lstrip("_"), "operation", what, arrays)
        span.read = sum([data.nbytes for data in arrays])
        if span.step is not None:
            span.step.operations += 1

    def operation(self, operation: Any, inputs: Sequence[Any], settings: dict[str, Any], result: Node) -> None:
        """The operation has its result: count bytes and multiply-adds."""
        span = self._stack.spans[-1]
        if not any(x.assigned is result.assigned for x in inputs if isinstance(x, Node)):  # a view moves nothing
            span.bytes = span.read + result._data.nbytes
        span.multiply_adds = multiply_adds(operation, inputs, result)
        if result.origin is not None:
            result.origin.layer = span.layer

    def step(self, run: Pass, origin: Origin) -> None:
        """A gradient is about to be passed on: the step before has ended."""
        stack = self._stack.spans
        if stack and stack[-1].kind == "step":
            self._end(stack[-1])
        parents = [parent for parent, _ in origin.sources or () if run.needed is None or parent in run.needed]
        if origin.op is None or not parents:  # the gradient stays here
            return
        g = run.gradients[origin]
        span = self._begin(origin.op.__name__.lstrip("_"), "step", origin, [g._data])
        span.step, span.layer = span, origin.layer
        span.passing = g, parents, run.gradients
        span.depth = len(here.layers)

    def end(self, what: Any) -> None:
        """The operation, or the backward pass, has ended."""
        span = next((span for span in reversed(self._stack.spans) if span.of is what), None)
        if span is not None:
            self._end(span)

    def _begin(self, name: str, kind: str, of: Any, arrays: Sequence[Any]) -> Span:
        stack, layers = self._stack.spans, here.layers
        parent = stack[-1] if stack else None
        step = None if parent is None else parent.step
        layer = layers[-1] if layers else None
        if step is not None and len(layers) <= step.depth:  # else a checkpoint calls modules again
            layer = step.layer
        device = "cpu"
        for data in arrays:
            if type(data) is not ndarray:
                device = device_of(data)
                break
        span = Span(name, kind, of, self._stack.thread, parent, step, layer, device)
        if device != "cpu":
            self.meet(device)
            span.marks = (mark(device),)
        stack.append(span)
        span.began = now()
        return span

    def _end(self, span: Span) -> None:
        """It has ended, and so have the spans that began inside it and that an error left open."""
        stack = self._stack.spans
        while stack[-1] is not span:
            self._end(stack[-1])
        span.ended = now()
        if span.device != "cpu":
            span.marks += (mark(span.device),)
        if span.passing is not None and not span.operations:
            span.bytes = _passed_on(*span.passing)
        stack.pop()
        span.of = span.passing = None
        if span.parent is not None:
            span.parent.inner += span.ended - span.began
        self.spans.append(span)


def _passed_on(g: Any, parents: Sequence[Origin], gradients: Mapping[Origin, Any]) -> int:
    """Bytes of a step that worked on arrays, without operations: of its gradient, and of those that it computed."""
    found = [gradients[parent]._data for parent in parents if parent in gradients]
    made = {id(data): data.nbytes for data in found if data is not g._data and (data.base is None or data.base is not g._data)}
    return int(g._data.nbytes + sum(made.values())) if made else 0


def mark(device: str) -> Any:
    """A CUDA event in the stream of a GPU: it is reached when all work queued before it is done."""
    with on(device) as xp:
        event = xp.cuda.Event()
        event.record(xp.cuda.get_current_stream())
    return event
