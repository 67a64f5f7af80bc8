"""Concatenating tensors, and splitting them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd.arguments import composed
from ..autograd.broadcasting import result_type
from ..autograd.graph import Node, T
from ..autograd.op import Rule, op
from ..runtime.integers import as_integer, as_integers
from .indexing import getitem
from .shape import normalize_dim, reshape, unsqueeze


@composed
def cat(tensors: Sequence[T], dim: int = 0) -> T:
    """Tensors one after the other along axis `dim`; their other axes must agree. NumPy calls this `concatenate`.

    Dtypes are promoted as in arithmetic.

    Raises:
        TypeError: `tensors` is no sequence of tensors.
        ValueError: there are none, or another axis differs.

    >>> import microtensor as mt
    >>> cat([mt.Tensor([[1.0]]), mt.Tensor([[2.0, 3.0]])], dim=1)
    Tensor([[1., 2., 3.]])
    """
    tensors = _alike("cat", tensors)
    axis = normalize_dim("cat", dim, tensors[0].shape)
    around = [(*x.shape[:axis], *x.shape[axis + 1 :]) for x in tensors]
    if any(shape != around[0] or x.ndim != tensors[0].ndim for shape, x in zip(around, tensors)):
        shapes = ", ".join(str(x.shape) for x in tensors)
        raise ValueError(f"cat: shapes {shapes} must agree in all axes but dim {dim}")
    return _cat(*tensors, dim=axis)


@op
def _cat(*tensors: T, dim: int) -> Rule[T]:
    ends = np.cumsum([x.shape[dim] for x in tensors]).tolist()
    before = (slice(None),) * dim

    def part(start: int, end: int) -> Any:
        return lambda g: g[(*before, slice(start, end))]

    return tensors[0].xp.concatenate([x.array for x in tensors], axis=dim), [part(a, b) for a, b in zip([0, *ends], ends)]


@composed
def stack(tensors: Sequence[T], dim: int = 0) -> T:
    """Tensors of one shape, one after the other along a new axis at `dim`.

    Raises:
        TypeError: `tensors` is no sequence of tensors.
        ValueError: there are none, or their shapes differ.

    >>> import microtensor as mt
    >>> stack([mt.Tensor([1.0, 2.0]), mt.Tensor([3.0, 4.0])], dim=1)
    Tensor([[1., 3.],
            [2., 4.]])
    """
    tensors = _alike("stack", tensors)
    if any(x.shape != tensors[0].shape for x in tensors):
        shapes = ", ".join(str(x.shape) for x in tensors)
        raise ValueError(f"stack: shapes {shapes} differ; cat() joins tensors of different length along an axis that they have")
    return cat([unsqueeze(x, dim) for x in tensors], dim)


def hstack(tensors: Sequence[T]) -> T:
    """Tensors side by side: vectors end to end, others along their second axis.

    Raises:
        TypeError, ValueError: as `cat`.

    >>> import microtensor as mt
    >>> hstack([mt.Tensor([1.0, 2.0]), mt.Tensor([3.0])])
    Tensor([1., 2., 3.])
    """
    wide = [reshape(x, (1,)) if x.ndim == 0 else x for x in _alike("hstack", tensors)]
    return cat(wide, dim=0 if wide[0].ndim == 1 else 1)


def vstack(tensors: Sequence[T]) -> T:
    """Tensors below each other: vectors as rows, others along their first axis.

    Raises:
        TypeError, ValueError: as `cat`.

    >>> import microtensor as mt
    >>> vstack([mt.Tensor([1.0, 2.0]), mt.Tensor([3.0, 4.0])])
    Tensor([[1., 2.],
            [3., 4.]])
    """
    return cat([reshape(x, (1, -1)) if x.ndim < 2 else x for x in _alike("vstack", tensors)], dim=0)


def _alike(name: str, tensors: Any) -> list[Any]:
    """The tensors as a list, promoted to one dtype."""
    if not isinstance(tensors, (list, tuple)):
        raise TypeError(f"{name}: expected a list or tuple of Tensors, got {type(tensors).__name__}")
    if not tensors:
        raise ValueError(f"{name}: there is nothing to concatenate: expected at least one Tensor")
    for i, x in enumerate(tensors):
        if not isinstance(x, Node):
            raise TypeError(
                f"{name}: expected a list or tuple of Tensors, but item {i} is {type(x).__name__}; wrap it: Tensor(...)"
            )
    dtype, nodes = result_type(*tensors), list[Any](tensors)
    return [x if x.dtype == dtype else x.to(dtype) for x in nodes]


@composed
def split(x: T, split_size_or_sections: Any, dim: int = 0) -> tuple[T, ...]:
    """x split along axis `dim`. Views.

    Args:
        split_size_or_sections: the length of each part but the last, which may be shorter; or the length of every part.

    Raises:
        TypeError: lengths that are no integers.
        ValueError: lengths that do not add up to that of the axis.

    >>> import microtensor as mt
    >>> split(mt.Tensor([1.0, 2.0, 3.0]), 2)
    (Tensor([1., 2.]), Tensor([3.]))
    >>> split(mt.Tensor([1.0, 2.0, 3.0]), [1, 2])
    (Tensor([1.]), Tensor([2., 3.]))
    """
    axis = normalize_dim("split", dim, x.shape)
    length = x.shape[axis]
    if isinstance(split_size_or_sections, (list, tuple)):
        sizes = as_integers("split", "sections", split_size_or_sections, least=0)
        if sum(sizes) != length:
            raise ValueError(
                f"split: sections {sizes} add up to {sum(sizes)}, but dim {dim} of shape {x.shape} has length {length}"
            )
    else:
        size = as_integer("split", "split_size", split_size_or_sections, least=1)
        sizes = tuple(min(size, length - start) for start in range(0, max(length, 1), size))
    ends = np.cumsum(sizes).tolist()
    return tuple(getitem(x, (slice(None),) * axis + (slice(end - n, end),)) for n, end in zip(sizes, ends))


@composed
def chunk(x: T, chunks: int, dim: int = 0) -> tuple[T, ...]:
    """x split along axis `dim` into this many parts of equal length, the last shorter. Views.

    Where the length is not divisible, there may be fewer, as in PyTorch: 6 elements in 4 chunks are 2, 2, 2.

    Raises:
        TypeError: `chunks` or `dim` is no integer.
        ValueError: `chunks` is below 1, or `dim` is out of range.

    >>> import microtensor as mt
    >>> chunk(mt.Tensor([1.0, 2.0, 3.0]), 2)
    (Tensor([1., 2.]), Tensor([3.]))
    """
    count = as_integer("chunk", "chunks", chunks, least=1)
    length = x.shape[normalize_dim("chunk", dim, x.shape)]
    return split(x, -(-length // count) if length else [0] * count, dim)


@composed
def unbind(x: T, dim: int = 0) -> tuple[T, ...]:
    """The slices of x along axis `dim`, without that axis. Views.

    Raises:
        TypeError: `dim` is no integer.
        ValueError: it is out of range, or x has no axes.

    >>> import microtensor as mt
    >>> unbind(mt.Tensor([[1.0, 2.0], [3.0, 4.0]]), dim=1)
    (Tensor([1., 3.]), Tensor([2., 4.]))
    """
    axis = normalize_dim("unbind", dim, x.shape)
    return tuple(getitem(x, (slice(None),) * axis + (i,)) for i in range(x.shape[axis]))
