"""Serialise a tree as JSON plus named arrays, and back.

A tree consists of dicts with str or int keys, lists, tuples, tensors, numbers, strings, bools and None. Its structure is
written as JSON. An object with one key that starts with "$" stands for a tensor, `{"$tensor": name}`, or for what JSON lacks:
`{"$tuple": [...]}`, `{"$dict": [[key, value], ...]}` for int keys, `{"$float": "nan"}`, `{"$int": "0x..."}` beyond 53 bits.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..runtime.integers import is_integer
from .stored_arrays import array_of

MAX_DEPTH = 64
"""How deep a tree may be nested: far deeper than any state_dict, and far below Python's recursion limit."""

LARGEST_KEY = 2**63
"""Keys must be smaller: larger integers can be chosen so that their hashes collide, and a dict then takes hours."""

VERSION = 1


def split(tree: Any) -> tuple[str, dict[str, Any]]:
    """A tree → its structure as JSON, and its arrays, named by their dotted paths.

    Raises:
        TypeError: a value has a type that trees do not support.
        ValueError: it is nested more than 64 deep, or contains itself.

    >>> split({"epoch": 3, "betas": (0.9, 0.999), "fc": {"weight": np.zeros(2)}})
    ('{"version": 1, "tree": {"epoch": 3, "betas": {"$tuple": [0.9, 0.999]}, "fc": {"weight": {"$tensor": "fc.weight"}}}}', \
{'fc.weight': array([0., 0.])})
    """
    splitter = _Splitter()
    structure = {"version": VERSION, "tree": splitter.split(tree, ())}
    return json.dumps(structure, ensure_ascii=False, allow_nan=False), splitter.arrays


class _Splitter:
    def __init__(self) -> None:
        self.arrays: dict[str, Any] = {}
        self.open: set[int] = set()

    def split(self, value: Any, path: tuple[Any, ...]) -> Any:
        """The value at `path` as JSON. Its arrays are collected in `arrays`."""
        try:
            array = array_of(value)
        except TypeError as error:
            raise TypeError(f"save: {_place(path)} is {error}; arrays must have numeric dtypes of at most 64 bits") from None
        if array is not None:
            return {"$tensor": self._name(array, path)}
        if isinstance(value, (Mapping, list, tuple)):
            if id(value) in self.open or len(path) > MAX_DEPTH:
                raise ValueError(f"save: {_place(path)} contains itself, or is nested more than {MAX_DEPTH} deep")
            self.open.add(id(value))
            inside = self._inside(value, path)
            self.open.remove(id(value))
            return inside
        return _scalar(value, path)

    def _name(self, array: Any, path: tuple[Any, ...]) -> str:
        name = dotted = ".".join(map(str, path))
        count = 1
        while name in self.arrays:  # {"a": {"b": x}, "a.b": y}
            count += 1
            name = f"{dotted}~{count}"
        self.arrays[name] = array
        return name

    def _inside(self, value: Any, path: tuple[Any, ...]) -> Any:
        if isinstance(value, list):
            return [self.split(item, (*path, i)) for i, item in enumerate(value)]
        if isinstance(value, tuple):
            return {"$tuple": [self.split(item, (*path, i)) for i, item in enumerate(value)]}
        pairs = [(_key(key, path), self.split(item, (*path, key))) for key, item in value.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in pairs):
            return dict(pairs)
        return {"$dict": pairs}


def _key(key: Any, path: tuple[Any, ...]) -> str | int:
    if isinstance(key, str):
        return str(key)
    if is_integer(key) and abs(int(key)) < LARGEST_KEY:
        return int(key)
    raise TypeError(
        f"save: {_place(path)} has the key {_brief(key)} ({type(key).__name__}); a key must be a str or an int of 64 bits"
    )


def _scalar(value: Any, path: tuple[Any, ...]) -> Any:
    if isinstance(value, np.generic) and not isinstance(value, np.longdouble):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value) if abs(value) < 2**53 else {"$int": hex(value)}  # other JSON readers parse all numbers as floats
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    raise TypeError(
        f"save: {_place(path)} is of type {type(value).__name__}; supported are dicts, lists, tuples, tensors, arrays, "
        "numbers, str, bool and None"
    )


def join(text: str, tensors: dict[str, Any]) -> Any:
    """The inverse of `split`: JSON and named tensors → the tree. Removes the tensors from the dict `tensors`.

    Raises:
        ValueError: the JSON was not written by `split`, or names other tensors than those in `tensors`.
    """
    try:
        structure = json.loads(text, parse_int=_integer, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("its structure is nested too deeply") from None
    if not isinstance(structure, dict) or structure.get("version") != VERSION or "tree" not in structure:
        raise ValueError(f"its structure is not of version {VERSION}: it is damaged, or written by a later microtensor")
    tree = _joined(structure["tree"], tensors, 0)
    if tensors:
        raise ValueError(f"its structure does not mention the tensor {_brief(next(iter(tensors)))}")
    return tree


def _joined(value: Any, tensors: dict[str, Any], depth: int) -> Any:
    if not isinstance(value, (dict, list)):
        return value
    if depth > MAX_DEPTH + 1:  # + 1: a tensor, a float or an int may be a JSON object too
        raise ValueError(f"its structure is nested more than {MAX_DEPTH} deep")
    if isinstance(value, list):
        return [_joined(item, tensors, depth + 1) for item in value]
    if not any(key.startswith("$") for key in value):
        return {key: _joined(item, tensors, depth + 1) for key, item in value.items()}
    tag, content = next(iter(value.items())) if len(value) == 1 else ("", None)
    if tag == "$tensor" and isinstance(content, str) and content in tensors:
        return tensors.pop(content)
    if tag == "$tuple" and isinstance(content, list):
        return tuple(_joined(item, tensors, depth + 1) for item in content)
    if tag == "$dict" and isinstance(content, list):
        return {_checked_key(key): _joined(item, tensors, depth + 1) for key, item in content}
    if tag == "$float" and content in ("nan", "inf", "-inf"):
        return float(content)
    if tag == "$int" and isinstance(content, str):
        return int(content, 16)
    raise ValueError(f"its structure has {_brief(value)}: an unknown object, or a tensor that is missing or used twice")


def _checked_key(key: Any) -> str | int:
    if isinstance(key, str) or type(key) is int and abs(key) < LARGEST_KEY:
        return key
    raise ValueError(f"its structure has the key {_brief(key)}")


def _integer(digits: str) -> int:
    if len(digits) > 20:  # parsing a million digits takes Python minutes
        raise ValueError(f"its structure has a number of {len(digits):,} digits")
    return int(digits)


def _refuse(name: str) -> Any:
    raise ValueError(f"its structure has the number {name}")


def _place(path: tuple[Any, ...]) -> str:
    return _brief(".".join(map(str, path))) if path else "the tree itself"


_short = reprlib.Repr()
_short.maxstring = 120
_brief = _short.repr
