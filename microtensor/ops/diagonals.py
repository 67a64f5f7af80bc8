"""Triangles and diagonals of matrices. Axes before the last two are a batch."""

from __future__ import annotations

from typing import Any

from ..autograd.arguments import composed
from ..autograd.graph import Node, T
from ..autograd.op import Rule, op
from ..runtime.integers import as_integer
from .shape import normalize_dims


@op
def tril(x: T, /, diagonal: int = 0) -> Rule[T]:
    """The lower triangle of each matrix: x on and below a diagonal, 0 above it.

    Args:
        diagonal: 0 the main one, 1 the one above it, −1 the one below.

    Raises:
        ValueError: x has fewer than two axes.

    >>> import microtensor as mt
    >>> tril(mt.Tensor([[1.0, 2.0], [3.0, 4.0]]))
    Tensor([[1., 0.],
            [3., 4.]])
    """
    k = _offset("tril", x, diagonal)
    return x.xp.tril(x.array, k), (lambda g: g.tril(k),)


@op
def triu(x: T, /, diagonal: int = 0) -> Rule[T]:
    """The upper triangle of each matrix: x on and above a diagonal, 0 below it. `diagonal` and errors are `tril`'s."""
    k = _offset("triu", x, diagonal)
    return x.xp.triu(x.array, k), (lambda g: g.triu(k),)


def _offset(name: str, x: Node, diagonal: Any) -> int:
    if x.ndim < 2:
        raise ValueError(f"{name}: expected a matrix, or a batch of them, got shape {x.shape}")
    return as_integer(name, "diagonal", diagonal)


@op
def diagonal(x: T, /, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Rule[T]:
    """A diagonal of the matrices in two axes, as the last axis of the result. A view, which cannot be assigned to.

    Args:
        offset: 0 the main one, 1 the one above it (the second index is larger by 1), −1 the one below.

    Raises:
        ValueError: an axis is out of range, or both are the same.

    >>> import microtensor as mt
    >>> diagonal(mt.Tensor([[1.0, 2.0], [3.0, 4.0]]))
    Tensor([1., 4.])
    """
    axes = normalize_dims("diagonal", (dim1, dim2), x.shape)
    if len(axes) != 2:
        raise ValueError(f"diagonal: expected a matrix, or a batch of them, got shape {x.shape}")
    k, shape = as_integer("diagonal", "offset", offset), x.shape
    return x.array.diagonal(k, *axes), (lambda g: _on_diagonal(g, offset=k, dims=axes, shape=shape),)


@op
def _on_diagonal(g: T, *, offset: int, dims: tuple[int, int], shape: tuple[int, ...]) -> Rule[T]:
    """The adjoint of `diagonal`: zeros of `shape` with g on a diagonal."""
    data = g.xp.zeros(shape, g.dtype)
    along = g.xp.arange(g.shape[-1])
    # a view with the two axes last, since NumPy's diagonal() is read-only
    g.xp.moveaxis(data, dims, (-2, -1))[..., along + max(-offset, 0), along + max(offset, 0)] = g.array
    return data, (lambda h: diagonal(h, offset=offset, dim1=dims[0], dim2=dims[1]),)


@composed
def diag(x: T, diagonal: int = 0) -> T:
    """A vector → the square matrix that has it on a diagonal and 0 elsewhere; a matrix → that diagonal of it.

    Raises:
        ValueError: x is neither.

    >>> import microtensor as mt
    >>> diag(mt.Tensor([1.0, 2.0]))
    Tensor([[1., 0.],
            [0., 2.]])
    """
    if x.ndim not in (1, 2):
        raise ValueError(f"diag: expected a vector or a matrix, got shape {x.shape}; diagonal() takes batches")
    if x.ndim == 2:
        matrix: Any = x
        return matrix.diagonal(diagonal)
    k = as_integer("diag", "diagonal", diagonal)
    side = x.shape[0] + abs(k)
    return _on_diagonal(x, offset=k, dims=(0, 1), shape=(side, side))
