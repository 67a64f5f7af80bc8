"""Activation functions that are piecewise linear: ReLU and its variants. Smooth ones: smooth_activations.py.

Most are one line of the operations below them. At a kink the gradient is PyTorch's, and the docstring says which. `inplace` is
accepted where PyTorch has it, and has no effect: the graph needs the input. The layers are in nn/layers/activation.py.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

from ..autograd.arguments import composed
from ..autograd.autocast import narrowed
from ..autograd.graph import Node, T, is_floating
from ..autograd.op import Rule, op
from ..runtime.arrays import Array, array_module
from ..runtime.cuda.kernels import Kernels, usable
from ..runtime.threads import spread
from .elementwise import clamp, select, where

kernels = Kernels(__file__, "activations.cu")


def check_inplace(name: str, inplace: Any) -> None:
    """PyTorch's flag is accepted, so that code written for PyTorch runs; the result is a new array all the same."""
    if not isinstance(inplace, bool):
        raise TypeError(f"{name}: inplace must be True or False, got {inplace!r}")


@op(elementwise=True, output=True)
def relu(x: T, /, inplace: bool = False) -> Rule[T]:
    """max(x, 0). The gradient at 0 is 0.

    Nair and Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".

    >>> import microtensor as mt
    >>> relu(mt.Tensor([-1.0, 0.0, 2.0]))
    Tensor([0., 0., 2.])
    """
    if inplace is not False:
        check_inplace("relu", inplace)
    highest = math.inf if is_floating(x.dtype) else None  # with both limits, NumPy clips floats four times as fast

    def rectified(data: Array, out: Array | None = None) -> Array:
        return data.clip(0, highest, out=out)

    return spread(rectified, x.array), (lambda g, y: _between(g, y, 0),)


class Rectifier(threading.local):
    """How this thread's backward passes go through a ReLU: see saliency/rectifiers.py."""

    derivative: Callable[[Any, Any], Any] | None = None
    """A function of the gradient that arrives and of where the unit was on; None: the derivative itself."""


rectifier = Rectifier()


def _between(g: Any, y: Any, low: float, high: float = math.nan) -> Any:
    """The gradient g where low < y < high, and where y is nan; else 0. A limit that is nan is none.

    If low is 0, this is the gradient of a ReLU, with or without an upper limit: where a caller has set a rule for all ReLUs
    (guided backpropagation, for one), what that gives.
    """
    if rectifier.derivative is None or low != 0:
        return _passed(g, y, low=low, high=high)
    return rectifier.derivative(g, ~(y <= low) if math.isnan(high) else ~((y <= low) | (y >= high)))


@op
def _passed(g: T, y: T, *, low: float, high: float) -> Rule[T]:
    """g where y, which lies between the limits, is neither of them; else 0."""

    def passed(g: Array, y: Array, out: Array | None = None) -> Array:
        inside = y != low
        if not math.isnan(high):
            inside &= y != high
        return select(inside, g, 0, g.dtype, out)

    data = _passed_by_kernel(g.array, y.array, low, high) if usable(g.array) else spread(passed, g.array, y.array)
    return data, (lambda h: _passed(h, y, low=low, high=high), None)


def _passed_by_kernel(g: Array, y: Array, low: float, high: float) -> Array:
    xp = array_module(g)
    dx = xp.empty(g.shape, g.dtype)
    arrays = xp.ascontiguousarray(g), xp.ascontiguousarray(y)
    kernels.each("between", g.dtype, dx.size, dx, *arrays, float(low), float(high), dx.size)
    return dx


@op(elementwise=True, floating=True, output=True)
def hardtanh(x: T, /, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Rule[T]:
    """x, but no smaller than `min_val` and no larger than `max_val`. The gradient at these is 0 (with `clamp`, 1).

    Raises:
        ValueError: min_val is larger than max_val.

    >>> import microtensor as mt
    >>> hardtanh(mt.Tensor([-2.0, 0.5, 2.0]))
    Tensor([-1. ,  0.5,  1. ])
    """
    check_inplace("hardtanh", inplace)
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val {min_val} is larger than max_val {max_val}")
    return x.array.clip(min_val, max_val), (lambda g, y: _between(g, y, min_val, max_val),)


@composed
def relu6(x: Any, inplace: bool = False) -> Any:
    """min(max(x, 0), 6). The gradient at 0 and at 6 is 0.

    Sandler et al. 2018, "MobileNetV2", section 3, arxiv.org/abs/1801.04381.

    >>> import microtensor as mt
    >>> relu6(mt.Tensor([-1.0, 2.0, 8.0]))
    Tensor([0., 2., 6.])
    """
    check_inplace("relu6", inplace)
    return hardtanh(x, 0.0, 6.0)


@composed
def leaky_relu(x: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """x where x > 0, negative_slope · x elsewhere. The gradient at 0 is `negative_slope`.

    Maas et al. 2013, "Rectifier nonlinearities improve neural network acoustic models".

    >>> import microtensor as mt
    >>> leaky_relu(mt.Tensor([-2.0, 2.0]), 0.1)
    Tensor([-0.2,  2. ])
    """
    check_inplace("leaky_relu", inplace)
    return where(x > 0, x, x * negative_slope)


@composed
def prelu(x: Any, weight: Any) -> Any:
    """x where x > 0, weight · x elsewhere: a leaky ReLU that learns its slope. At 0 the gradient for x is the weight.

    He et al. 2015, "Delving deep into rectifiers", section 2.1, arxiv.org/abs/1502.01852.

    Args:
        weight: one slope, of shape () or (1,), or one for each channel: for x (N, C, …), shape (C,).

    Raises:
        TypeError: an input is no tensor.
        ValueError: the weight has another shape.

    >>> import microtensor as mt
    >>> prelu(mt.Tensor([[-2.0, -2.0, 2.0]]), mt.Tensor([0.5, 0.1, 0.1]))
    Tensor([[-1. , -0.2,  2. ]])
    """
    if not all(isinstance(v, Node) for v in (x, weight)):
        raise TypeError(f"prelu: the weight must be a Tensor, got {type(weight).__name__}; leaky_relu takes a number")
    x, weight = narrowed(x, weight)
    channels = x.shape[1] if x.ndim > 1 else 1
    if weight.ndim > 1 or weight.numel() not in (1, channels):
        fitting = "(1,)" if channels == 1 else f"(1,) or ({channels},)"
        raise ValueError(
            f"prelu: for x {x.shape} the weight must have shape {fitting}, one slope or one per channel, got {weight.shape}"
        )
    slope = weight.reshape((channels,) + (1,) * (x.ndim - 2) if weight.numel() > 1 else ())
    return where(x > 0, x, x * slope)


@composed
def threshold(x: Any, threshold: float, value: float, inplace: bool = False) -> Any:
    """x where x > threshold, `value` elsewhere. The gradient at the threshold is 0.

    >>> import microtensor as mt
    >>> threshold(mt.Tensor([-1.0, 0.5, 2.0]), 0.5, -7.0)
    Tensor([-7., -7.,  2.])
    """
    check_inplace("threshold", inplace)
    return where(x <= threshold, value, x)


@composed
def hardshrink(x: Any, lambd: float = 0.5) -> Any:
    """x, but 0 where |x| ≤ lambd. The gradient there is 0, at ±lambd too.

    >>> import microtensor as mt
    >>> hardshrink(mt.Tensor([-2.0, 0.5, 0.6]))
    Tensor([-2. ,  0. ,  0.6])
    """
    return where((x >= -lambd) & (x <= lambd), 0, x)


@composed
def softshrink(x: Any, lambd: float = 0.5) -> Any:
    """x moved towards 0 by lambd, and 0 where |x| ≤ lambd. The gradient there is 0, at ±lambd too.

    Raises:
        ValueError: lambd is negative.

    >>> import microtensor as mt
    >>> softshrink(mt.Tensor([-2.0, 0.5, 0.75]))
    Tensor([-1.5 ,  0.  ,  0.25])
    """
    if lambd < 0:
        raise ValueError(f"softshrink: lambd must not be negative, got {lambd}")
    return x - clamp(x, -lambd, lambd)


@composed
def hardsigmoid(x: Any, inplace: bool = False) -> Any:
    """relu6(x + 3) / 6: linear from 0, at −3, to 1, at 3. The gradient at −3 and 3 is 0.

    >>> import microtensor as mt
    >>> hardsigmoid(mt.Tensor([-4.0, 0.0, 1.5]))
    Tensor([0.  , 0.5 , 0.75])
    """
    check_inplace("hardsigmoid", inplace)
    return (
        hardtanh(x, -3.0, 3.0) / 6 + 0.5
    )  # not relu6: this is a gate, to which rules for ReLUs such as guided backpropagation do not apply


@composed
def hardswish(x: Any, inplace: bool = False) -> Any:
    """x · hardsigmoid(x). The gradient at −3 is 0, at 3 it is 1.

    Howard et al. 2019, "Searching for MobileNetV3", section 5.2, arxiv.org/abs/1905.02244.

    >>> import microtensor as mt
    >>> hardswish(mt.Tensor([-1.5, 0.0, 4.0]))
    Tensor([-0.375,  0.   ,  4.   ])
    """
    check_inplace("hardswish", inplace)
    return x * hardsigmoid(x)
