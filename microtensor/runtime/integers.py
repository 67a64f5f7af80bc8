"""Checks of arguments that are integers: sizes, axes, counts."""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np


def is_integer(value: Any) -> TypeGuard[int]:
    """Whether a value is an integer, Python's or NumPy's. True and False are not.

    >>> is_integer(3), is_integer(np.int64(3)), is_integer(True), is_integer(3.0)
    (True, True, False, False)
    """
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def as_integer(name: str, what: str, value: Any, least: int | None = None) -> int:
    """The argument `what` of the function `name`, as a Python integer.

    Raises:
        TypeError: it is no integer.
        ValueError: it is below `least`.
    """
    if not is_integer(value):
        raise TypeError(f"{name}: {what} must be an integer, got {value!r}")
    if least is not None and value < least:
        raise ValueError(f"{name}: {what} must be at least {least}, got {value!r}")
    return int(value)


def as_integers(name: str, what: str, value: Any, least: int | None = None) -> tuple[int, ...]:
    """An argument of several integers, such as a shape: a tuple, a list, a range or a NumPy array of one axis; a single
    integer stands for a sequence of one.

    Raises:
        TypeError: it is none of these.
        ValueError: an integer is below `least`.

    >>> as_integers("reshape", "shape", [2, -1])
    (2, -1)
    """
    several = isinstance(value, (tuple, list, range)) or isinstance(value, np.ndarray) and value.ndim == 1
    numbers = tuple(value) if several else (value,)
    for n in numbers:
        if not is_integer(n):
            raise TypeError(f"{name}: {what} must be integers, got {value!r}")
        if least is not None and n < least:
            raise ValueError(f"{name}: the numbers of {what} must be at least {least}, got {value!r}")
    return tuple(int(n) for n in numbers)
