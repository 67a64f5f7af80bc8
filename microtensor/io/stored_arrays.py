"""Numbers as they lie in files: which a tensor can hold, in which byte order they come, and how many are too many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..autograd.graph import Node
from ..runtime.arrays import is_array

LARGEST_INFLATION = 100
"""How many times its own size a file may announce. Deflate reaches 1,032 on zeros; weights hardly 1.1."""

SMALL = 2**24
"""Bytes that any file may announce."""

MOST_AXES = 64
"""Of an array: NumPy's limit."""

_NATIVE = ["bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)), "float16", "float32", "float64"]

DTYPES = {name: np.dtype(name) for name in _NATIVE} | {"bfloat16": np.dtype(np.uint16)}
"""The dtypes of other libraries' files, by PyTorch's names, and how their numbers lie in memory. NumPy has no bfloat16."""


def allowance(size: int) -> int:
    """How many bytes of numbers a file of `size` bytes may announce."""
    return max(LARGEST_INFLATION * size, SMALL)


def array_of(value: Any) -> Any | None:
    """The array in a Tensor, or an array itself; None for all else.

    Raises:
        TypeError: it is not of floating-point numbers, integers or bools of 64 bits at most.
    """
    array = value.array if isinstance(value, Node) else value
    if not is_array(array):
        return None
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(f"an array of {array.dtype}")
    return array


def view(
    content: Any,
    dtype: np.dtype[Any],
    shape: Sequence[int],
    strides: Sequence[int] | None = None,
    offset: int = 0,
    part: tuple[int, int] | None = None,
) -> np.ndarray[Any, Any]:
    """An array on the bytes of a file: the one place where one is made, so that none reaches beyond the bytes that are there.

    Args:
        content: the bytes, as `bytes` or an array of uint8.
        dtype: of the numbers, with their byte order.
        shape, strides, offset: as a file claims them, in numbers, not bytes. Strides are those of C order if None.
        part: (start, stop), if the file says that the numbers are in these bytes of `content` alone.

    Raises:
        ValueError: a size, stride or offset is negative, or the array would reach beyond `content`, or beyond the part.

    >>> view(bytes(range(8)), np.dtype(np.uint8), (2, 3), (4, 1), offset=1)
    array([[1, 2, 3],
           [5, 6, 7]], dtype=uint8)
    >>> view(bytes(8), np.dtype(np.uint8), (2, 3), (5, 1), offset=1)
    Traceback (most recent call last):
        ...
    ValueError: a tensor of shape (2, 3) reaches beyond its storage of 8 bytes
    """
    if len(shape) > MOST_AXES:
        raise ValueError(f"a tensor has {len(shape):,} axes; {MOST_AXES} are the most")
    held = np.frombuffer(content, np.uint8)
    start, stop = (0, held.size) if part is None else part
    if strides is None:
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    if min((*shape, *strides, offset, start, stop)) < 0 or len(shape) != len(strides):
        raise ValueError(f"a tensor of shape {tuple(shape)} has a negative size, stride or offset, or too few strides"[:300])
    if not 0 <= start <= stop <= held.size:
        raise ValueError(f"a tensor has the bytes {start:,} to {stop:,} of the {held.size:,} that are there"[:300])
    if 0 in shape:
        return np.empty(shape, dtype)
    end = start + (offset + sum((n - 1) * stride for n, stride in zip(shape, strides)) + 1) * dtype.itemsize
    if end > stop:
        raise ValueError(f"a tensor of shape {tuple(shape)} reaches beyond its storage of {stop - start:,} bytes"[:300])
    begin = start + offset * dtype.itemsize
    numbers = held[begin : begin + (stop - begin) // dtype.itemsize * dtype.itemsize].view(dtype)
    return as_strided(numbers, shape, [stride * dtype.itemsize for stride in strides])


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
