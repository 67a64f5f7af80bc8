"""Operations that pick elements out by index, and put them back."""

from __future__ import annotations

from typing import Any

import numpy as np

from .backend import Array, is_array, to_device
from .graph import Node, T
from .op import Rule, op


def as_index(index: Any, device: str) -> Any:
    """An index as NumPy and CuPy take it: tensors, arrays and lists in it become arrays on the device of what they index.

    Raises:
        TypeError: a tensor or array in it is neither of integers nor of bools.
    """
    if isinstance(index, tuple):
        return tuple(as_index(i, device) for i in index)
    array = index.data if isinstance(index, Node) else np.asarray(index) if isinstance(index, list) else index
    if is_array(array) and array.dtype.kind not in "iub" and array.size:
        raise TypeError(f"index: expected integers or bools, got an array of {array.dtype}; use .to('int64')")
    if isinstance(index, list) and not array.size:
        array = array.astype(np.int64)  # NumPy makes floats of an empty list
    return to_device(array, device) if is_array(array) else array


def is_basic(index: Any) -> bool:
    """Whether `index` is of integers, slices, None and Ellipsis alone: it gives a view, in which no element occurs twice."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(i is None or i is Ellipsis or isinstance(i, (slice, int, np.integer)) and not isinstance(i, bool) for i in parts)


@op
def getitem(x: T, *, index: Any) -> Rule[T]:
    """x[index], for every index that NumPy takes. A view where the index has slices, integers, None and Ellipsis alone.

    Raises:
        IndexError: an index is out of range, or there are more indices than axes.
        TypeError: an index is of floats.
    """
    index, shape = as_index(index, x.device), x.shape
    return x.data[index], (lambda g: _put(g, index=index, shape=shape),)


@op
def _put(g: T, *, index: Any, shape: tuple[int, ...]) -> Rule[T]:
    """The adjoint of getitem: zeros of `shape`, to whose elements at `index` g is added."""
    data: Array = g.xp.zeros(shape, g.dtype)
    if is_basic(index):
        data[index] = g.data
    else:
        g.xp.add.at(data, index, g.data)
    return data, (lambda h: h[index],)
