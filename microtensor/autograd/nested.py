"""Nested lists of numbers → an array, in bounded time, also for lists that contain themselves."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np

from ..runtime.arrays import takes_array
from .graph import Node

DEEPEST = 64
"""Levels of nested lists: a NumPy array has at most 64 axes."""

MAX_ITEMS = 1 << 28
"""Items of a sequence that is no list: its `__len__` may return anything."""

MAX_ELEMENTS = 1 << 30
"""Of lists that contain the same lists several times: as an array they take more memory than as lists."""

PLAIN = frozenset({float, int, bool})
ROWS = frozenset({list, tuple})

PROTOCOLS = ("__array__", "__array_interface__", "__array_struct__")


def array_of_lists(name: str, data: Any) -> np.ndarray[Any, Any]:
    """np.asarray(data), for numbers and nested lists or other sequences of them.

    NumPy does not stop at a list that contains itself, nor at a sequence whose `__getitem__` never raises IndexError.

    Raises:
        TypeError: there is a masked array among them.
        ValueError: the lists are nested more than 64 deep, as one that contains itself is; they are of unequal length, or
            contain the same lists so often that the array would be too large.

    >>> array_of_lists("example", [[1.0, 2.0], range(2)])
    array([[1., 2.],
           [0., 1.]])
    """
    if type(data) in PLAIN or type(data) is list and PLAIN.issuperset({*map(type, data)}):
        return np.asarray(data)  # the most frequent case
    walk = _Walk(name)
    plain, count = walk.visit(data, 0)
    if count > max(MAX_ELEMENTS, 8 * walk.held):
        raise ValueError(f"{name}: written out, the nested lists are {count:,} numbers; full() and broadcast_to() repeat some")
    try:
        return np.asarray(plain)
    except ValueError as error:
        if not isinstance(plain, list):
            raise ValueError(f"{name}: {type(data).__name__} cannot be read as an array: {error}") from None
        raise ValueError(f"{name}: the nested lists are of unequal length; every row needs as many numbers") from None


class _Walk:
    """Visits each list once, however often the others contain it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.known: dict[int, tuple[Any, int]] = {}
        self.kept: list[Any] = []  # keeps temporary lists alive, so that no other list gets the same id
        self.held = 0
        """Items of all lists, each list once."""

    def visit(self, value: Any, depth: int) -> tuple[Any, int]:
        """`value` with lists in place of other sequences, and its number of elements."""
        if depth >= DEEPEST and hasattr(value, "__getitem__") and not hasattr(value, "dtype"):
            raise ValueError(f"{self.name}: the lists are nested more than {DEEPEST} deep, or one of them holds itself")
        if isinstance(value, (list, tuple)):
            items = value
        elif isinstance(value, range):
            return np.arange(value.start, value.stop, value.step), len(value)
        elif _is_sequence(value):
            length = len(value)
            if length > MAX_ITEMS:
                raise ValueError(f"{self.name}: {type(value).__name__} has {length:,} items; give it as an array")
            items = [value[i] for i in range(length)]
        else:
            return value, value.size if takes_array(self.name, value) else 1  # it refuses a masked array
        if id(value) not in self.known:
            self.kept.append(value)
            self.held += len(items)
            self.known[id(value)] = self._of_items(items, depth)
        return self.known[id(value)]

    def _of_items(self, items: Any, depth: int) -> tuple[Any, int]:
        kinds = {*map(type, items)}
        if PLAIN.issuperset(kinds) or all(kind in PLAIN or issubclass(kind, np.generic) for kind in kinds):
            return items if type(items) is list else list(items), len(items)
        if kinds == {np.ndarray}:  # no subclass, such as a masked array
            return list(items), sum(array.size for array in items)
        rows = depth + 1 < DEEPEST and ROWS.issuperset(kinds) and len({*map(id, items)}) == len(items)  # none twice
        if rows and PLAIN.issuperset({*map(type, chain.from_iterable(items))}):
            count = sum(map(len, items))
            self.held += count
            return list(items), count
        parts = [self.visit(item, depth + 1) for item in items]
        return [part for part, _ in parts], sum(count for _, count in parts)


def _is_sequence(value: Any) -> bool:
    """Whether NumPy would read it as a list, by `__len__` and `__getitem__`: it is no array, and has no array protocol."""
    kind = type(value)
    if isinstance(value, (str, bytes, bytearray, memoryview, Mapping, Node, np.ndarray, np.generic, type)):
        return False
    if any(hasattr(kind, protocol) for protocol in PROTOCOLS):
        return False
    if not hasattr(kind, "__len__") or not hasattr(kind, "__getitem__"):
        return False
    try:
        memoryview(value)  # array.array
    except TypeError:
        return True
    return False
