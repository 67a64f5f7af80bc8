"""NumPy's ufuncs with a tensor among their arguments.

Python calls NumPy first for `array + tensor`, and NumPy calls `__array_ufunc__` with `np.add`: the operators become operations
here, which record the gradient. `array += tensor` writes the values into the array. Other ufuncs are refused, and the error
says what to write instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd.graph import Node
from ..runtime.arrays import to_numpy
from . import elementwise, extremes, functions, logic, product, reduce

OPERATORS: dict[np.ufunc, Callable[..., Any]] = {
    np.add: elementwise.add,
    np.subtract: elementwise.subtract,
    np.multiply: elementwise.multiply,
    np.divide: elementwise.divide,
    np.floor_divide: elementwise.floor_divide,
    np.remainder: elementwise.remainder,
    np.power: elementwise.pow,
    np.matmul: product.matmul,
    np.equal: logic.eq,
    np.not_equal: logic.ne,
    np.less: logic.lt,
    np.less_equal: logic.le,
    np.greater: logic.gt,
    np.greater_equal: logic.ge,
    np.bitwise_and: logic.bitwise_and,
    np.bitwise_or: logic.bitwise_or,
    np.bitwise_xor: logic.bitwise_xor,
    np.left_shift: logic.bitwise_left_shift,
    np.right_shift: logic.bitwise_right_shift,
}
"""The operations for Python's operators between an array and a tensor."""

OTHER_NAMES = {"absolute": "abs", "negative": "neg", "invert": "bitwise_not", "rint": "round"}
"""Ufuncs whose operation has another name here."""

REDUCTIONS = {"add": "sum", "multiply": "prod", "maximum": "amax", "minimum": "amin", "logical_and": "all", "logical_or": "any"}
"""The names here of `np.add.reduce` and the like."""


FAMILIES = (elementwise, extremes, functions, logic, product, reduce)
"""Where the operation of a ufunc's name is looked for."""


class Ufuncs:
    """The attribute `__array_ufunc__`: a function on the class, where NumPy looks it up; None on an instance.

    CuPy looks it up on the instance, and leaves the operator to the tensor if it is None.
    """

    def __get__(self, x: Any, kind: type) -> Any:
        return answer if x is None else None


def answer(x: Any, ufunc: np.ufunc, method: str, *inputs: Any, **settings: Any) -> Any:
    """ufunc(*inputs), or one of its methods, where a tensor is among the arguments.

    Raises:
        TypeError: it is no operator, or has settings; or the array cannot hold the result.
    """
    operation = OPERATORS.get(ufunc)
    (into,) = settings.pop("out", None) or (None,) if ufunc.nout == 1 else (None,)
    if method != "__call__" or operation is None or settings or isinstance(into, Node):
        raise TypeError(_advice(ufunc, method, inputs, settings, into))
    result = operation(*inputs)
    return result if into is None else _written(ufunc, result, into)


def _written(ufunc: np.ufunc, result: Any, into: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`array += tensor`: the result written into the array."""
    name = f"np.{ufunc.__name__} into an array"
    if result.requires_grad:
        raise TypeError(
            f"{name}: the tensor requires a gradient, and the array would lose it; write array = array + tensor, or the like, "
            "for a tensor, or take tensor.detach()"
        )
    values = to_numpy(result._data)
    if values.shape != into.shape:
        raise ValueError(
            f"{name}: the result has shape {values.shape}, the array {into.shape}; write array = array + tensor, or the like"
        )
    if not np.can_cast(values.dtype, into.dtype, "same_kind"):
        raise TypeError(
            f"{name}: the result is {values.dtype}, which the array of {into.dtype} cannot hold; convert one of them"
        )
    into[...] = values
    return into


def _advice(ufunc: np.ufunc, method: str, inputs: Sequence[Any], settings: dict[str, Any], into: Any) -> str:
    """What to write instead."""
    written = f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
    values = "for the values alone, without a gradient, give it x.numpy()"
    if isinstance(into, Node):
        return f"{written}: NumPy cannot write into a tensor; write x[...] = the array"
    if settings and method == "__call__":
        return f"{written}: a tensor takes no {', '.join(settings)}; {values}"
    name = OTHER_NAMES.get(ufunc.__name__, ufunc.__name__)
    if method == "reduce":
        name = REDUCTIONS.get(ufunc.__name__, "")
    elif method != "__call__":
        name = ""
    if any(hasattr(family, name) for family in FAMILIES):
        instead = f"write mt.{name}({_arguments(inputs)})"
        return f"{written}: a tensor does not support ufuncs, which know nothing of its graph: {instead}; {values}"
    return f"{written}: a tensor does not support ufuncs, and microtensor has no such operation; {values}"


def _arguments(inputs: Sequence[Any]) -> str:
    return ", ".join("xyzvw"[i % 5] for i in range(len(inputs)))
