"""Reductions: sums, means, products, variances, counts.

Everywhere `dim` is one axis or several, and None all of them; `keepdim` leaves these axes with length 1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd.arguments import composed
from ..autograd.autocast import at_least_float32, widened
from ..autograd.graph import Node, T, is_floating
from ..autograd.op import Rule, op
from ..runtime.arrays import Array
from .elementwise import where
from .padding import pad
from .shape import normalize_dim, normalize_dims, permute
from .singular import tip

# Sums and products


@op(wide=True)
def sum(x: T, /, dim: Any = None, keepdim: bool = False) -> Rule[T]:
    """Sum over the axes `dim` (all if None); `keepdim` leaves them with length 1. Integers and bools sum to int64.

    Raises:
        TypeError: `dim` is no integer and no sequence of them.
        ValueError: an axis is out of range, or named twice.

    >>> import microtensor as mt
    >>> x = mt.Tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> sum(x), sum(x, dim=0)
    (Tensor(10.), Tensor([4., 6.]))
    """
    dims = normalize_dims("sum", dim, x.shape)
    data = total(x.array, dims, keepdim)
    return data.astype(x.dtype, copy=False) if is_floating(x.dtype) else data, (spreading(x, dims),)


@op(floating=True, wide=True)
def mean(x: T, /, dim: Any = None, keepdim: bool = False) -> Rule[T]:
    """Arithmetic mean over the axes `dim` (all if None): nan over no elements.

    Raises:
        TypeError, ValueError: as `sum`.

    >>> import microtensor as mt
    >>> x = mt.Tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> mean(x), mean(x, dim=1, keepdim=True).shape
    (Tensor(2.5), (2, 1))
    """
    dims = normalize_dims("mean", dim, x.shape)
    count, spread = how_many(x, dims), spreading(x, dims)
    data = total(x.array, dims, keepdim) / (count or math.nan)
    return data.astype(x.dtype, copy=False), (lambda g: spread(g / (count or math.nan)),)


@composed
def prod(x: T, dim: Any = None, keepdim: bool = False) -> Any:
    """Product over the axes `dim` (all if None): 1 over no elements. Integers and bools give int64.

    Elements are multiplied in pairs, then the pairs, and so on. So the gradient, the product of all the others, needs no
    division, and is right where elements are 0.

    Raises:
        TypeError, ValueError: as `sum`.

    >>> import microtensor as mt
    >>> x = mt.Tensor([2.0, 0.0, 3.0], requires_grad=True)
    >>> mt.grad(prod(x), x)[0]
    Tensor([0., 6., 0.])
    """
    x = widened(x)
    dims = normalize_dims("prod", dim, x.shape)
    others = [i for i in range(x.ndim) if i not in dims]
    count = how_many(x, dims)
    y = permute(wide(x), dims=(*others, *dims)).reshape((*without(x.shape, dims), count))
    y = pad(y, (0, (1 << (count - 1).bit_length()) - count), value=1)  # to a power of 2
    while y.shape[-1] > 1:
        half = y.shape[-1] // 2
        y = y[..., :half] * y[..., half:]
    y = y.reshape(with_ones(x.shape, dims) if keepdim else without(x.shape, dims))
    return y.to(x.dtype) if is_floating(x.dtype) else y


# Variance


@op(floating=True, wide=True)
def var(x: T, /, dim: Any = None, correction: float = 1, keepdim: bool = False) -> Rule[T]:
    """Variance over the axes `dim` (all if None): Σ (x − mean)² / (n − correction), in two passes.

    With correction 1 (Bessel's) it estimates the variance of the distribution of x, with 0 it is that of x itself. It is nan
    where n ≤ correction. NumPy's `ddof` and PyTorch's `unbiased` are understood.

    Raises:
        TypeError: the correction is no number; `dim` is no integer and no sequence of them.
        ValueError: an axis is out of range, or named twice.

    >>> import microtensor as mt
    >>> x = mt.Tensor([1.0, 2.0, 3.0, 4.0])
    >>> var(x, correction=0), var(x)
    (Tensor(1.25), Tensor(1.6666666))
    """
    dims = normalize_dims("var", dim, x.shape)
    if not isinstance(correction, (int, float)):
        raise TypeError(f"var: correction must be a number, got {correction!r}: it is subtracted from the number of elements")
    count, spread = how_many(x, dims), spreading(x, dims)
    freedom = count - correction if count > correction else math.nan
    data = at_least_float32(x.array)
    data = data - (total(data, dims, True) / (count or math.nan)).astype(data.dtype, copy=False)
    data *= data

    def vjp(g: Any) -> Any:
        return spread(g * (2 / freedom)) * (x - mean(x, dim=dims, keepdim=True))  # type: ignore[operator]

    return (total(data, dims, keepdim) / freedom).astype(x.dtype, copy=False), (vjp,)


@composed
def std(x: T, dim: Any = None, correction: float = 1, keepdim: bool = False) -> Any:
    """Standard deviation, the square root of `var`. Where it is 0, the gradient is 0, and the second derivative nan.

    >>> import microtensor as mt
    >>> std(mt.Tensor([[1.0, 3.0], [2.0, 2.0]]), dim=1, correction=0)
    Tensor([1., 0.])
    """
    x = widened(x)
    y = root(var(wide(x), dim=dim, correction=correction, keepdim=keepdim), 2)
    return y.to(x.dtype) if is_floating(x.dtype) else y


@composed
def var_mean(x: T, dim: Any = None, correction: float = 1, keepdim: bool = False) -> tuple[T, T]:
    """`var` and `mean`, as a pair.

    >>> import microtensor as mt
    >>> var_mean(mt.Tensor([1.0, 2.0, 3.0]))
    (Tensor(1.), Tensor(2.))
    """
    return var(x, dim=dim, correction=correction, keepdim=keepdim), mean(x, dim=dim, keepdim=keepdim)


# Logical reductions


@op
def any(x: T, /, dim: Any = None, keepdim: bool = False) -> Rule[T]:
    """Whether any element over the axes `dim` (all if None) is not 0: bools, False over no elements.

    Raises:
        TypeError, ValueError: as `sum`.

    >>> import microtensor as mt
    >>> any(mt.Tensor([[0.0, 0.0], [0.0, 2.0]]), dim=1)
    Tensor([False,  True])
    """
    return x.array.any(normalize_dims("any", dim, x.shape), keepdims=keepdim), None


@op
def all(x: T, /, dim: Any = None, keepdim: bool = False) -> Rule[T]:
    """Whether every element over the axes `dim` (all if None) is not 0: bools, True over no elements.

    Raises:
        TypeError, ValueError: as `sum`.

    >>> import microtensor as mt
    >>> all(mt.Tensor([[1.0, 0.0], [1.0, 2.0]]), dim=1)
    Tensor([False,  True])
    """
    return x.array.all(normalize_dims("all", dim, x.shape), keepdims=keepdim), None


@op
def count_nonzero(x: T, /, dim: Any = None, keepdim: bool = False) -> Rule[T]:
    """How many elements over the axes `dim` (all if None) are not 0: int64.

    Raises:
        TypeError, ValueError: as `sum`.

    >>> import microtensor as mt
    >>> count_nonzero(mt.Tensor([1.0, 0.0, 2.0]))
    Tensor(2, dtype=int64)
    """
    return total(x.array != 0, normalize_dims("count_nonzero", dim, x.shape), keepdim), None


# The logarithm of a sum


@op(floating=True, output=True, wide=True)
def logsumexp(x: T, /, dim: Any, keepdim: bool = False) -> Rule[T]:
    """log Σ e^x over the axes `dim`: −inf where all are, or over no elements. No overflow: the maximum is subtracted first.

    Raises:
        TypeError, ValueError: as `sum`.

    >>> import microtensor as mt
    >>> logsumexp(mt.Tensor([1000.0, 1000.0]), dim=0)
    Tensor(1000.6932)
    """
    dims = normalize_dims("logsumexp", dim, x.shape)
    data = at_least_float32(x.array)
    largest = finite_max(data, dims)
    sums = total(x.xp.exp(data - largest), dims, True)
    y = x.xp.where(sums == 0, -math.inf, x.xp.log(sums + (sums == 0)) + largest).astype(x.dtype, copy=False)
    kept, spread = y.shape, spreading(x, dims)

    def vjp(g: Any, y: Any) -> Any:
        return spread(g) * (x - where(y == -math.inf, 0, y).reshape(kept)).exp()

    return y if keepdim else y.reshape(without(x.shape, dims)), (vjp,)


# Helpers of the rules


SEQUENTIAL_SUM_ELEMENTS = 1000
"""This many float32 values may be added sequentially: the relative error of the sum grows to some 1e-6."""


def total(data: Array, dims: tuple[int, ...], keepdim: bool) -> Array:
    """data.sum(dims), accurate to about the last digit, in its dtype or a wider one: integers and bools in int64.

    NumPy sums pairwise along contiguous axes, and sequentially along others: the sum of a million rows in float32 has two
    correct digits. Such long sums are computed in float64, and all of float16 in float32.
    """
    dtype: Any = data.dtype
    if dtype == np.float16:
        dtype = np.float32
    elif dtype.kind != "f":
        dtype = np.int64
    elif dtype == np.float32 and data.size > SEQUENTIAL_SUM_ELEMENTS:
        axis, paired = data.ndim, 1
        while axis - 1 in dims and data.flags.c_contiguous:
            axis -= 1
            paired *= data.shape[axis]
        if data.size // math.prod(without(data.shape, dims)) > SEQUENTIAL_SUM_ELEMENTS * paired:
            dtype = np.float64
    return data.sum(dims, dtype=dtype, keepdims=keepdim)


def finite_max(data: Array, dims: tuple[int, ...]) -> Array:
    """The maximum over `dims`, which are kept, clipped to finite values; 0 over no elements."""
    if not data.size:
        return data.sum(dims, keepdims=True)
    limit = float(np.finfo(data.dtype).max)
    return data.max(dims, keepdims=True).clip(-limit, limit)


def wide(x: Any) -> Any:
    """A tensor of float16 as float32, of integers and bools as int64: wide enough for its sums and products."""
    return x.to(np.float32) if x.dtype == np.float16 else x if is_floating(x.dtype) else x.to(np.int64)


def root(x: Any, p: float, at_zero: bool = True) -> Any:
    """The p-th root of a tensor of values ≥ 0, with gradient 0 at 0, and second derivative nan there if `at_zero`."""
    zero = x == 0
    positive = where(zero, 1, x)
    return where(zero, tip(x) if at_zero else 0, positive.sqrt() if p == 2 else positive ** (1 / p))


def one_axis(name: str, dim: Any, shape: tuple[int, ...]) -> int | None:
    """One axis, counted from 0; None for a tensor without axes, of which dim 0 is accepted too.

    Raises:
        TypeError: `dim` is not one integer.
        ValueError: it is out of range.
    """
    if shape:
        return normalize_dim(name, dim, shape)
    normalize_dims(name, dim, shape)
    return None


def spreading(x: Node, dims: tuple[int, ...]) -> Any:
    """The adjoint of a sum over `dims`: the gradient of each sum goes to every element that it summed."""
    shape = x.shape
    kept = with_ones(shape, dims)
    return lambda g: g.reshape(kept).broadcast_to(shape)


def how_many(x: Node, dims: tuple[int, ...]) -> int:
    """How many elements are reduced to one over `dims`."""
    return math.prod(x.shape[d] for d in dims)


def with_ones(shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a reduction over `dims` with keepdim."""
    return tuple(1 if i in dims else n for i, n in enumerate(shape))


def without(shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a reduction over `dims` without keepdim."""
    return tuple(n for i, n in enumerate(shape) if i not in dims)
