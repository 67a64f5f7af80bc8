"""Operations that repeat elements: broadcasting, tiling, grids, overlapping windows.

The gradient of an element is the sum over its copies.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd.arguments import composed
from ..autograd.graph import Node, T
from ..autograd.op import Rule, op
from ..runtime.arrays import is_array, to_numpy
from ..runtime.integers import as_integer, as_integers
from ..runtime.sizes import check_size
from .indexing import getitem
from .shape import flatten, normalize_dim, reshape, transpose, unsqueeze


@op
def broadcast_to(x: T, /, shape: Any) -> Rule[T]:
    """x, repeated along new axes on the left and along axes of length 1. A view; the gradient is a sum.

    Raises:
        TypeError: `shape` is not of integers.
        ValueError: x does not broadcast to `shape`.

    >>> import microtensor as mt
    >>> broadcast_to(mt.Tensor([1.0, 2.0]), (2, 2))
    Tensor([[1., 2.],
            [1., 2.]])
    """
    before, lengths = x.shape, as_integers("broadcast_to", "shape", shape, least=0)
    try:
        data = x.xp.broadcast_to(x.array, lengths)
    except ValueError:
        raise ValueError(
            f"broadcast_to: shape {before} does not broadcast to {lengths}: "
            "counted from the right, each of its lengths must be 1 or that of the target"
        ) from None
    new = data.ndim - len(before)
    repeated = tuple(i for i in range(data.ndim) if i < new or before[i - new] != data.shape[i])
    return data, (lambda g: g.sum(repeated, keepdim=True).reshape(before),)


@composed
def expand(x: T, shape: Any) -> T:
    """`broadcast_to`, in which −1 keeps the length that an axis has.

    Raises:
        TypeError: `shape` is not of integers.
        ValueError: x does not broadcast to `shape`, or a new axis is −1.

    >>> import microtensor as mt
    >>> expand(mt.Tensor([[1.0], [2.0]]), (-1, 3))
    Tensor([[1., 1., 1.],
            [2., 2., 2.]])
    """
    lengths = as_integers("expand", "shape", shape, least=-1)
    new = len(lengths) - x.ndim
    if new < 0 or -1 in lengths[:new]:
        raise ValueError(
            f"expand: shape {lengths} needs a length, or -1, for each of the {x.ndim} axes of shape {x.shape}, "
            "and on the left of them a length for each new axis"
        )
    return broadcast_to(x, tuple(x.shape[i - new] if n == -1 else n for i, n in enumerate(lengths)))


@composed
def repeat(x: T, repeats: Any) -> T:
    """Copies of x side by side, this many along each axis. More `repeats` than x has axes add axes on the left.

    Raises:
        TypeError: `repeats` is not of integers.
        ValueError: one is negative, or there are fewer than axes.

    >>> import microtensor as mt
    >>> repeat(mt.Tensor([1.0, 2.0]), (2, 2))
    Tensor([[1., 2., 1., 2.],
            [1., 2., 1., 2.]])
    """
    counts = as_integers("repeat", "repeats", repeats, least=0)
    if len(counts) < x.ndim:
        raise ValueError(
            f"repeat: repeats {counts} must say how often for each of the {x.ndim} axes of shape {x.shape}; "
            "tile() takes fewer, repeat_interleave() repeats the single elements"
        )
    lengths = (1,) * (len(counts) - x.ndim) + x.shape
    check_size("repeat", "the result", [count * n for count, n in zip(counts, lengths)], x, "give smaller repeats")
    apart = reshape(x, [m for n in lengths for m in (1, n)])
    side_by_side = broadcast_to(apart, [m for count, n in zip(counts, lengths) for m in (count, n)])
    return reshape(side_by_side, [count * n for count, n in zip(counts, lengths)])


@composed
def tile(x: T, dims: Any) -> T:
    """`repeat`, where axes on the left without an entry in `dims` are not repeated.

    Raises:
        TypeError: `dims` is not of integers.
        ValueError: a number is negative.

    >>> import microtensor as mt
    >>> tile(mt.Tensor([[1.0], [2.0]]), 2)
    Tensor([[1., 1.],
            [2., 2.]])
    """
    counts = as_integers("tile", "dims", dims, least=0)
    return repeat(x, (1,) * (x.ndim - len(counts)) + counts)


@composed
def repeat_interleave(x: T, repeats: Any, dim: int | None = None) -> T:
    """Each slice of x along axis `dim`, followed by its copies. NumPy calls this `repeat`.

    Args:
        repeats: how often, for all or one number per slice (a Tensor, an array or a list).
        dim: None flattens x.

    Raises:
        TypeError: `repeats` is not of integers.
        ValueError: a number is negative, or there are more or fewer than slices.

    >>> import microtensor as mt
    >>> repeat_interleave(mt.Tensor([1.0, 2.0]), 2), repeat_interleave(mt.Tensor([1.0, 2.0]), [0, 3])
    (Tensor([1., 1., 2., 2.]), Tensor([2., 2., 2.]))
    """
    if dim is None:
        return repeat_interleave(flatten(x), repeats, 0)
    axis = normalize_dim("repeat_interleave", dim, x.shape)
    given = repeats.array if isinstance(repeats, Node) else repeats
    given = to_numpy(given).tolist() if is_array(given) else given
    counts = as_integers("repeat_interleave", "repeats", given, least=0)
    n = x.shape[axis]
    if len(counts) == 1:
        longer = (*x.shape[:axis], n * counts[0], *x.shape[axis + 1 :])
        check_size("repeat_interleave", "the result", longer, x, "give smaller repeats")
        pairs = broadcast_to(unsqueeze(x, axis + 1), (*x.shape[: axis + 1], *counts, *x.shape[axis + 1 :]))
        return flatten(pairs, axis, axis + 1)
    if len(counts) != n:
        raise ValueError(f"repeat_interleave: {len(counts)} repeats for the {n} slices of shape {x.shape} along dim {dim}")
    longer = (*x.shape[:axis], sum(counts), *x.shape[axis + 1 :])
    check_size("repeat_interleave", "the result", longer, x, "give smaller repeats")
    return getitem(x, (slice(None),) * axis + (np.repeat(np.arange(n), counts),))


def meshgrid(*tensors: T, indexing: str = "ij") -> tuple[T, ...]:
    """Vectors → one grid each, all of the shape of their lengths: grid k has the elements of vector k along axis k. Views.

    Args:
        indexing: "ij", or "xy", which exchanges the first two axes of each grid: columns count x, rows y.

    Raises:
        TypeError: there is something else than tensors.
        ValueError: there is no tensor, one has more than one axis, or `indexing` is neither.

    >>> import microtensor as mt
    >>> meshgrid(mt.Tensor([1.0, 2.0]), mt.Tensor([3.0, 4.0, 5.0]))[1]
    Tensor([[3., 4., 5.],
            [3., 4., 5.]])
    """
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    if not tensors:
        raise ValueError("meshgrid: expected at least one vector")
    if indexing not in ("ij", "xy"):
        raise ValueError(f'meshgrid: indexing must be "ij" (matrices) or "xy" (pictures), got {indexing!r}')
    for x in tensors:
        if not isinstance(x, Node):
            raise TypeError(f"meshgrid: expected Tensors, got {type(x).__name__}")
        if x.ndim > 1:
            raise ValueError(f"meshgrid: expected vectors, got shape {x.shape}")
    lengths, count = tuple(x.array.size for x in tensors), len(tensors)
    grids = [broadcast_to(reshape(x, (-1,) + (1,) * (count - 1 - axis)), lengths) for axis, x in enumerate(tensors)]
    return tuple(transpose(grid, 0, 1) if indexing == "xy" and count > 1 else grid for grid in grids)


@composed
def unfold(x: T, dimension: int, size: int, step: int) -> T:
    """Windows of `size` elements along an axis, `step` apart: (…, n, …) → (…, ⌊(n − size) / step⌋ + 1, …, size).

    A view: windows may overlap in memory. (`nn.unfold` is im2col, which copies.)

    Raises:
        TypeError: `size` or `step` is not an integer.
        ValueError: they are below 1, or the window is longer than the axis.

    >>> import microtensor as mt
    >>> unfold(mt.Tensor([1.0, 2.0, 3.0, 4.0]), 0, size=2, step=1)
    Tensor([[1., 2.],
            [2., 3.],
            [3., 4.]])
    """
    axis = normalize_dim("unfold", dimension, x.shape)
    width, stride = as_integer("unfold", "size", size, least=1), as_integer("unfold", "step", step, least=1)
    if width > x.shape[axis]:
        raise ValueError(
            f"unfold: windows of {width} are longer than dim {dimension} of shape {x.shape}; pad() makes it longer"
        )
    windows = _windows(x, dim=axis, size=width, step=stride)
    windows.assigned = x.assigned  # the version counter: as_strided hides whose memory it is
    return windows


@op
def _windows(x: T, *, dim: int, size: int, step: int) -> Rule[T]:
    length, data = x.shape[dim], x.array
    shape = (*x.shape[:dim], (length - size) // step + 1, *x.shape[dim + 1 :], size)
    strides = (*data.strides[:dim], step * data.strides[dim], *data.strides[dim + 1 :], data.strides[dim])
    windows = x.xp.lib.stride_tricks.as_strided(data, shape, strides)
    # `[...]`: CuPy sets `base` of a view only then
    return windows[...], (lambda g: _overlay(g, dim=dim, step=step, length=length),)


@op
def _overlay(g: T, *, dim: int, step: int, length: int) -> Rule[T]:
    """The adjoint of _windows: each window is added at its place."""
    size, last = g.shape[-1], step * (g.shape[dim] - 1)
    data = g.xp.zeros((*g.shape[:dim], length, *g.shape[dim + 1 : -1]), g.dtype)
    for i in range(size):
        seen = data[(slice(None),) * dim + (slice(i, i + last + 1, step),)]
        seen += g.array[..., i]
    return data, (lambda h: _windows(h, dim=dim, size=size, step=step),)
