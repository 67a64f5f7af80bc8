"""What a pickle of PyTorch's may name, and what that means here: descriptions of tensors, and plain data. Nothing that runs.

An argument of any function here comes out of a file, and may be anything that a pickle can hold; also something whose `repr`
or `hash` takes for ever, such as a tuple that holds one tuple twice, which holds another twice, and so on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .numbers import DTYPES
from .unpickle import Constructor, checked_key

MOST_AXES = 64
"""NumPy's limit."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of numbers in the file: bytes `start` to `stop` of the `size` that are there under `key`."""

    key: str
    dtype: str
    size: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class StorageType:
    """A class of storages, such as torch.FloatStorage: a dtype."""

    dtype: str


@dataclass(frozen=True, slots=True)
class View:
    """A tensor that is still to be made: where in a storage its numbers are. Offset and strides count numbers, not bytes."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, requires_grad: Any = False, hooks: Any = None, metadata: Any = None
) -> View:
    return _view(storage, None, offset, shape, strides, metadata)


def _tensor_v3(
    storage: Any, offset: Any, shape: Any, strides: Any, requires_grad: Any, hooks: Any, dtype: Any, metadata: Any = None
) -> View:
    return _view(storage, dtype, offset, shape, strides, metadata)


def _view(storage: Any, dtype: Any, offset: Any, shape: Any, strides: Any, metadata: Any) -> View:
    """A view of `storage`, in its own dtype if `dtype` is None, after a check that it stays inside."""
    if not isinstance(storage, Storage):
        raise ValueError("a tensor in it has no storage")
    dtype = storage.dtype if dtype is None else dtype
    _check_dtype(dtype)
    if metadata:
        raise ValueError("it holds a conjugated or negated view; in PyTorch, save x.resolve_conj().resolve_neg()")
    (offset,), shape, strides = _whole([offset]), _whole(shape), _whole(strides)
    if len(shape) != len(strides) or len(shape) > MOST_AXES:
        raise ValueError(f"it holds a tensor of {len(shape)} axes and {len(strides)} strides")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides))
    if 0 not in shape and (last + 1) * DTYPES[dtype].itemsize > storage.stop - storage.start:
        raise ValueError(
            f"a tensor of shape {shape} reaches beyond its storage of {storage.stop - storage.start:,} bytes"[:300]
        )
    return View(storage, dtype, offset, shape, strides)


def _check_dtype(dtype: Any) -> None:
    if not isinstance(dtype, str) or dtype not in DTYPES:
        given = dtype[:40] if isinstance(dtype, str) else f"a {type(dtype).__name__}"  # nothing else: its repr may take forever
        raise ValueError(f"it holds a tensor of {given}; here they hold real numbers of 8 to 64 bits, but no 8-bit floats")


def _whole(numbers: Any) -> tuple[int, ...]:
    if not isinstance(numbers, (tuple, list)) or not all(type(n) is int and 0 <= n < 2**63 for n in numbers):
        raise ValueError("a size, stride or offset in it is no whole number of 63 bits")
    return tuple(numbers)


def _parameter(data: Any, *settings: Any) -> View:
    if not isinstance(data, View):
        raise ValueError("a parameter in it is no tensor")
    return data


def _dict(items: Any = ()) -> dict[Any, Any]:
    pairs = items.items() if isinstance(items, dict) else items
    return {checked_key(key): value for key, value in pairs}


def _set(items: Any = ()) -> set[Any]:
    return {checked_key(item) for item in items}


def _device(kind: Any, index: Any = None) -> str:
    if not isinstance(kind, str) or not (index is None or type(index) is int and 0 <= index < 2**16):
        raise ValueError("a device in it has no name")
    return kind if index is None else f"{kind}:{index}"


def find_storage(description: Any) -> Storage:
    """What a pickle says of a storage: ("storage", type, key, location, count), and in old files (view's key, start, count).

    Raises:
        ValueError: it says something else.
    """
    if not isinstance(description, tuple) or len(description) not in (5, 6) or description[0] != "storage":
        raise ValueError("its pickle refers to something that is no storage")
    _, kind, key, _, count, *part = description
    if not isinstance(kind, StorageType) or not isinstance(key, str):
        raise ValueError("its pickle describes a storage without type or key")
    _check_dtype(kind.dtype)
    itemsize = DTYPES[kind.dtype].itemsize
    start, stop = 0, _whole([count])[0]
    if part and part[0] is not None:
        _, start, length = part[0]
        start, stop = _whole([start, start + length])
    if stop > count:
        raise ValueError(f"its pickle describes a part of the storage {key[:40]!r} that ends beyond it")
    return Storage(key, kind.dtype, count * itemsize, start * itemsize, stop * itemsize)


STORAGES = {
    "Bool": "bool",
    "Char": "int8",
    "Byte": "uint8",
    "Short": "int16",
    "Int": "int32",
    "Long": "int64",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Float": "float32",
    "Double": "float64",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
}
"""What stands before "Storage" in the name of a class of storages → its dtype."""

REFUSED = ("complex64", "complex128", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
"""Dtypes that may be named, so that the message can say what a tensor should not be of."""

CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.Size": _whole,
    "torch.device": _device,
    "collections.OrderedDict": _dict,
    "collections.Counter": _dict,
    "__builtin__.set": _set,  # its module in Python 2, whose names protocol 2 uses
}
"""All that a pickle may call, and what is called in its place."""

KNOWN: dict[str, Any] = {
    **{f"{module}.{kind}Storage": StorageType(dtype) for module in ("torch", "torch.cuda") for kind, dtype in STORAGES.items()},
    "torch.storage.UntypedStorage": StorageType("uint8"),
    **{f"torch.{name}": name for name in (*DTYPES, *REFUSED)},
    **{name: Constructor(name, build) for name, build in CONSTRUCTORS.items()},
}
"""All that a pickle may name, and what it means."""

HINTS = {
    "torch._utils._rebuild_sparse_tensor": "save sparse tensors as x.to_dense()",
    "torch._utils._rebuild_qtensor": "save quantized tensors as x.dequantize()",
    "torch._utils._rebuild_meta_tensor_no_storage": "it is a tensor on the device 'meta', which has no numbers",
    "numpy": "save NumPy's scalars as Python numbers, x.item(), and its arrays as tensors, torch.from_numpy(x)",
}
"""What to do about the most likely of the others: by full name, or by the module's first part."""


def find_class(module: str, name: str) -> Any:
    """What a pickle means by a name.

    Raises:
        ValueError: it is not one of the few that describe tensors and the like.
    """
    full = f"{module}.{name}"
    if full in KNOWN:
        return KNOWN[full]
    hint = HINTS.get(full) or HINTS.get(module.partition(".")[0])
    hint = hint or "of a model, save the state_dict, in PyTorch: torch.save(model.state_dict(), path)"
    raise ValueError(f"it refers to {full}; only tensors, numbers and texts in dicts, lists, tuples and sets are read: {hint}")
