"""Sorting, and what is made of it: the k largest, the median, distinct values.

Everywhere nan sorts after all other values, as if it were the largest, and sorting is stable. The gradient of an element that
was picked goes to where it was picked.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd.arguments import Either, composed
from ..autograd.graph import T
from ..autograd.op import Rule, op
from ..runtime.arrays import Array, array_module
from ..runtime.integers import is_integer
from .extremes import Picked, pick, shared_evenly
from .reduce import one_axis


@op
def argsort(x: T, /, dim: int = -1, descending: bool = False, stable: bool = False) -> Rule[T]:
    """Indices that sort x along axis `dim`: int64. Equal elements keep their order, whatever `stable` says.

    Raises:
        TypeError: `dim` is no integer.
        ValueError: it is out of range.

    >>> import microtensor as mt
    >>> argsort(mt.Tensor([3.0, 1.0, 2.0]))
    Tensor([1, 2, 0], dtype=int64)
    """
    axis = one_axis("argsort", dim, x.shape)
    if axis is None:
        return x.xp.zeros((), np.int64), None
    if not descending:
        return _order(x.array, axis), None
    backwards = (
        *(slice(None),) * axis,
        slice(None, None, -1),
    )  # flipped before and after, so that equal elements keep their order
    return x.shape[axis] - 1 - _order(x.array[backwards], axis)[backwards], None


def _order(data: Array, axis: int) -> Array:
    """The indices that sort along an axis, as int64 (NumPy's are as wide as a pointer)."""
    return array_module(data).argsort(data, axis=axis, kind="stable").astype(np.int64, copy=False)


@composed
def sort(x: T, dim: int = -1, descending: bool = False, stable: bool = False) -> Picked:
    """x sorted along axis `dim`, and the index of each element before: (values, indices). Equal elements keep their order.

    Raises:
        TypeError, ValueError: as `argsort`.

    >>> import microtensor as mt
    >>> values, indices = sort(mt.Tensor([3.0, 1.0, 2.0]), descending=True)
    >>> values, indices
    (Tensor([3., 2., 1.]), Tensor([0, 2, 1], dtype=int64))
    """
    axis = one_axis("sort", dim, x.shape)
    return pick(x, argsort(x, dim=dim, descending=descending), axis)


@composed
def topk(x: T, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Picked:
    """The k largest elements along axis `dim`, or the k smallest, and their indices: (values, indices), always sorted.

    Raises:
        TypeError: k is no integer.
        ValueError: the axis is shorter than k.

    >>> import microtensor as mt
    >>> scores = mt.Tensor([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]])
    >>> topk(scores, 2).indices
    Tensor([[1, 2],
            [0, 2]], dtype=int64)
    """
    axis, order = _ranks("topk", x, k, dim, 0, descending=largest)
    return pick(x, order if axis is None else order[(*(slice(None),) * axis, slice(0, k))], axis)


@composed
def kthvalue(x: T, k: int, dim: int = -1, keepdim: bool = False) -> Picked:
    """The k-th smallest element along axis `dim`, k from 1 on, and its index: (values, indices). Errors as `topk`.

    >>> import microtensor as mt
    >>> kthvalue(mt.Tensor([3.0, 1.0, 2.0]), 2).values
    Tensor(2.)
    """
    axis, order = _ranks("kthvalue", x, k, dim, 1)
    return pick(x, order if axis is None else order[(*(slice(None),) * axis, slice(k - 1, k))], axis, keepdim)


def _ranks(name: str, x: Any, k: Any, dim: Any, least: int, descending: bool = False) -> tuple[int | None, Any]:
    """The axis, of length k at least, and the indices that sort along it."""
    axis = one_axis(name, dim, x.shape)
    if not is_integer(k):
        raise TypeError(f"{name}: k must be an integer, got {k!r}")
    length = 1 if axis is None else x.shape[axis]
    if not least <= k <= length:
        raise ValueError(f"{name}: k must be from {least} to {length}, as axis {dim} of shape {x.shape} has it, got {k}")
    return axis, argsort(x, dim=dim, descending=descending)


@composed
def median(x: T, dim: int | None = None, keepdim: bool = False) -> Either:
    """The middle of the sorted elements, of an even count the lower of the two; nan if one is nan.

    Without `dim`, the median of all: elements equal to it share the gradient evenly. Along axis `dim`, the
    medians and their indices: (values, indices).

    Raises:
        ValueError: there are no elements.

    >>> import microtensor as mt
    >>> median(mt.Tensor([4.0, 1.0, 3.0, 2.0]))
    Tensor(2.)
    """
    axis = None if dim is None else one_axis("median", dim, x.shape)
    if not (x.array.size if axis is None else x.shape[axis]):
        raise ValueError(f"median: there are no elements in shape {x.shape}{'' if dim is None else f' along axis {dim}'}")
    if dim is None:
        return _median_of_all(x)
    return pick(x, _index_of_median(x, axis=axis), axis, keepdim)


@op(output=True)
def _median_of_all(x: T) -> Rule[T]:
    data = x.xp.sort(x.array.reshape(-1))
    last, middle = data[-1], data[(len(data) - 1) // 2]  # a nan is last
    return x.xp.where(last != last, last, middle), (shared_evenly(x, tuple(range(x.ndim))),)


@op
def _index_of_median(x: T, *, axis: int | None) -> Rule[T]:
    xp = x.xp
    if axis is None:
        return xp.zeros((), np.int64), None
    middle = (x.shape[axis] - 1) // 2
    count = (x.array == x.array).sum(axis, keepdims=True)  # without the nans, which are last
    place = middle + (count < x.shape[axis]) * (count - middle)
    return xp.take_along_axis(_order(x.array, axis), place, axis), None


@composed
def unique(x: T, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False) -> Either:
    """The distinct values of x, always sorted. No gradient flows. Waits for the device, since their count is the shape.

    Args:
        return_inverse: give also, in the shape of x, the index of each element among the distinct values.
        return_counts: give also how often each occurs.

    >>> import microtensor as mt
    >>> labels = mt.Tensor([3, 1, 3], dtype="int64")
    >>> unique(labels, return_counts=True)
    (Tensor([1, 3], dtype=int64), Tensor([1, 2], dtype=int64))
    """
    found = x.xp.unique(x.array, return_inverse=return_inverse, return_counts=return_counts)
    if not isinstance(found, tuple):
        return x.constant(found)
    values, *others = found[0], *(indices.astype(np.int64, copy=False) for indices in found[1:])
    inverse = [others[0].reshape(x.shape)] if return_inverse else []
    return tuple(x.constant(data) for data in (values, *inverse, *others[return_inverse:]))
