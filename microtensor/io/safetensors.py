"""`.safetensors`: named tensors and nothing else, the common format of Hugging Face and others.

Reading and writing needs the library `safetensors`, an extra. bfloat16 tensors are read as float32, exactly. Tensors are
returned sorted by name: the file does not keep their order.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from ..runtime.arrays import to_numpy
from ..runtime.extras import install_hint
from ..tensor import Tensor
from .stored_arrays import DTYPES, array_of, plain, view, widened

MAX_HEADER_BYTES = 100_000_000
"""The library refuses longer headers."""

NAMES = {
    "BOOL": "bool",
    "BF16": "bfloat16",
    **{f"{letter}{bits}": f"{kind}{bits}" for letter, kind in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)},
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
}
"""The format's names of dtypes → NumPy's, and "bfloat16"."""

METADATA = {"format": "pt"}
"""Metadata of the file: its tensors are laid out as PyTorch's. Some programs refuse a file without it."""


def write(file: BinaryIO, tree: Any) -> None:
    """Write a dict of str → tensor.

    Raises:
        TypeError, ValueError: it is not such a dict, or a name cannot be written.
        ImportError: the library is missing.
    """
    if not isinstance(tree, Mapping):
        raise TypeError(
            f"save: a .safetensors file holds a dict of name → Tensor, got {type(tree).__name__}; .npz holds any tree"
        )
    arrays = {}
    for name, value in tree.items():
        if not isinstance(name, str):
            raise TypeError(f"save: a name must be a string in a .safetensors file, got {name!r}; .npz holds any tree")
        arrays[name] = _array(name, value)
        if name == "__metadata__" or not _is_unicode(name):
            raise ValueError(f"save: a .safetensors file cannot hold the name {name[:40]!r}")
    content = _library("safetensors.numpy").save(arrays, metadata=METADATA)
    file.write(content)


def _array(name: str, value: Any) -> np.ndarray[Any, Any]:
    """The array on the CPU, contiguous and in native byte order: the library writes the memory as it is."""
    try:
        array = array_of(value)
        given = type(value).__name__
    except TypeError as error:
        array, given = None, str(error)
    if array is None or array.dtype.name not in DTYPES:
        given = given if array is None else f"an array of {array.dtype}"
        raise TypeError(f"save: {name!r} must be a Tensor or an array of numbers, got {given}; .npz holds any tree")
    return np.asarray(to_numpy(array), array.dtype.newbyteorder("="), order="C")


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def is_one(begin: bytes, size: int) -> bool:
    """Whether a file of `size` bytes with these first bytes can be of this format: a header length, then a JSON object."""
    return begin[8:9] == b"{" and int.from_bytes(begin[:8], "little") <= min(size - 8, MAX_HEADER_BYTES)


def read(file: BinaryIO) -> dict[str, Tensor]:
    """Read the tensors in a file.

    Raises:
        ValueError: it is of another format, damaged, or has a tensor of an unsupported dtype.
        ImportError: the library is missing.
    """
    deserialize, content = _library("safetensors").deserialize, file.read()
    try:
        entries = dict(deserialize(content))
    except (MemoryError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a panic in its Rust code is not an Exception
        raise ValueError(str(error)) from error
    del content
    return {name: Tensor(_elements(name, entries.pop(name)), device="cpu") for name in sorted(entries)}


def _elements(name: str, entry: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    if entry["dtype"] not in NAMES:
        raise ValueError(
            f"{name[:80]!r} is of {entry['dtype']}; supported are real dtypes of 8 to 64 bits, but no 8-bit floats"
        )
    dtype = NAMES[entry["dtype"]]
    array = view(entry["data"], DTYPES[dtype].newbyteorder("<"), tuple(entry["shape"]))
    if dtype == "bfloat16":
        return widened(array)
    ready = array.flags.writeable and array.dtype.isnative and array.dtype != bool  # no copy then
    return array if ready else plain(array)


def _library(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"a .safetensors file needs the library of that name: {install_hint('safetensors')}") from error
