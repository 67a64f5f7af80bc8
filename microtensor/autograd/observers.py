"""Observers: who watches what is computed, without a line of their own in the engine.

`profile`, `detect_anomaly`, `trace_backward` and `nn.summary` are observers. Yours is a subclass of `Observer`, told of what
runs inside `with observing(observer)`. Without observers, an operation pays for this with one check, and so does each step
of a backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..runtime.scoped import Setting
from .graph import Node, Origin, mode

if TYPE_CHECKING:
    from .backward import Pass

R = TypeVar("R")


class Observer:
    """Watches operations and backward passes. Its methods do nothing: override those that you need.

    An operation that a method runs on tensors is observed in turn: compute with arrays, `x.array`, instead.

    >>> import microtensor as mt
    >>> class Names(Observer):
    ...     def operation(self, operation, inputs, settings, result):
    ...         print(operation.__name__, result.shape)
    ...     def step(self, run, origin):
    ...         print("gradient of", origin.name, run.gradients[origin].shape)
    >>> x, g = mt.Tensor([1.0, 2.0], requires_grad=True), mt.ones(2)
    >>> with observing(Names()):
    ...     x.exp().backward(g)
    exp (2,)
    gradient of exp (2,)
    multiply (2,)
    gradient of a leaf (2,)
    """

    def begin(self, what: Any, inputs: Sequence[Any]) -> None:
        """An operation was called with these arguments, or a backward pass, a `Pass`, with these gradients."""

    def operation(self, operation: Callable[..., Any], inputs: Sequence[Any], settings: dict[str, Any], result: Node) -> None:
        """An operation has computed its result. Its inputs are broadcast and cast as its rule needs them."""

    def step(self, run: Pass, origin: Origin) -> None:
        """A backward pass has the complete gradient of `origin`, `run.gradients[origin]`, and is about to pass it on."""

    def derivative(self, origin: Origin, g: Node, gradient: Node) -> None:
        """The operation of `origin` has made, of the gradient `g` of its result, that of one of its inputs."""

    def end(self, what: Any) -> None:
        """The operation or the backward pass has ended, by an error too."""


of_all_threads: list[Observer] = []
"""Observers of every thread, as a profile is. Those of one thread are in `mode.observers`."""


class observing(Setting):
    """Inside, or in the function that it decorates, `observer` is told of what this thread computes.

    Raises:
        TypeError: it is no Observer.
    """

    def __init__(self, observer: Observer) -> None:
        if not isinstance(observer, Observer):
            raise TypeError(f"observing: expected an Observer, an object of a subclass of it, got {observer!r}")
        super().__init__(mode, observers=())
        self.observer = observer

    def wanted(self, before: dict[str, Any]) -> dict[str, Any]:
        """The observers of before, and this one."""
        return {"observers": (*before["observers"], self.observer)}


def current() -> tuple[Observer, ...]:
    """Who watches this thread now."""
    return (*mode.observers, *of_all_threads)


def watched(observers: Sequence[Observer], what: Any, inputs: Sequence[Any], run: Callable[[], R]) -> R:
    """run(), between `begin` and `end` of each observer."""
    begun = []
    try:
        for observer in observers:
            begun.append(observer)
            observer.begin(what, inputs)
        return run()
    finally:
        for observer in reversed(begun):
            observer.end(what)


def observed(operation: Any, call: Callable[..., R], args: Sequence[Any], settings: dict[str, Any]) -> R:
    """An operation's call, while someone watches."""
    observers = current()
    return watched(observers, operation, args, lambda: call(args, settings, observers))
