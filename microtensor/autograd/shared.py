"""Work that several vjps of one rule share."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class SharedByVjps(Generic[V]):
    """`compute(g)`, computed once for all vjps of a rule that are called with the same gradient g.

    The latest value is kept until another gradient comes or the vjps are released. The gradient itself is not kept alive. Two
    threads that differentiate the same graph at once each get the value of their own gradient.

    >>> import microtensor as mt
    >>> shared = SharedByVjps(lambda g: print("computed") or g.sum())
    >>> g = mt.ones(3)
    >>> shared(g), shared(g)
    computed
    (Tensor(3.), Tensor(3.))
    """

    __slots__ = ("compute", "_latest")

    def __init__(self, compute: Callable[[Any], V]) -> None:
        self.compute = compute
        self._latest: tuple[weakref.ref[Any], V] | None = None

    def __call__(self, g: Any) -> V:
        """The value for g, computed unless it is the latest."""
        latest = self._latest  # read once: another thread may replace it
        return latest[1] if latest is not None and latest[0]() is g else self.keep(g, self.compute(g))

    def keep(self, g: Any, value: V) -> V:
        """Keep a value for g that a vjp has computed by another way than `compute`."""
        self._latest = weakref.ref(g), value
        return value

    def forget(self) -> None:
        """Drop the latest value."""
        self._latest = None
