"""Operations that make fewer numbers of many: sums, means, extremes; and the normalisations that rest on them."""

from __future__ import annotations

import math
from typing import Any

from .graph import T
from .op import Rule, op
from .shape import normalize_dims


@op
def sum(x: T, *, dim: Any = None, keepdim: bool = False) -> Rule[T]:
    """Sum over the axes `dim` (all if None); `keepdim` leaves them with length 1. Integers and bools sum to int64."""
    dims = normalize_dims("sum", dim, x.shape)
    return x.data.sum(dims, keepdims=keepdim), (_spread(x, dims),)


@op(floating=True)
def mean(x: T, *, dim: Any = None, keepdim: bool = False) -> Rule[T]:
    """Arithmetic mean over the axes `dim` (all if None): nan where there is nothing to average."""
    dims = normalize_dims("mean", dim, x.shape)
    count = math.prod(x.shape[d] for d in dims)
    spread = _spread(x, dims)
    return x.data.sum(dims, keepdims=keepdim) / (count or math.nan), (lambda g: spread(g / count),)


@op
def amax(x: T, *, dim: Any = None, keepdim: bool = False) -> Rule[T]:
    """Largest number over the axes `dim` (all if None). Where several are largest, they share the gradient evenly.

    Raises:
        ValueError: there is nothing to choose from.
    """
    return _extreme("amax", x, dim, keepdim)


@op
def amin(x: T, *, dim: Any = None, keepdim: bool = False) -> Rule[T]:
    """Smallest number over the axes `dim` (all if None). Where several are smallest, they share the gradient evenly."""
    return _extreme("amin", x, dim, keepdim)


def _extreme(name: str, x: T, dim: Any, keepdim: bool) -> Rule[T]:
    dims = normalize_dims(name, dim, x.shape)
    if not math.prod(x.shape[d] for d in dims):
        raise ValueError(f"{name}: nothing to choose from along dim {dims} of shape {x.shape}")
    data = (x.data.max if name == "amax" else x.data.min)(dims, keepdims=True)
    spread = _spread(x, dims)

    def vjp(g: Any) -> Any:
        chosen = (x.data == data).astype(x.dtype)
        return spread(g) * x.constant(chosen / chosen.sum(dims, keepdims=True))

    return data if keepdim else data.reshape(_without(x.shape, dims)), (vjp,)


def _spread(x: T, dims: tuple[int, ...]) -> Any:
    """The adjoint of a sum over `dims`: the gradient of each sum goes to every number that it summed."""
    shape = x.shape
    kept = tuple(1 if i in dims else n for i, n in enumerate(shape))
    return lambda g: g.reshape(kept).broadcast_to(shape)


def _without(shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for i, n in enumerate(shape) if i not in dims)


@op
def argmax(x: T, *, dim: int | None = None, keepdim: bool = False) -> Rule[T]:
    """Index of the largest number along axis `dim`, or in x laid flat: int64, the first where several are largest."""
    normalize_dims("argmax", dim, x.shape)
    return x.data.argmax(dim, keepdims=keepdim), None


@op(floating=True, output=True)
def softmax(x: T, *, dim: int) -> Rule[T]:
    """e^x over the sum of e^x along axis `dim`: positive numbers that sum to 1. No overflow: the maximum is taken off first."""
    (axis,) = normalize_dims("softmax", dim, x.shape)
    e = x.xp.exp(x.data - x.data.max(axis, keepdims=True))
    e /= e.sum(axis, keepdims=True)
    return e, (lambda g, y: y * (g - (g * y).sum(axis, keepdim=True)),)


@op(floating=True, output=True)
def log_softmax(x: T, *, dim: int) -> Rule[T]:
    """log(softmax(x)) along axis `dim`, exact also where softmax itself rounds to 0."""
    (axis,) = normalize_dims("log_softmax", dim, x.shape)
    data = x.data - x.data.max(axis, keepdims=True)
    data -= x.xp.log(x.xp.exp(data).sum(axis, keepdims=True))
    return data, (lambda g, y: g - y.exp() * g.sum(axis, keepdim=True),)
