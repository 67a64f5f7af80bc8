"""Numbers as they lie in files: which a tensor can hold, in which byte order they come, and how many are too many."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import is_array
from ..graph import Node

LARGEST_INFLATION = 100
"""How many times its own size a file may announce. Deflate reaches 1,032 on zeros; weights hardly 1.1."""

SMALL = 2**24
"""Bytes that any file may announce."""

_NATIVE = ["bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)), "float16", "float32", "float64"]

DTYPES = {name: np.dtype(name) for name in _NATIVE} | {"bfloat16": np.dtype(np.uint16)}
"""The dtypes of other libraries' files, by PyTorch's names, and how their numbers lie in memory. NumPy has no bfloat16."""


def allowance(size: int) -> int:
    """How many bytes of numbers a file of `size` bytes may announce."""
    return max(LARGEST_INFLATION * size, SMALL)


def array_of(value: Any) -> Any | None:
    """The array in a Tensor, or an array itself; None for all else.

    Raises:
        TypeError: it is not of floating-point numbers, integers or bools.
    """
    array = value.data if isinstance(value, Node) else value
    if not is_array(array):
        return None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"an array of {array.dtype}")
    return array


def plain(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A new array of the same numbers: contiguous, in this machine's byte order, and each bool 0 or 1, whatever its byte is."""
    if array.dtype == bool:
        return np.asarray(np.not_equal(array.view(np.uint8), 0, order="C"))
    return array.astype(array.dtype.newbyteorder("="), order="C")


def widened(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """bfloat16, as the 16-bit integers that its bytes are, → float32, exactly: it is the upper half of one.

    >>> widened(np.array([0x3F80, 0xC049], np.uint16))
    array([ 1.      , -3.140625], dtype=float32)
    """
    return np.asarray(np.left_shift(array, 16, dtype=np.uint32, order="C")).view(np.float32)
