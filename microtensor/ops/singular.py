"""Derivatives at singular points: second derivatives at a kink, and those of powers and logarithms at 0, of all orders.

The first derivative may be a convention there: that of the norm is 0 at the zero vector. Differentiating this 0 again would
give a finite value, which would be wrong. So while a pass is recorded, such a 0 has the derivative nan.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd.graph import T, mode
from ..autograd.op import Rule, op
from ..runtime.arrays import Array


@op(elementwise=True)
def undefined(g: T, x: T, *, where: Array) -> Rule[T]:
    """0, in the shape of g, to be added to a first derivative: its own derivative is nan where `where` holds, in all orders."""

    def vjp(h: Any) -> Any:
        back = h * h.constant(h.xp.where(where, math.nan, 0).astype(h.dtype))
        return by_convention(back, h, x, where=lambda: where)

    return g.xp.zeros_like(g.array), (vjp, vjp)


def by_convention(back: Any, g: Any, *inputs: Any, where: Callable[[], Array]) -> Any:
    """`back`, a gradient made of g and the inputs, is a convention where `where()` holds: its own derivatives are nan there.

    Unless the pass is recorded, nothing is added and `where` is not called: the gradient cannot be differentiated then.
    """
    if mode.recording:
        nowhere = where()
        for x in inputs:
            back = back + undefined(g, x, where=nowhere)
    return back


@op(elementwise=True)
def pointed(x: T) -> Rule[T]:
    """x itself, for the result of a function that has no second derivative where it is 0, such as a norm."""

    return x.array[...], (lambda g: by_convention(g, g, x, where=lambda: x.array == 0),)


@op(elementwise=True)
def tip(x: T) -> Rule[T]:
    """0, in the shape of x, with derivative 0. Where x is 0, that is a convention, and the second derivative nan."""

    def vjp(g: Any) -> Any:
        zero = g.constant(g.xp.zeros_like(g.array))
        return by_convention(zero, g, x, where=lambda: x.array == 0)

    return x.xp.zeros_like(x.array), (vjp,)


@op(elementwise=True)
def power_of_size(x: T, *, p: float, centred: bool = False) -> Rule[T]:
    """|x|^p, right in all orders. The gradient at 0 is nan for p < 1, or, with `centred`, 0, between both limits."""

    def vjp(g: Any) -> Any:
        return g * signed_power(x, p=p - 1, centred=centred) * p if p else g.constant(g.xp.zeros_like(g.array))

    with np.errstate(divide="ignore"):
        return x.xp.abs(x.array) ** p, (vjp,)


@op(elementwise=True)
def signed_power(x: T, *, p: float, centred: bool = False) -> Rule[T]:
    """sign(x) · |x|^p. At 0 that is nan for p < 0, where the limits are ±∞; with `centred` it is 0."""
    xp = x.xp
    with np.errstate(divide="ignore", invalid="ignore"):
        data = xp.sign(x.array) * xp.abs(x.array) ** p
    if centred and p < 0:
        data = xp.where(x.array == 0, 0, data).astype(data.dtype, copy=False)

    def vjp(g: Any) -> Any:
        with np.errstate(invalid="ignore"):
            slope: Any = power_of_size(x, p=p - 1)
            return g * (slope * p)  # for p = 0 at 0 this is 0 · inf: the sign jumps

    return data, (vjp,)


@op(elementwise=True)
def power_times_log(x: T, y: T, *, k: int) -> Rule[T]:
    """x^y · (log x)^k, the k-th derivative of x^y for y: at x = 0 its limit, for k ≥ 1 that is 0 where y > 0, else infinite."""
    xp = x.xp
    with np.errstate(divide="ignore", invalid="ignore"):
        data = x.array**y.array
        if k:
            data = data * xp.log(x.array) ** k
            data = xp.where((x.array == 0) & (y.array > 0), 0, data).astype(data.dtype, copy=False)

    def for_base(g: Any) -> Any:
        if not k:
            return _base_gradient(g, x, y)
        lower: Any = y - 1  # type: ignore[operator]
        return g * (power_times_log(x, lower, k=k) * y + power_times_log(x, lower, k=k - 1) * k)

    return data, (for_base, lambda g: g * power_times_log(x, y, k=k + 1))


def _base_gradient(g: Any, x: Any, y: Any) -> Any:
    """g · y · x^(y−1). At x = y = 0, where that is 0 · ∞, it is 0, as elsewhere where y is 0; for y it has no derivative."""
    nowhere = (x.array == 0) & (y.array == 0)
    base = x + x.constant(nowhere.astype(x.dtype))  # 1 for 0
    return g * y * power_times_log(base, y - 1, k=0) + undefined(g, y, where=nowhere)


@op(elementwise=True, meaning=_base_gradient)
def base_gradient(g: T, x: T, y: T) -> Rule[T]:
    """The gradient of x^y for x, g · y · x^(y−1), and 0 where y is 0."""
    flat = y.array == 0
    slope = y.array * x.array ** g.xp.where(flat, 1, y.array - 1)
    return g.array * g.xp.where(flat, 0, slope), None


def _exponent_gradient(g: Any, x: Any, y: Any) -> Any:
    """g · x^y · log x; at x = y = 0, where that is infinite, 0 by convention, without a derivative."""
    nowhere = (x.array == 0) & (y.array == 0)
    base = x + x.constant(nowhere.astype(x.dtype))
    slope: Any = power_times_log(base, y, k=1)
    return g * slope + undefined(g, y, where=nowhere) + undefined(g, x, where=nowhere)


@op(elementwise=True, meaning=_exponent_gradient)
def exponent_gradient(g: T, x: T, y: T) -> Rule[T]:
    """The gradient of x^y for y, g · x^y · log x, and 0 where x is 0 and y ≥ 0."""
    logarithm = g.xp.log(g.xp.where((x.array == 0) & (y.array >= 0), 1, x.array))
    return g.array * x.array**y.array * logarithm, None


@op(elementwise=True)
def power_of_one_more(x: T, *, k: int, odd: bool) -> Rule[T]:
    """(1 + |x|)^−k, with the sign of x if `odd`: the derivatives of softsign, one after the other."""
    size = 1 + x.xp.abs(x.array)
    with np.errstate(invalid="ignore", over="ignore"):
        data = size / size / size**k  # nan for ±inf, as softsign itself

    def vjp(g: Any) -> Any:
        slope: Any = power_of_one_more(x, k=k + 1, odd=not odd)
        return g * (slope * -k)

    return x.xp.sign(x.array) * data if odd else data, (vjp,)
