"""`detect_anomaly`: which operation made the first nan or infinity, and where the user called it."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from .graph import Node, Origin
from .observers import Observer, observing

PACKAGE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")


class detect_anomaly(observing):
    """Inside, every recorded operation and every derivative raises where it makes a nan or an infinity of finite values.

    Forward and backward must both run inside. Each result is checked, on a GPU by waiting for it: use it to find a fault, not
    to train. Values that are not finite to begin with pass: the operation is not at fault. It decorates too.

    Raises (where the anomaly is made):
        FloatingPointError: naming the operation, the element, and the line of the user's that called the operation.

    >>> import microtensor as mt
    >>> with detect_anomaly():
    ...     mt.Tensor([1.0], requires_grad=True) * float("inf")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    FloatingPointError: multiply made the first inf, at element (0,) of shape (1,), from finite inputs; called at ...
    """

    def __init__(self) -> None:
        super().__init__(Anomalies())


class Anomalies(Observer):
    """Raises where something that is not finite is made of what is."""

    def operation(self, operation: Callable[..., Any], inputs: Sequence[Any], settings: dict[str, Any], result: Node) -> None:
        """Raise if `result` is recorded and not finite though all tensors among `inputs` are; else note where it was called."""
        if result.origin is None:
            return
        result.origin.place = place = _caller()
        found = _first(result)
        if found and not any(_first(x) for x in inputs if isinstance(x, Node)):
            raise FloatingPointError(f"{operation.__name__} made the first {found}, from finite inputs; called at {place}")

    def derivative(self, origin: Origin, g: Node, gradient: Node) -> None:
        """Raise if `gradient` is not finite though the incoming gradient `g` is."""
        found = _first(gradient)
        if found and not _first(g):
            made = f"the derivative of {origin.name} made the first {found}, from a finite gradient"
            raise FloatingPointError(f"{made}; the operation was called at {origin.place}")


def _first(x: Node) -> str | None:
    """The first element that is not finite, in words; None if there is none."""
    if x.dtype.kind != "f":
        return None
    finite = x.xp.isfinite(x._data)
    if bool(finite.all()):
        return None
    flat = int((~finite).reshape(-1).argmax())
    index: tuple[int, ...] = ()
    for length in reversed(x.shape):
        flat, rest = divmod(flat, length)
        index = (rest, *index)
    return f"{float(x._data[index])}, at element {index} of shape {x.shape}"


def _caller() -> str:
    """The innermost line outside of this package: the user's code."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" + (f": {line}" if line else "")
