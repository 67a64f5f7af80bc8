"""The protocols of a tensor: Python's conversions, NumPy, DLPack, copy, pickle, repr. `Tensor` adds the arithmetic.

Explicit conversions, `numpy()`, `tolist()` and `item()`, return the values of any tensor. Implicit ones (`np.asarray`, NumPy's
functions, DLPack) raise for a tensor that requires a gradient: what another library computes is not recorded, and the gradient
would be lost without notice. `detach()` makes it explicit.
"""

from __future__ import annotations

import copy
from typing import Any, TypeAlias

import numpy as np

from .autograd.graph import Node, is_floating
from .convert import C, Conversions, as_array
from .ops import elementwise
from .ops.shape import normalize_dims
from .runtime.arrays import follow, is_array, to_device, to_numpy

Number: TypeAlias = float | int | bool


class Interop(Conversions):
    """A Node with Python's, NumPy's and DLPack's protocols."""

    __slots__ = ()

    # As numbers and arrays

    def item(self) -> Number:
        """The value of a tensor of one element, as a Python number. Waits for the device.

        Raises:
            ValueError: the tensor has more or fewer elements than one.
        """
        if self._data.size != 1:
            raise ValueError(f"item: expected one element, the tensor has shape {self.shape}; use .tolist() or .numpy()")
        number: Number = to_numpy(self._data).item()
        return number

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        return to_numpy(self._data).tolist()

    def numpy(self) -> np.ndarray[Any, Any]:
        """The values as a NumPy array, outside the graph: on the CPU in the same memory, from a GPU a copy.

        A write to that array does not change the tensor's version: a backward pass that needs the old values computes with the
        new ones. After `x[...] = 0` it raises.
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
            raise TypeError(f"index: expected one integer, the tensor is {self.dtype} of shape {self.shape}")
        return int(self.item())

    def __contains__(self, value: Any) -> bool:
        array = value._data if isinstance(value, Node) else value
        number = array.item() if isinstance(array, np.generic) or is_array(array) and array.size == 1 else array
        if not isinstance(number, (int, float)):
            given = f"numbers of shape {array.shape}" if is_array(array) else type(value).__name__
            raise TypeError(f"in: a tensor holds numbers; expected one to look for, got {given}")
        follow(self._data)
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

    @property
    def is_cuda(self) -> bool:
        """Whether the tensor is on a GPU."""
        return self.device != "cpu"

    def is_floating_point(self) -> bool:
        """Whether the dtype is floating point: only such tensors can have a gradient."""
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
        """A tensor on the same memory. The copy of a leaf is another leaf; the copy of a result has the same origin in the
        graph."""
        twin = _restored(type(self), self._data, self.requires_grad and self.is_leaf)
        twin.assigned = self.assigned
        if not self.is_leaf:
            twin.origin = self.origin
        if hasattr(self, "__dict__"):
            vars(twin).update(vars(self))
        return twin

    def __deepcopy__(self: C, memo: dict[Any, Any]) -> C:
        _refuse_result("deepcopy", self)
        follow(self._data)
        twin = _restored(type(self), self._data.copy(), self.requires_grad)
        twin.grad = copy.deepcopy(self.grad, memo)
        if hasattr(self, "__dict__"):
            vars(twin).update(copy.deepcopy(vars(self), memo))
        return twin

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        _refuse_result("pickle", self)
        alone = to_numpy(self._data)[...]  # another array object, or pickle would let two tensors on one array share memory
        return _restored, (type(self), alone, self.requires_grad, self.device), getattr(self, "__dict__", None)

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
        """A tensor without axes as its number, `f"{loss}"`; one of a single element in a number's format, `f"{loss:.3f}"`."""
        if spec and self.numel() != 1:
            raise ValueError(
                f"format: {spec!r} is a format for one number, and the tensor has shape {self.shape}; use .item() of one"
            )
        if spec:
            return format(self.item(), spec)
        return str(self) if self.ndim else str(self.numpy()[()])


def _restored(kind: type[C], data: Any, requires_grad: bool, device: str | None = None) -> C:
    """A tensor on an array, as a leaf if it requires a gradient; on the device that it was pickled on, if given."""
    array = as_array(kind.__name__, data)
    twin = kind.wrap(array if device is None else to_device(array, device))
    twin.requires_grad = requires_grad
    return twin


def _refuse_result(name: str, x: Node) -> None:
    if x.is_leaf or x.origin is None:
        return
    operation = "" if x.origin.op is None else f" by {x.origin.op.__name__.lstrip('_')}"
    raise RuntimeError(
        f"{name}: this tensor of shape {x.shape} was computed{operation}, and its graph cannot be copied; "
        "copy its numbers alone: .detach()"
    )
