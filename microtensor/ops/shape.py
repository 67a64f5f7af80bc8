"""Shapes: the same elements in another shape or order.

The results are views wherever the memory layout allows it: nothing is copied, and an assignment to one is seen in the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..autograd.arguments import composed
from ..autograd.graph import T
from ..autograd.op import Rule, op
from ..runtime.integers import as_integer, as_integers, is_integer

# Arguments: axes and lengths


def normalize_dims(name: str, dim: Any, shape: Sequence[int]) -> tuple[int, ...]:
    """Axes as in PyTorch and NumPy (−1 is the last, None all) → axes counted from 0.

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
        if not is_integer(d):
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


def normalize_dim(name: str, dim: Any, shape: Sequence[int]) -> int:
    """One axis, counted from 0.

    Raises:
        TypeError: `dim` is no integer.
        ValueError: it is out of range, or there are no axes.

    >>> normalize_dim("cat", -1, (2, 3))
    1
    """
    if not is_integer(dim):
        raise TypeError(f"{name}: dim must be an integer, got {dim!r}")
    dims = normalize_dims(name, dim, shape)
    if not dims:
        raise ValueError(f"{name}: a tensor without axes has no dim {dim}; unsqueeze(0) gives it one")
    return dims[0]


def _fill(name: str, shape: Any, before: tuple[int, ...]) -> tuple[int, ...]:
    """The requested shape, with −1 replaced by the length that follows from the others."""
    count, lengths = math.prod(before), as_integers(name, "shape", shape, least=-1)
    if lengths.count(-1) > 1:
        raise ValueError(f"{name}: shape {lengths} leaves several lengths open, and only one follows from the others")
    if -1 in lengths:
        known = -math.prod(lengths)
        if not known and not count:
            raise ValueError(
                f"{name}: with no elements to fill it, the -1 in shape {lengths} could be any length: write it out"
            )
        filled = tuple(count // known if n == -1 and known else n for n in lengths)
    else:
        filled = lengths
    if math.prod(filled) != count:
        raise ValueError(f"{name}: {count} elements of shape {before} do not fill shape {lengths}")
    return filled


# Another shape, the same order


@op
def reshape(x: T, /, shape: Any) -> Rule[T]:
    """x in another shape, its elements in the same order; one length may be −1, and follows from the others.

    A view where the memory layout allows it, else a copy: for example after axes were exchanged, flipped or repeated.

    Raises:
        TypeError: `shape` is not of integers.
        ValueError: it has more or fewer elements.

    >>> import microtensor as mt
    >>> reshape(mt.Tensor([1.0, 2.0, 3.0, 4.0]), (2, -1))
    Tensor([[1., 2.],
            [3., 4.]])
    """
    before = x.shape
    return x.array.reshape(_fill("reshape", shape, before)), (lambda g: g.reshape(before),)


@composed
def view(x: T, shape: Any) -> T:
    """`reshape`, but never a copy: an assignment to the view is one to x.

    Raises:
        TypeError: `shape` is not of integers.
        ValueError: it has more or fewer elements, or the memory layout does not allow a view.

    >>> import microtensor as mt
    >>> x = mt.Tensor([1.0, 2.0, 3.0, 4.0])
    >>> view(x, (2, 2))[0] = 0.0
    >>> x
    Tensor([0., 0., 3., 4.])
    """
    filled = _fill("view", shape, x.shape)
    result = reshape(x, filled)
    if result.array.size and not x.xp.may_share_memory(result.array, x.array):
        raise ValueError(
            f"view: the elements of this {x.shape} tensor are not in memory in the order of shape {filled}, as its axes were "
            "exchanged, flipped or repeated; reshape() copies them where need be"
        )
    return result


@composed
def flatten(x: T, start_dim: int = 0, end_dim: int = -1) -> T:
    """Axes `start_dim` to `end_dim` of x as one axis.

    Raises:
        TypeError: an axis is no integer.
        ValueError: it is out of range, or `start_dim` comes after `end_dim`.

    >>> import microtensor as mt
    >>> flatten(mt.Tensor([[[1.0], [2.0]], [[3.0], [4.0]]]), 1).shape
    (2, 2)
    """
    if x.ndim == 0:
        return reshape(x, (1,))
    start, end = normalize_dim("flatten", start_dim, x.shape), normalize_dim("flatten", end_dim, x.shape)
    if start > end:
        raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim} in shape {x.shape}")
    return reshape(x, (*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))


@composed
def unflatten(x: T, dim: int, sizes: Sequence[int]) -> T:
    """Axis `dim` of x as several axes of lengths `sizes`, one of which may be −1: the inverse of `flatten`.

    Raises:
        TypeError: `dim` is no integer, or `sizes` are no integers.
        ValueError: `dim` is out of range, or the axis is longer or shorter than `sizes` multiply to.

    >>> import microtensor as mt
    >>> import numpy as np
    >>> unflatten(mt.Tensor(np.ones((2, 6))), 1, (3, -1)).shape
    (2, 3, 2)
    """
    axis = normalize_dim("unflatten", dim, x.shape)
    return reshape(x, (*x.shape[:axis], *_fill("unflatten", sizes, x.shape[axis : axis + 1]), *x.shape[axis + 1 :]))


@composed
def squeeze(x: T, dim: Any = None) -> T:
    """x without its axes of length 1: those of `dim`, or all. An axis of another length stays, as in PyTorch.

    Raises:
        TypeError: `dim` is no integer and no sequence of them.
        ValueError: an axis is out of range, or named twice.

    >>> import microtensor as mt
    >>> squeeze(mt.Tensor([[[1.0], [2.0]]])).shape
    (2,)
    """
    dims = normalize_dims("squeeze", dim, x.shape)
    return reshape(x, tuple(n for i, n in enumerate(x.shape) if n != 1 or i not in dims))


@composed
def unsqueeze(x: T, dim: int) -> T:
    """x with a new axis of length 1 at `dim`, counted in the result: 0 puts it first, −1 last.

    Raises:
        TypeError: `dim` is no integer.
        ValueError: it is out of range.

    >>> import microtensor as mt
    >>> unsqueeze(mt.Tensor([1.0, 2.0]), 0), unsqueeze(mt.Tensor([1.0, 2.0]), -1).shape
    (Tensor([[1., 2.]]), (2, 1))
    """
    axes = x.ndim + 1
    if is_integer(dim) and not -axes <= dim < axes:
        raise ValueError(
            f"unsqueeze: dim {dim} is out of range: with the new axis, shape {x.shape} has {axes} axes, {-axes} to {axes - 1}"
        )
    axis = normalize_dim("unsqueeze", dim, (*x.shape, 1))
    return reshape(x, (*x.shape[:axis], 1, *x.shape[axis:]))


# The same axes in another order


@op
def permute(x: T, /, dims: Sequence[int]) -> Rule[T]:
    """The axes of x in the order `dims`: axis i of the result is axis dims[i] of x. A view.

    Raises:
        TypeError: `dims` is not of integers.
        ValueError: it does not name each axis once.

    >>> import microtensor as mt
    >>> permute(mt.ones(2, 3, 4), (2, 0, 1)).shape
    (4, 2, 3)
    """
    order = normalize_dims("permute", as_integers("permute", "dims", dims), x.shape)
    if len(order) != x.ndim:
        raise ValueError(f"permute: dims {tuple(dims)} must name each of the {x.ndim} axes of shape {x.shape} once")
    back = tuple(order.index(i) for i in range(x.ndim))
    return x.array.transpose(order), (lambda g: g.permute(back),)


@composed
def transpose(x: T, dim0: int, dim1: int) -> T:
    """x with two axes exchanged. A view.

    Raises:
        TypeError: an axis is no integer.
        ValueError: it is out of range, or x has no axes.

    >>> import microtensor as mt
    >>> transpose(mt.Tensor([[1.0, 2.0], [3.0, 4.0]]), 0, 1)
    Tensor([[1., 3.],
            [2., 4.]])
    """
    i, j = normalize_dim("transpose", dim0, x.shape), normalize_dim("transpose", dim1, x.shape)
    order = list(range(x.ndim))
    order[i], order[j] = j, i
    return permute(x, order)


swapaxes = transpose
"""NumPy's name for it."""


@composed
def movedim(x: T, source: Any, destination: Any) -> T:
    """x with the axes `source` moved to the places `destination`; the others keep their order. A view.

    Raises:
        ValueError: there are more or fewer places than axes, or one is named twice.

    >>> import microtensor as mt
    >>> import numpy as np
    >>> movedim(mt.Tensor(np.ones((8, 32, 32, 3))), -1, 1).shape
    (8, 3, 32, 32)
    """
    moved = normalize_dims("movedim", as_integers("movedim", "source", source), x.shape)
    places = normalize_dims("movedim", as_integers("movedim", "destination", destination), x.shape)
    if len(moved) != len(places):
        raise ValueError(f"movedim: source {source!r} and destination {destination!r} must name as many axes")
    order = [i for i in range(x.ndim) if i not in moved]
    for place, axis in sorted(zip(places, moved)):
        order.insert(place, axis)
    return permute(x, order)


moveaxis = movedim
"""NumPy's name for it."""


# The same shape in another order


@op
def flip(x: T, /, dims: Any) -> Rule[T]:
    """x reversed along each of the axes `dims`. A view.

    Raises:
        TypeError: `dims` is no integer and no sequence of them.
        ValueError: an axis is out of range, or named twice.

    >>> import microtensor as mt
    >>> flip(mt.Tensor([[1.0, 2.0], [3.0, 4.0]]), 1)
    Tensor([[2., 1.],
            [4., 3.]])
    """
    axes = normalize_dims("flip", dims, x.shape)
    backwards = tuple(slice(None, None, -1) if i in axes else slice(None) for i in range(x.ndim))
    return x.array[backwards], (lambda g: g.flip(axes),)


@op
def roll(x: T, /, shifts: Any, dims: Any = None) -> Rule[T]:
    """x shifted along axes, wrapping around: result[i] = x[i − shift].

    Args:
        shifts: by how much, one integer per axis in `dims`.
        dims: None rolls the flattened x.

    Raises:
        ValueError: there are more or fewer shifts than axes.

    >>> import microtensor as mt
    >>> roll(mt.Tensor([1.0, 2.0, 3.0]), 1)
    Tensor([3., 1., 2.])
    """
    steps, axes = as_integers("roll", "shifts", shifts), None if dims is None else normalize_dims("roll", dims, x.shape)
    if len(steps) != (1 if axes is None else len(axes)):
        raise ValueError(
            f"roll: shifts {shifts!r} and dims {dims!r} must be as many; without dims, one shift rolls all as one axis"
        )
    back = tuple(-n for n in steps)
    data = x.xp.roll(x.array, steps[0] if axes is None else steps, axes)
    return data, (lambda g: g.roll(back, axes),)


@composed
def rot90(x: T, k: int = 1, dims: Sequence[int] = (0, 1)) -> T:
    """x rotated `k` times by 90° in the plane of two axes, from the first towards the second. A view.

    Raises:
        ValueError: `dims` does not name two axes.

    >>> import microtensor as mt
    >>> rot90(mt.Tensor([[1.0, 2.0], [3.0, 4.0]]))
    Tensor([[2., 4.],
            [1., 3.]])
    """
    plane = normalize_dims("rot90", dims, x.shape)
    if len(plane) != 2:
        raise ValueError(f"rot90: dims must name two axes, the plane to turn, got {dims!r}")
    turns = as_integer("rot90", "k", k) % 4
    turned = flip(x, plane[1]) if turns == 1 else flip(x, plane[0]) if turns == 3 else x
    return flip(x, plane) if turns == 2 else transpose(turned, *plane) if turns else x
