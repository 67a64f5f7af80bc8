"""New tensors: from numbers, arrays and other libraries' tensors, or filled with values. Random ones are in random.py.

All of them take `dtype`, `device` ("cpu", "cuda", "cuda:N") and `requires_grad`. Without a dtype, integers that the user wrote
become int64, as in PyTorch, and all else float32. Without a device, data on a device stays there, and all else goes to the
default device: see device.py.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .autograd.graph import Node
from .convert import as_array, as_dtype
from .runtime.arrays import array_module, device_of, follow, is_array, on, takes_array
from .runtime.device import full_name
from .tensor import Tensor

DLPACK_DEVICES = {1: "cpu", 2: "cuda", 3: "cpu", 13: "cuda"}
"""DLPack's numbers for devices: main memory and a GPU's; main memory that GPUs read, and memory that moves between the two."""


def tensor(data: Any, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A tensor with a copy of `data`: PyTorch's `torch.tensor`, where integers become int64.

    `Tensor(data)` differs in two ways. It makes float32 of integers too, since parameters are floats:
    `Tensor([1, 2])` is float32, `tensor([1, 2])` int64. And it shares the memory of an array, where this function copies.

    Args:
        data: numbers, nested lists of them, an array, or a tensor, whose graph is left behind. Arrays and tensors keep
            their dtype; Python floats become float32, integers int64, bools bool.

    Raises:
        TypeError: `data` is not numeric, or requires_grad and not floating point.
        ValueError: nested lists of unequal length.

    >>> tensor([1, 2]), tensor([1, 2.5]), Tensor([1, 2])
    (Tensor([1, 2], dtype=int64), Tensor([1. , 2.5]), Tensor([1., 2.]))
    """
    array = as_array("tensor", data, dtype, whole=np.int64)
    if device is None and isinstance(data, Node):
        device = data.device
    result = Tensor(array, device=device)
    if result._data is array:
        follow(array)
        result._data = array.copy()
    result.requires_grad = requires_grad
    return result


def as_tensor(data: Any, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """`data` as a tensor, without a copy if possible: a tensor is returned as it is, in its graph; an array shares its memory.

    Integers become int64, as in `tensor`.

    Raises:
        TypeError, ValueError: as `tensor`.

    >>> numbers = np.zeros(2)
    >>> x = as_tensor(numbers)
    >>> x[0] = 5.0
    >>> numbers, as_tensor(x) is x
    (array([5., 0.]), True)
    """
    if isinstance(data, Tensor):
        return data.to(dtype=dtype, device=device)
    return Tensor(as_array("as_tensor", data, dtype, whole=np.int64), device=device)


def from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor that shares the memory of a NumPy array: a change of one changes the other. On the CPU, whatever the default.

    Raises:
        TypeError: it is no NumPy array, or not of numbers.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: expected a numpy.ndarray, got {type(array).__name__}; tensor() takes anything else")
    return Tensor(array, device="cpu")


def from_dlpack(source: Any) -> Tensor:
    """A tensor that shares the memory of another library's array or tensor, by the DLPack protocol: nothing is copied.

    PyTorch, JAX, CuPy, NumPy and others support it (dmlc.github.io/dlpack). So does a Tensor: `torch.from_dlpack(tensor)`.

    Raises:
        TypeError: `source` does not support DLPack, or has a dtype that a tensor cannot have.
        ValueError: it is on a device that a tensor cannot be on.
        BufferError: its library refuses, as PyTorch does for a tensor that requires a gradient.

    >>> numbers = np.arange(3.0)
    >>> from_dlpack(numbers)
    Tensor([0., 1., 2.], dtype=float64)
    """
    takes_array("from_dlpack", source)  # raises for a masked array
    if not hasattr(source, "__dlpack__") or not hasattr(source, "__dlpack_device__"):
        raise TypeError(
            f"from_dlpack: {type(source).__name__} has no method __dlpack__; tensor() takes numbers, lists and arrays"
        )
    kind, index = source.__dlpack_device__()
    if int(kind) not in DLPACK_DEVICES:
        raise ValueError(
            f"from_dlpack: DLPack's device {(int(kind), index)} is neither the CPU nor a GPU of CUDA; move the data first"
        )
    device = DLPACK_DEVICES[int(kind)]
    device = device if device == "cpu" else f"{device}:{index}"
    try:
        with on(device) as xp:
            return Tensor(xp.from_dlpack(source), device=device)
    except RuntimeError as error:  # NumPy's error for a dtype that it does not have
        raise TypeError(
            f"from_dlpack: {type(source).__name__} of {getattr(source, 'dtype', 'an unknown dtype')}: {error}"
        ) from None


def zeros(*size: Any, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros: `zeros(2, 3)` or `zeros((2, 3))`.

    Raises:
        TypeError, ValueError: a length is no integer, or negative; the dtype or the device is unknown.

    >>> zeros(2, 3)
    Tensor([[0., 0., 0.],
            [0., 0., 0.]])
    """
    return _filled("zeros", size, 0, dtype, device, requires_grad)


def ones(*size: Any, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones: `ones(2, 3)` or `ones((2, 3))`.

    Raises:
        TypeError, ValueError: as `zeros`.

    >>> ones(2), ones((1, 2), dtype="int64")
    (Tensor([1., 1.]), Tensor([[1, 1]], dtype=int64))
    """
    return _filled("ones", size, 1, dtype, device, requires_grad)


def empty(*size: Any, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A tensor of uninitialized memory, to be written to: `empty(2, 3)` or `empty((2, 3))`.

    Raises:
        TypeError, ValueError: as `zeros`.
    """
    shape, number, place = as_size("empty", size), as_dtype("empty", dtype, np.float32), full_name(device)
    with on(place) as xp:
        return Tensor(xp.empty(shape, number), device=place, requires_grad=requires_grad)


def full(
    size: Any, fill_value: Any, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor filled with one value. Without a dtype, it has that of the value; float32, int64 or bool for a Python number.

    Raises:
        TypeError, ValueError: as `zeros`; or `fill_value` is no number.

    >>> full((2,), 7), full((2,), 0.5)
    (Tensor([7, 7], dtype=int64), Tensor([0.5, 0.5]))
    """
    value = as_array("full", fill_value, dtype, whole=np.int64)
    if value.ndim:
        raise TypeError(
            f"full: expected one number to fill with, got numbers of shape {value.shape}; broadcast_to() repeats them"
        )
    return _filled("full", (size,), value.item(), value.dtype, device, requires_grad)


def arange(
    start: Any,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Evenly spaced numbers, up to and not including the end: `arange(3)`, `arange(1, 3)`, `arange(3, 0, -1)`.

    They are start + i · step for i < ⌈(end − start) / step⌉, computed in float64. Integers give int64, others float32.

    Raises:
        TypeError: an argument is no number.
        ValueError: the step is 0, or leads away from the end.

    >>> arange(3), arange(0, 1, 0.25)
    (Tensor([0, 1, 2], dtype=int64), Tensor([0.  , 0.25, 0.5 , 0.75]))
    """
    start, end, step = (as_number("arange", v) for v in ((0, start, step) if end is None else (start, end, step)))
    if not all(map(math.isfinite, (start, end, step))) or step == 0 or (end - start) * step < 0:
        raise ValueError(f"arange: steps of {step} do not lead from {start} to {end}")
    whole = all(isinstance(v, int) for v in (start, end, step))
    number, place = as_dtype("arange", dtype, np.int64 if whole else np.float32), full_name(device)
    with on(place) as xp:
        if whole:
            array = xp.arange(start, end, step, dtype=np.dtype(np.int64))
        else:
            array = start + step * xp.arange(math.ceil((end - start) / step), dtype=np.dtype(np.float64))
        return Tensor(array, dtype=number, device=place, requires_grad=requires_grad)


def linspace(
    start: Any, end: Any, steps: int, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """`steps` evenly spaced numbers, from `start` to `end`, both included.

    Raises:
        TypeError: an argument is no number.
        ValueError: `steps` is negative.

    >>> linspace(0, 1, 5)
    Tensor([0.  , 0.25, 0.5 , 0.75, 1.  ])
    """
    (count,) = as_size("linspace", (steps,))
    array = np.linspace(as_number("linspace", start), as_number("linspace", end), count)
    return Tensor(array, dtype=as_dtype("linspace", dtype, np.float32), device=device, requires_grad=requires_grad)


def eye(
    n: int, m: int | None = None, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A matrix of n rows and m columns (n where none are given), with ones on the diagonal and zeros elsewhere.

    Raises:
        TypeError, ValueError: as `zeros`.

    >>> eye(2)
    Tensor([[1., 0.],
            [0., 1.]])
    """
    (rows, columns), number = as_size("eye", (n, n if m is None else m)), as_dtype("eye", dtype, np.float32)
    place = full_name(device)
    with on(place) as xp:
        return Tensor(xp.eye(rows, columns, dtype=number), device=place, requires_grad=requires_grad)


def zeros_like(x: Node, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Zeros of the shape of x, and its dtype and device unless others are given.

    Raises:
        TypeError: x is neither a tensor nor an array.

    >>> zeros_like(Tensor([[3.0, 4.0]]))
    Tensor([[0., 0.]])
    """
    return _filled_like("zeros_like", x, 0, dtype, device, requires_grad)


def ones_like(x: Node, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Ones of the shape of x, and its dtype and device unless others are given.

    Raises:
        TypeError: x is neither a tensor nor an array.

    >>> ones_like(Tensor([[3.0, 4.0]]))
    Tensor([[1., 1.]])
    """
    return _filled_like("ones_like", x, 1, dtype, device, requires_grad)


def empty_like(x: Node, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Uninitialized memory, of the shape of x, and its dtype and device unless others are given.

    Raises:
        TypeError: x is neither a tensor nor an array.

    >>> empty_like(Tensor([[3.0, 4.0]])).shape
    (1, 2)
    """
    array = like("empty_like", x)
    follow(array)
    data = array_module(array).empty_like(array, dtype=as_dtype("empty_like", dtype, array.dtype))
    return Tensor(data, device=device_of(array) if device is None else device, requires_grad=requires_grad)


def full_like(
    x: Node, fill_value: Any, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """One value everywhere, of the shape of x, and its dtype and device unless others are given.

    Raises:
        TypeError: x is neither a tensor nor an array; `fill_value` is no number, or one that the dtype of x cannot hold.

    >>> full_like(Tensor([[3.0, 4.0]]), 7)
    Tensor([[7., 7.]])
    """
    return _filled_like("full_like", x, as_number("full_like", fill_value), dtype, device, requires_grad)


def like(name: str, x: Any) -> Any:
    """The array of a tensor or an array, whose shape, dtype and device a new one takes."""
    array = x.array if isinstance(x, Node) else x
    if not is_array(array):
        raise TypeError(f"{name}: expected a Tensor to take the shape of, got {type(x).__name__}")
    return array


def as_number(name: str, value: Any) -> Any:
    """A Python number, from one or from a tensor or array of one element.

    Raises:
        TypeError: it is something else.
    """
    array = value.array if isinstance(value, Node) else value
    if isinstance(array, np.generic) or is_array(array) and array.size == 1 and array.dtype.kind in "biuf":
        return array.item()
    if not isinstance(value, (int, float)):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    return value


def as_size(name: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    """The arguments of f(2, 3) or f((2, 3)) → a shape.

    Raises:
        TypeError: a length is no integer.
        ValueError: a length is negative.
    """
    lengths = size[0] if len(size) == 1 and isinstance(size[0], (tuple, list)) else size
    try:
        whole = tuple(operator.index(n) for n in lengths)
    except TypeError:
        raise TypeError(f"{name}: expected lengths, integers, got {', '.join(map(repr, lengths))}") from None
    if any(n < 0 for n in whole):
        raise ValueError(f"{name}: expected lengths of 0 or more, got {', '.join(map(str, whole))}")
    return whole


def _filled(name: str, size: tuple[Any, ...], value: Any, dtype: Any, device: str | None, requires_grad: bool) -> Tensor:
    shape, number, place = as_size(name, size), as_dtype(name, dtype, np.float32), full_name(device)
    with on(place) as xp:
        return Tensor(xp.full(shape, value, number), device=place, requires_grad=requires_grad)


def _filled_like(name: str, x: Any, value: Any, dtype: Any, device: str | None, requires_grad: bool) -> Tensor:
    array = like(name, x)
    if dtype is None and isinstance(value, float) and array.dtype.kind != "f":
        raise TypeError(f"{name}: {array.dtype}, the dtype of the tensor, cannot hold {value}; give another: dtype='float32'")
    follow(array)
    data = array_module(array).full_like(array, value, dtype=as_dtype(name, dtype, array.dtype))
    return Tensor(data, device=device_of(array) if device is None else device, requires_grad=requires_grad)
