"""Gradients of weights, computed by a thread pool while the backward pass goes on.

In a backward pass each gradient depends on the one before. That of a leaf leads nowhere: nothing else in the pass waits for it.
So where a rule has marked a vjp with `may_run_in_parallel`, and the gradient is a leaf's, the pass hands the call to the pool
of runtime/threads.py, goes on, and collects the gradient at the end. The calls are the same, and so are the results, bit for
bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from numpy import ndarray

from ..runtime import threads
from .graph import Node, Origin, mode
from .validation import check_vjp

if TYPE_CHECKING:
    from .backward import Pass

Function = TypeVar("Function", bound=Callable[..., Any])

PARALLEL_MACS = 1 << 23
"""Multiply-adds from which a call goes to another thread: for fewer, waking the thread takes as long. Measured: from half of it
to four times as many, the step of a ResNet-20 takes 0.9 of the time that it takes without."""

MAX_QUEUED = 2
"""Calls queued at once; one in the queue keeps the worker busy."""

MACS_PER_ELEMENT = 32
"""Reading an element takes as long as this many multiply-adds."""


def may_run_in_parallel(vjp: Function, multiply_adds: int = 0, elements: int = 0) -> Function:
    """The vjp, marked as one that another thread may call, if it computes enough multiply-adds or reads enough elements.

    It must not write to anything that the other vjps of its rule read.

    >>> def vjp(g):
    ...     return 2 * g
    >>> hasattr(may_run_in_parallel(vjp), "in_parallel"), hasattr(may_run_in_parallel(vjp, 1 << 30), "in_parallel")
    (False, True)
    """
    if max(multiply_adds, MACS_PER_ELEMENT * elements) >= PARALLEL_MACS:
        vjp.in_parallel = True  # type: ignore[attr-defined]
    return vjp


class Delegated:
    """The gradients of leaves that a backward pass has left to other threads."""

    __slots__ = ("waiting", "due")

    def __init__(self) -> None:
        self.waiting: dict[Origin, tuple[Origin, threads.Later]] = {}
        """For each leaf: the origin whose vjp is called, and the call."""
        self.due: list[Origin] = []
        """Those that the pass has reached since: nothing more is added to their gradients."""

    def start(self, run: Pass, origin: Origin, leaf: Origin, vjp: Any, g: Any) -> bool:
        """Queue the call of a vjp of `origin` for the gradient of a leaf, if that is worth it. Whether it was.

        It is not where the leaf is used twice; where it has a hook, which is called as soon as the gradient is complete; where
        the pass has nothing else to do; or where calls are queued already, because they keep their arrays in memory.
        """
        if leaf in self.waiting:
            self.collect(run, leaf)
        if leaf in run.gradients or not hasattr(vjp, "in_parallel"):
            return False
        if leaf.hooks or leaf.after or type(g._data) is not ndarray:
            return False
        if not any(parent.leaf is None for parent, _ in run.sources(origin)):
            return False
        if sum(call.waits for _, call in self.waiting.values()) >= MAX_QUEUED:
            return False
        self.waiting[leaf] = origin, threads.Later(_called, vjp, g)
        return True

    def collect(self, run: Pass, leaf: Origin | None = None) -> None:
        """Wait for the gradient of one leaf, or of all. After all, the pass goes on with the leaves that are due."""
        for x in tuple(self.waiting) if leaf is None else (leaf,):
            origin, call = self.waiting.pop(x)
            run.gradients[x] = call.take()
            check_vjp(run.gradients[x], origin, x)
        if leaf is None:
            run.order += self.due
            self.due = []

    def cancel(self) -> None:
        """Drop the calls that have not begun, and wait for those that have."""
        for _, call in self.waiting.values():
            call.cancel()


def _called(vjp: Callable[[Any], Node], g: Any) -> Node:
    before = mode.recording
    try:
        mode.recording = False  # in this thread, as it is in the thread of the pass
        return vjp(g)
    finally:
        mode.recording = before
