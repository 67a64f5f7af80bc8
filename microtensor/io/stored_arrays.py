"""Arrays as files store them: supported dtypes, byte order, views of the bytes, and limits on size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..autograd.graph import Node
from ..runtime.arrays import is_array

MAX_INFLATION = 100
"""How many times its own size a file may unpack to. Deflate reaches 1,032 on zeros; weights hardly 1.1."""

SMALL_BYTES = 2**24
"""What any file may unpack to, however small it is."""

MAX_AXES = 64
"""NumPy's limit."""

_NATIVE = ["bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)), "float16", "float32", "float64"]

DTYPES = {name: np.dtype(name) for name in _NATIVE} | {"bfloat16": np.dtype(np.uint16)}
"""PyTorch's names of the supported dtypes → how elements are stored. NumPy has no bfloat16: its bits are read as uint16."""


def allowance(size: int) -> int:
    """How many bytes of array data a file of `size` bytes may declare."""
    return max(MAX_INFLATION * size, SMALL_BYTES)


def array_of(value: Any) -> Any | None:
    """The array of a Tensor, or an array itself; None for anything else.

    Raises:
        TypeError: its dtype is not a float, integer or bool of at most 64 bits.
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
    """A strided view of the bytes of a file, with its bounds checked. All arrays from files are made here.

    Args:
        content: the bytes, as `bytes` or an array of uint8.
        dtype: of the elements, with their byte order.
        shape, strides, offset: as the file states them, in elements, not bytes. Strides None: C order (row-major).
        part: (start, stop), if the file restricts the view to these bytes of `content`.

    Raises:
        ValueError: a size, stride or offset is negative, or the view would read out of bounds.

    >>> view(bytes(range(8)), np.dtype(np.uint8), (2, 3), (4, 1), offset=1)
    array([[1, 2, 3],
           [5, 6, 7]], dtype=uint8)
    >>> view(bytes(8), np.dtype(np.uint8), (2, 3), (5, 1), offset=1)
    Traceback (most recent call last):
        ...
    ValueError: a tensor of shape (2, 3) reaches beyond its storage of 8 bytes
    """
    if len(shape) > MAX_AXES:
        raise ValueError(f"a tensor has {len(shape):,} axes; at most {MAX_AXES} are supported")
    held = np.frombuffer(content, np.uint8)
    start, stop = (0, held.size) if part is None else part
    if strides is None:
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    if min((*shape, *strides, offset, start, stop)) < 0 or len(shape) != len(strides):
        raise ValueError(f"a tensor of shape {tuple(shape)} has a negative size, stride or offset, or too few strides"[:300])
    if not 0 <= start <= stop <= held.size:
        raise ValueError(f"a tensor claims bytes {start:,} to {stop:,}, but there are {held.size:,}"[:300])
    if 0 in shape:
        return np.empty(shape, dtype)
    end = start + (offset + sum((n - 1) * stride for n, stride in zip(shape, strides)) + 1) * dtype.itemsize
    if end > stop:
        raise ValueError(f"a tensor of shape {tuple(shape)} reaches beyond its storage of {stop - start:,} bytes"[:300])
    begin = start + offset * dtype.itemsize
    elements = held[begin : begin + (stop - begin) // dtype.itemsize * dtype.itemsize].view(dtype)
    return as_strided(elements, shape, [stride * dtype.itemsize for stride in strides])


def plain(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A contiguous copy in native byte order. Bools become 0 or 1, whatever byte the file has for them."""
    if array.dtype == bool:
        return np.asarray(np.not_equal(array.view(np.uint8), 0, order="C"))
    return array.astype(array.dtype.newbyteorder("="), order="C")


def widened(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """bfloat16, given as uint16, → float32, exactly: bfloat16 is the upper half of a float32.

    >>> widened(np.array([0x3F80, 0xC049], np.uint16))
    array([ 1.      , -3.140625], dtype=float32)
    """
    return np.asarray(np.left_shift(array, 16, dtype=np.uint32, order="C")).view(np.float32)
