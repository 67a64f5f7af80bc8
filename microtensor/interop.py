"""What a tensor is to others: to Python, NumPy, PyTorch, pickle and the terminal. `Tensor` adds the arithmetic.

Two ways lead out of a graph. Whoever asks for the numbers gets them: `numpy()`, `tolist()`, `item()`. Whoever takes them without
asking (`np.asarray`, a function of NumPy, another library) is refused where they require a gradient: what is computed there
would never be differentiated, and nobody would notice. `detach()` says that this is meant.
"""

from __future__ import annotations

import copy
import reprlib
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from . import elementwise
from .backend import array_module, is_array, parse_device, to_numpy
from .graph import Node, is_floating
from .shape import normalize_dims

C = TypeVar("C", bound="Conversions")
Number: TypeAlias = float | int | bool


def as_array(name: str, data: Any, dtype: DTypeLike | None = None, whole: DTypeLike = np.float32) -> Any:
    """What a tensor is made of → an array of numbers, which shares the memory of `data` where it can.

    Args:
        name: of the function that asks, for its errors.
        dtype: convert to this one. If None, what has a dtype keeps it; Python numbers become float32.
        whole: what Python's whole numbers become instead.

    Raises:
        TypeError: `data` is not numeric, or a list of tensors; the dtype is unknown.
        ValueError: nested lists of unequal length, or numbers too large.

    >>> as_array("example", [1, 2.5]).dtype, as_array("example", np.zeros(2)).dtype
    (dtype('float32'), dtype('float64'))
    """
    if isinstance(data, Node):
        array = data._data
    elif is_array(data):
        array = np.asarray(data) if array_module(data) is np else data  # a matrix or a memory map becomes a plain array
    else:
        array = _of_python(name, data, None if dtype is None else as_dtype(name, dtype), np.dtype(whole))
    if array.dtype.kind not in "biuf":
        given = f"an array of {array.dtype}" if is_array(data) else reprlib.repr(data)
        raise TypeError(f"{name}: expected numbers of 64 bits at most, or nested lists of them, got {given}")
    return array if dtype is None else array.astype(as_dtype(name, dtype), copy=False)


def _of_python(name: str, data: Any, dtype: np.dtype[Any] | None, whole: np.dtype[Any]) -> Any:
    first = data
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    if isinstance(first, Node):
        raise TypeError(f"{name}: this is a list of tensors; cat() joins them along an axis, stack() along a new one")
    try:
        array = np.asarray(data)
    except ValueError:
        raise ValueError(f"{name}: the nested lists are of unequal length; every row needs as many numbers") from None
    if dtype is not None or hasattr(first, "__array__") or hasattr(first, "__array_interface__"):
        return array
    if array.dtype.kind == "u" and whole.kind == "i":
        raise ValueError(f"{name}: {array.max()} does not fit into {whole}; give a dtype")
    return array.astype({"f": np.dtype(np.float32), "i": whole, "u": whole}.get(array.dtype.kind, array.dtype), copy=False)


def as_dtype(name: str, dtype: DTypeLike | None, default: DTypeLike = np.float32) -> np.dtype[Any]:
    """The NumPy dtype that `dtype` names, `default` if it is None.

    Raises:
        TypeError: there is no such dtype, or a tensor cannot hold it.
    """
    try:
        found = np.dtype(default if dtype is None else dtype)
    except TypeError:
        raise TypeError(f"{name}: {dtype!r} is no dtype; 'float32', 'float64', 'int64' and 'bool' are some") from None
    if found.kind not in "biuf":
        raise TypeError(f"{name}: a tensor holds floating-point numbers, whole numbers or bools, not {found}")
    return found


class Conversions(Node):
    """The numbers in another dtype or place. (A class of its own: in it alone, `float`, `int` and `bool` are not Python's.)"""

    __slots__ = ()

    def to(self: C, *targets: Any, dtype: DTypeLike | None = None, device: str | None = None) -> C:
        """The same numbers in another dtype, `x.to("float64")`, or on another device, `x.to("cuda")`; itself if it is so.

        Args:
            targets: dtypes, devices, or a tensor to be like in both.

        Raises:
            TypeError, ValueError: a target is none of these; the dtype or the device is unknown.
        """
        for target in targets:
            if isinstance(target, Node):
                dtype, device = target.dtype, target.device
            elif isinstance(target, str) and (target == "cpu" or target.startswith("cuda")):
                device = target
            else:
                try:
                    dtype = np.dtype(target if target is not None else "none")
                except TypeError:
                    raise TypeError(f'to: expected a dtype or a device ("cpu", "cuda", "cuda:N"), got {target!r}') from None
        result = self if device is None or parse_device(device) == self.device else elementwise.move(self, device=device)
        if dtype is None:
            return result
        wanted = as_dtype("to", dtype)
        return result if wanted == self.dtype else elementwise.cast(result, dtype=wanted)

    def type_as(self: C, other: Node) -> C:
        """The same numbers in the dtype of `other`, on its device."""
        return self.to(other)

    def cpu(self: C) -> C:
        """The same numbers in main memory; itself if they are there."""
        return self.to("cpu")

    def cuda(self: C, device: Any = None) -> C:
        """The same numbers on a GPU, the first or the one with this number or name; itself if they are there."""
        return self.to("cuda" if device is None else device if isinstance(device, str) else f"cuda:{device}")

    def half(self: C) -> C:
        """In float16."""
        return self.to(np.float16)

    def float(self: C) -> C:
        """In float32."""
        return self.to(np.float32)

    def double(self: C) -> C:
        """In float64."""
        return self.to(np.float64)

    def int(self: C) -> C:
        """In int32; what stands behind the point is cut off."""
        return self.to(np.int32)

    def long(self: C) -> C:
        """In int64; what stands behind the point is cut off."""
        return self.to(np.int64)

    def bool(self: C) -> C:
        """In bool: whether a number is not 0."""
        return self.to(np.bool_)


class Interop(Conversions):
    """A Node as others see it: as numbers, an array, a sequence, a text."""

    __slots__ = ()

    # As numbers and arrays

    def item(self) -> Number:
        """The number in a tensor of one element, as a Python number. Waits for the device.

        Raises:
            ValueError: the tensor has more or fewer elements than one.
        """
        if self._data.size != 1:
            raise ValueError(f"item: expected one element, the tensor has shape {self.shape}; use .tolist() or .numpy()")
        number: Number = self._data.item()
        return number

    def tolist(self) -> Any:
        """The numbers as nested lists of Python numbers."""
        return self._data.tolist()

    def numpy(self) -> np.ndarray[Any, Any]:
        """The numbers as a NumPy array, in no graph: on the CPU the very same memory, from a GPU a copy.

        What is written into that memory goes unnoticed: a backward pass that needs the old numbers uses the new ones. `x[...] = 0`
        is noticed.
        """
        return to_numpy(self._data)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if self.requires_grad:
            raise TypeError(
                f"NumPy would compute with this tensor of shape {self.shape} outside its graph, and lose the gradient: use an "
                "operation of microtensor, or .detach() first"
            )
        if self.device != "cpu":
            raise TypeError(f"NumPy cannot read a tensor on {self.device}: copy it with .cpu() or .numpy() first")
        return np.array(self._data, dtype=dtype, copy=copy)

    def __dlpack__(self, **settings: Any) -> Any:
        """Share the memory with another library: `torch.from_dlpack(x)`. Nothing is copied.

        Raises:
            BufferError: the tensor requires a gradient, or the array is read-only, as a broadcast one is.
        """
        if self.requires_grad:
            raise BufferError("dlpack: another library would compute outside this tensor's graph; share .detach() instead")
        return self._data.__dlpack__(**settings)

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, index = self._data.__dlpack_device__()
        return kind, index

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        if self._data.size != 1:
            raise ValueError(f"bool: a tensor of shape {self.shape} is neither true nor false; use .any() or .all()")
        return bool(self.item())

    def __index__(self) -> int:
        if self._data.size != 1 or self.dtype.kind not in "iu":
            raise TypeError(f"index: expected one whole number, the tensor is {self.dtype} of shape {self.shape}")
        return int(self.item())

    def __contains__(self, value: Any) -> bool:
        number = value._data if isinstance(value, Node) else value
        if not isinstance(number, (int, float, np.generic)) and not (is_array(number) and number.size == 1):
            given = f"a tensor of shape {value.shape}" if isinstance(value, Node) else type(value).__name__
            raise TypeError(f"in: a tensor holds numbers; expected one to look for, got {given}")
        return bool((self._data == number).any())

    # What it is

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the length of axis `dim`."""
        return self.shape if dim is None else self.shape[normalize_dims("size", dim, self.shape)[0]]

    def dim(self) -> int:
        """Number of axes."""
        return self.ndim

    def numel(self) -> int:
        """Number of elements."""
        count: int = self._data.size
        return count

    def element_size(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements together."""
        return self.numel() * self.element_size()

    def is_floating_point(self) -> bool:
        """Whether the numbers are floating-point numbers: those can have a gradient."""
        return is_floating(self.dtype)

    def is_contiguous(self) -> bool:
        """Whether the elements lie in memory one after the other, the last axis fastest."""
        contiguous: bool = self._data.flags.c_contiguous
        return contiguous

    def contiguous(self: C) -> C:
        """Itself if it is contiguous, else a copy that is."""
        return self if self._data.flags.c_contiguous else elementwise.clone(self)

    # Copies

    def __copy__(self: C) -> C:
        """The same numbers in the same memory. Of a leaf, a leaf of its own; of a result, the same place in the graph."""
        twin = _restored(type(self), self._data, self.requires_grad and self.is_leaf)
        twin.assigned = self.assigned
        if not self.is_leaf:
            twin.origin = self.origin
        if hasattr(self, "__dict__"):
            vars(twin).update(vars(self))
        return twin

    def __deepcopy__(self: C, memo: dict[Any, Any]) -> C:
        _refuse_result("deepcopy", self)
        twin = _restored(type(self), self._data.copy(), self.requires_grad)
        memo[id(self)] = twin
        twin.grad = copy.deepcopy(self.grad, memo)
        if hasattr(self, "__dict__"):
            vars(twin).update(copy.deepcopy(vars(self), memo))
        return twin

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        _refuse_result("pickle", self)
        alone = self._data[...]  # an array object of its own, so that pickle gives no two tensors one memory
        return _restored, (type(self), alone, self.requires_grad), getattr(self, "__dict__", None)

    # As text

    def __repr__(self) -> str:
        name = type(self).__name__
        numbers = np.array2string(self.numpy(), separator=", ", prefix=f"{name}(", suffix=")")
        notes = []
        if self.numel() > np.get_printoptions()["threshold"] or (self.numel() == 0 and self.ndim > 1):
            notes.append(f"shape={self.shape}")
        if self.dtype not in (np.float32, np.bool_):
            notes.append(f"dtype={self.dtype}")
        if self.device != "cpu":
            notes.append(f"device={self.device!r}")
        if self.origin is not None:
            operation = self.origin.op
            notes.append("requires_grad=True" if operation is None else f"op={operation.__name__.lstrip('_')}")
        return f"{name}({', '.join([numbers, *notes])})"

    def __format__(self, spec: str) -> str:
        """Without axes as its number, `f"{loss}"`; with a single element in a number's format too, `f"{loss:.3f}"`."""
        if spec and self.numel() != 1:
            raise ValueError(
                f"format: {spec!r} is a format for one number, and the tensor has shape {self.shape}; use .item() of one"
            )
        if spec:
            return format(self.item(), spec)
        return str(self) if self.ndim else str(self.numpy()[()])


def _restored(kind: type[C], data: Any, requires_grad: bool) -> C:
    """A tensor on an array as it is, in no graph or as a leaf."""
    twin = kind.wrap(data)
    twin.requires_grad = requires_grad
    return twin


def _refuse_result(name: str, x: Node) -> None:
    if not x.is_leaf and x.origin is not None:
        operation = "" if x.origin.op is None else f" by {x.origin.op.__name__.lstrip('_')}"
        raise RuntimeError(
            f"{name}: this tensor of shape {x.shape} was computed{operation}, and its graph cannot be copied; copy its numbers: .detach()"
        )
