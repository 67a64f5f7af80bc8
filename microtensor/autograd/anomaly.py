"""`detect_anomaly`: who made the first nan or infinity, and where the user called it."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Sequence
from typing import Any

from ..runtime.scoped import Block
from .graph import Node, Origin, mode

PACKAGE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")


class detect_anomaly(Block):
    """Inside, every recorded operation and every derivative raises where it makes a nan or an infinity of finite numbers.

    Forward and backward must both run inside. Each result is looked at, on a GPU with a wait: use it to find a fault, not to
    train. Numbers that are not finite to begin with are let through: what made them is not at fault here. It decorates too.

    Raises (where the anomaly is made):
        FloatingPointError: naming the operation, the element, and the line of the user's that called the operation.

    >>> import microtensor as mt
    >>> with detect_anomaly():
    ...     mt.Tensor([1.0], requires_grad=True) * float("inf")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    FloatingPointError: multiply made the first inf, at element (0,) of shape (1,), from finite inputs; called at ...
    """

    def now(self) -> Any:
        """Whether derivatives are searched, and who is told of operations."""
        return mode.anomaly, mode.observers

    def set(self, value: Any) -> None:
        """From now on it is so."""
        mode.anomaly, mode.observers = value

    def wanted(self, before: Any) -> Any:
        """How it is to be, inside."""
        return True, (*before[1], check_result)


def check_result(operation: Any, inputs: Sequence[Any], settings: dict[str, Any], result: Node) -> None:
    """Raise if `result` is recorded and not finite though all tensors among `inputs` are; else note where it was called."""
    if result.origin is None:
        return
    result.origin.place = place = _caller()
    found = _first(result)
    if found and not any(_first(x) for x in inputs if isinstance(x, Node)):
        raise FloatingPointError(f"{operation.__name__} made the first {found}, from finite inputs; called at {place}")


def check_gradient(origin: Origin, g: Node, back: Node) -> None:
    """Raise if the gradient `back` is not finite though the incoming gradient `g` is."""
    found = _first(back)
    if found and not _first(g):
        name = origin.op.__name__ if origin.op is not None else "a leaf"
        made = f"the derivative of {name} made the first {found}, from a finite gradient"
        raise FloatingPointError(f"{made}; the operation was called at {origin.place}")


def _first(x: Node) -> str | None:
    """The first number that is not finite, in words; None if there is none."""
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
    """The innermost line outside of this package: where the user is."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" + (f": {line}" if line else "")
