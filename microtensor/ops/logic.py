"""Comparisons, tests for nan and infinity, logic, the bits of integers. No gradient flows through these."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd.arguments import Int
from ..autograd.graph import Node, T, is_floating
from ..autograd.op import Rule, op
from .elementwise import Operand, binary, xp_of

# Comparisons


@binary
def eq(x: T, y: Operand) -> Rule[T]:
    """Where x = y: a tensor of bools, with broadcasting. nan equals nothing.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> import microtensor as mt
    >>> eq(mt.Tensor([1.0, 2.0]), 2)
    Tensor([False,  True])
    """
    return x.array == y.array, None


@binary
def ne(x: T, y: Operand) -> Rule[T]:
    """Where x ≠ y: a tensor of bools, with broadcasting."""
    return x.array != y.array, None


@binary
def lt(x: T, y: Operand) -> Rule[T]:
    """Where x < y: a tensor of bools, with broadcasting.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> import microtensor as mt
    >>> lt(mt.Tensor([1.0, 2.0]), 2)
    Tensor([ True, False])
    """
    return x.array < y.array, None


@binary
def le(x: T, y: Operand) -> Rule[T]:
    """Where x ≤ y: a tensor of bools, with broadcasting."""
    return x.array <= y.array, None


@binary
def gt(x: T, y: Operand) -> Rule[T]:
    """Where x > y: a tensor of bools, with broadcasting."""
    return x.array > y.array, None


@binary
def ge(x: T, y: Operand) -> Rule[T]:
    """Where x ≥ y: a tensor of bools, with broadcasting."""
    return x.array >= y.array, None


@binary
def isclose(x: T, y: Operand, /, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Rule[T]:
    """Where |x − y| ≤ atol + rtol · |y|: a tensor of bools, with broadcasting.

    Args:
        rtol: tolerance relative to y.
        atol: absolute tolerance.
        equal_nan: whether nan is close to nan.
    """
    xp = xp_of(x, y)
    a, b = (xp.asarray(v.array) for v in (x, y))
    return xp.isclose(a, b, rtol=rtol, atol=atol, equal_nan=equal_nan), None


def allclose(x: T, y: Operand, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether `isclose` holds everywhere, as Python's True or False. Waits for the device.

    >>> import microtensor as mt
    >>> allclose(mt.Tensor([1.0, 2.0]), mt.Tensor([1.0, 2.00001]))
    True
    """
    return bool(isclose(x, y, rtol=rtol, atol=atol, equal_nan=equal_nan).array.all())


def equal(x: T, y: T) -> bool:
    """Whether two tensors have the same shape and values, as Python's True or False. Waits for the device.

    The dtypes may differ; nan equals nothing.

    Raises:
        TypeError: one is no tensor.

    >>> import microtensor as mt
    >>> x = mt.Tensor([1.0, 2.0])
    >>> equal(x, x + 0), equal(x, x[:1])
    (True, False)
    """
    for v in (x, y):
        if not isinstance(v, Node):
            raise TypeError(f"equal: expected two Tensors, got {type(v).__name__}; x == number compares each element")
    return x.shape == y.shape and bool(eq(x, y).array.all())


@op(elementwise=True)
def isnan(x: T) -> Rule[T]:
    """Where x is nan, not a number: a tensor of bools."""
    return x.xp.isnan(x.array), None


@op(elementwise=True)
def isinf(x: T) -> Rule[T]:
    """Where x is inf or −inf: a tensor of bools."""
    return x.xp.isinf(x.array), None


@op(elementwise=True)
def isfinite(x: T) -> Rule[T]:
    """Where x is neither nan nor ±inf: a tensor of bools."""
    return x.xp.isfinite(x.array), None


# Logic: a number is true where it is not 0


@binary
def logical_and(x: T, y: Operand) -> Rule[T]:
    """Where both are true: a tensor of bools, with broadcasting. A number is true where it is not 0."""
    return xp_of(x, y).logical_and(x.array, y.array), None


@binary
def logical_or(x: T, y: Operand) -> Rule[T]:
    """Where one or both are true: a tensor of bools, with broadcasting. A number is true where it is not 0."""
    return xp_of(x, y).logical_or(x.array, y.array), None


@binary
def logical_xor(x: T, y: Operand) -> Rule[T]:
    """Where exactly one is true: a tensor of bools, with broadcasting. A number is true where it is not 0."""
    return xp_of(x, y).logical_xor(x.array, y.array), None


@op(elementwise=True)
def logical_not(x: T) -> Rule[T]:
    """Where x is false: a tensor of bools. A number is true where it is not 0."""
    return x.xp.logical_not(x.array), None


# Bits: of bools, one; of integers, all, in two's complement


@binary
def bitwise_and(x: T, y: Operand) -> Rule[T]:
    """x & y: of bools, where both are true; of integers, the bits that both have. With broadcasting.

    Raises:
        TypeError: one is of floats.
    """
    a, b = _bits("bitwise_and", "&", x, y)
    return a & b, None


@binary
def bitwise_or(x: T, y: Operand) -> Rule[T]:
    """x | y: of bools, where one or both are true; of integers, the bits that one has or both. With broadcasting.

    Raises:
        TypeError: one is of floats.
    """
    a, b = _bits("bitwise_or", "|", x, y)
    return a | b, None


@binary
def bitwise_xor(x: T, y: Operand) -> Rule[T]:
    """x ^ y: of bools, where they differ; of integers, the bits in which they differ. With broadcasting.

    Raises:
        TypeError: one is of floats.
    """
    a, b = _bits("bitwise_xor", "^", x, y)
    return a ^ b, None


@op(elementwise=True)
def bitwise_not(x: T) -> Rule[T]:
    """~x: of bools, where x is false; of integers, every bit inverted, which is −x − 1 for signed integers.

    Raises:
        TypeError: x is of floats.
    """
    if is_floating(x.dtype):
        raise TypeError(f"bitwise_not (~): expected bools or integers, got {x.dtype}; compare first, as in ~(x > 0)")
    return ~x.array, None


@binary
def bitwise_left_shift(x: T, y: Operand) -> Rule[T]:
    """x << y: the bits of integers shifted left by y, which is x · 2^y unless it overflows. With broadcasting.

    Raises:
        TypeError: one is of floats or bools.
    """
    _whole("bitwise_left_shift (<<)", x, y)
    return x.array << y.array, None


@binary
def bitwise_right_shift(x: T, y: Operand) -> Rule[T]:
    """x >> y: the bits of integers shifted right by y, which is ⌊x / 2^y⌋. With broadcasting.

    Raises:
        TypeError: one is of floats or bools.
    """
    _whole("bitwise_right_shift (>>)", x, y)
    return x.array >> y.array, None


def _bits(name: str, sign: str, x: Any, y: Any) -> list[Any]:
    """The operands of & | ^, unless they are floats. 0 and 1 count as bools beside bools."""
    if any(isinstance(v, float) or isinstance(v, Node) and is_floating(v.dtype) for v in (x, y)):
        raise TypeError(f"{name} ({sign}): expected bools or integers, got floats; compare them first: (x > 0) {sign} (y > 0)")
    beside_bools = any(isinstance(v, Node) and v.dtype == np.bool_ for v in (x, y))
    return [bool(v) if beside_bools and isinstance(v, Int) and v in (0, 1) else v.array for v in (x, y)]


def _whole(name: str, x: Any, y: Any) -> None:
    for v in (x, y):
        if isinstance(v, float) or isinstance(v, Node) and v.dtype.kind not in "iu":
            given = v.dtype if isinstance(v, Node) else "a float"
            raise TypeError(f"{name}: expected integers, got {given}; use .to('int64')")
