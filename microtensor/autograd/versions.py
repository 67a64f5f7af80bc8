"""Whether numbers that a derivative needs were overwritten after the operation had seen them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from types import BuiltinFunctionType, CellType, FunctionType, MethodType
from typing import Any

import numpy as np
from numpy import ndarray

from .graph import Node, Origin
from .shared import SharedByVjps


def check_unchanged(origin: Origin, vjps: Iterable[Any]) -> None:
    """Refuse to differentiate with numbers that were assigned to since the operation ran.

    Raises:
        RuntimeError: the result, if the vjps are given it, or a tensor that one of them is or closes over has a later time.
    """
    overwritten = origin.output is not None and origin.output[1][0] > origin.time
    if overwritten or _holds_newer(vjps, origin.time):
        name = "a leaf" if origin.op is None else origin.op.__name__
        raise RuntimeError(
            f"backward: a tensor that the gradient of {name} needs was assigned to after the operation ran; "
            "assign before it runs or after backward(), or compute with a copy: .clone()"
        )


PLAIN = frozenset({int, float, bool, str, bytes, slice, type(None), type, ndarray, BuiltinFunctionType})
"""What most derivatives close over, beside tensors: there is nothing in it to look at."""


def _holds_newer(vjps: Iterable[Any], time: int) -> bool:
    """Whether one of these is, or closes over, a tensor assigned to since: in its variables, or in what they hold."""
    waiting: list[Any] = list(vjps)
    visited: set[int] = set()
    for value in waiting:  # which grows meanwhile
        if type(value) in PLAIN:
            continue
        if isinstance(value, Node):
            if value.assigned[0] > time:
                return True
        elif id(value) not in visited:
            visited.add(id(value))
            waiting += inside(value)
    return False


SMALL = (int, float, complex, str, bytes, slice, range, type(None), type(...), type, np.dtype, np.generic, BuiltinFunctionType)
"""What a derivative may close over and hold no memory that is worth releasing, beside functions and tuples of these."""

TINY = frozenset({int, float, bool, slice, type(None)})
"""The most frequent of them."""


def needs_no_numbers(sources: Iterable[tuple[Origin, Callable[..., Any]]]) -> bool:
    """Whether derivatives hold no numbers that their operation met: those of a view, of a sum, of x + y.

    Then a backward pass has nothing to release, and another may go the same way. What is not known to be small counts as
    numbers.
    """
    for _, vjp in sources:
        if type(vjp) is not FunctionType:
            return False
        try:
            for cell in vjp.__closure__ or ():
                value = cell.cell_contents
                if type(value) not in TINY and (isinstance(value, Node) or not _is_small(value)):
                    return False
        except ValueError:  # a variable that is not bound
            return False
    return True


def _is_small(value: Any) -> bool:
    """Whether a derivative's variable holds little: a setting, or a function that closes over no more."""
    if isinstance(value, (tuple, list)):
        return all(type(part) in TINY or _is_small(part) for part in value)
    if type(value) is FunctionType:
        return value.__closure__ is None or all(_is_small(cell.cell_contents) for cell in value.__closure__)
    return isinstance(value, SMALL)


def inside(value: Any) -> Iterable[Any]:
    """What a function closes over, and what a container holds: where a derivative has what it needs.

    >>> def times(factor):
    ...     return lambda g: g * factor
    >>> [cell.cell_contents for cell in inside(times(3))]
    [3]
    """
    if isinstance(value, FunctionType):
        return value.__closure__ or ()
    if isinstance(value, CellType):
        try:
            return (value.cell_contents,)
        except ValueError:  # not bound yet
            return ()
    if isinstance(value, functools.partial):
        return (value.func, *value.args, *value.keywords.values())
    if isinstance(value, MethodType):
        return (value.__func__, value.__self__)
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, SharedByVjps):
        return (value.compute,)
    return value.values() if isinstance(value, dict) else ()
