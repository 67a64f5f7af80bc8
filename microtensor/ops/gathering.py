"""Operations with an index for each element along one axis: gather, scatter and what is composed of them.

Indices are integers from 0: negative ones are refused, as in PyTorch, since −1 is more often a mistake (a label that was to be
ignored) than the last element. On a GPU the check is asynchronous: the error is raised at the next copy from the device.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd.arguments import composed
from ..autograd.autocast import at_least_float32
from ..autograd.graph import Node, T
from ..autograd.nested import array_of_lists
from ..autograd.op import Rule, op
from ..runtime.arrays import Array, is_array, to_device
from ..runtime.deferred_checks import check_range
from ..runtime.integers import as_integer
from ..runtime.sizes import check_size
from .elementwise import where
from .indexing import _put, add_flat, getitem
from .shape import flatten, normalize_dim


def _integers(name: str, index: Any, like: Node) -> Any:
    """Indices as a tensor on the device of `like`.

    Raises:
        TypeError: they are no integers.
    """
    if not isinstance(index, Node):
        array = index if is_array(index) else array_of_lists(name, index)
        array = array if array.size else array.astype(np.int64)  # NumPy makes floats of an empty list
        index = like.constant(to_device(array, like.device))
    tensor: Any = index
    if tensor.dtype.kind not in "iu":
        raise TypeError(f"{name}: the index must be of integers, got {tensor.dtype}; use .to('int64')")
    return tensor.to(like.device)


def _check_range(name: str, index: Node, least: int, length: int, of: str) -> None:
    """Refuse indices outside an axis of `length`: at once on the CPU, on a GPU at the next copy from it.

    Raises:
        IndexError: one is below `least`, or `length` or more.
    """
    message = f"{name}: index {{}} is out of range for {of}: it must be from {least} to {length - 1}"
    check_range(index.array, least, length, message)


def _checked(name: str, x: Node, dim: Any, index: Any) -> tuple[int, Any]:
    """The axis, and an index that fits x: as many axes, none longer than in x except the one indexed."""
    axis = normalize_dim(name, dim, x.shape)
    tensor = _integers(name, index, x)
    _check_range(name, tensor, 0, x.shape[axis], f"dim {dim} of shape {x.shape}")
    if tensor.ndim != x.ndim or any(n > m for i, (n, m) in enumerate(zip(tensor.shape, x.shape)) if i != axis):
        raise ValueError(
            f"{name}: index {tensor.shape} must have the axes of x {x.shape}, none of them longer except dim {dim}; "
            "take_along_dim() broadcasts"
        )
    return axis, tensor


def _positions(index: Array, dim: int, shape: tuple[int, ...], xp: Any) -> Array:
    """The flat indices, in an array of `shape`, of the elements that `index` names along `dim`: a vector."""
    around, step = xp.zeros((), np.int64), 1
    for axis in reversed(range(len(shape))):
        if axis == dim:
            along = index.astype(np.int64, copy=False) * step if step > 1 else index
        else:
            around = around + (xp.arange(index.shape[axis]) * step).reshape((-1,) + (1,) * (len(shape) - 1 - axis))
        step *= shape[axis]
    return (along + around).reshape(-1)


@op
def gather(x: T, /, dim: int, index: Any) -> Rule[T]:
    """The elements of x that `index` names along axis `dim`: y[i, j] = x[i, index[i, j]] for dim 1.

    x (…, n, …), index (…, m, …) → (…, m, …). The other axes of index may be shorter than those of x.

    Raises:
        IndexError: an index is negative or too large.
        TypeError: `index` is not of integers.
        ValueError: `index` has not as many axes as x, or a longer one.

    >>> import microtensor as mt
    >>> x = mt.Tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> gather(x, 1, [[1], [0]])
    Tensor([[2.],
            [3.]])
    """
    axis, index = _checked("gather", x, dim, index)
    shape = x.shape
    data = x.array.reshape(-1)[_positions(index.array, axis, shape, x.xp)].reshape(index.shape)
    return data, (lambda g: _collect(g, dim=axis, index=index, shape=shape),)


@op
def _collect(g: T, *, dim: int, index: Any, shape: tuple[int, ...]) -> Rule[T]:
    """The adjoint of gather: zeros of `shape`, to which each element of g is added at its index."""
    values = at_least_float32(g.array)
    data = g.xp.zeros(shape, values.dtype)
    add_flat(data.reshape(-1), _positions(index.array, dim, shape, g.xp), values.reshape(-1))
    return data.astype(g.dtype, copy=False), (lambda h: gather(h, dim=dim, index=index),)


@composed
def scatter(x: T, dim: int, index: Any, src: Any) -> T:
    """x, overwritten at the elements that `index` names along axis `dim`: y[i, index[i, j]] = src[i, j] for dim 1.

    Where several values go to one element, the last one stays, and only it gets a gradient.

    Args:
        src: a number, or a tensor with the axes of `index`, none of them shorter.

    Raises:
        IndexError: an index is negative or too large.
        TypeError: `index` is not of integers, or `src` not of the dtype of x.
        ValueError: `index` has not as many axes as x, or one longer than in x or in src.

    >>> import microtensor as mt
    >>> scatter(mt.Tensor([[1.0, 2.0], [3.0, 4.0]]), 1, [[1], [0]], 0.0)
    Tensor([[1., 0.],
            [0., 4.]])
    """
    axis, tensor = _checked("scatter", x, dim, index)
    src = src.item() if isinstance(src, np.generic) else src
    if isinstance(src, (int, float)):
        if isinstance(src, float) and x.dtype.kind != "f":
            raise TypeError(f"scatter: src {src} does not fit {x.dtype}; use .to('float32') first")
        src = x.constant(x.xp.full(tensor.shape, src, x.dtype))
    return _scatter(x, _source("scatter", src, tensor, x), dim=axis, index=tensor)


def _source(name: str, src: Any, index: Node, x: Node) -> Any:
    """The part of the tensor to scatter for which there are indices."""
    if not isinstance(src, Node):
        raise TypeError(f"{name}: src must be a Tensor, got {type(src).__name__}; wrap it: Tensor(...)")
    if src.dtype != x.dtype:
        raise TypeError(f"{name}: src is {src.dtype}, but x is {x.dtype}; convert one: .to({str(x.dtype)!r})")
    if src.ndim != index.ndim or any(n > m for n, m in zip(index.shape, src.shape)):
        raise ValueError(f"{name}: src {src.shape} must have the axes of index {index.shape}, none of them shorter")
    return src if src.shape == index.shape else getitem(src, tuple(slice(n) for n in index.shape))


@op
def _scatter(x: T, src: T, *, dim: int, index: Any) -> Rule[T]:
    xp, positions = x.xp, _positions(index.array, dim, x.shape, x.xp)
    data, values, stays = x.array.copy(), src.array.reshape(-1), None
    if src.origin is not None or xp is not np:  # of several, find the last: a GPU assigns in any order
        number, last = xp.arange(positions.size, dtype=np.uint64), xp.zeros(x.array.size, np.uint64)
        xp.maximum.at(last, positions, number)  # CuPy's maximum.at has uint64, not int64
        winner = last[positions]
        values, stays = values[winner], src.constant((winner == number).reshape(index.shape).astype(x.dtype))
    data.reshape(-1)[positions] = values
    zeros = src.constant(xp.zeros(index.shape, x.dtype))
    return data, (
        lambda g: _scatter(g, zeros, dim=dim, index=index),
        lambda g: gather(g, dim=dim, index=index) * stays,
    )


@composed
def scatter_add(x: T, dim: int, index: Any, src: T) -> T:
    """x, with `src` added at the elements that `index` names along axis `dim`: y[i, index[i, j]] += src[i, j] for dim 1.

    Where several values go to one element, all are added; on a GPU in any order, so sums may round differently from run to run.
    Arguments and errors are `scatter`'s, but `src` is a tensor.

    >>> import microtensor as mt
    >>> scatter_add(mt.Tensor([0.0, 0.0]), 0, [1, 1, 0], mt.Tensor([1.0, 2.0, 3.0]))
    Tensor([3., 3.])
    """
    axis, tensor = _checked("scatter_add", x, dim, index)
    base: Any = x
    return base + _collect(_source("scatter_add", src, tensor, x), dim=axis, index=tensor, shape=x.shape)


@composed
def take_along_dim(x: T, indices: Any, dim: int | None = None) -> T:
    """`gather`, in which the other axes broadcast and a negative index counts from the end: undoes an argsort or argmax.

    Args:
        dim: None flattens both.

    Raises:
        IndexError: an index is out of range.
        TypeError: `indices` is not of integers.
        ValueError: `indices` has not as many axes as x, or the others do not broadcast.

    >>> import microtensor as mt
    >>> x = mt.Tensor([[1.0, 2.0], [4.0, 3.0]])
    >>> take_along_dim(x, x.argmax(1, keepdim=True), 1)
    Tensor([[2.],
            [4.]])
    """
    if dim is None:
        return take_along_dim(flatten(x), flatten(_integers("take_along_dim", indices, x)), 0)
    axis = normalize_dim("take_along_dim", dim, x.shape)
    tensor, length = _integers("take_along_dim", indices, x).to(np.int64), x.shape[axis]
    _check_range("take_along_dim", tensor, -length, length, f"dim {dim} of shape {x.shape}")
    try:
        if tensor.ndim != x.ndim:
            raise ValueError
        around = np.broadcast_shapes(*((*y.shape[:axis], *y.shape[axis + 1 :]) for y in (x, tensor)))
    except ValueError:
        raise ValueError(
            f"take_along_dim: indices {tensor.shape} must have the axes of x {x.shape}, and broadcast with it but for dim {dim}"
        ) from None
    lines: Any = x
    lines = lines.broadcast_to((*around[:axis], length, *around[axis:]))
    chosen = where(tensor < 0, tensor + length, tensor).broadcast_to((*around[:axis], tensor.shape[axis], *around[axis:]))
    return gather(lines, dim=axis, index=chosen)


@composed
def index_select(x: T, dim: int, index: Any) -> T:
    """The slices of x along axis `dim` at `index`: x (…, n, …), index (m,) → (…, m, …).

    Raises:
        IndexError: an index is negative or too large.
        TypeError: `index` is not of integers.
        ValueError: `index` is no vector.

    >>> import microtensor as mt
    >>> index_select(mt.Tensor([[1.0, 2.0], [3.0, 4.0]]), 1, [1, 1])
    Tensor([[2., 2.],
            [4., 4.]])
    """
    axis = normalize_dim("index_select", dim, x.shape)
    return getitem(x, (slice(None),) * axis + (_vector("index_select", index, x, axis),))


@composed
def index_add(x: T, dim: int, index: Any, source: T, alpha: float = 1) -> T:
    """x, with the slices of `alpha` · source added to those of its slices along axis `dim` that `index` names.

    x (…, n, …), index (m,), source (…, m, …) → (…, n, …). Where several go to one slice, all are added.

    Raises:
        IndexError: an index is negative or too large.
        TypeError: `index` is not of integers, or `source` not of the dtype of x.
        ValueError: `index` is no vector, or `source` has another shape.

    >>> import microtensor as mt
    >>> index_add(mt.Tensor([0.0, 0.0]), 0, [1, 1], mt.Tensor([1.0, 2.0]))
    Tensor([0., 3.])
    """
    axis = normalize_dim("index_add", dim, x.shape)
    vector = _vector("index_add", index, x, axis)
    expected = (*x.shape[:axis], vector.array.size, *x.shape[axis + 1 :])
    if not isinstance(source, Node) or source.dtype != x.dtype or source.shape != expected:
        given = f"{source.dtype} {source.shape}" if isinstance(source, Node) else type(source).__name__
        error = ValueError if isinstance(source, Node) and source.dtype == x.dtype else TypeError
        raise error(
            f"index_add: {vector.array.size} indices along dim {dim} of x {x.shape} "
            f"need a source of {x.dtype} {expected}, got {given}"
        )
    addend: Any = source
    base: Any = x
    return base + _put(addend if alpha == 1 else addend * alpha, index=(slice(None),) * axis + (vector,), shape=x.shape)


def _vector(name: str, index: Any, x: Node, axis: int) -> Any:
    vector = _integers(name, index, x)
    _check_range(name, vector, 0, x.shape[axis], f"dim {axis} of shape {x.shape}")
    if vector.ndim > 1:
        raise ValueError(f"{name}: index must be a vector, got shape {vector.shape}; gather() takes an index for each element")
    return vector.reshape(-1)


def one_hot(index: Node, num_classes: int = -1) -> Any:
    """Class indices as one-hot vectors, 1 at the class and 0 elsewhere: (…) → (…, classes), int64.

    Args:
        num_classes: −1 takes the largest class plus one, and waits for the device.

    Raises:
        IndexError: a class is negative, or `num_classes` or more.
        TypeError: `index` is not of integers.

    >>> import microtensor as mt
    >>> one_hot(mt.Tensor([2, 0], dtype="int64"), 3)
    Tensor([[0, 0, 1],
            [1, 0, 0]], dtype=int64)
    """
    if not isinstance(index, Node) or index.dtype.kind not in "iu":
        given = f"{index.dtype}; use .to('int64')" if isinstance(index, Node) else type(index).__name__
        raise TypeError(f"one_hot: expected a Tensor of integers, got {given}")
    classes = as_integer("one_hot", "num_classes", num_classes, least=-1)
    if classes == -1:
        if not index.array.size:
            raise ValueError("one_hot: without a class number there is no largest; give num_classes")
        classes = int(index.array.max()) + 1
    _check_range("one_hot", index, 0, classes, f"{classes} classes")
    check_size("one_hot", "the result", (*index.shape, classes), np.empty(0, np.int64), "give fewer classes")
    return index.constant((index.array[..., None] == index.xp.arange(classes)).astype(np.int64))
