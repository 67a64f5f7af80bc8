"""Products of matrices and vectors. Products along named axes (einsum) are in contraction.py."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd.arguments import lift
from ..autograd.autocast import narrowed
from ..autograd.broadcasting import result_type
from ..autograd.graph import Node, T, mode
from ..autograd.op import Rule, op
from ..runtime import threads
from ..runtime.arrays import Array, array_module
from ..runtime.blas import single_threaded_blas


def matmul(x: T, y: T) -> T:
    """Matrix product, as `@` in NumPy and PyTorch: (…, M, K), (…, K, N) → (…, M, N), with the leading axes broadcast.

    A vector on the left is a row and on the right a column, and its axis is dropped from the result. Dtypes are promoted as
    in `x * y`. With nothing to sum, K = 0, the result is 0.

    Raises:
        TypeError: an input is a number, which multiplies with `*`; or both are of bools.
        ValueError: an input has no axes, K differs, or the leading axes do not broadcast.

    >>> import microtensor as mt
    >>> matmul(mt.Tensor([[1.0, 2.0]]), mt.Tensor([3.0, 4.0]))
    Tensor([11.])
    """
    return _product("matmul", *meet("matmul", x, y))


def mm(x: T, y: T) -> T:
    """Product of two matrices, without broadcasting: (M, K), (K, N) → (M, N).

    Raises:
        TypeError, ValueError: as `matmul`; or an input is no matrix.

    >>> import microtensor as mt
    >>> mm(mt.Tensor([[1.0, 2.0], [3.0, 4.0]]), mt.Tensor([[1.0], [10.0]]))
    Tensor([[21.],
            [43.]])
    """
    return _strict("mm", x, y, (2, 2), "two matrices, (M, K) and (K, N)")


def bmm(x: T, y: T) -> T:
    """Products of matrices, pair by pair, without broadcasting: (B, M, K), (B, K, N) → (B, M, N).

    Raises:
        TypeError, ValueError: as `matmul`; or an input has not three axes; or B differs.

    >>> import microtensor as mt
    >>> bmm(mt.ones(5, 2, 3), mt.ones(5, 3, 4)).shape
    (5, 2, 4)
    """
    return _strict("bmm", x, y, (3, 3), "as many matrices on either side, (B, M, K) and (B, K, N)")


def mv(x: T, y: T) -> T:
    """Product of a matrix and a vector: (M, K), (K,) → (M,).

    Raises:
        TypeError, ValueError: as `matmul`; or the first is no matrix; or the second no vector.

    >>> import microtensor as mt
    >>> mv(mt.Tensor([[1.0, 2.0], [3.0, 4.0]]), mt.Tensor([1.0, 10.0]))
    Tensor([21., 43.])
    """
    return _strict("mv", x, y, (2, 1), "a matrix and a vector, (M, K) and (K,)")


def dot(x: T, y: T) -> T:
    """Scalar product of two vectors: (K,), (K,) → ().

    Raises:
        TypeError: an input is a number, or both are of bools.
        ValueError: an input is no vector, or their lengths differ.

    >>> import microtensor as mt
    >>> dot(mt.Tensor([1.0, 2.0]), mt.Tensor([3.0, 4.0]))
    Tensor(11.)
    """
    return _strict("dot", x, y, (1, 1), "two vectors of one length, (K,) and (K,)")


def outer(x: T, y: T) -> T:
    """Each element of one vector times each of another: (M,), (N,) → (M, N).

    Raises:
        TypeError: an input is a number, or both are of bools.
        ValueError: an input is no vector.

    >>> import microtensor as mt
    >>> outer(mt.Tensor([1.0, 2.0]), mt.Tensor([3.0, 4.0]))
    Tensor([[3., 4.],
            [6., 8.]])
    """
    column, row = meet("outer", x, y)
    if column.ndim != 1 or row.ndim != 1:
        raise ValueError(
            f"outer: expected two vectors, got shapes {column.shape} and {row.shape}; .flatten() makes a vector of a tensor"
        )
    return _matmul(column.unsqueeze(1), row.unsqueeze(0))


def meet(name: str, *inputs: Any) -> list[Any]:
    """The inputs as tensors of one dtype, that of `result_type`. Arrays become constants. Two or more are subject to autocast.

    Raises:
        TypeError: one is a number or no tensor; or there are several, and all are of bools.
    """
    if len(inputs) > 1 and mode.autocast is not None:
        inputs = narrowed(*inputs)
    like = inputs[0]
    if isinstance(like, Node) and like.dtype.kind == "f" and all(isinstance(x, Node) and x.dtype == like.dtype for x in inputs):
        return [*inputs]  # the usual case
    tensors = lift(name, inputs)
    for x in tensors:
        if not isinstance(x, Node):
            raise TypeError(
                f"{name}: expected tensors, got {'None' if x is None else f'the number {x}'}; numbers multiply with *"
            )
    dtype = result_type(*tensors)
    if dtype == np.bool_ and len(tensors) > 1:
        raise TypeError(f"{name}: sums of bools are no bools; convert one tensor: .to('int64') to count, or .to('float32')")
    return [x if x.dtype == dtype else x.to(dtype) for x in tensors]


def _strict(name: str, x: Any, y: Any, ndims: tuple[int, int], expected: str) -> Any:
    x, y = meet(name, x, y)
    if (x.ndim, y.ndim) != ndims or x.shape[:-2] != y.shape[:-2]:
        raise ValueError(f"{name}: expected {expected}, got shapes {x.shape} and {y.shape}; @ takes others, and broadcasts")
    return _product(name, x, y)


def _product(name: str, x: Any, y: Any) -> Any:
    if not x.ndim or not y.ndim:
        raise ValueError(f"{name}: shapes {x.shape} and {y.shape}: without axes there is nothing to sum over; multiply with *")
    rows, columns = x.shape[-1], y.shape[max(y.ndim - 2, 0)]
    if rows != columns:
        hint = "; transposed, .mT, the second would fit" if y.ndim > 1 and y.shape[-1] == rows else ""
        raise ValueError(
            f"{name}: shapes {x.shape} and {y.shape} do not fit: the rows of the first have {rows} elements, "
            f"the columns of the second {columns}{hint}"
        )
    if x.ndim == 1:
        return _product(name, x.reshape((1, rows)), y).squeeze(-2 if y.ndim > 1 else 0)
    if y.ndim == 1:
        return _product(name, x, y.reshape((columns, 1))).squeeze(-1)
    if x.shape[:-2] == y.shape[:-2]:
        return _matmul(x, y)
    if y.ndim == 2:  # one matrix for the batch: its gradient is one product, not a sum of a batch of products
        return _matmul(x.reshape((math.prod(x.shape[:-1]), rows)), y).reshape((*x.shape[:-1], y.shape[1]))
    try:
        batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    except ValueError:
        raise ValueError(f"{name}: the leading axes of shapes {x.shape} and {y.shape} do not broadcast") from None
    return _matmul(x.broadcast_to((*batch, *x.shape[-2:])), y.broadcast_to((*batch, *y.shape[-2:])))


def each_row(inputs: Sequence[Any], result: Node) -> int:
    """Each number of the result is a sum over the last axis of the first tensor."""
    return math.prod(result.shape) * int(inputs[0].shape[-1])


@op(multiply_adds=each_row)
def _matmul(x: Any, y: Any) -> Rule[T]:
    """Matrix products: (…, M, K), (…, K, N) → (…, M, N), with equal leading axes."""
    a, b = x.array, y.array
    # For K = 1 the same products by broadcasting take a fifth of the time.
    data = a * b if a.shape[-1] == 1 else product(a, b)
    return data, (lambda g: g @ y.mT, lambda g: x.mT @ g)


def through_float32(compute: Callable[..., Array]) -> Callable[..., Array]:
    """A function of arrays that multiplies matrices, with float16 on the CPU computed in float32 and rounded.

    BLAS has no half precision, and NumPy's own loops take a hundred times as long. (A GPU has float16 units, which accumulate
    in float32.)

    >>> through_float32(lambda a, b: a @ b)(np.ones((2, 3), np.float16), np.ones((3, 2), np.float16)).dtype
    dtype('float16')
    """

    @functools.wraps(compute)
    def computing(*args: Any, **settings: Any) -> Array:
        if args[0].dtype != np.float16 or array_module(args[0]) is not np:
            return compute(*args, **settings)
        wide = (v.astype(np.float32) if isinstance(v, np.ndarray) else v for v in args)
        return compute(*wide, **settings).astype(np.float16)

    return computing


PART_MACS = 1 << 24
"""Multiply-adds of one part of a product, for one thread: 0.2 ms."""

MAX_PARTS = 16

MIN_PART_ROWS = 256
"""Rows (or columns) of a part, at least: BLAS packs the other matrix again for each part."""


@through_float32
def product(a: Array, b: Array) -> Array:
    """a @ b of two arrays, with equal leading axes. A large product is split among the threads of our own pool.

    The longer side of the result is split into parts that depend on the shapes alone. BLAS has threads too, but after a product
    they busy-wait for a while on the cores that our threads need: so BLAS is kept single-threaded.
    """
    xp = array_module(a)
    a, b = _for_blas(a, xp), _for_blas(b, xp)
    if xp is not np:
        return a @ b
    parts = 1
    if a.ndim == 2:
        (rows, depth), columns = a.shape, b.shape[1]
        parts = min(rows * depth * columns // PART_MACS, MAX_PARTS, max(rows, columns) // MIN_PART_ROWS)
    if parts < 2:
        with single_threaded_blas():
            return a @ b
    result = np.empty((rows, columns), np.result_type(a, b))

    def work(part: slice) -> None:
        if rows >= columns:
            np.matmul(a[part], b, out=result[part])
        else:
            np.matmul(a, b[:, part], out=result[:, part])

    side = max(rows, columns)
    threads.share(work, threads.slices(side, -(-side // parts // 16) * 16))
    return result


def _for_blas(matrices: Array, xp: Any) -> Array:
    """Matrices with contiguous rows or columns, as BLAS needs them: themselves, or a copy.

    The gradient of a sum, one value that is broadcast, has none, nor has x[:, ::2]. NumPy 2.0 multiplies those without BLAS,
    which takes 40 times as long.
    """
    rows, columns = matrices.shape[-2:]
    down, across = (stride // matrices.itemsize for stride in matrices.strides[-2:])
    whole = across == 1 and down >= columns or down == 1 and across >= rows
    return matrices if whole else xp.ascontiguousarray(matrices)
