"""Elementwise operations: arithmetic, choices, copies and casts.

Functions of one variable (exp, sin, floor …) are in functions.py, comparisons in logic.py, activation functions in
activations.py and smooth_activations.py.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from ..autograd.arguments import Int, lift
from ..autograd.broadcasting import align, result_type
from ..autograd.graph import Node, T, is_floating
from ..autograd.op import Rule, op
from ..runtime.arrays import Array, array_module, to_device
from .singular import base_gradient, exponent_gradient

Operand: TypeAlias = Any
"""The other operand of an operator: a tensor, a Python number or an array."""

binary = op(elementwise=True)


# Arithmetic


@binary
def add(x: T, y: Operand) -> Rule[T]:
    """x + y, element by element. Shapes broadcast: an axis that is missing on the left, or of length 1, repeats.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> import microtensor as mt
    >>> add(mt.Tensor([[1.0, 2.0], [3.0, 4.0]]), mt.Tensor([10.0, 20.0]))
    Tensor([[11., 22.],
            [13., 24.]])
    """
    return x.array + y.array, (lambda g: g, lambda g: g)


@binary
def subtract(x: T, y: Operand) -> Rule[T]:
    """x − y, element by element, with broadcasting.

    Raises:
        TypeError: both are bools.
        ValueError: the shapes do not broadcast.

    >>> import microtensor as mt
    >>> subtract(mt.Tensor([3.0, 5.0]), 1)
    Tensor([2., 4.])
    """
    try:
        data = x.array - y.array
    except TypeError as error:  # subtraction raises no other TypeError
        raise TypeError(
            "subtract: bools have no difference: x ^ y is where they differ, x & ~y where only the first holds; "
            "to count with 0 and 1, take x.to('int64')"
        ) from error
    return data, (lambda g: g, lambda g: -g)


@binary
def multiply(x: T, y: Operand) -> Rule[T]:
    """x · y, element by element, with broadcasting.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> import microtensor as mt
    >>> multiply(mt.Tensor([1.0, 2.0]), mt.Tensor([[1.0], [10.0]]))
    Tensor([[ 1.,  2.],
            [10., 20.]])
    """
    return x.array * y.array, (lambda g: g * y, lambda g: g * x)


@op(elementwise=True, floating=True)
def divide(x: T, y: Operand) -> Rule[T]:
    """x / y, element by element, with broadcasting. Integers divide to float32. Division by 0 gives ±inf or nan.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> import microtensor as mt
    >>> divide(mt.Tensor([1.0, 3.0]), 2)
    Tensor([0.5, 1.5])
    """
    return x.array / y.array, (lambda g: g / y, lambda g: -g * (x / y) / y)


@binary
def floor_divide(x: T, y: Operand) -> Rule[T]:
    """⌊x / y⌋, the quotient rounded towards −∞, as Python's `//`: in floats, and by 0, ±inf or nan. The gradient is 0.

    Raises:
        ZeroDivisionError: integers are divided by 0. (Not checked on a GPU: the host would have to wait for the device.)

    >>> import microtensor as mt
    >>> floor_divide(mt.Tensor([-7.0, 7.0]), 3)
    Tensor([-3.,  2.])
    """
    _refuse_zero("floor_divide", x, y)
    return x.array // y.array, (flat, flat)


@binary
def remainder(x: T, y: Operand) -> Rule[T]:
    """x − ⌊x / y⌋ · y, with the sign of y, as Python's `%`: of floats by 0, nan. The gradient is 1 for x and −⌊x / y⌋ for y.

    Raises:
        ZeroDivisionError: integers are divided by 0. (Not checked on a GPU: the host would have to wait for the device.)

    >>> import microtensor as mt
    >>> remainder(mt.Tensor([-7.0, 7.0]), 3)
    Tensor([2., 1.])
    """
    _refuse_zero("remainder", x, y)
    return x.array % y.array, (lambda g: g, lambda g: -g * (x // y))


def _refuse_zero(name: str, x: Any, y: Any) -> None:
    """Refuse to divide integers by 0: unlike floats they have no infinity."""
    if is_floating(result_type(x, y)):
        return
    if y == 0 if isinstance(y, Int) else array_module(y.array) is np and not y.array.all():
        raise ZeroDivisionError(f"{name}: an integer is divided by 0; with x.to('float32') the result is inf or nan")


def flat(g: Any) -> Any:
    """The vjp of a function that is constant between its jumps, such as sign and floor: 0.

    So such a function is part of a graph like any other: `backward()` runs, as in PyTorch, and inputs that affect the loss only
    through it get zeros.
    """
    return g.constant(g.xp.zeros_like(g.array))


@op(elementwise=True, wide=True)
def pow(x: T, y: Operand) -> Rule[T]:
    """x to the power y, element by element, with broadcasting.

    The gradient for x is y · x^(y−1), and 0 where y is 0. The gradient for y is x^y · log x, and 0 where x is 0 and y ≥ 0;
    where x < 0 it is nan: there the power is defined at integers y only.

    Raises:
        ValueError: an integer is raised to a negative power, or the shapes do not broadcast.

    >>> import microtensor as mt
    >>> pow(mt.Tensor([1.0, 2.0, 3.0]), 2)
    Tensor([1., 4., 9.])
    """

    def for_base(g: Any) -> Any:
        if isinstance(y, (int, float)):
            return g * y * pow(x, y - 1) if y else flat(g)
        return base_gradient(g, x, y)

    def for_exponent(g: Any) -> Any:
        return exponent_gradient(g, y.constant(y.xp.full_like(y.array, x.array)) if isinstance(x, (int, float)) else x, y)

    try:
        data = _power(x.array, y.array)
    except ValueError as error:  # a power raises no other ValueError
        raise ValueError(
            "pow: an integer to a negative power is a fraction, which integers cannot hold; take x.to('float32')"
        ) from error
    return data, (for_base, for_exponent)


def _power(x: Array, y: Any) -> Array:
    """x ** y. NumPy is 50 times slower for negative bases: an integer power is computed of |x|, and its sign set afterwards."""
    if not isinstance(y, (int, float)) or y % 1 or -1 <= y <= 2 or isinstance(x, (int, float)) or not is_floating(x.dtype):
        return x**y
    xp = array_module(x)
    power = xp.abs(x) ** y
    return xp.copysign(power, x) if y % 2 else power


@op(elementwise=True)
def neg(x: T) -> Rule[T]:
    """−x.

    Raises:
        TypeError: x is of bools.

    >>> import microtensor as mt
    >>> neg(mt.Tensor([1.0, -2.0]))
    Tensor([-1.,  2.])
    """
    if x.dtype == np.bool_:
        raise TypeError("neg: bools have no sign: ~x is true where x is false; to count with 0 and 1, take x.to('int64')")
    return -x.array, (lambda g: -g,)


@op(elementwise=True)
def abs(x: T) -> Rule[T]:
    """|x|. The gradient at 0 is 0.

    >>> import microtensor as mt
    >>> abs(mt.Tensor([1.0, -2.0]))
    Tensor([1., 2.])
    """
    return x.xp.abs(x.array), (lambda g: g * sign(x),)


@op(elementwise=True)
def sign(x: T) -> Rule[T]:
    """−1, 0 or 1, in the dtype of x; nan for nan. The gradient is 0 everywhere, also at the jump.

    >>> import microtensor as mt
    >>> sign(mt.Tensor([-3.0, 0.0, 5.0]))
    Tensor([-1.,  0.,  1.])
    """
    return x.array.copy() if x.dtype == np.bool_ else x.xp.sign(x.array), (flat,)


# Choices


@binary
def maximum(x: T, y: Operand) -> Rule[T]:
    """The larger of x and y, element by element, with broadcasting; nan if either is: then both get the whole gradient, and
    half of it where they are equal, as in PyTorch.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> import microtensor as mt
    >>> maximum(mt.Tensor([1.0, 5.0]), mt.Tensor([3.0, 2.0]))
    Tensor([3., 5.])
    """
    return xp_of(x, y).maximum(x.array, y.array), (lambda g: g * _wins(x, y), lambda g: g * _wins(y, x))


@binary
def minimum(x: T, y: Operand) -> Rule[T]:
    """The smaller of x and y, element by element, with broadcasting; nan if either is. The gradient is as `maximum`'s.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> import microtensor as mt
    >>> minimum(mt.Tensor([1.0, 5.0]), mt.Tensor([3.0, 2.0]))
    Tensor([1., 2.])
    """
    return xp_of(x, y).minimum(x.array, y.array), (lambda g: g * _wins(y, x), lambda g: g * _wins(x, y))


@binary
def _wins(x: T, y: Operand) -> Rule[T]:
    """1 where x > y or one is nan, ½ where they are equal, 0 elsewhere."""
    dtype = (y if isinstance(x, (int, float)) else x).dtype
    lost = (x.array <= y.array).view(np.int8) + (x.array < y.array).view(np.int8)  # in bytes, which are the fastest to add
    return (2 - lost).astype(dtype) / 2, None


def xp_of(*inputs: Any) -> Any:
    """numpy or cupy: the library of the first tensor among `inputs`, which may be numbers too."""
    return next(x.xp for x in inputs if isinstance(x, Node))


@binary
def clamp(x: T, min: Operand = None, max: Operand = None) -> Rule[T]:
    """x, but no smaller than `min` and no larger than `max`, element by element, with broadcasting; where min > max, it is max.

    The gradient goes to x where min ≤ x ≤ max, at the limits too, and to the limit where x is beyond it. (Where min = max, a
    smaller x leaves no gradient to either, as in PyTorch.) A nan is between no limits, and its gradient 0, as in PyTorch too.

    Args:
        min: a number or a tensor; None for no lower limit.
        max: a number or a tensor; None for no upper limit.

    Raises:
        TypeError: x is a number.
        ValueError: there is no limit at all.

    >>> import microtensor as mt
    >>> clamp(mt.Tensor([-3.0, 0.5, 7.0]), 0, 1), clamp(mt.Tensor([-3.0, 0.5]), max=0)
    (Tensor([0. , 0.5, 1. ]), Tensor([-3.,  0.]))
    """
    if not isinstance(x, Node):
        raise TypeError("clamp: x must be a Tensor; between a number and a tensor choose with maximum() or minimum()")
    if min is None and max is None:
        raise ValueError("clamp: there is no limit; give min, max or both")

    def for_x(g: Any) -> Any:
        inside = x >= min if max is None else x <= max if min is None else (x >= min) & (x <= max)
        return where(inside, g, 0)

    def for_min(g: Any) -> Any:
        return where(x < min if max is None else (x < min) & (min < max), g, 0)

    def for_max(g: Any) -> Any:
        return where(x > max if min is None else (x > max) | (max < min), g, 0)

    low, high = (None if limit is None else limit.array for limit in (min, max))
    return x.array.clip(low, high), (for_x, for_min, for_max)


clip = clamp


def where(condition: T, x: Operand, y: Operand) -> T:
    """x where `condition` holds, y elsewhere, with broadcasting. The gradient goes to the one that was chosen.

    Raises:
        TypeError: `condition` is not a tensor of bools.

    >>> import microtensor as mt
    >>> x = mt.Tensor([-1.0, 4.0])
    >>> where(x > 0, x, 0)
    Tensor([0., 4.])
    """
    condition, x, y = lift("where", (condition, x, y))
    if not isinstance(condition, Node) or condition.dtype != np.bool_:
        given = condition.dtype if isinstance(condition, Node) else "a number"
        raise TypeError(f"where: the condition must be a Tensor of bools, as a comparison gives, got {given}")
    dtype = result_type(x, y)
    inputs: list[Any] = [condition, *(cast(v, dtype=dtype) if isinstance(v, Node) and v.dtype != dtype else v for v in (x, y))]
    if any(isinstance(v, Node) and v.shape != condition.shape for v in inputs):
        inputs = align("where", inputs, dtype=None)
    return _choose(*inputs)


@op
def _choose(condition: T, x: T, y: T) -> Rule[T]:
    data = select(condition.array, x.array, y.array, result_type(x, y))
    return data, (None, lambda g: where(condition, g, 0), lambda g: where(condition, 0, g))


def select(condition: Array, x: Any, y: Any, dtype: np.dtype[Any], out: Array | None = None) -> Array:
    """`xp.where` on arrays or numbers x and y, in `dtype`, written to `out` if given (NumPy only).

    NumPy's `where` branches at each element. Where the condition is irregular, as the signs of activations are, the branches
    are mispredicted, and it takes ten times as long as the integer arithmetic on bits below. (An inf or nan that is not chosen
    has no effect: its bits are multiplied by 0.)
    """
    xp = array_module(condition)
    if xp is not np or dtype.itemsize > 8:
        return xp.where(condition, x, y).astype(dtype, copy=False)
    bits = np.dtype(f"i{dtype.itemsize}")
    a, b = (np.asarray(v, dtype).view(bits) for v in (x, y))
    chosen: Array = np.empty(condition.shape, dtype) if out is None else out
    result, otherwise = chosen.view(bits), bool(b.ndim or b)
    result[...] = condition.view(np.int8)  # 1 or 0. Copied first: casting during the product takes a quarter longer
    result *= a ^ b if otherwise else a
    if otherwise:
        result ^= b
    return chosen


@op(elementwise=True, floating=True)
def lerp(start: T, end: Operand, weight: Operand) -> Rule[T]:
    """(1 − weight) · start + weight · end, element by element, with broadcasting: on the line from start, at 0, to end, at 1.

    >>> import microtensor as mt
    >>> lerp(mt.Tensor([0.0, 10.0]), mt.Tensor([1.0, 20.0]), 0.25)
    Tensor([ 0.25, 12.5 ])
    """
    data = start.array * (1 - weight.array) + end.array * weight.array
    return data, (lambda g: g * (1 - weight), lambda g: g * weight, lambda g: g * (end - start))


# Copies, casts, moves


@op(elementwise=True)
def clone(x: T) -> Rule[T]:
    """A copy of x.

    >>> import microtensor as mt
    >>> x = mt.Tensor([1.0, 2.0])
    >>> y = clone(x)
    >>> y[0] = 5.0
    >>> x, y
    (Tensor([1., 2.]), Tensor([5., 2.]))
    """
    return x.array.copy(), (lambda g: g,)


@op(elementwise=True)
def cast(x: T, *, dtype: Any) -> Rule[T]:
    """x in another dtype. A gradient flows between floating-point dtypes only."""
    before = x.dtype
    data = x.array.astype(dtype, copy=False)
    return data, (lambda g: g.to(before),) if is_floating(data.dtype) else None


@op(elementwise=True)
def move(x: T, *, device: str) -> Rule[T]:
    """x on another device: "cpu", "cuda", "cuda:1" …"""
    before = x.device
    return to_device(x.array, device), (lambda g: g.to(before),)
