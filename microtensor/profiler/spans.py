"""How long operations take: what `profile` is told by the operations and by the backward pass.

While `profiles` is empty, an operation pays for this with one look at an empty list. Otherwise `measured` stands around it,
and notes a `Span`: when it began and ended, what ran inside it, what it read, wrote and multiplied. A backward pass is a span
too, and inside it each step, which begins where the gradient of a result is complete and ends where the next step begins.

On a GPU the host runs ahead, and its own time says little. So a span also leaves two CUDA events in the GPU's queue, one before
and one after its work. Nobody waits for them: the profile reads them once it has ended.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Protocol

from numpy import ndarray

from ..autograd.graph import Node, Origin
from ..runtime.arrays import device_of, is_array, on
from .costs import multiply_adds

PASS = "backward pass"
"""The name of its span."""

now: Callable[[], int] = time.perf_counter_ns
"""Nanoseconds."""


class Listener(Protocol):
    """What a profile is to those who are measured."""

    began: int
    spans: list[Span]

    def meet(self, device: str) -> None:
        """Something is about to run on this GPU."""


profiles: list[Listener] = []
"""Those that are on. They are told of the operations of all threads."""


@dataclass(slots=True, eq=False)
class Span:
    """Some time of a thread: an operation, a backward pass, or a step of one."""

    name: str
    kind: str
    """"operation", "pass" or "step"."""
    of: Any
    """The operation that runs, or the origin whose gradient is handed on; None once it has ended."""
    thread: tuple[int, str]
    """Its number and its name."""
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
    """Nanoseconds of the spans right inside."""
    bytes: int = 0
    multiply_adds: int = 0
    marks: tuple[Any, ...] = ()
    """CUDA events: where it began and where it ended in the GPU's queue."""
    depth: int = 0
    """Of a step: how many modules were being called when it began."""
    operations: int = 0
    """Of a step: how many ran inside."""
    passing: tuple[Any, list[Origin], Mapping[Origin, Any]] | None = None
    """Of a step: the gradient that it hands on, what for, and all gradients that wait; None once it has ended."""

    @property
    def backward(self) -> bool:
        """Whether it ran in a backward pass, or is one."""
        span: Span | None = self
        while span is not None and span.kind == "operation":
            span = span.parent
        return span is not None


class Here(threading.local):
    """What each thread is at."""

    entered = False
    """Whether `measured` has just called what asks."""

    def __init__(self) -> None:
        self.stack: list[Span] = []
        """Spans that have begun, the innermost last."""
        self.layers: list[Any] = []
        """Modules that have been called, the innermost last: see `profile(model)`."""
        current = threading.current_thread()
        self.thread = (threading.get_ident(), current.name)


here = Here()


def entered() -> bool:
    """Whether the call was made by `measured`, so that it is to run now. Asked once for each call."""
    before, here.entered = here.entered, False
    return before


def measured(operation: Any, inputs: Sequence[Any], settings: Mapping[str, Any]) -> Any:
    """operation(*inputs, **settings), with a span around it."""
    stack = here.stack
    if stack and stack[-1].of is operation:  # the same call, now that its arrays are constants
        here.entered = True
        return operation(*inputs, **settings)
    arrays = [x._data if isinstance(x, Node) else x for x in inputs if isinstance(x, Node) or is_array(x)]
    span = _begin(operation.__name__.lstrip("_"), "operation", operation, arrays)
    if span.step is not None:
        span.step.operations += 1
    try:
        here.entered = True
        result = operation(*inputs, **settings)
        if not any(x.assigned is result.assigned for x in inputs if isinstance(x, Node)):  # a view moves nothing
            span.bytes = sum([data.nbytes for data in arrays], result._data.nbytes)
        span.multiply_adds = multiply_adds(operation, inputs, result)
        if result.origin is not None:
            result.origin.layer = span.layer
        return result
    finally:
        here.entered = False
        _end(span)


def measured_pass(walk: Callable[..., Any], seeds: Sequence[tuple[Origin, Any]], *settings: Any) -> Any:
    """walk(seeds, *settings), with a span around it."""
    span = _begin(PASS, "pass", None, [g._data for _, g in seeds])
    try:
        here.entered = True
        return walk(seeds, *settings)
    finally:
        here.entered = False
        _end(span)


def begin_step(origin: Origin, gradients: Mapping[Origin, Any], needed: Set[Origin] | None) -> None:
    """The gradient of an origin is complete and about to be handed on: the step before has ended.

    Args:
        gradients: this one, and the others that wait, by what they are for.
        needed: what gradients flow through; None if through everything.
    """
    stack = here.stack
    if stack and stack[-1].kind == "step":
        _end(stack[-1])
    if not stack or stack[-1].kind != "pass":  # the pass began before the profile did
        return
    parents = [parent for parent, _ in origin.sources or () if needed is None or parent in needed]
    if origin.op is None or not parents:  # here the gradient stays
        return
    g = gradients[origin]
    span = _begin(origin.op.__name__.lstrip("_"), "step", origin, [g._data])
    span.step, span.layer = span, origin.layer
    span.passing = g, parents, gradients
    span.depth = len(here.layers)


def _begin(name: str, kind: str, of: Any, arrays: Sequence[Any]) -> Span:
    stack, layers = here.stack, here.layers
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
    span = Span(name, kind, of, here.thread, parent, step, layer, device)
    if device != "cpu":
        for profile in tuple(profiles):
            profile.meet(device)
        span.marks = (mark(device),)
    stack.append(span)
    span.began = now()
    return span


def _end(span: Span) -> None:
    """It has ended, and with it what began inside and was left by an error."""
    stack = here.stack
    while stack[-1] is not span:
        _end(stack[-1])
    span.ended = now()
    if span.device != "cpu":
        span.marks += (mark(span.device),)
    if span.passing is not None and not span.operations:
        span.bytes = _passed_on(*span.passing)
    stack.pop()
    span.of = span.passing = None
    if span.parent is not None:
        span.parent.inner += span.ended - span.began
    for profile in tuple(profiles):
        if profile.began <= span.began:
            profile.spans.append(span)


def _passed_on(g: Any, parents: Sequence[Origin], gradients: Mapping[Origin, Any]) -> int:
    """Bytes of a step that worked on arrays, without operations: of its gradient, and of those that it made of it."""
    found = [gradients[parent]._data for parent in parents if parent in gradients]
    made = {id(data): data.nbytes for data in found if data is not g._data and (data.base is None or data.base is not g._data)}
    return int(g._data.nbytes + sum(made.values())) if made else 0


def mark(device: str) -> Any:
    """An event in the queue of a GPU: it happens when all that is in the queue before it is done."""
    with on(device) as xp:
        event = xp.cuda.Event()
        event.record(xp.cuda.get_current_stream())
    return event
