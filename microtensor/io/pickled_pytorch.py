"""The names that PyTorch's pickles may refer to, and what they stand for here: descriptions of tensors, and plain data.

The arguments of every function here come from a file and may be any value that a pickle can hold. Their `repr` or `hash` may
take forever: a tuple may hold one tuple twice, which holds another twice, and so on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .pickled_numpy import CONSTRUCTORS as NUMPY
from .placeholder import Placeholder
from .stored_arrays import DTYPES, MAX_AXES
from .unpickle import Constructor

UNSUPPORTED = {
    "complex32": 4,
    "complex64": 8,
    "complex128": 16,
    "quint8": 1,
    "qint8": 1,
    "qint32": 4,
    "quint4x2": 1,
    "quint2x4": 1,
    **dict.fromkeys(("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"), 1),
}
"""PyTorch's other dtypes → bytes per element. A tensor of one of these becomes a placeholder."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage: bytes `start` to `stop` of the `size` bytes that the file has under `key`."""

    key: str
    dtype: str
    size: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class StorageType:
    """A storage class, such as torch.FloatStorage: it stands for a dtype."""

    dtype: str


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """The description of a tensor that is not built yet: a strided view of a storage. Offset and strides count elements.

    The values are the file's claims: `stored_arrays.view` checks them against the bytes that exist.
    """

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, requires_grad: Any = False, hooks: Any = None, metadata: Any = None
) -> View | Placeholder:
    return _view(storage, None, offset, shape, strides, metadata)


def _tensor_v3(
    storage: Any, offset: Any, shape: Any, strides: Any, requires_grad: Any, hooks: Any, dtype: Any, metadata: Any = None
) -> View | Placeholder:
    return _view(storage, dtype, offset, shape, strides, metadata)


def _view(storage: Any, dtype: Any, offset: Any, shape: Any, strides: Any, metadata: Any) -> View | Placeholder:
    """A view of `storage`. `dtype` None: the dtype of the storage."""
    if isinstance(storage, Placeholder):
        return Placeholder(f"a tensor on {storage.name}", storage.reason)
    if not isinstance(storage, Storage):
        raise ValueError("a tensor in it has no storage")
    dtype = storage.dtype if dtype is None else dtype
    if isinstance(dtype, Placeholder) or isinstance(dtype, str) and dtype in UNSUPPORTED:
        kind = (dtype.name if isinstance(dtype, Placeholder) else dtype).removeprefix("torch.")
        here = "supported are real dtypes of 8 to 64 bits, but no 8-bit floats"
        return Placeholder(f"a tensor of {kind}", f"it holds a tensor of {kind}; {here}")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        given = (
            dtype[:40] if isinstance(dtype, str) else f"a {type(dtype).__name__}"
        )  # no repr of other types: it may take forever
        raise ValueError(f"it holds a tensor of {given}, which is not a dtype")
    if metadata:
        reason = "it holds a conjugated or negated view; in PyTorch, save x.resolve_conj().resolve_neg()"
        return Placeholder("a conjugated or negated view", reason)
    (offset,), shape, strides = _integers([offset]), _integers(shape), _integers(strides)
    if len(shape) != len(strides) or len(shape) > MAX_AXES:
        raise ValueError(f"it holds a tensor of {len(shape)} axes and {len(strides)} strides")
    return View(storage, dtype, offset, shape, strides)


def _integers(numbers: Any) -> tuple[int, ...]:
    if not isinstance(numbers, (tuple, list)) or not all(type(n) is int and 0 <= n < 2**63 for n in numbers):
        raise ValueError("a size, stride or offset in it is not an integer of 63 bits")
    return tuple(numbers)


def _parameter(data: Any, *settings: Any) -> View | Placeholder:
    if not isinstance(data, (View, Placeholder)):
        raise ValueError("a parameter in it is not a tensor")
    return data


def _from_type(function: Any, kind: Any, arguments: Any, state: Any = None) -> Any:
    """A tensor with attributes, or of a subclass: only its data is read."""
    if isinstance(function, Placeholder):
        return Placeholder(function.name, function.reason)
    if not isinstance(function, Constructor) or function.build not in (_tensor, _tensor_v3, _parameter):
        raise ValueError("a tensor in it is rebuilt by a function that makes no tensors")
    if not isinstance(arguments, tuple):
        raise ValueError("a tensor in it is rebuilt without arguments")
    return function.build(*arguments)


def _dict(items: Any = (), *, checked_key: Callable[[Any], Any]) -> dict[Any, Any]:
    pairs = items.items() if isinstance(items, dict) else items
    return {checked_key(key): value for key, value in pairs}


def _default_dict(factory: Any = None, items: Any = (), *, checked_key: Callable[[Any], Any]) -> dict[Any, Any]:
    return _dict(items, checked_key=checked_key)


def _set(items: Any = (), *, checked_key: Callable[[Any], Any]) -> set[Any]:
    return {checked_key(item) for item in items}


def _frozenset(items: Any = (), *, checked_key: Callable[[Any], Any]) -> frozenset[Any]:
    return frozenset(_set(items, checked_key=checked_key))


def _list(items: Any = (), most: Any = None) -> list[Any]:
    if not isinstance(items, (list, tuple)):
        raise ValueError("a list in it is built from something other than a list or tuple")
    return list(items)


def _bytes(content: Any = b"", encoding: Any = "latin1", errors: Any = None) -> bytes:
    """Protocol 2 stores bytes as a str in latin-1."""
    if not isinstance(content, (str, bytes)) or encoding not in ("latin1", "latin-1"):
        raise ValueError("bytes in it are built from something other than bytes")
    return content.encode("latin1") if isinstance(content, str) else content


def _device(kind: Any, index: Any = None) -> str:
    if not isinstance(kind, str) or not (index is None or type(index) is int and 0 <= index < 2**16):
        raise ValueError("a device in it has no name")
    return kind if index is None else f"{kind}:{index}"


def find_storage(description: Any) -> Storage | Placeholder:
    """Parse a persistent id: ("storage", type, key, location, count), in old files followed by (view's key, start, count).

    Raises:
        ValueError: it has another form.
    """
    if isinstance(description, tuple) and len(description) == 4 and isinstance(description[1], Placeholder):
        return description[1]  # ("module", class, file, source): in old files, a class of layers
    if not isinstance(description, tuple) or len(description) not in (5, 6) or description[0] != "storage":
        raise ValueError("its pickle has a persistent id that is not of a storage")
    _, kind, key, _, count, *part = description
    if isinstance(kind, Placeholder):
        return Placeholder(kind.name, kind.reason)
    if not isinstance(kind, StorageType) or not isinstance(key, str):
        raise ValueError("its pickle describes a storage without type or key")
    width = itemsize(kind.dtype)
    start, stop = 0, _integers([count])[0]
    if part and part[0] is not None:
        _, start, length = part[0]
        start, length, stop = _integers([start, length, start + length])
    if stop > count:
        raise ValueError(f"its pickle describes a part of the storage {key[:40]!r} that ends after its end")
    return Storage(key, kind.dtype, count * width, start * width, stop * width)


def itemsize(dtype: str) -> int:
    """Bytes per element."""
    return UNSUPPORTED[dtype] if dtype in UNSUPPORTED else DTYPES[dtype].itemsize


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
    "QUInt8": "quint8",
    "QInt8": "qint8",
    "QInt32": "qint32",
    "QUInt4x2": "quint4x2",
    "QUInt2x4": "quint2x4",
}
"""Storage class without the suffix "Storage" → dtype."""

CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type": _from_type,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.Size": _integers,
    "torch.device": _device,
    "collections.deque": _list,
    "_codecs.encode": _bytes,
    **{f"{module}.{name}": _bytes for module in ("builtins", "__builtin__") for name in ("bytes", "bytearray")},
    **NUMPY,
}
"""Functions that a pickle may call → what is called instead. Python 2 and protocol 2 call `builtins` `__builtin__`."""

KEYED: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dict,
    "collections.Counter": _dict,
    "collections.defaultdict": _default_dict,
    **{f"{module}.set": _set for module in ("builtins", "__builtin__")},
    **{f"{module}.frozenset": _frozenset for module in ("builtins", "__builtin__")},
}
"""The same, for those that use their arguments as keys, and so must check them."""

KNOWN: dict[str, Any] = {
    **{f"{module}.{kind}Storage": StorageType(dtype) for module in ("torch", "torch.cuda") for kind, dtype in STORAGES.items()},
    "torch.storage.UntypedStorage": StorageType("uint8"),
    **{f"torch.{name}": name for name in (*DTYPES, *UNSUPPORTED)},
    **{name: Constructor(name, build) for name, build in CONSTRUCTORS.items()},
    **{name: Constructor(name, build, keyed=True) for name, build in KEYED.items()},
}
"""All names that a pickle may refer to. Any other becomes a Placeholder."""

HINTS = {
    "torch._utils._rebuild_sparse_tensor": "save sparse tensors as x.to_dense()",
    "torch._utils._rebuild_qtensor": "save quantized tensors as x.dequantize()",
    "torch._utils._rebuild_meta_tensor_no_storage": "it is a tensor on the device 'meta', which has no data",
    "numpy": "save NumPy arrays as tensors, torch.from_numpy(x)",
}
"""Advice for the most likely unknown names: by full name, or by the first part of the module."""


def find_class(module: str, name: str) -> Any:
    """Look up a name that a pickle refers to: in `KNOWN`, or else a Placeholder. Nothing is imported.

    Raises:
        ValueError: the name is not printable.
    """
    full = f"{module}.{name}"
    if full in KNOWN:
        return KNOWN[full]
    if not full.isprintable():  # it will appear in messages
        raise ValueError("its pickle has a name that cannot be printed")
    hint = HINTS.get(full) or HINTS.get(module.partition(".")[0])
    hint = hint or "of a model, save the state_dict, in PyTorch: torch.save(model.state_dict(), path)"
    reason = f"it refers to {full}; only tensors, numbers and strings in dicts, lists, tuples and sets are read: {hint}"
    return Placeholder(full, reason)
