"""In-place operators: `x += y` and the others. What they write into the memory of x, and what they refuse."""

from __future__ import annotations

from typing import Any, TypeVar

from .autograd.graph import mode
from .interop import Interop
from .ops import elementwise, logic
from .ops.indexing import rank, refuse_read_only, setitem

I = TypeVar("I", bound="InPlace")  # noqa: E741


class InPlace(Interop):
    """A Node with in-place operators: `+= -= *= /= //= %= **= &= |= ^= <<= >>=`.

    If no graph is recorded, the result is written into the memory of x, which keeps its dtype and shape, and all views of that
    memory see it, as in NumPy and PyTorch. If a graph is recorded, it may need the old values: then the name x is bound to a
    new tensor, and a leaf that requires a gradient is refused.

    Raises:
        RuntimeError: x is a leaf that requires a gradient, and operations are recorded.
        TypeError: the result has a dtype that that of x cannot hold: floats into integers, numbers into bools. Or `x @= y`.
        ValueError: the result has another shape than x; the memory of x is read-only, or some of it is used twice.
    """

    __slots__ = ()

    def __iadd__(self: I, other: Any) -> I:
        return _become(self, "+", other, elementwise.add(self, other))

    def __isub__(self: I, other: Any) -> I:
        return _become(self, "-", other, elementwise.subtract(self, other))

    def __imul__(self: I, other: Any) -> I:
        return _become(self, "*", other, elementwise.multiply(self, other))

    def __itruediv__(self: I, other: Any) -> I:
        return _become(self, "/", other, elementwise.divide(self, other))

    def __ifloordiv__(self: I, other: Any) -> I:
        return _become(self, "//", other, elementwise.floor_divide(self, other))

    def __imod__(self: I, other: Any) -> I:
        return _become(self, "%", other, elementwise.remainder(self, other))

    def __ipow__(self: I, other: Any) -> I:
        return _become(self, "**", other, elementwise.pow(self, other))

    def __iand__(self: I, other: Any) -> I:
        return _become(self, "&", other, logic.bitwise_and(self, other))

    def __ior__(self: I, other: Any) -> I:
        return _become(self, "|", other, logic.bitwise_or(self, other))

    def __ixor__(self: I, other: Any) -> I:
        return _become(self, "^", other, logic.bitwise_xor(self, other))

    def __ilshift__(self: I, other: Any) -> I:
        return _become(self, "<<", other, logic.bitwise_left_shift(self, other))

    def __irshift__(self: I, other: Any) -> I:
        return _become(self, ">>", other, logic.bitwise_right_shift(self, other))

    def __imatmul__(self: I, other: Any) -> I:
        raise TypeError("x @= y: no matrix product is written in place; write x = x @ y, or x[...] = x @ y to keep the memory")


def _become(x: I, sign: str, other: Any, result: Any) -> I:
    """`x += y`, where `result` is x + y."""
    if mode.recording and x.requires_grad and x.is_leaf:
        raise RuntimeError(
            f"x {sign}= y: a leaf that requires a gradient cannot be changed in place while recording: "
            f"use no_grad(), or make a new tensor: z = x {sign} y"
        )
    if result.requires_grad or mode.recording and x.requires_grad:
        return result
    if result.shape != x.shape:
        given = f" of x {x.shape} and y {other.shape}" if hasattr(other, "shape") else ""
        raise ValueError(
            f"x {sign}= y writes into x, as x[index] = value does, but the result{given} has shape {result.shape}, which x "
            f"{x.shape} has no room for; write x = x {sign} y"
        )
    if rank(result._data) > rank(x._data):
        wanted = "float32" if result.dtype.kind == "f" else str(result.dtype)
        raise TypeError(
            f"x {sign}= y writes into x, as x[index] = value does, but the result is {result.dtype}, which x, {x.dtype}, "
            f"cannot hold; write x = x {sign} y, or convert x first: x = x.to({wanted!r})"
        )
    refuse_read_only(f"x {sign}= y", x)
    setitem(x, ..., result)
    return x
