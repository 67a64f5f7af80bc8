"""The gradients of weights, computed by other threads while a backward pass goes on.

In a backward pass each gradient is made of the one before. Those of leaves alone lead nowhere: nothing in the pass waits for
them. So where a rule has marked a vjp with `aside`, and its gradient is a leaf's, the pass hands it to the pool of `threads`,
goes on, and collects what came of it at the end. What is computed is the same, and so are the numbers, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, TypeVar

from numpy import ndarray

from ..profiler.spans import profiles
from ..runtime import threads
from .graph import Node, Origin, mode

Function = TypeVar("Function", bound=Callable[..., Any])

LONG = 1 << 23
"""Multiplications that are worth another thread's while: for fewer, to wake it takes as long. Measured: from half of it to four
times as many, the step of a ResNet-20 takes 0.9 of the time that it takes without."""

MOST = 2
"""So many calls may wait for a thread: one is enough for it to have no pause."""

MOVED = 32
"""A number that is read costs as much as so many multiplications."""


def aside(vjp: Function, multiplications: int = 0, numbers: int = 0) -> Function:
    """The vjp, marked as one that another thread may call, if it is long: so many multiplications, of so many numbers.

    It must not write to anything that the other vjps of its rule read.

    >>> def vjp(g):
    ...     return 2 * g
    >>> hasattr(aside(vjp), "aside"), hasattr(aside(vjp, multiplications=1 << 30), "aside")
    (False, True)
    """
    if max(multiplications, MOVED * numbers) >= LONG:
        vjp.aside = True  # type: ignore[attr-defined]
    return vjp


class Aside:
    """What a backward pass has handed to other threads."""

    def __init__(self) -> None:
        self.waiting: dict[Origin, tuple[Origin, threads.Later]] = {}
        """For each leaf: where its gradient comes from, and the call that makes it."""
        self.due: list[Origin] = []
        """Those that the pass has come by meanwhile: nothing more is added to their gradients."""

    def take(self, origin: Origin, leaf: Origin, vjp: Any, g: Any, needed: Container[Origin] | None) -> bool:
        """Hand over the gradient of a leaf, that of `origin` through the vjp, if that is worth while; whether it was.

        It is not where the leaf has a hook, which is to be called at once; where the pass has nothing to go on with; or where
        some wait already, for they keep their arrays alive.
        """
        if not hasattr(vjp, "aside") or leaf.hooks or leaf.after or type(g._data) is not ndarray:
            return False
        if not any(parent.leaf is None and (needed is None or parent in needed) for parent, _ in origin.sources or ()):
            return False
        if sum(call.waits for _, call in self.waiting.values()) >= MOST:
            return False
        self.waiting[leaf] = origin, threads.Later(_called, vjp, g)
        return True

    def collect(self, leaf: Origin) -> tuple[Origin, Any]:
        """Where the gradient of a leaf comes from, and the gradient, once it is there."""
        origin, call = self.waiting.pop(leaf)
        return origin, call.take()

    def cancel(self) -> None:
        """Nothing more is begun, and what has begun has ended."""
        for _, call in self.waiting.values():
            call.cancel()


def wanted() -> bool:
    """Whether other threads may compute now: there are some, and nobody watches operations one after the other."""
    watched = mode.anomaly or mode.sketching or mode.observers or mode.watchers or profiles
    return not watched and threads.idle()


def _called(vjp: Callable[[Any], Node], g: Any) -> Node:
    before = mode.recording
    try:
        mode.recording = False  # of this thread, as it is in the pass's own
        return vjp(g)
    finally:
        mode.recording = before
