"""Operations that multiply and add: matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import Node, T
from .op import Rule, lift, op, result_type


def matmul(x: T, y: T) -> T:
    """Matrix product, as `@` in NumPy and PyTorch: (…, M, K), (…, K, N) → (…, M, N), with the leading axes broadcast.

    A vector on the left is taken as a row and on the right as a column, and its axis is gone from the result.

    Raises:
        TypeError: an input is a number: it multiplies with `*`.
        ValueError: an input has no axes, K differs, or the leading axes do not broadcast.

    >>> import microtensor as mt
    >>> matmul(mt.Tensor([[1.0, 2.0]]), mt.Tensor([3.0, 4.0]))
    Tensor([11.])
    """
    return _product(*lift("matmul", (x, y)))


def _product(x: Any, y: Any) -> Any:
    if not all(isinstance(v, Node) and v.ndim for v in (x, y)):
        raise TypeError("matmul: a number has no axis to sum over; multiply with *")
    rows, columns = x.shape[-1], y.shape[max(y.ndim - 2, 0)]
    if rows != columns:
        raise ValueError(
            f"matmul: shapes {x.shape} and {y.shape} do not fit: the rows of the first have {rows} numbers, "
            f"the columns of the second {columns}"
        )
    dtype = result_type(x, y)
    x, y = (v if v.dtype == dtype else v.to(dtype) for v in (x, y))

    if x.ndim == 1:
        return _product(x.reshape((1, rows)), y).squeeze(-2 if y.ndim > 1 else 0)
    if y.ndim == 1:
        return _product(x, y.reshape((columns, 1))).squeeze(-1)
    if x.ndim == 2 and y.ndim == 2:
        return _matmul(x, y)
    if y.ndim == 2:  # one matrix for all: its gradient is one product, not a sum over a batch of them
        return _matmul(x.reshape((-1, rows)), y).reshape((*x.shape[:-1], y.shape[1]))
    try:
        batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    except ValueError:
        raise ValueError(f"matmul: the leading axes of shapes {x.shape} and {y.shape} do not broadcast") from None
    return _matmul(x.broadcast_to((*batch, *x.shape[-2:])), y.broadcast_to((*batch, *y.shape[-2:])))


@op
def _matmul(x: Any, y: Any) -> Rule[T]:
    return x.data @ y.data, (lambda g: g @ y.mT, lambda g: x.mT @ g)
