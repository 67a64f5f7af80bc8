"""Functions of one variable, elementwise: powers, exponentials, logarithms, trigonometry, rounding.

Integers and bools are converted to float32, except by `square` and by rounding. Outside its domain a function is nan or ±inf,
and NumPy warns.
"""

from __future__ import annotations

import math
from typing import Any

from ..autograd.graph import Node, T, is_floating
from ..autograd.op import Rule, op
from ..runtime.arrays import Array
from ..runtime.integers import is_integer
from .elementwise import Operand, add, flat, subtract, where, xp_of
from .singular import by_convention

function = op(elementwise=True, floating=True)
function_of_output = op(elementwise=True, floating=True, output=True)
wide_function = op(elementwise=True, floating=True, wide=True)
wide_function_of_output = op(elementwise=True, floating=True, output=True, wide=True)


# Powers


@op(elementwise=True)
def square(x: T) -> Rule[T]:
    """x · x."""
    return x.array * x.array, (lambda g: 2 * g * x,)


@function_of_output
def sqrt(x: T) -> Rule[T]:
    """Square root: nan below 0. The gradient at 0 is inf.

    >>> import microtensor as mt
    >>> sqrt(mt.Tensor([1.0, 4.0]))
    Tensor([1., 2.])
    """
    return x.xp.sqrt(x.array), (lambda g, y: g / (2 * y),)


@wide_function_of_output
def rsqrt(x: T) -> Rule[T]:
    """1 / √x: inf at 0, nan below. The gradient at 0 is −inf."""
    return 1 / x.xp.sqrt(x.array), (lambda g, y: g * (y * y * y * -0.5),)


@wide_function_of_output
def reciprocal(x: T) -> Rule[T]:
    """1 / x: ±inf at ±0."""
    return 1 / x.array, (lambda g, y: -g * (y * y),)


# Exponentials and logarithms


@wide_function_of_output
def exp(x: T) -> Rule[T]:
    """e to the power x.

    >>> import microtensor as mt
    >>> exp(mt.Tensor([0.0, 1.0])).round(decimals=4)
    Tensor([1.    , 2.7183])
    """
    return x.xp.exp(x.array), (lambda g, y: g * y,)


@wide_function_of_output
def exp2(x: T) -> Rule[T]:
    """2 to the power x."""
    return x.xp.exp2(x.array), (lambda g, y: g * (y * math.log(2)),)


@wide_function
def expm1(x: T) -> Rule[T]:
    """e to the power x, minus 1, exact also near 0, where e^x rounds to 1."""
    return x.xp.expm1(x.array), (lambda g: g * exp(x),)  # not g · (y + 1), which is 0 where y rounds to −1


@wide_function
def log(x: T) -> Rule[T]:
    """Natural logarithm: −inf at 0, nan below.

    >>> import microtensor as mt
    >>> log(mt.Tensor([1.0, 10.0])).round(decimals=4)
    Tensor([0.    , 2.3026])
    """
    return x.xp.log(x.array), (lambda g: g / x,)


@wide_function
def log2(x: T) -> Rule[T]:
    """Logarithm to base 2: −inf at 0, nan below."""
    return x.xp.log2(x.array), (lambda g: g / math.log(2) / x,)


@wide_function
def log10(x: T) -> Rule[T]:
    """Logarithm to base 10: −inf at 0, nan below."""
    return x.xp.log10(x.array), (lambda g: g / math.log(10) / x,)


@wide_function
def log1p(x: T) -> Rule[T]:
    """log(1 + x), exact also near 0, where 1 + x rounds to 1: −inf at −1, nan below."""
    return x.xp.log1p(x.array), (lambda g: g / add(x, 1),)


# Trigonometry, in radians


@function
def sin(x: T) -> Rule[T]:
    """Sine of x radians."""
    return x.xp.sin(x.array), (lambda g: g * cos(x),)


@function
def cos(x: T) -> Rule[T]:
    """Cosine of x radians."""
    return x.xp.cos(x.array), (lambda g: -g * sin(x),)


@wide_function_of_output
def tan(x: T) -> Rule[T]:
    """Tangent of x radians."""
    return x.xp.tan(x.array), (lambda g, y: g * (1 + y * y),)


@wide_function
def asin(x: T) -> Rule[T]:
    """Arc sine: from −1 … 1 to −π/2 … π/2 radians, nan outside. The gradient at ±1 is inf."""
    return x.xp.arcsin(x.array), (lambda g: g / sqrt(_difference_of_squares(1, x)),)


@wide_function
def acos(x: T) -> Rule[T]:
    """Arc cosine: from 1 … −1 to 0 … π radians, nan outside. The gradient at ±1 is −inf."""
    return x.xp.arccos(x.array), (lambda g: -g / sqrt(_difference_of_squares(1, x)),)


@function
def atan(x: T) -> Rule[T]:
    """Arc tangent: −π/2 … π/2 radians."""
    return x.xp.arctan(x.array), (lambda g: g / add(square(x), 1),)


@op(elementwise=True, floating=True)
def atan2(y: T, x: Operand) -> Rule[T]:
    """The angle of the point (x, y) from the x axis, −π … π radians: y comes first, with broadcasting.

    The gradient at the origin is 0.

    >>> import microtensor as mt
    >>> atan2(mt.Tensor([1.0, -1.0]), mt.Tensor([0.0, -1.0])) * (180 / math.pi)
    Tensor([  90., -135.])
    """

    def across(g: Any, side: Any) -> Any:
        """g · side / (x² + y²), 0 at the origin. Both are first divided by the larger: their squares might overflow."""
        xp, height = g.xp, y
        size = xp.maximum(*(xp.abs(v.array) if isinstance(v, Node) else math.fabs(v) for v in (x, height)))
        size = size.astype(g.dtype, copy=False)
        size = g.constant(xp.where(size == 0, xp.ones_like(size), size))
        squares: Any = (x / size) ** 2 + (height / size) ** 2
        back = g / size * (side / size) / where(squares == 0, 1, squares)
        return by_convention(back, g, squares, where=lambda: squares.array == 0)

    return xp_of(y, x).arctan2(y.array, x.array), (lambda g: across(g, x), lambda g: -across(g, y))


def _difference_of_squares(a: Any, b: Any) -> Any:
    """a² − b² as (a − b) · (a + b), without cancellation where the two are nearly equal."""
    return (a - b) * (a + b)


# Hyperbolic functions


@wide_function
def sinh(x: T) -> Rule[T]:
    """Hyperbolic sine, (e^x − e^−x) / 2."""
    return x.xp.sinh(x.array), (lambda g: g * cosh(x),)


@wide_function
def cosh(x: T) -> Rule[T]:
    """Hyperbolic cosine, (e^x + e^−x) / 2."""
    return x.xp.cosh(x.array), (lambda g: g * sinh(x),)


@function_of_output
def tanh(x: T) -> Rule[T]:
    """Hyperbolic tangent, sinh x / cosh x: between −1 and 1.

    >>> import microtensor as mt
    >>> tanh(mt.Tensor([-1.0, 0.0, 2.0])).round(decimals=4)
    Tensor([-0.7616,  0.    ,  0.964 ])
    """
    return x.xp.tanh(x.array), (lambda g, y: g * (1 - y * y),)


@function
def asinh(x: T) -> Rule[T]:
    """The inverse of sinh."""
    return x.xp.arcsinh(x.array), (lambda g: g / sqrt(add(square(x), 1)),)


@function
def acosh(x: T) -> Rule[T]:
    """The inverse of cosh, from 1 upwards: nan below. The gradient at 1 is inf."""
    return x.xp.arccosh(x.array), (lambda g: g / sqrt(_difference_of_squares(x, 1)),)


@function
def atanh(x: T) -> Rule[T]:
    """The inverse of tanh: ±inf at ±1, nan beyond. The gradient at ±1 is inf."""
    return x.xp.arctanh(x.array), (lambda g: g / _difference_of_squares(1, x),)


# Rounding


@op(elementwise=True)
def floor(x: T) -> Rule[T]:
    """The largest integer ≤ x, in the dtype of x. The gradient is 0 everywhere, also at the jumps."""
    return _rounded(x, x.xp.floor), (flat,)


@op(elementwise=True)
def ceil(x: T) -> Rule[T]:
    """The smallest integer ≥ x, in the dtype of x. The gradient is 0 everywhere, also at the jumps."""
    return _rounded(x, x.xp.ceil), (flat,)


@op(elementwise=True)
def trunc(x: T) -> Rule[T]:
    """x without its fractional part, in the dtype of x. The gradient is 0 everywhere, also at the jumps."""
    return _rounded(x, x.xp.trunc), (flat,)


@op(elementwise=True)
def round(x: T, /, decimals: int = 0) -> Rule[T]:
    """x rounded to this many decimals, in the dtype of x; halfway between two, to the even one, as Python's `round`.

    The gradient is 0 everywhere, also at the jumps.

    Args:
        decimals: digits after the point; −1 rounds to tens.

    Raises:
        TypeError: `decimals` is no integer.

    >>> import microtensor as mt
    >>> round(mt.Tensor([0.5, 1.5, 2.5])), round(mt.Tensor([14.25]), decimals=-1)
    (Tensor([0., 2., 2.]), Tensor([10.]))
    """
    if not is_integer(decimals):
        raise TypeError(f"round: decimals must be an integer, got {decimals!r}")
    if decimals < 0 and x.dtype.kind in "iu":
        return x.xp.round(x.array, int(decimals)), None
    return _rounded(x, lambda data: x.xp.round(data, int(decimals))), (flat,)


def _rounded(x: Node, rounding: Any) -> Array:
    """Floats rounded; integers and bools copied."""
    return rounding(x.array) if is_floating(x.dtype) else x.array.copy()


def frac(x: T) -> T:
    """x − trunc(x): the fractional part, with the sign of x. The gradient is 1 everywhere, also at the jumps.

    >>> import microtensor as mt
    >>> frac(mt.Tensor([1.5, -1.5]))
    Tensor([ 0.5, -0.5])
    """
    return subtract(x, trunc(x))


# NumPy's names

arcsin, arccos, arctan, arctan2, arcsinh, arccosh, arctanh = asin, acos, atan, atan2, asinh, acosh, atanh
