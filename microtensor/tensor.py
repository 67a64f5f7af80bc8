"""`Tensor`: an array with arithmetic that remembers. Each method calls an operation, which says more about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from . import elementwise, gradient, indexing, product, reduce, shape
from .backend import array_module, is_array, parse_device, to_device, to_numpy
from .graph import Node


class Tensor(Node):
    """An n-dimensional array that can be differentiated.

    Args:
        data: numbers, nested lists of them, an array of NumPy or CuPy, or a tensor. An array keeps its dtype and shares its
            memory; Python numbers become float32, and Python bools bool.
        dtype: convert to this dtype.
        device: "cpu", "cuda" or "cuda:N"; where the data is, if None.
        requires_grad: record what is computed from this tensor, so that `backward()` leaves a gradient in `.grad`.

    Raises:
        TypeError: `data` is not numeric, or requires_grad and not floating point.
        ValueError: nested lists of unequal length.

    >>> x = Tensor([[1.0, -2.0]], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    Tensor([[ 2., -4.]])
    """

    __slots__ = ()
    __array_ufunc__ = None  # so that `array * tensor` asks the tensor

    def __init__(
        self, data: Any, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
    ) -> None:
        array = _as_array(data, dtype)
        self._data = array if device is None else to_device(array, device)
        self.origin = None
        self.grad = None
        self.version = [0]
        if requires_grad:
            self.requires_grad = True

    # Arithmetic

    __add__ = __radd__ = elementwise.add
    __sub__ = elementwise.subtract
    __mul__ = __rmul__ = elementwise.multiply
    __truediv__ = elementwise.divide
    __pow__ = elementwise.pow
    __matmul__ = matmul = product.matmul
    __neg__ = elementwise.neg
    __abs__ = abs = elementwise.abs
    __eq__ = elementwise.eq  # type: ignore[assignment]
    __ne__ = elementwise.ne  # type: ignore[assignment]
    __lt__ = elementwise.lt
    __le__ = elementwise.le
    __gt__ = elementwise.gt
    __ge__ = elementwise.ge
    __and__ = __rand__ = elementwise.logical_and
    __hash__ = object.__hash__

    def __rsub__(self, other: Any) -> Tensor:
        return elementwise.subtract(other, self)

    def __rtruediv__(self, other: Any) -> Tensor:
        return elementwise.divide(other, self)

    def __rpow__(self, other: Any) -> Tensor:
        return elementwise.pow(other, self)

    def __rmatmul__(self, other: Any) -> Tensor:
        return product.matmul(other, self)

    # Functions of each element

    exp = elementwise.exp
    log = elementwise.log
    sqrt = elementwise.sqrt
    tanh = elementwise.tanh
    sigmoid = elementwise.sigmoid
    relu = elementwise.relu
    sign = elementwise.sign
    maximum = elementwise.maximum
    minimum = elementwise.minimum
    clone = elementwise.clone

    # Fewer numbers of many

    sum = reduce.sum
    mean = reduce.mean
    amax = reduce.amax
    amin = reduce.amin
    argmax = reduce.argmax
    softmax = reduce.softmax
    log_softmax = reduce.log_softmax

    def max(self) -> Tensor:
        """The largest number of all. Where several are largest, they share the gradient evenly."""
        return reduce.amax(self)

    def min(self) -> Tensor:
        """The smallest number of all. Where several are smallest, they share the gradient evenly."""
        return reduce.amin(self)

    # Another shape

    def reshape(self, *lengths: Any) -> Tensor:
        """`x.reshape(2, -1)` or `x.reshape((2, -1))`: see `microtensor.reshape`."""
        return shape.reshape(self, shape=_sequence(lengths))

    def broadcast_to(self, *lengths: Any) -> Tensor:
        """`x.broadcast_to(2, 3)` or `x.broadcast_to((2, 3))`: see `microtensor.broadcast_to`."""
        return shape.broadcast_to(self, shape=_sequence(lengths))

    def permute(self, *dims: Any) -> Tensor:
        """`x.permute(1, 0)` or `x.permute((1, 0))`: see `microtensor.permute`."""
        return shape.permute(self, dims=_sequence(dims))

    transpose = shape.transpose
    flatten = shape.flatten
    squeeze = shape.squeeze
    unsqueeze = shape.unsqueeze
    pad = shape.pad

    @property
    def T(self) -> Tensor:
        """All axes in reverse order."""
        return shape.permute(self, dims=tuple(range(self.ndim))[::-1])

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged."""
        return shape.transpose(self, -2, -1)

    # Elements

    def __getitem__(self, index: Any) -> Tensor:
        return indexing.getitem(self, index=index)

    def __setitem__(self, index: Any, value: Any) -> None:
        """Overwrite elements, outside any graph."""
        if self.requires_grad and gradient.is_grad_enabled():
            raise RuntimeError(
                "setitem: this tensor is part of a graph, and assignment is not differentiable; "
                "assign inside no_grad(), or build a new tensor, with where()"
            )
        self._data[indexing.as_index(index, self.device)] = value._data if isinstance(value, Node) else value
        self.version[0] += 1

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len: a tensor without axes has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    # Differentiation

    backward = gradient.backward

    def detach(self) -> Tensor:
        """The same numbers, in the same memory, without the graph."""
        alone = Tensor.wrap(self._data)
        alone.version = self.version
        return alone

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad` and return the tensor itself."""
        self.requires_grad = requires_grad
        return self

    # Out of the graph

    def to(self, target: Any) -> Tensor:
        """The same numbers in another dtype, `x.to("float64")`, or on another device, `x.to("cuda")`; itself if it is so.

        Raises:
            TypeError, ValueError: `target` is neither a dtype nor a device.
        """
        if isinstance(target, str) and (target == "cpu" or target.startswith("cuda")):
            return self if parse_device(target) == self.device else elementwise.move(self, device=target)
        try:
            dtype = np.dtype(target)
        except TypeError:
            raise TypeError(f'to: expected a dtype or a device ("cpu", "cuda", "cuda:N"), got {target!r}') from None
        return self if dtype == self.dtype else elementwise.cast(self, dtype=dtype)

    def numpy(self) -> np.ndarray[Any, Any]:
        """The numbers as a NumPy array: on the CPU the very same memory, from a GPU a copy."""
        return to_numpy(self._data)

    def item(self) -> float | int | bool:
        """The number in a tensor of one element, as a Python number. Waits for the device.

        Raises:
            ValueError: the tensor has more or fewer elements than one.
        """
        if self._data.size != 1:
            raise ValueError(f"item: expected one element, the tensor has shape {self.shape}; use .tolist() or .numpy()")
        number: float | int | bool = self._data.item()
        return number

    def tolist(self) -> Any:
        """The numbers as nested lists of Python numbers."""
        return self._data.tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        if self._data.size != 1:
            raise ValueError(f"bool: a tensor of shape {self.shape} is neither true nor false; compare single elements")
        return bool(self.item())

    def __repr__(self) -> str:
        numbers = np.array2string(self.numpy(), separator=", ", prefix="Tensor(", threshold=1000)
        notes = [] if self.dtype in (np.float32, np.bool_) else [f"dtype={self.dtype}"]
        if self.device != "cpu":
            notes.append(f"device={self.device!r}")
        if self.origin is not None:
            notes.append("requires_grad=True" if self.origin.op is None else f"op={self.origin.op.__name__}")
        return f"Tensor({', '.join([numbers, *notes])})"


Tensor.kind = Tensor


def _as_array(data: Any, dtype: DTypeLike | None) -> Any:
    """What a Tensor is made of → an array of numbers."""
    if isinstance(data, Node):
        data = data._data
    if not is_array(data):
        given = data
        try:
            data = np.asarray(given)
        except ValueError:
            raise ValueError("Tensor: the nested lists are of unequal length; every row needs as many numbers") from None
        if data.dtype.kind in "iuf" and not isinstance(given, np.generic):
            data = data.astype(np.float32)
    elif array_module(data) is np:
        data = np.asarray(data)  # a matrix or a memory map becomes a plain array
    if data.dtype.kind not in "biuf":
        raise TypeError(
            f"Tensor: expected numbers, got {data.dtype} from {type(data).__name__}; lists of tensors join with cat()"
        )
    return data if dtype is None else data.astype(dtype, copy=False)


def _sequence(args: tuple[Any, ...]) -> Any:
    """f(2, 3) and f((2, 3)) mean the same."""
    return args[0] if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
