"""Operations that treat each element by itself: arithmetic, functions of one variable, comparisons, casts."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from .backend import to_device
from .graph import Node, T, is_floating
from .op import Rule, align, op, result_type

Operand: TypeAlias = Any
"""A tensor, a Python number or an array: what stands on the other side of an operator."""

function = op(floating=True)
function_of_output = op(floating=True, output=True)
binary = op(elementwise=True)


# Arithmetic


@binary
def add(x: T, y: Operand) -> Rule[T]:
    """x + y, element by element. Shapes broadcast: an axis that is missing on the left, or of length 1, repeats."""
    return x.data + y.data, (lambda g: g, lambda g: g)


@binary
def subtract(x: T, y: Operand) -> Rule[T]:
    """x − y, element by element, with broadcasting."""
    return x.data - y.data, (lambda g: g, lambda g: -g)


@binary
def multiply(x: T, y: Operand) -> Rule[T]:
    """x · y, element by element, with broadcasting."""
    return x.data * y.data, (lambda g: g * y, lambda g: g * x)


@op(elementwise=True, floating=True)
def divide(x: T, y: Operand) -> Rule[T]:
    """x / y, element by element, with broadcasting. Integers divide to float32. Division by 0 gives ±inf or nan."""
    return x.data / y.data, (lambda g: g / y, lambda g: -g * x / (y * y))


@binary
def pow(x: T, y: Operand) -> Rule[T]:
    """x to the power y, element by element, with broadcasting.

    The gradient for x is y · x^(y−1), and 0 where y is 0. The gradient for y is x^y · log x, and 0 where x is 0 and y ≥ 0;
    where x < 0 it is nan, for there the power is defined at whole y only.
    """

    def for_base(g: Any) -> Any:
        if isinstance(y, (int, float)):
            return g * y * pow(x, y - 1) if y else g * 0
        return g * where(y == 0, 0, y * pow(x, where(y == 0, 1, y - 1)))

    def for_exponent(g: Any) -> Any:
        base: Any = y.constant(y.xp.full_like(y.data, x)) if isinstance(x, (int, float)) else x
        return g * pow(base, y) * log(where((base == 0) & (y >= 0), 1, base))

    return x.data**y.data, (for_base, for_exponent)


@op
def neg(x: T) -> Rule[T]:
    """−x."""
    return -x.data, (lambda g: -g,)


@op
def abs(x: T) -> Rule[T]:
    """|x|. The gradient at 0 is 0."""
    return x.xp.abs(x.data), (lambda g: g * sign(x),)


@op
def sign(x: T) -> Rule[T]:
    """−1, 0 or 1, in the dtype of x. The gradient is 0 everywhere."""
    return x.xp.sign(x.data), None


# Functions of one variable


@function_of_output
def exp(x: T) -> Rule[T]:
    """e to the power x."""
    return x.xp.exp(x.data), (lambda g, y: g * y,)


@function
def log(x: T) -> Rule[T]:
    """Natural logarithm: −inf at 0, nan below."""
    return x.xp.log(x.data), (lambda g: g / x,)


@function_of_output
def sqrt(x: T) -> Rule[T]:
    """Square root: nan below 0. The gradient at 0 is inf."""
    return x.xp.sqrt(x.data), (lambda g, y: g / (2 * y),)


@function_of_output
def tanh(x: T) -> Rule[T]:
    """Hyperbolic tangent."""
    return x.xp.tanh(x.data), (lambda g, y: g * (1 - y * y),)


@function_of_output
def sigmoid(x: T) -> Rule[T]:
    """Logistic function 1 / (1 + e^−x), without overflow at either end."""
    xp = x.xp
    small = xp.exp(-xp.abs(x.data))
    return xp.where(x.data >= 0, xp.ones_like(small), small) / (1 + small), (lambda g, y: g * (y * (1 - y)),)


@op(output=True)
def relu(x: T) -> Rule[T]:
    """max(x, 0). The gradient at 0 is 0."""
    return x.xp.maximum(x.data, 0), (lambda g, y: g * sign(y),)


# Choices and comparisons


@binary
def maximum(x: T, y: Operand) -> Rule[T]:
    """The larger of x and y, element by element, with broadcasting. Where they are equal, each gets half the gradient."""
    return _xp(x, y).maximum(x.data, y.data), (lambda g: g * _wins(x, y), lambda g: g * _wins(y, x))


@binary
def minimum(x: T, y: Operand) -> Rule[T]:
    """The smaller of x and y, element by element, with broadcasting. Where they are equal, each gets half the gradient."""
    return _xp(x, y).minimum(x.data, y.data), (lambda g: g * _wins(y, x), lambda g: g * _wins(x, y))


@binary
def _wins(x: T, y: Operand) -> Rule[T]:
    """1 where x > y, ½ where they are equal, 0 elsewhere."""
    dtype = (y if isinstance(x, (int, float)) else x).dtype
    return ((x.data > y.data).astype(dtype) + (x.data >= y.data).astype(dtype)) / 2, None


def _xp(*inputs: Any) -> Any:
    return next(x.xp for x in inputs if isinstance(x, Node))


def where(condition: T, x: Operand, y: Operand) -> T:
    """x where `condition` holds, y elsewhere, with broadcasting.

    Raises:
        TypeError: `condition` is not a tensor of bools.

    >>> import microtensor as mt
    >>> x = mt.Tensor([-1.0, 4.0])
    >>> where(x > 0, x, 0)
    Tensor([0., 4.])
    """
    if not isinstance(condition, Node) or condition.dtype != np.bool_:
        given = condition.dtype if isinstance(condition, Node) else type(condition).__name__
        raise TypeError(f"where: the condition must be a Tensor of bools, as a comparison gives, got {given}")
    dtype = result_type(x, y)
    x, y = (cast(v, dtype=dtype) if isinstance(v, Node) else v for v in (x, y))
    return _choose(*align("where", [condition, x, y], dtype=None), dtype=dtype)


@op
def _choose(condition: T, x: T, y: T, *, dtype: Any) -> Rule[T]:
    data = condition.xp.where(condition.data, x.data, y.data).astype(dtype, copy=False)
    return data, (None, lambda g: where(condition, g, 0), lambda g: where(condition, 0, g))


@binary
def eq(x: T, y: Operand) -> Rule[T]:
    """Where x = y: a tensor of bools, with broadcasting."""
    return x.data == y.data, None


@binary
def ne(x: T, y: Operand) -> Rule[T]:
    """Where x ≠ y: a tensor of bools, with broadcasting."""
    return x.data != y.data, None


@binary
def lt(x: T, y: Operand) -> Rule[T]:
    """Where x < y: a tensor of bools, with broadcasting."""
    return x.data < y.data, None


@binary
def le(x: T, y: Operand) -> Rule[T]:
    """Where x ≤ y: a tensor of bools, with broadcasting."""
    return x.data <= y.data, None


@binary
def gt(x: T, y: Operand) -> Rule[T]:
    """Where x > y: a tensor of bools, with broadcasting."""
    return x.data > y.data, None


@binary
def ge(x: T, y: Operand) -> Rule[T]:
    """Where x ≥ y: a tensor of bools, with broadcasting."""
    return x.data >= y.data, None


@binary
def logical_and(x: T, y: T) -> Rule[T]:
    """Where both hold: a tensor of bools, with broadcasting. A number holds where it is not 0."""
    return _xp(x, y).logical_and(x.data, y.data), None


# The same numbers, elsewhere


@op
def clone(x: T) -> Rule[T]:
    """The same numbers in memory of their own."""
    return x.data.copy(), (lambda g: g,)


@op
def cast(x: T, *, dtype: Any) -> Rule[T]:
    """The same numbers in another dtype. A gradient flows between floating-point dtypes only."""
    before = x.dtype
    data = x.data.astype(dtype, copy=False)
    return data, (lambda g: g.to(before),) if is_floating(data.dtype) else None


@op
def move(x: T, *, device: str) -> Rule[T]:
    """The same numbers on another device: "cpu", "cuda", "cuda:1" …"""
    before = x.device
    return to_device(x.data, device), (lambda g: g.to(before),)
