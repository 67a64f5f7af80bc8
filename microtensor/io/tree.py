"""A tree as a text and named arrays, and back.

A tree is what states consist of: dicts with text or integers as keys, lists, tuples, tensors, numbers, texts, None. Its
structure is written as JSON, where a tensor is `{"$tensor": name}`, and so is what JSON lacks: `{"$tuple": [...]}`,
`{"$dict": [[key, value], ...]}` for keys that are no texts, `{"$float": "nan"}`, `{"$int": "0x..."}` beyond 53 bits.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..runtime.integers import is_integer
from .numbers import array_of

DEEPEST = 64
"""How deep a tree may be nested: far deeper than states are, and far from Python's own limit."""

LARGEST_KEY = 2**63
"""Integers from here on can be chosen so that Python's dicts take hours."""

VERSION = 1


def split(tree: Any) -> tuple[str, dict[str, Any]]:
    """A tree → its structure as a text, and its arrays, named by the dotted paths to them.

    Raises:
        TypeError: it holds something else than a tree does.
        ValueError: it is nested more than 64 deep, or holds itself.

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
        """`value`, which stands at `path`, in terms of JSON. Its arrays are put aside under their names."""
        try:
            array = array_of(value)
        except TypeError as error:
            raise TypeError(f"save: {_place(path)} is {error}; a tree holds arrays of numbers of 64 bits at most") from None
        if array is not None:
            return {"$tensor": self._name(array, path)}
        if isinstance(value, (Mapping, list, tuple)):
            if id(value) in self.open or len(path) > DEEPEST:
                raise ValueError(f"save: {_place(path)} holds itself, or is nested more than {DEEPEST} deep")
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
        f"save: {_place(path)} has the key {_brief(key)} ({type(key).__name__}); a key is text or an int of 64 bits"
    )


def _scalar(value: Any, path: tuple[Any, ...]) -> Any:
    if isinstance(value, np.generic) and not isinstance(value, np.longdouble):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value) if abs(value) < 2**53 else {"$int": hex(value)}  # other readers of JSON have floats only
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    raise TypeError(
        f"save: {_place(path)} is of type {type(value).__name__}; a tree holds dicts, lists, tuples, tensors, arrays, numbers, "
        "texts and None"
    )


def join(text: str, tensors: dict[str, Any]) -> Any:
    """The tree whose structure is `text`. Its tensors are taken out of `tensors`, which is empty afterwards.

    Raises:
        ValueError: the text is not one that `split` writes, or its tensors and `tensors` are not the same.
    """
    try:
        structure = json.loads(text, parse_int=_whole, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("its structure is nested too deeply") from None
    if not isinstance(structure, dict) or structure.get("version") != VERSION or "tree" not in structure:
        raise ValueError(f"its structure is not of version {VERSION}: it is damaged, or a later microtensor wrote it")
    tree = _joined(structure["tree"], tensors, 0)
    if tensors:
        raise ValueError(f"its structure has no place for {_brief(next(iter(tensors)))}")
    return tree


def _joined(value: Any, tensors: dict[str, Any], depth: int) -> Any:
    if not isinstance(value, (dict, list)):
        return value
    if depth > DEEPEST + 1:  # a tensor, a float or an int, too, is an object of JSON
        raise ValueError(f"its structure is nested more than {DEEPEST} deep")
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
    raise ValueError(f"its structure has {_brief(value)}, which is unknown, or a tensor that is missing or has two places")


def _checked_key(key: Any) -> str | int:
    if isinstance(key, str) or type(key) is int and abs(key) < LARGEST_KEY:
        return key
    raise ValueError(f"its structure has the key {_brief(key)}")


def _whole(digits: str) -> int:
    if len(digits) > 20:  # a million digits take Python minutes
        raise ValueError(f"its structure has a number of {len(digits):,} digits")
    return int(digits)


def _refuse(name: str) -> Any:
    raise ValueError(f"its structure has the number {name}")


def _place(path: tuple[Any, ...]) -> str:
    return _brief(".".join(map(str, path))) if path else "the tree itself"


_short = reprlib.Repr()
_short.maxstring = 120
_brief = _short.repr
