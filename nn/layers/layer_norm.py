"""Normalisation within each sample over its last axes: layer normalisation, RMS normalisation, normalisation to length 1.

Unlike batch normalisation it keeps no statistics, and is the same in training and evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from microtensor.autograd.arguments import check_tensors, composed
from microtensor.autograd.autocast import at_least_float32, widened
from microtensor.autograd.graph import T
from microtensor.autograd.op import Rule, op
from microtensor.autograd.shared import SharedByVjps
from microtensor.ops.elementwise import clamp
from microtensor.ops.extremes import length_of
from microtensor.runtime.arrays import Array, array_module
from microtensor.runtime.integers import as_integers
from microtensor.runtime.sizes import check_size
from microtensor.tensor import Tensor

from ..module import Module, Parameter
from .batch_norm import check_eps
from .batch_norm_arrays import PIVOT_SHARE
from .channels import channel_products, channel_sums


def layer_norm(x: T, normalized_shape: Any, weight: T | None = None, bias: T | None = None, eps: float = 1e-5) -> T:
    """weight · (x − mean) / √(var + eps) + bias, with mean and variance of each sample: any shape → the same.

    Ba, Kiros & Hinton 2016, section 3, arxiv.org/abs/1607.06450. Mean and (biased) variance are taken over the last axes.
    Sums of float16 are computed in float32.

    Args:
        normalized_shape: the lengths of these last axes, or of the last one; `weight` and `bias` have this shape.
        weight, bias: the scale and the shift of each element; 1 and 0 if None.
        eps: avoids division by 0 where a sample does not vary: the result is the bias there.

    Raises:
        TypeError: the tensors do not share one floating-point dtype, or `normalized_shape` is not of integers.
        ValueError: the last axes of x are others, or the shape of weight or bias is.

    >>> layer_norm(Tensor([[1.0, 3.0], [5.0, 5.0]]), 2)
    Tensor([[-0.999995,  0.999995],
            [ 0.      ,  0.      ]])
    """
    check_eps("layer_norm", eps)
    x, weight, bias = check_tensors("layer_norm", 1, x=widened(x), weight=weight, bias=bias)
    lengths = _last_axes("layer_norm", x, normalized_shape, weight=weight, bias=bias)
    return _normalize_rows(x, weight, bias, width=math.prod(lengths), positions=1, eps=eps)


def _last_axes(name: str, x: Any, normalized_shape: Any, **vectors: Any) -> tuple[int, ...]:
    """The last axes of x, checked."""
    lengths = _lengths(name, normalized_shape)
    if x.shape[-len(lengths) :] != lengths:
        raise ValueError(f"{name}: the last axes of x {x.shape} must be normalized_shape {lengths}")
    for what, vector in vectors.items():
        if vector is not None and vector.shape != lengths:
            raise ValueError(f"{name}: {what} must have normalized_shape {lengths}, got shape {vector.shape}")
    return lengths


def _lengths(name: str, normalized_shape: Any) -> tuple[int, ...]:
    lengths = as_integers(name, "normalized_shape", normalized_shape, least=1)
    if not lengths:
        raise ValueError(f"{name}: normalized_shape must name one axis or more, the last ones of x, got {normalized_shape!r}")
    return lengths


# The formula first, then the fast way: one rule for layer, group and instance normalisation, in a third of the time that the
# composition takes. The pivot is as in batch normalisation: see batch_norm_arrays.py.


def _by_row_statistics(x: Any, weight: Any = None, bias: Any = None, *, width: int, positions: int, eps: float) -> Any:
    """γ · (x − μ) / √(σ² + ε) + β, with mean μ and variance σ² of each row of `width` elements.

    Ba, Kiros & Hinton 2016, equations 3 and 4; Wu & He 2018, equations 1 and 2. `weight` and `bias` run along x again and
    again, each of their elements for `positions` elements: 1 in layer normalisation, where each element has its own;
    those of an image in group normalisation, where each channel has one.
    """
    rows = x.reshape((-1, width))
    centred = rows - rows.mean(1, keepdim=True)
    y = centred / ((centred * centred).mean(1, keepdim=True) + eps).sqrt()
    if weight is not None:
        y = y.reshape((-1, weight.numel(), positions)) * weight.reshape((-1, 1))
    if bias is not None:
        y = y.reshape((-1, bias.numel(), positions)) + bias.reshape((-1, 1))
    return y.reshape(x.shape)


@op(meaning=_by_row_statistics)
def _normalize_rows(x: Any, weight: Any = None, bias: Any = None, *, width: int, positions: int, eps: float) -> Rule[T]:
    xp, wide = x.xp, np.promote_types(x.dtype, np.float32)
    count = next((v.numel() for v in (weight, bias) if v is not None), width // positions)
    rows = _rows(x.array, width)
    some = -(-width // PIVOT_SHARE)
    pivot = _sums(rows[:, :some]) / some
    data = xp.empty(x.shape, wide)
    y = _rows(data, width)
    xp.subtract(rows, pivot, out=y)
    rest = _sums(y) / width
    inverse = 1 / xp.sqrt((_products(y, y) / width - rest * rest).clip(0, math.inf) + eps)
    y -= rest
    y *= inverse
    samples = y.reshape(-1, count * positions)
    if weight is not None:
        samples *= _along(weight, positions)
    if bias is not None:
        samples += _along(bias, positions)
    return data.astype(x.dtype, copy=False), _vjps(x, weight, bias, pivot + rest, inverse, (width, count, positions))


def _vjps(x: Any, weight: Any, bias: Any, mean: Array, inverse: Array, layout: tuple[int, int, int]) -> tuple[Any, Any, Any]:
    """The vjps of `_normalize_rows`, from the mean and 1 / √(var + eps) of each row.

    layout: the width of a row, how many elements a weight has, for how many positions each.
    """
    xp, (width, count, positions), wide = x.xp, layout, np.promote_types(x.dtype, np.float32)

    def samples(rows: Array) -> Array:
        """The same elements in rows along which the weights run once."""
        return rows.reshape(-1, count * positions)

    def normalized(out: Array) -> Array:
        """x̂ = (x − mean) · inverse, computed again."""
        y = _rows(out, width)
        xp.subtract(_rows(x.array, width), mean, out=y)
        y *= inverse
        return y

    def products_of(g: Any, known: Array) -> Array:
        """Σ g · x̂ over all elements that a weight scales: its gradient."""
        return channel_products(samples(_rows(g.array, width)), samples(known), count)

    products = SharedByVjps(lambda g: products_of(g, normalized(xp.empty(x.shape, wide))))

    def for_x(g: Any) -> Any:
        """inverse · (h − mean of h − x̂ · mean of h · x̂), where h = g · weight."""
        back = xp.empty(x.shape, wide)
        dx, h = normalized(back), _rows(g.array, width)
        if weight is not None:
            if weight.origin is not None:
                products.keep(g, products_of(g, dx))  # while x̂ is in `dx`
            h = (samples(h) * _along(weight, positions)).reshape(h.shape)
        dx *= _products(h, dx) / -width
        dx += h
        dx -= _sums(h) / width
        dx *= inverse
        return constant(back, x)

    def for_bias(g: Any) -> Any:
        return constant(channel_sums(samples(_rows(g.array, width)), count), bias)

    def constant(data: Array, like: Any) -> Any:
        return x.constant(data.astype(x.dtype, copy=False).reshape(like.shape))

    return for_x, lambda g: constant(products(g), weight), for_bias


def _along(vector: Any, positions: int) -> Array:
    """A weight or bias as it runs along a sample, each of its elements for this many positions."""
    return vector.xp.repeat(vector.array.reshape(-1), positions)


def _rows(data: Array, width: int) -> Array:
    """The elements in rows of `width`, of float32 at least."""
    return at_least_float32(data).reshape(-1, width)


# For short rows einsum takes a third of the time of `sum`, whose inner loop restarts at each row.


def _sums(rows: Array) -> Array:
    """(R, width) → (R, 1): the sum of each row."""
    return array_module(rows).einsum("rk->r", rows)[:, None]


def _products(a: Array, b: Array) -> Array:
    """(R, width) twice → (R, 1): the sum of the products of each row."""
    return array_module(a).einsum("rk,rk->r", a, b)[:, None]


@composed
def rms_norm(x: T, normalized_shape: Any, weight: T | None = None, eps: float | None = None) -> T:
    """weight · x / √(mean of x² + eps), over the last axes of each sample: layer normalisation without subtracting the mean.

    Zhang & Sennrich 2019, equation 4, arxiv.org/abs/1910.07467. Any shape → the same.

    Args:
        normalized_shape, weight: as in `layer_norm`.
        eps: None for the machine epsilon of the dtype.

    Raises:
        TypeError, ValueError: as `layer_norm`.

    >>> rms_norm(Tensor([[3.0, 4.0], [0.0, 0.0]]), 2).round(decimals=4)
    Tensor([[0.8485, 1.1314],
            [0.    , 0.    ]])
    """
    if eps is not None:
        check_eps("rms_norm", eps)
    x, weight = check_tensors("rms_norm", 1, x=widened(x), weight=weight)
    lengths = _last_axes("rms_norm", x, normalized_shape, weight=weight)
    dims = tuple(range(-len(lengths), 0))
    wide: Any = x.to(np.float32) if x.dtype == np.float16 else x  # type: ignore[attr-defined]
    eps = float(np.finfo(x.dtype).eps) if eps is None else eps
    y = (wide * ((wide * wide).mean(dims, keepdim=True) + eps).rsqrt()).to(x.dtype)
    return y if weight is None else y * weight


@composed
def normalize(x: T, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> T:
    """x / max(p-norm of x along `dim`, eps), which has norm 1: any shape → the same.

    Raises:
        TypeError, ValueError: as `norm`.

    >>> normalize(Tensor([[3.0, 4.0], [0.0, 0.0]]))
    Tensor([[0.6, 0.8],
            [0. , 0. ]])
    """
    x = widened(x)
    return x / clamp(length_of(x, p, dim, keepdim=True, at_zero=False), eps)  # near 0 it is x / eps


class LayerNorm(Module):
    """`layer_norm` with learned scale and shift: any shape → the same.

    `weight` starts at 1 and `bias` at 0; both have `normalized_shape`.

    Args:
        normalized_shape: the lengths of the last axes, or of the last one.
        eps: avoids division by 0 where a sample does not vary.
        elementwise_affine: whether scale and shift are learned; else `weight` and `bias` are None.
        bias: False for a scale without a shift.

    Raises:
        TypeError: normalized_shape is not of integers, eps is no number.
        ValueError: a length is less than 1, eps is negative.

    >>> norm = LayerNorm(192)
    >>> norm(Tensor(np.ones((2, 49, 192), np.float32))).shape, [*norm.state_dict()]
    ((2, 49, 192), ['weight', 'bias'])
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True
    ) -> None:
        self.normalized_shape = _lengths("LayerNorm", normalized_shape)
        check_size("LayerNorm", "weight", self.normalized_shape, np.empty(0, np.float32))
        check_eps("LayerNorm", eps)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.weight = Parameter(np.ones(self.normalized_shape, np.float32)) if elementwise_affine else None
        self.bias = Parameter(np.zeros(self.normalized_shape, np.float32)) if elementwise_affine and bias else None
        self._reserve("weight", "bias")

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        affine = f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        return f"{self.normalized_shape}, eps={self.eps}, {affine}"


class RMSNorm(Module):
    """`rms_norm` with a learned scale, which starts at 1: any shape → the same.

    Args:
        normalized_shape: the lengths of the last axes, or of the last one.
        eps: None for the machine epsilon of the dtype.
        elementwise_affine: whether the scale is learned; else `weight` is None.

    Raises:
        TypeError: normalized_shape is not of integers, eps is no number.
        ValueError: a length is less than 1, eps is negative.
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None = None, elementwise_affine: bool = True
    ) -> None:
        self.normalized_shape = _lengths("RMSNorm", normalized_shape)
        check_size("RMSNorm", "weight", self.normalized_shape, np.empty(0, np.float32))
        if eps is not None:
            check_eps("RMSNorm", eps)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.weight = Parameter(np.ones(self.normalized_shape, np.float32)) if elementwise_affine else None
        self._reserve("weight")

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
