"""Data → a tensor's array, and conversions of dtype and device: `x.to(…)`, `x.float()`, `x.cuda()` …"""

from __future__ import annotations

import reprlib
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from .autograd.graph import Node
from .autograd.nested import DEEPEST, array_of_lists
from .ops import elementwise
from .runtime.arrays import Array, array_module, follow, is_array, parse_device, parse_gpu, takes_array, to_device
from .runtime.device import chosen

C = TypeVar("C", bound="Conversions")


def as_array(name: str, data: Any, dtype: DTypeLike | None = None, whole: DTypeLike = np.float32) -> Any:
    """Data for a tensor → an array, which shares the memory of `data` if possible.

    Args:
        name: of the calling function, for errors.
        dtype: convert to this one. If None, arrays and tensors keep theirs; Python numbers become float32.
        whole: the dtype of Python's integers instead.

    Raises:
        TypeError: `data` is not numeric, has numbers of more than 64 bits, or is a list of tensors or a masked array; the dtype
            is unknown.
        ValueError: nested lists of unequal length, or of one that holds itself; numbers too large.

    >>> as_array("example", [1, 2.5]).dtype, as_array("example", np.zeros(2)).dtype
    (dtype('float32'), dtype('float64'))
    """
    if isinstance(data, Node):
        array = data._data
    elif takes_array(name, data):
        array = np.asarray(data) if array_module(data) is np else data  # a matrix or a memory map becomes a plain array
    else:
        array = _of_python(name, data, None if dtype is None else as_dtype(name, dtype), np.dtype(whole))
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        given = f"an array of {array.dtype}" if is_array(data) else reprlib.repr(data)
        raise TypeError(f"{name}: expected numbers of 64 bits at most, or nested lists of them, got {given}")
    wanted = np.dtype(array.dtype.type) if dtype is None else as_dtype(name, dtype)
    if array.dtype == wanted:
        return array if array.dtype is wanted else array.view(wanted)  # an unpickled dtype is equal, but another object
    follow(array)
    return array.astype(wanted)


def placed(array: Array, device: str | None, given: Any) -> Array:
    """`array` on the device of a new tensor. If `device` is None: where it is, if `given`, the data that it was made from, is a
    tensor or an array on a GPU; else on the default device."""
    if device is None:
        device = chosen.device
        if device is None or isinstance(given, Node) or array_module(given) is not np:
            return array
    return to_device(array, device)


def _of_python(name: str, data: Any, dtype: np.dtype[Any] | None, whole: np.dtype[Any]) -> Any:
    first = data
    for _ in range(DEEPEST):  # not endlessly: a list may hold itself
        if not isinstance(first, (list, tuple)) or not first:
            break
        first = first[0]
    if isinstance(first, Node):
        raise TypeError(f"{name}: this is a list of tensors; cat() joins them along an axis, stack() along a new one")
    array = array_of_lists(name, data)
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
    if found.kind not in "biuf" or found.itemsize > 8:
        most = "" if found.kind not in "biuf" else "; of 64 bits at most"
        raise TypeError(f"{name}: a tensor holds floating-point numbers, integers or bools, not {found}{most}")
    return np.dtype(found.type)  # in the byte order of this machine


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
                    dtype = np.dtype("None" if target is None else target)  # np.dtype(None) is float64
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
        """The same numbers on a GPU, the current one or the one with this number or name; itself if they are there.

        Raises:
            TypeError, ValueError: it is the number or name of no GPU.
        """
        return self.to(parse_gpu("cuda", device))

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
        """In int32; fractions are cut off."""
        return self.to(np.int32)

    def long(self: C) -> C:
        """In int64; fractions are cut off."""
        return self.to(np.int64)

    def bool(self: C) -> C:
        """In bool: whether a number is not 0."""
        return self.to(np.bool_)
