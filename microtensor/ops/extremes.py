"""Maximum and minimum, and norms, which for p = ∞ are maxima.

Where several elements are largest, they share the gradient evenly; but where the index is returned too, it is that of the first
of them, which takes the whole gradient. Both are PyTorch's choices.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..autograd.arguments import Either, composed, is_number
from ..autograd.autocast import at_least_float32, widened
from ..autograd.graph import Node, T, is_floating
from ..autograd.op import Rule, op
from ..runtime.arrays import Array
from .elementwise import abs, where
from .gathering import gather
from .reduce import finite_max, how_many, one_axis, root, spreading, sum, total, with_ones, without
from .shape import normalize_dims
from .singular import by_convention, pointed, power_of_size


class Picked(NamedTuple):
    """Elements picked along an axis, and their indices: two tensors, the second of int64."""

    values: Any
    indices: Any


class Extremes(NamedTuple):
    """The minimum and the maximum: two tensors."""

    min: Any
    max: Any


@op(output=True)
def amax(x: T, /, dim: Any = None, keepdim: bool = False) -> Rule[T]:
    """The maximum over the axes `dim` (all if None), nan if one is nan. Where several are largest, they share the gradient.

    Raises:
        TypeError: `dim` is no integer and no sequence of them.
        ValueError: there is nothing to choose from, or an axis is out of range or named twice.

    >>> import microtensor as mt
    >>> amax(mt.Tensor([[1.0, 2.0], [3.0, 4.0]]), dim=1)
    Tensor([2., 4.])
    """
    dims = _choice("amax", x, dim)
    return x.array.max(dims, keepdims=keepdim), (shared_evenly(x, dims),)


@op(output=True)
def amin(x: T, /, dim: Any = None, keepdim: bool = False) -> Rule[T]:
    """The minimum over the axes `dim` (all if None), nan if one is nan. Ties as `amax`.

    Raises:
        TypeError, ValueError: as `amax`.

    >>> import microtensor as mt
    >>> amin(mt.Tensor([[1.0, 2.0], [3.0, 4.0]]), dim=1)
    Tensor([1., 3.])
    """
    dims = _choice("amin", x, dim)
    return x.array.min(dims, keepdims=keepdim), (shared_evenly(x, dims),)


@composed
def aminmax(x: T, dim: Any = None, keepdim: bool = False) -> Extremes:
    """`amin` and `amax`, as a named tuple: (min, max).

    >>> import microtensor as mt
    >>> aminmax(mt.Tensor([3.0, 1.0, 2.0])).max
    Tensor(3.)
    """
    return Extremes(amin(x, dim=dim, keepdim=keepdim), amax(x, dim=dim, keepdim=keepdim))


@op
def argmax(x: T, /, dim: int | None = None, keepdim: bool = False) -> Rule[T]:
    """Index of the maximum along axis `dim`, or in the flattened x: int64, the first where several are largest.

    Raises:
        TypeError: `dim` is no integer.
        ValueError: there is nothing to choose from, or `dim` is out of range.

    >>> import microtensor as mt
    >>> argmax(mt.Tensor([[1.0, 5.0], [4.0, 3.0]]), dim=1)
    Tensor([1, 0], dtype=int64)
    """
    _choice("argmax", x, dim)
    axis = None if dim is None else one_axis("argmax", dim, x.shape)
    return x.array.argmax(axis, keepdims=keepdim).astype(np.int64, copy=False), None


@op
def argmin(x: T, /, dim: int | None = None, keepdim: bool = False) -> Rule[T]:
    """Index of the minimum along axis `dim`, or in the flattened x: int64, the first where several are smallest.

    Raises:
        TypeError, ValueError: as `argmax`.

    >>> import microtensor as mt
    >>> argmin(mt.Tensor([[1.0, 5.0], [4.0, 3.0]]), dim=1)
    Tensor([0, 1], dtype=int64)
    """
    _choice("argmin", x, dim)
    axis = None if dim is None else one_axis("argmin", dim, x.shape)
    return x.array.argmin(axis, keepdims=keepdim).astype(np.int64, copy=False), None


@composed
def max(x: T, dim: int | None = None, keepdim: bool = False) -> Either:
    """Without `dim`, the maximum of all. Along axis `dim`, the maxima and their indices: (values, indices).

    Without `dim`, equal elements share the gradient evenly; along an axis, the first of them takes it. Both as PyTorch;
    `amax` takes several axes and always shares.

    Raises:
        TypeError: `dim` is not one integer.
        ValueError: there is nothing to choose from.

    >>> import microtensor as mt
    >>> x = mt.Tensor([[1.0, 5.0], [7.0, 7.0]])
    >>> x.max()
    Tensor(7.)
    >>> values, indices = x.max(dim=1)
    >>> values, indices
    (Tensor([5., 7.]), Tensor([1, 0], dtype=int64))
    """
    return amax(x, keepdim=keepdim) if dim is None else _first("max", x, dim, keepdim)


@composed
def min(x: T, dim: int | None = None, keepdim: bool = False) -> Either:
    """Without `dim`, the minimum of all. Along axis `dim`, the minima and their indices. Otherwise as `max`.

    >>> import microtensor as mt
    >>> mt.Tensor([[1.0, 5.0], [7.0, 7.0]]).min(dim=0).values
    Tensor([1., 5.])
    """
    return amin(x, keepdim=keepdim) if dim is None else _first("min", x, dim, keepdim)


def _first(name: str, x: Any, dim: Any, keepdim: bool) -> Picked:
    if isinstance(dim, Node):
        raise TypeError(f"{name}: dim must be one integer, got a tensor; of two tensors, {name}imum(x, y) takes the {name}ima")
    axis = one_axis(name, dim, x.shape)
    _choice(name, x, dim)
    return pick(x, (argmax if name == "max" else argmin)(x, dim=dim, keepdim=True), axis, keepdim)


def pick(x: Any, indices: Any, axis: int | None, keepdim: bool = True) -> Picked:
    """The elements of x at `indices` along `axis` (None: x has no axes), differentiable, and the indices."""
    if axis is None:
        return Picked(x.clone(), indices)
    values = gather(x, dim=axis, index=indices)
    return Picked(values, indices) if keepdim else Picked(values.squeeze(axis), indices.squeeze(axis))


def shared_evenly(x: T, dims: tuple[int, ...]) -> Any:
    """The vjp of a maximum or minimum over `dims`: the gradient goes, in equal parts, to the elements that equal it."""
    kept, spread = with_ones(x.shape, dims), spreading(x, dims)

    def vjp(g: Any, y: Any) -> Any:
        chosen = (x.array == y.array.reshape(kept)) | (x.array != x.array)  # a nan wins, and equals nothing
        return spread(g) * x.constant((chosen / total(chosen, dims, True)).astype(x.dtype))

    return vjp


def _choice(name: str, x: Node, dim: Any) -> tuple[int, ...]:
    """The axes of a maximum or minimum, over which there must be elements."""
    dims = normalize_dims(name, dim, x.shape)
    if not how_many(x, dims):
        raise ValueError(f"{name}: nothing to choose from along dim {dims} of shape {x.shape}")
    return dims


# Norms


@composed
def norm(x: T, p: float | str = "fro", dim: Any = None, keepdim: bool = False) -> Any:
    """Length of x, taken as one vector over the axes `dim` (all if None): (Σ |x|^p)^(1/p), without intermediate overflow.

    Args:
        p: "fro" (Frobenius) or 2, Euclid's length; 1, the sum of |x|; math.inf, the largest |x|, and -math.inf, the
            smallest; 0, how many are not 0; or any other p above 0.

    The gradient at the zero vector is 0, and the second derivative nan: a norm has a kink there. Where several |x| are largest
    (p = inf), they share the gradient evenly.

    Raises:
        ValueError: p is none of these.

    >>> import microtensor as mt
    >>> x = mt.Tensor([3.0, -4.0])
    >>> norm(x), norm(x, 1), norm(x, math.inf)
    (Tensor(5.), Tensor(7.), Tensor(4.))
    """
    return length_of(x, p, dim, keepdim)


def length_of(x: Any, p: Any, dim: Any, keepdim: bool, at_zero: bool = True) -> Any:
    """`norm`. Without `at_zero`, the second derivative at the zero vector is 0 and not nan."""
    x = widened(x)
    if p == "fro" or p == 2:
        return _length(x, dim=dim, keepdim=keepdim, at_zero=at_zero)
    if not is_number(p) or not (p >= 0 or p == -math.inf):
        raise ValueError(f'norm: p must be a number ≥ 0, math.inf, -math.inf or "fro", got {p!r}')
    size: Any = abs(x if is_floating(x.dtype) else x.to(np.float32))
    if p == 0:
        return sum((size != 0).to(size.dtype), dim=dim, keepdim=keepdim)
    if p in (1, math.inf, -math.inf):
        y = (sum if p == 1 else amax if p > 0 else amin)(size, dim=dim, keepdim=keepdim)
        return pointed(y) if at_zero else y
    dims = normalize_dims("norm", dim, x.shape)
    scale = x.constant(_scale(size.array, dims))
    shares = x / scale if is_floating(x.dtype) else size / scale
    y = scale * root(sum(power_of_size(shares, p=p, centred=True), dim=dims, keepdim=True), p, at_zero)
    return y if keepdim else y.reshape(without(x.shape, dims))


@op(floating=True, output=True)
def _length(x: T, *, dim: Any, keepdim: bool, at_zero: bool) -> Rule[T]:
    """The norm with p = 2."""
    dims = normalize_dims("norm", dim, x.shape)
    data = at_least_float32(x.array)
    scale = _scale(x.xp.abs(data), dims)
    data = data / scale
    data *= data
    y = (x.xp.sqrt(total(data, dims, True)) * scale).astype(x.dtype, copy=False)
    kept, spread = y.shape, spreading(x, dims)

    def vjp(g: Any, y: Any) -> Any:
        spread_g = spread(g)
        back = x / where(y == 0, 1, y).reshape(kept) * spread_g
        if not at_zero:
            return back
        return by_convention(back, spread_g, x, where=lambda: x.xp.broadcast_to((y.array == 0).reshape(kept), x.shape))

    return y if keepdim else y.reshape(without(x.shape, dims)), (vjp,)


def _scale(sizes: Array, dims: tuple[int, ...]) -> Array:
    """The largest of these absolute values, made finite and not 0: after division by it, no power of them overflows."""
    largest = finite_max(sizes, dims)
    return largest + (largest == 0)
