"""Whether numbers that a derivative needs were overwritten after the operation had seen them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from types import CellType, FunctionType, MethodType
from typing import Any

from .graph import Node, Origin


def check_unchanged(origin: Origin, vjps: Iterable[Callable[..., Any]]) -> None:
    """Refuse to differentiate with numbers that were assigned to since the operation ran.

    Raises:
        RuntimeError: the result, if the vjps are given it, or a tensor that one of them closes over has a later time.
    """
    overwritten = origin.output is not None and origin.output[1][0] > origin.time
    if overwritten or any(_holds_newer(vjp, origin.time, set()) for vjp in vjps):
        name = "a leaf" if origin.op is None else origin.op.__name__
        raise RuntimeError(
            f"backward: a tensor that the gradient of {name} needs was assigned to after the operation ran; "
            "assign before it runs or after backward(), or compute with a copy: .clone()"
        )


def _holds_newer(value: Any, time: int, visited: set[int]) -> bool:
    """Whether `value` is a tensor assigned to since, or closes over one: in its variables, or in what they hold."""
    if isinstance(value, Node):
        return value.assigned[0] > time
    if id(value) in visited:
        return False
    visited.add(id(value))
    inside: Iterable[Any] = ()
    if isinstance(value, FunctionType):
        inside = value.__closure__ or ()
    elif isinstance(value, CellType):
        try:
            inside = (value.cell_contents,)
        except ValueError:  # not bound yet
            return False
    elif isinstance(value, functools.partial):
        inside = (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, MethodType):
        inside = (value.__func__, value.__self__)
    elif isinstance(value, (list, tuple)):
        inside = value
    elif isinstance(value, dict):
        inside = value.values()
    return any(_holds_newer(item, time, visited) for item in inside)
