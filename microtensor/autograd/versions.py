"""Version checks: whether a tensor that a derivative needs was overwritten after the operation had read it.

Each tensor has a version, `Node.assigned`, and each operation notes the version counter when it runs, `Origin.time`. What a vjp
needs is found in its closure: the variables of the function, and what they hold.
"""

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
    """Refuse to differentiate with a tensor that was overwritten since the operation ran.

    Raises:
        RuntimeError: the result, if the vjps are given it, or a tensor that one of them is or closes over has a newer version.
    """
    overwritten = origin.output is not None and origin.output[1][0] > origin.time
    if overwritten or _holds_newer(vjps, origin.time):
        raise RuntimeError(
            f"backward: a tensor that the gradient of {origin.name} needs was assigned to after the operation ran; "
            "assign before it runs or after backward(), or compute with a copy: .clone()"
        )


PLAIN = frozenset({int, float, bool, str, bytes, slice, type(None), type, ndarray, BuiltinFunctionType})
"""What most vjps close over, beside tensors. None of these holds a tensor."""


def _holds_newer(vjps: Iterable[Any], time: int) -> bool:
    """Whether one of these is, or closes over, a tensor with a newer version: in its variables, or in what they hold."""
    waiting: list[Any] = list(vjps)
    visited: set[int] = set()
    for value in waiting:  # the list grows in the loop
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
"""What a vjp may close over without holding an array, beside functions and tuples of these."""

TINY = frozenset({int, float, bool, slice, type(None)})
"""The most frequent of them."""


def holds_no_arrays(sources: Iterable[tuple[Origin, Callable[..., Any]]]) -> bool:
    """Whether vjps hold no arrays of the forward pass: those of a view, of a sum, of x + y.

    Then a backward pass has nothing to release, and another pass may use them too. What is of an unknown type counts as an
    array.
    """
    for _, vjp in sources:
        if type(vjp) is not FunctionType:
            return False
        try:
            for cell in vjp.__closure__ or ():
                value = cell.cell_contents
                if type(value) not in TINY and (isinstance(value, Node) or not _is_small(value)):
                    return False
        except ValueError:  # a variable without a value
            return False
    return True


def _is_small(value: Any) -> bool:
    """Whether a vjp's variable holds no array: it is a setting, or a function that closes over nothing else."""
    if isinstance(value, (tuple, list)):
        return all(type(part) in TINY or _is_small(part) for part in value)
    if type(value) is FunctionType:
        return value.__closure__ is None or all(_is_small(cell.cell_contents) for cell in value.__closure__)
    return isinstance(value, SMALL)


def inside(value: Any) -> Iterable[Any]:
    """What a function closes over, and what a container holds.

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
        except ValueError:  # no value yet
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
