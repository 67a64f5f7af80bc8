"""Indexing: x[index], assignment to it, and masks."""

from __future__ import annotations

import math
import reprlib
from typing import Any

import numpy as np

from ..autograd.arguments import Either, composed
from ..autograd.autocast import at_least_float32
from ..autograd.graph import Node, T, mode
from ..autograd.nested import array_of_lists
from ..autograd.op import Rule, op
from ..runtime.arrays import Array, array_module, follow, is_array, to_device
from .elementwise import where
from .shape import flatten

SCATTER_ELEMENTS = 1 << 18
"""Elements added to a table at a time: their int64 indices, 2 MiB, stay in the cache."""


def as_index(index: Any, device: str) -> tuple[Any, ...]:
    """Any index of NumPy's → a tuple in which every array and list is an array or a tensor on `device`.

    Tensors stay tensors: so the engine sees when one that a gradient needs was overwritten.

    Raises:
        TypeError: a tensor, array or list in it is neither of integers nor of bools.
    """
    return tuple(_part(i, device) for i in (index if isinstance(index, tuple) else (index,)))


def _part(index: Any, device: str) -> Any:
    """One part of an index."""
    if isinstance(index, (slice, int, np.integer)) or index is None or index is Ellipsis:
        return index
    if isinstance(index, (list, tuple)):
        try:
            array = array_of_lists("x[index]", index)
            index = array if array.size else array.astype(np.int64)  # NumPy makes floats of an empty list
        except (TypeError, ValueError):
            raise TypeError(
                f"x[index]: expected nested lists of integers, all of one length, got {reprlib.repr(index)}"
            ) from None
    if not isinstance(index, Node) and not is_array(index):
        return index
    if index.dtype.kind not in "iub":
        hint = "stack() makes one tensor of several" if index.dtype.kind == "O" else "use .to('int64')"
        raise TypeError(f"x[index]: expected integers or bools, got {index.dtype}; {hint}")
    if isinstance(index, Node):
        tensor: Any = index
        return tensor.to(device)
    return to_device(index.copy(), device)  # a copy: the gradient needs its present values


def _arrays(index: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same index with arrays in place of tensors, as NumPy and CuPy take it.

    An ellipsis at the end makes NumPy return a view, not a scalar, for a single element too.
    """
    parts = tuple(i.array if isinstance(i, Node) else i for i in index)
    return parts if any(i is Ellipsis for i in parts) else (*parts, Ellipsis)


def _may_repeat(index: tuple[Any, ...]) -> bool:
    """Whether an element may be picked twice: by arrays of integers it may, by slices, integers and masks not."""
    return any((isinstance(i, Node) or is_array(i)) and i.dtype.kind != "b" for i in index)


@op
def getitem(x: T, /, index: Any) -> Rule[T]:
    """x[index], for every index that NumPy takes. A view if the index consists of slices, integers, None and Ellipsis.

    On a GPU an array of integers is not checked against the length of its axis: the host would have to wait for the device.
    Indices out of range wrap around there.

    Raises:
        IndexError: an index is out of range, or there are more indices than axes.
        TypeError: an index is neither of integers nor of bools.

    >>> import microtensor as mt
    >>> x = mt.Tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> x[:, ::-1], x[[1, 1], [0, 1]], x[x > 2]
    (Tensor([[2., 1.],
            [4., 3.]]), Tensor([3., 4.]), Tensor([3., 4.]))
    """
    parts, shape = as_index(index, x.device), x.shape
    try:
        data = x.array[_arrays(parts)]
    except (IndexError, TypeError, ValueError) as error:
        raise type(error)(f"x[index]: {str(error).strip()}; x has shape {shape}") from None
    return data, (lambda g: _put(g, index=parts, shape=shape),)


@op
def _put(g: T, *, index: tuple[Any, ...], shape: tuple[int, ...]) -> Rule[T]:
    """The adjoint of getitem: zeros of `shape`, to whose elements at `index` g is added."""
    if _may_repeat(index):
        values = at_least_float32(g.array)
        data = g.xp.zeros(shape, values.dtype)
        add_at(data, _arrays(index), values)
    else:
        data = g.xp.zeros(shape, g.dtype)
        data[_arrays(index)] = g.array
    return data.astype(g.dtype, copy=False), (lambda h: h[index],)


def add_at(data: Array, index: tuple[Any, ...], values: Array) -> None:
    """data[index] += values; an element that is indexed twice gets both. Writes to `data`, which is contiguous."""
    xp = array_module(data)
    index = index[:-1] if index and index[-1] is Ellipsis else index
    if not all(is_array(i) and i.dtype.kind in "iu" for i in index):
        xp.add.at(data, index, values)
        return
    # Rows, as of an embedding: NumPy's add.at is 5 to 10 times faster on elements of a vector than on rows.
    rows = xp.zeros((), np.int64)
    for i, length in zip(index, data.shape):
        rows = rows * length + i.astype(np.int64) % max(length, 1)
    width = math.prod(data.shape[len(index) :])
    rows, values = rows.reshape(-1, 1), values.reshape(rows.size, width)
    step = max(1, SCATTER_ELEMENTS // max(width, 1))
    for start in range(0, rows.shape[0], step):
        places = rows[start : start + step] * width + xp.arange(width)
        add_flat(data.reshape(-1), places.reshape(-1), values[start : start + step].reshape(-1))


def add_flat(data: Array, places: Array, values: Array) -> None:
    """data[places] += values for vectors; a place that occurs twice gets both. Writes to `data`.

    Each addition is rounded to the dtype of `data`: add float16 values to an array of float32.
    """
    xp = array_module(data)
    if data.dtype == np.int64:  # CuPy's atomic addition has uint64, not int64; the bits of the sum are the same
        data, values = data.view(np.uint64), values.view(np.uint64)
    elif xp is not np and data.dtype.itemsize < 4 and data.dtype.kind != "f":  # nor integers smaller than int32
        sums = data.astype(np.int32)
        xp.add.at(sums, places, values.astype(np.int32))
        data[...] = sums
        return
    xp.add.at(data, places, values)


def setitem(x: Node, index: Any, value: Any) -> None:
    """x[index] = value, outside any graph: a number, an array or a tensor that broadcasts to x[index].

    For an element that is indexed twice, the last value stays; on a GPU, any of them.

    Raises:
        IndexError: an index is out of range.
        RuntimeError: x or the value requires a gradient: an assignment is not differentiable.
        TypeError: values that the dtype of x cannot hold: floats in integers, numbers in bools.
        ValueError: the value's shape does not fit, or x is a read-only view.
    """
    if mode.recording and x.requires_grad:
        raise RuntimeError(
            "x[index] = value: this tensor is part of a graph, and assignment is not differentiable; "
            "assign inside no_grad(), or build a new tensor, with where()"
        )
    if mode.recording and isinstance(value, Node) and value.requires_grad:
        raise RuntimeError(
            "x[index] = value: the value requires a gradient, and an assignment would lose it; "
            "assign value.detach(), or build a new tensor, with where(), cat() or stack()"
        )
    values = value.array if isinstance(value, Node) else value
    if isinstance(value, (list, tuple)):
        values = array_of_lists("x[index] = value", value)
    values = values.item() if isinstance(values, np.generic) else values
    if rank(values) > rank(x.array):
        raise TypeError(
            f"x[index] = value: {getattr(values, 'dtype', type(value).__name__)} does not fit a tensor of {x.dtype}: "
            "convert the value, or the tensor, with .to(dtype)"
        )
    data, parts = x.array, as_index(index, x.device)
    follow(data)
    refuse_read_only("x[index] = value", x)
    if is_array(values):
        values = to_device(values, x.device)
        if x.xp.may_share_memory(values, data):
            values = values.copy()  # on a GPU, x[1:] = x[:-1] would be a race
        while values.ndim and values.shape[0] == 1:
            values = values.reshape(values.shape[1:])  # [5.0] may be assigned where 5.0 may
    try:
        data[_arrays(parts)] = values
    except (IndexError, OverflowError, TypeError, ValueError) as error:
        raise type(error)(f"x[index] = value: {error}; x is {x.dtype} of shape {x.shape}") from None
    x.touch()


def refuse_read_only(name: str, x: Node, what: str = "x", way: str = "x = x.clone()") -> None:
    """Refuse to write into memory that is read-only, or that several elements share (stride 0).

    Args:
        name: the function that is to write, for the error.
        what: what it calls this tensor.
        way: the code that makes a copy.

    Raises:
        ValueError: the memory is such.
    """
    data = x._data
    if 0 in data.strides and data.size and any(step == 0 and n > 1 for step, n in zip(data.strides, data.shape)):
        raise ValueError(
            f"{name}: {what} {x.shape} is a view that cannot be assigned to, as of broadcast_to() or expand(): several "
            f"elements are one place in memory; clone() it first: {way}"
        )
    if not getattr(data.flags, "writeable", True):
        raise ValueError(
            f"{name}: the memory of {what} {x.shape} is read-only, as of broadcast_to() or diagonal(), of an array loaded with "
            f"mmap_mode='r', or of another library's; clone() it first: {way}"
        )


def rank(value: Any) -> int:
    """0 for bools, 1 for integers, 2 for floats: each can be cast to its own rank and higher ones. 3 for what is no number."""
    if isinstance(value, (bool, int, float)):
        return 0 if isinstance(value, bool) else 1 if isinstance(value, int) else 2
    kind = value.dtype.kind if is_array(value) or isinstance(value, np.generic) else "O"
    return {"b": 0, "i": 1, "u": 1, "f": 2}.get(kind, 3)


@composed
def nonzero(x: Node, as_tuple: bool = False) -> Either:
    """The indices of the elements that are not 0, one row each: (count, axes), int64. Waits for the device.

    Args:
        as_tuple: one tensor of indices per axis instead, as NumPy gives them: `x[nonzero(x, as_tuple=True)]`.

    >>> import microtensor as mt
    >>> nonzero(mt.Tensor([[0.0, 5.0], [6.0, 0.0]]))
    Tensor([[0, 1],
            [1, 0]], dtype=int64)
    """
    rows = x.xp.argwhere(x.array).astype(np.int64, copy=False)
    return tuple(x.constant(rows[:, axis]) for axis in range(x.ndim)) if as_tuple else x.constant(rows)


@composed
def take(x: T, index: Any) -> T:
    """The elements of the flattened x at `index`, in the shape of `index`. Errors are `getitem`'s.

    >>> import microtensor as mt
    >>> take(mt.Tensor([[1.0, 2.0], [3.0, 4.0]]), [0, 3])
    Tensor([1., 4.])
    """
    return getitem(flatten(x), index)


@composed
def masked_select(x: T, mask: Any) -> T:
    """The elements of x where `mask` is true, as a vector. The two broadcast. Waits for the device.

    Raises:
        TypeError: `mask` is not of bools.
        ValueError: the shapes do not broadcast.

    >>> import microtensor as mt
    >>> x = mt.Tensor([1.0, -2.0, 3.0])
    >>> masked_select(x, x > 0)
    Tensor([1., 3.])
    """
    chosen = _mask("masked_select", x, mask)
    tensor: Any = x
    shape = _meet("masked_select", x, chosen)
    return tensor.broadcast_to(shape)[chosen.broadcast_to(shape)]


@composed
def masked_fill(x: T, mask: Any, value: Any) -> T:
    """x, with `value` where `mask` is true. The shapes of x and mask broadcast; the dtype stays that of x.

    Args:
        mask: bools, as a comparison gives them.
        value: a number, or a tensor without axes.

    Raises:
        TypeError: `mask` is not of bools, or `value` does not fit the dtype of x.
        ValueError: `value` has axes, or the shapes do not broadcast.

    >>> import microtensor as mt
    >>> x = mt.Tensor([1.0, -1.0])
    >>> masked_fill(x, x < 0, float("-inf"))
    Tensor([  1., -inf])
    """
    chosen, value = _mask("masked_fill", x, mask), value.item() if isinstance(value, np.generic) else value
    if isinstance(value, Node):
        if value.ndim:
            raise ValueError(
                f"masked_fill: value must be a number or a tensor without axes, got shape {value.shape}; use where()"
            )
    elif not isinstance(value, (int, float)):
        raise TypeError(f"masked_fill: value must be a number or a tensor without axes, got {type(value).__name__}")
    number = value.array if isinstance(value, Node) else value
    if rank(number) > rank(x.array):
        raise TypeError(f"masked_fill: value {value!r} does not fit {x.dtype}; use .to('float32') first")
    _meet("masked_fill", x, chosen)
    if isinstance(value, Node):
        tensor: Any = value
        return where(chosen, tensor.to(x.dtype), x)
    return where(chosen, value, x)


def _mask(name: str, x: Node, mask: Any) -> Any:
    """A mask as a tensor of bools on the device of x."""
    bools = mask.array if isinstance(mask, Node) else mask
    if not is_array(bools) or bools.dtype != np.bool_:
        given = bools.dtype if is_array(bools) else type(mask).__name__
        raise TypeError(f"{name}: mask must be a Tensor of bools, as a comparison gives, got {given}")
    tensor: Any = mask if isinstance(mask, Node) else x.constant(bools)
    return tensor.to(x.device)


def _meet(name: str, x: Node, mask: Node) -> tuple[int, ...]:
    """The shape to which x and its mask broadcast."""
    try:
        return np.broadcast_shapes(x.shape, mask.shape)
    except ValueError:
        raise ValueError(
            f"{name}: x {x.shape} and mask {mask.shape} do not broadcast: "
            "counted from the right, two lengths must be equal, or one of them 1"
        ) from None
