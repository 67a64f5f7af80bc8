"""Cumulative sums, products, maxima and minima along an axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd.arguments import composed
from ..autograd.autocast import widened
from ..autograd.graph import T, is_floating
from ..autograd.op import Rule, op
from ..runtime.arrays import Array
from .elementwise import clone
from .extremes import Picked, pick
from .padding import pad
from .reduce import one_axis, wide
from .shape import flip, movedim


@op(wide=True)
def cumsum(x: T, /, dim: int) -> Rule[T]:
    """Sums along axis `dim`, of each element and all before it. Integers and bools give int64.

    Raises:
        TypeError: `dim` is no integer.
        ValueError: it is out of range.

    >>> import microtensor as mt
    >>> cumsum(mt.Tensor([1.0, 2.0, 3.0]), dim=0)
    Tensor([1., 3., 6.])
    """
    axis, dtype = one_axis("cumsum", dim, x.shape), x.dtype if is_floating(x.dtype) else np.dtype(np.int64)
    wider = {"float16": np.float32, "float32": np.float64}.get(
        dtype.name, dtype
    )  # cumsum adds sequentially, so rounding errors accumulate
    data = x.array.cumsum(axis, dtype=wider).astype(dtype, copy=False).reshape(x.shape)

    def vjp(g: Any) -> Any:
        return g if axis is None else flip(cumsum(flip(g, dims=axis), dim=axis), dims=axis)

    return data, (vjp,)


@composed
def cumprod(x: T, dim: int) -> Any:
    """Products along axis `dim`, of each element and all before it. Integers and bools give int64.

    Each element is multiplied by the one before it, then by the one 2 places before, 4, 8 … (Hillis and Steele 1986, Data
    parallel algorithms). As in `prod`, the gradient needs no division, and is right where elements are 0.

    Raises:
        TypeError, ValueError: as `cumsum`.

    >>> import microtensor as mt
    >>> cumprod(mt.Tensor([1.0, 2.0, 0.0, 3.0]), dim=0)
    Tensor([1., 2., 0., 0.])
    """
    x = widened(x)
    axis, y, step = one_axis("cumprod", dim, x.shape), clone(wide(x)), 1
    if axis is not None:
        y = movedim(y, axis, -1)
        while step < y.shape[-1]:
            y = y * pad(y[..., :-step], (step, 0), value=1)
            step *= 2
        y = movedim(y, -1, axis)
    return y.to(x.dtype) if is_floating(x.dtype) else y


@composed
def cummax(x: T, dim: int) -> Picked:
    """The maximum so far along axis `dim`, and its index: (values, indices).

    Of equal ones it is the last, which takes the gradient, as in PyTorch. After a nan, all are nan.

    Raises:
        TypeError, ValueError: as `cumsum`.

    >>> import microtensor as mt
    >>> values, indices = cummax(mt.Tensor([1.0, 3.0, 2.0, 3.0]), dim=0)
    >>> values, indices
    (Tensor([1., 3., 3., 3.]), Tensor([0, 1, 1, 3], dtype=int64))
    """
    return _so_far("cummax", x, dim)


@composed
def cummin(x: T, dim: int) -> Picked:
    """The minimum so far along axis `dim`, and its index: (values, indices). Otherwise as `cummax`.

    Raises:
        TypeError, ValueError: as `cumsum`.

    >>> import microtensor as mt
    >>> cummin(mt.Tensor([3.0, 1.0, 2.0]), dim=0).values
    Tensor([3., 1., 1.])
    """
    return _so_far("cummin", x, dim)


def _so_far(name: str, x: Any, dim: Any) -> Picked:
    axis = one_axis(name, dim, x.shape)
    return pick(x, _index_so_far(x, axis=axis, largest=name == "cummax"), axis)


@op
def _index_so_far(x: T, *, axis: int | None, largest: bool) -> Rule[T]:
    """The index of the extreme so far: the last one, of equal elements."""
    xp = x.xp
    if axis is None:
        return xp.zeros((), np.int64), None
    data = xp.moveaxis(x.array, axis, -1)
    best = _accumulate(data, xp.maximum if largest else xp.minimum)
    holds = (data == best) | (data != data)  # a nan stays the extreme, and equals nothing
    return xp.moveaxis(_accumulate(holds * xp.arange(data.shape[-1], dtype=np.dtype(np.int64)), xp.maximum), -1, axis), None


def _accumulate(data: Array, combine: Any) -> Array:
    """combine.accumulate along the last axis, by doubling, as in `cumprod`: CuPy accumulates sums and products only."""
    result, step = data.copy(), 1
    while step < result.shape[-1]:
        result[..., step:] = combine(result[..., step:], result[..., :-step])
        step *= 2
    return result
