"""NumPy arrays and scalars in a pickle: `NumPyArray` describes an array until it is built from its bytes.

A pickle builds an array in two steps: it creates an empty one, then sets shape, dtype and bytes with the opcode BUILD. Protocol
5 does it in one step (NumPy's `array_reduce` in methods.c and `_frombuffer` in numeric.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from .placeholder import Placeholder
from .stored_arrays import MAX_AXES, plain, view
from .unpickle import Stateful

SUPPORTED = re.compile("b1|[iu][1248]|f[248]")
"""NumPy's codes of the dtypes that tensors support, without byte order."""


class NumPyType(Stateful):
    """A dtype given by NumPy's code, such as "f4". BUILD sets its byte order later."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        if not isinstance(code, str):
            raise ValueError("a NumPy dtype in it has no name")
        self.code, self.order = code[:40], "|"

    def set_state(self, state: Any) -> None:
        """Takes (version, byte order, …)."""
        if not isinstance(state, tuple) or len(state) < 2 or not isinstance(state[1], str) or state[1] not in ("<", ">", "|"):
            raise ValueError("a NumPy dtype in it has no byte order")
        self.order = state[1]

    def dtype(self) -> np.dtype[Any] | None:
        """The dtype, or None if tensors do not support it."""
        return np.dtype(self.order + self.code) if SUPPORTED.fullmatch(self.code) else None

    def unread(self) -> Placeholder:
        """The placeholder for an array or scalar of an unsupported dtype."""
        what = f"NumPy's {ascii(self.code)[1:-1]}"
        return Placeholder(what, f"it holds {what}, which tensors do not support")


class NumPyArray(Stateful):
    """The description of an array that is not built yet."""

    __slots__ = ("content", "fortran", "kind", "shape")

    def __init__(self, content: Any = None, kind: Any = None, shape: Any = (), fortran: bool = False) -> None:
        self.content, self.kind, self.shape, self.fortran = content, kind, shape, fortran

    def set_state(self, state: Any) -> None:
        """Takes (version, shape, dtype, whether column-major, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("a NumPy array in it has no shape and no data")
        _, self.shape, self.kind, fortran, self.content = state
        self.fortran = fortran is True

    def array(self, spend: Callable[[int], None]) -> np.ndarray[Any, Any] | Placeholder:
        """Build the array, as a copy; or a placeholder if its dtype is not supported.

        Args:
            spend: called with the bytes that the array takes; raises if they exceed the limit of the file.

        Raises:
            ValueError: its bytes are too few or too many for its shape.
        """
        if not isinstance(self.kind, NumPyType):
            raise ValueError("a NumPy array in it has no dtype")
        dtype = self.kind.dtype()
        if dtype is None:
            return self.kind.unread()
        shape, content = self.shape, self.content
        if not isinstance(shape, tuple) or len(shape) > MAX_AXES or not all(type(n) is int and 0 <= n < 2**63 for n in shape):
            raise ValueError("a NumPy array in it has sizes that are not integers of 63 bits")
        if not isinstance(content, bytes):
            raise ValueError("a NumPy array in it has no bytes")
        spend(len(content))
        found = view(content, dtype, shape[::-1] if self.fortran else shape)
        if found.nbytes != len(content):
            raise ValueError(f"a NumPy array in it has {len(content):,} bytes, but the shape {shape}"[:300])
        return plain(found.T if self.fortran else found)


def _scalar(kind: Any, content: Any = None) -> Any:
    """A NumPy scalar as a Python number, exactly."""
    if not isinstance(kind, NumPyType):
        raise ValueError("a NumPy scalar in it has no dtype")
    dtype = kind.dtype()
    if dtype is None:
        return kind.unread()
    if not isinstance(content, bytes) or len(content) != dtype.itemsize:
        raise ValueError("a NumPy scalar in it has too few or too many bytes")
    return plain(view(content, dtype, ())).item()


def _empty(kind: Any = None, shape: Any = None, code: Any = None) -> NumPyArray:
    return NumPyArray()


def _from_buffer(content: Any, kind: Any, shape: Any, order: Any, axes: Any = None) -> NumPyArray:
    if order not in ("C", "F"):
        raise ValueError("a NumPy array in it is neither in C order nor in Fortran order")
    return NumPyArray(content, kind, shape, order == "F")


CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "numpy.dtype": NumPyType,
    **{f"numpy.{core}.multiarray._reconstruct": _empty for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
}
"""NumPy's functions that a pickle may call → what is called instead. NumPy 2 renamed `core` to `_core`."""
