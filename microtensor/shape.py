"""Operations that rearrange: the same numbers in another shape, next to others, or with room around them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .graph import Node, T
from .op import Rule, op


def normalize_dims(name: str, dim: Any, shape: Sequence[int]) -> tuple[int, ...]:
    """Axes as PyTorch and NumPy let one write them (−1 is the last, None all) → axes counted from 0.

    Raises:
        TypeError: `dim` is no integer and no sequence of them.
        ValueError: an axis is out of range, or named twice.

    >>> normalize_dims("sum", -1, (2, 3)), normalize_dims("sum", None, (2, 3))
    ((1,), (0, 1))
    """
    ndim = len(shape)
    if dim is None:
        return tuple(range(ndim))
    dims = []
    for d in dim if isinstance(dim, (tuple, list)) else (dim,):
        if not isinstance(d, (int, np.integer)) or isinstance(d, bool):
            raise TypeError(f"{name}: dim must be an integer or a sequence of integers, got {dim!r}")
        if not -ndim <= d < ndim and not (ndim == 0 and d in (0, -1)):
            raise ValueError(
                f"{name}: dim {d} is out of range for shape {tuple(shape)}: it has {ndim} axes, {-ndim} to {ndim - 1}"
            )
        if ndim:
            dims.append(int(d) % ndim)
    if len(set(dims)) != len(dims):
        raise ValueError(f"{name}: dim {dim!r} names an axis of shape {tuple(shape)} twice")
    return tuple(dims)


@op
def reshape(x: T, *, shape: Sequence[int]) -> Rule[T]:
    """The same elements, in the same order, in another shape; one length may be −1, and follows from the others.

    Raises:
        ValueError: the numbers of elements differ.
    """
    before = x.shape
    try:
        data = x.data.reshape(shape)
    except ValueError:
        raise ValueError(f"reshape: {x.data.size} elements of shape {before} do not fill shape {tuple(shape)}") from None
    return data, (lambda g: g.reshape(before),)


@op
def broadcast_to(x: T, *, shape: Sequence[int]) -> Rule[T]:
    """x, repeated along new axes on the left and along axes of length 1. No number is copied; the gradient is a sum.

    Raises:
        ValueError: x does not broadcast to `shape`.
    """
    before = x.shape
    try:
        data = x.xp.broadcast_to(x.data, shape)
    except ValueError:
        raise ValueError(
            f"broadcast_to: shape {before} does not broadcast to {tuple(shape)}: "
            "counted from the right, each of its lengths must be 1 or that of the target"
        ) from None
    new = data.ndim - len(before)
    repeated = tuple(i for i in range(data.ndim) if i < new or before[i - new] != data.shape[i])
    return data, (lambda g: g.sum(repeated, keepdim=True).reshape(before),)


@op
def permute(x: T, *, dims: Sequence[int]) -> Rule[T]:
    """The axes of x in the order `dims`: axis i of the result is axis dims[i] of x. A view.

    Raises:
        ValueError: `dims` does not name each axis once.
    """
    order = normalize_dims("permute", tuple(dims), x.shape)
    if len(order) != x.ndim:
        raise ValueError(f"permute: dims {tuple(dims)} must name each of the {x.ndim} axes of shape {x.shape} once")
    back = tuple(order.index(i) for i in range(x.ndim))
    return x.data.transpose(order), (lambda g: g.permute(back),)


def transpose(x: T, dim0: int, dim1: int) -> T:
    """x with two axes exchanged. A view."""
    (i,), (j,) = normalize_dims("transpose", dim0, x.shape), normalize_dims("transpose", dim1, x.shape)
    order = list(range(x.ndim))
    order[i], order[j] = j, i
    return permute(x, dims=order)


def flatten(x: T, start_dim: int = 0, end_dim: int = -1) -> T:
    """Axes `start_dim` to `end_dim` of x as one axis.

    >>> import microtensor as mt
    >>> flatten(mt.Tensor([[[1.0], [2.0]], [[3.0], [4.0]]]), 1).shape
    (2, 2)
    """
    if x.ndim == 0:
        return reshape(x, shape=(1,))
    (start,), (end,) = normalize_dims("flatten", start_dim, x.shape), normalize_dims("flatten", end_dim, x.shape)
    if start > end:
        raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim} in shape {x.shape}")
    return reshape(x, shape=(*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))


def squeeze(x: T, dim: Any = None) -> T:
    """x without its axes of length 1: those of `dim`, or all. An axis of another length stays, as in PyTorch."""
    dims = normalize_dims("squeeze", dim, x.shape)
    return reshape(x, shape=tuple(n for i, n in enumerate(x.shape) if n != 1 or i not in dims))


def unsqueeze(x: T, dim: int) -> T:
    """x with a new axis of length 1 at `dim`, counted in the result."""
    (i,) = normalize_dims("unsqueeze", dim, (*x.shape, 1))
    return reshape(x, shape=(*x.shape[:i], 1, *x.shape[i:]))


def cat(tensors: Sequence[T], dim: int = 0) -> T:
    """Tensors one after the other along axis `dim`; their other axes must agree.

    Raises:
        TypeError: `tensors` is no sequence of tensors.
        ValueError: there are none, or another axis differs.

    >>> import microtensor as mt
    >>> cat([mt.Tensor([[1.0]]), mt.Tensor([[2.0, 3.0]])], dim=1)
    Tensor([[1., 2., 3.]])
    """
    if not isinstance(tensors, (list, tuple)) or not all(isinstance(x, Node) for x in tensors):
        raise TypeError(f"cat: expected a list or tuple of Tensors, got {tensors!r}")
    if not tensors:
        raise ValueError("cat: there is nothing to concatenate")
    (axis,) = normalize_dims("cat", dim, tensors[0].shape)
    for x in tensors:
        if [n for i, n in enumerate(x.shape) if i != axis] != [n for i, n in enumerate(tensors[0].shape) if i != axis]:
            shapes = ", ".join(str(x.shape) for x in tensors)
            raise ValueError(f"cat: shapes {shapes} differ in another axis than dim {dim}")
    return _cat(*tensors, dim=axis)


@op
def _cat(*tensors: T, dim: int) -> Rule[T]:
    ends = np.cumsum([x.shape[dim] for x in tensors]).tolist()
    before = (slice(None),) * dim

    def part(start: int, end: int) -> Any:
        return lambda g: g[(*before, slice(start, end))]

    return tensors[0].xp.concatenate([x.data for x in tensors], axis=dim), [part(a, b) for a, b in zip([0, *ends], ends)]


def pad(x: T, padding: Sequence[int], value: float = 0.0) -> T:
    """x with `padding` more numbers, all `value`, on each side.

    Args:
        padding: (left, right, top, bottom, …): a pair for the last axis, then for the one before it, as in PyTorch.

    Raises:
        ValueError: `padding` is no list of pairs, has more pairs than x has axes, or is negative.

    >>> import microtensor as mt
    >>> pad(mt.Tensor([1.0, 2.0]), (1, 2))
    Tensor([0., 1., 2., 0., 0.])
    """
    padding = tuple(padding)
    if len(padding) % 2 or len(padding) > 2 * x.ndim or any(not isinstance(n, (int, np.integer)) or n < 0 for n in padding):
        raise ValueError(
            f"pad: padding {padding} must be pairs of lengths ≥ 0, last axis first, at most {x.ndim} pairs for shape {x.shape}"
        )
    pairs = [(0, 0)] * (x.ndim - len(padding) // 2) + [*zip(padding[-2::-2], padding[-1::-2])]
    return _pad(x, pairs=pairs, value=value)


@op
def _pad(x: T, *, pairs: Sequence[tuple[int, int]], value: float) -> Rule[T]:
    inside = tuple(slice(before, before + n) for (before, _), n in zip(pairs, x.shape))
    return x.xp.pad(x.data, pairs, constant_values=value), (lambda g: g[inside],)
