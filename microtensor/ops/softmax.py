"""softmax and log_softmax along an axis, by array calls or, on a GPU, by the kernels of softmax.cu."""

from __future__ import annotations

from typing import Any

from ..autograd.autocast import at_least_float32
from ..autograd.graph import Node, T
from ..autograd.op import Rule, op
from ..runtime.arrays import Array, array_module
from ..runtime.cuda.kernels import Kernels, usable
from ..runtime.cuda.reduction import lines
from .reduce import one_axis, total

kernels = Kernels(__file__, "softmax.cu")


@op(floating=True, output=True, wide=True)
def softmax(x: T, /, dim: int | None = None) -> Rule[T]:
    """e^x over the sum of e^x along axis `dim`: positive values that sum to 1. No overflow: the maximum is subtracted first.

    Where all are −inf, or one is +inf, the result is nan, as in PyTorch.

    Raises:
        TypeError: `dim` is no integer.
        ValueError: it is out of range.

    >>> import microtensor as mt
    >>> softmax(mt.Tensor([0.0, 0.0, 1000.0, 1000.0]), dim=0)
    Tensor([0. , 0. , 0.5, 0.5])
    """
    axis = _softmax_axis("softmax", x, dim)
    dims, vjp = () if axis is None else (axis,), lambda g, y: _softmax_gradient(g, y, axis=axis)
    if usable(x.array):
        return _softmax_by_kernel(x.array, axis), (vjp,)
    e = x.xp.exp(_below_max(x.array, dims))
    e /= e.sum(dims, keepdims=True)
    return e.astype(x.dtype, copy=False), (vjp,)


@op(floating=True, output=True, wide=True)
def log_softmax(x: T, /, dim: int | None = None) -> Rule[T]:
    """log(softmax(x)) along axis `dim`, exact also where softmax itself rounds to 0.

    Raises:
        TypeError, ValueError: as `softmax`.

    >>> import microtensor as mt
    >>> log_softmax(mt.Tensor([0.0, 1000.0]), dim=0)
    Tensor([-1000.,     0.])
    """
    axis = _softmax_axis("log_softmax", x, dim)
    dims, vjp = () if axis is None else (axis,), lambda g, y: _log_softmax_gradient(g, y, axis=axis)
    if usable(x.array):
        return _softmax_by_kernel(x.array, axis, logarithm=True), (vjp,)
    data = _below_max(x.array, dims)
    if data.size:
        data -= x.xp.log(x.xp.exp(data).sum(dims, keepdims=True))
    return data.astype(x.dtype, copy=False), (vjp,)


def _softmax_jacobian(g: Any, y: Any, *, axis: int | None) -> Any:
    """(diag(y) − y yᵀ) g along the axis, the Jacobian of softmax times g: Bishop 2006, equation 4.106."""
    return y * (g - (g * y).sum(() if axis is None else axis, keepdim=True))


# The gradients are operations of the results y, not meanings of the forward: so a graph does not keep the inputs x.
@op(meaning=_softmax_jacobian)
def _softmax_gradient(g: T, y: T, *, axis: int | None) -> Rule[T]:
    if usable(g.array):
        return _softmax_back_by_kernel(g.array, y.array, axis), None
    back = g.array * y.array
    back = g.array - total(back, () if axis is None else (axis,), True).astype(g.dtype, copy=False)
    back *= y.array
    return back, None


def _log_softmax_jacobian(g: Any, y: Any, *, axis: int | None) -> Any:
    """g − e^y · Σ g along the axis: the Jacobian of log softmax times g."""
    return g - y.exp() * g.sum(() if axis is None else axis, keepdim=True)


@op(meaning=_log_softmax_jacobian)
def _log_softmax_gradient(g: T, y: T, *, axis: int | None) -> Rule[T]:
    if usable(g.array):
        return _softmax_back_by_kernel(g.array, y.array, axis, logarithm=True), None
    back = g.xp.exp(y.array)
    back *= total(g.array, () if axis is None else (axis,), True).astype(g.dtype, copy=False)
    return g.array - back, None


def _softmax_axis(name: str, x: Node, dim: Any) -> int | None:
    if dim is None:
        raise TypeError(f"{name}: dim is missing: the axis along which the results sum to 1; for (N, C) that is dim=1")
    return one_axis(name, dim, x.shape)


def _below_max(x: Array, dims: tuple[int, ...]) -> Array:
    """x minus its maximum over the axes `dims`."""
    data = at_least_float32(x)
    return data - (data.max(dims, keepdims=True) if data.size else 0)


def _softmax_by_kernel(x: Array, axis: int | None, logarithm: bool = False) -> Array:
    xp = array_module(x)
    y, (shape, blocks) = xp.empty(x.shape, x.dtype), lines(x.shape, axis)
    if x.size:
        kernels.blocks("softmax", x.dtype, blocks, y, xp.ascontiguousarray(x), int(logarithm), shape)
    return y


def _softmax_back_by_kernel(g: Array, y: Array, axis: int | None, logarithm: bool = False) -> Array:
    xp = array_module(y)
    dx, (shape, blocks) = xp.empty(y.shape, y.dtype), lines(y.shape, axis)
    if y.size:
        arrays = xp.ascontiguousarray(g), xp.ascontiguousarray(y)
        kernels.blocks("softmax_back", y.dtype, blocks, dx, *arrays, int(logarithm), shape)
    return dx
