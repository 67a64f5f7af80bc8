"""What stands for NumPy's arrays and scalars in a pickle: descriptions, from which arrays are made when their bytes are known.

A pickle makes an array in two steps: an empty one, and then its shape, dtype and bytes, with the instruction BUILD; or in one,
in protocol 5 (NumPy's `array_reduce` in methods.c and `_frombuffer` in numeric.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from .placeholder import Placeholder
from .stored_arrays import MOST_AXES, plain, view
from .unpickle import Stateful

NUMBERS = re.compile("b1|[iu][1248]|f[248]")
"""The dtypes of which a tensor can be, without their byte order."""


class NumPyType(Stateful):
    """A dtype, by NumPy's letter and number; any byte order is told to it later."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        if not isinstance(code, str):
            raise ValueError("a dtype of NumPy's in it has no name")
        self.code, self.order = code[:40], "|"

    def set_state(self, state: Any) -> None:
        """(version, byte order, …)."""
        if not isinstance(state, tuple) or len(state) < 2 or not isinstance(state[1], str) or state[1] not in ("<", ">", "|"):
            raise ValueError("a dtype of NumPy's in it has no byte order")
        self.order = state[1]

    def dtype(self) -> np.dtype[Any] | None:
        """None for one that no tensor can be of."""
        return np.dtype(self.order + self.code) if NUMBERS.fullmatch(self.code) else None

    def unread(self) -> Placeholder:
        """What stands for an array or a scalar of such a one."""
        what = f"NumPy's {ascii(self.code)[1:-1]}"
        return Placeholder(what, f"it holds {what}, which no tensor can be of")


class NumPyArray(Stateful):
    """An array that is still to be made."""

    __slots__ = ("content", "fortran", "kind", "shape")

    def __init__(self, content: Any = None, kind: Any = None, shape: Any = (), fortran: bool = False) -> None:
        self.content, self.kind, self.shape, self.fortran = content, kind, shape, fortran

    def set_state(self, state: Any) -> None:
        """(version, shape, dtype, whether in Fortran's order, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("an array of NumPy's in it has no shape and no numbers")
        _, self.shape, self.kind, fortran, self.content = state
        self.fortran = fortran is True

    def array(self, spend: Callable[[int], None]) -> np.ndarray[Any, Any] | Placeholder:
        """The array, in memory of its own, or what stands for one of a kind that is not read.

        Args:
            spend: is told how many bytes it takes, and may refuse.

        Raises:
            ValueError: its bytes are too few or too many for its shape.
        """
        if not isinstance(self.kind, NumPyType):
            raise ValueError("an array of NumPy's in it has no dtype")
        dtype = self.kind.dtype()
        if dtype is None:
            return self.kind.unread()
        shape, content = self.shape, self.content
        if not isinstance(shape, tuple) or len(shape) > MOST_AXES or not all(type(n) is int and 0 <= n < 2**63 for n in shape):
            raise ValueError("an array of NumPy's in it has sizes that are no integers of 63 bits")
        if not isinstance(content, bytes):
            raise ValueError("an array of NumPy's in it has no bytes")
        spend(len(content))
        found = view(content, dtype, shape[::-1] if self.fortran else shape)
        if found.nbytes != len(content):
            raise ValueError(f"an array of NumPy's in it has {len(content):,} bytes, but the shape {shape}"[:300])
        return plain(found.T if self.fortran else found)


def _scalar(kind: Any, content: Any = None) -> Any:
    """A number of NumPy's, as Python's; float32 and float16 are exact as such."""
    if not isinstance(kind, NumPyType):
        raise ValueError("a number of NumPy's in it has no dtype")
    dtype = kind.dtype()
    if dtype is None:
        return kind.unread()
    if not isinstance(content, bytes) or len(content) != dtype.itemsize:
        raise ValueError("a number of NumPy's in it has too few bytes, or too many")
    return plain(view(content, dtype, ())).item()


def _empty(kind: Any = None, shape: Any = None, code: Any = None) -> NumPyArray:
    return NumPyArray()


def _from_buffer(content: Any, kind: Any, shape: Any, order: Any, axes: Any = None) -> NumPyArray:
    if order not in ("C", "F"):
        raise ValueError("an array of NumPy's in it is in no order that is known")
    return NumPyArray(content, kind, shape, order == "F")


CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "numpy.dtype": NumPyType,
    **{f"numpy.{core}.multiarray._reconstruct": _empty for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
}
"""What a pickle may call of NumPy's. The core was renamed in version 2."""
