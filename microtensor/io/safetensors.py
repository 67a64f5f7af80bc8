"""`.safetensors`: named tensors and nothing else, as PyTorch's ecosystem and others read them.

The library of that name does the work; it is an extra. A bfloat16 tensor is read as float32, exactly. Tensors come back in the
order of their names: the file has an order of its own.
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

LONGEST_HEADER = 100_000_000
"""Bytes: the library refuses more."""

NAMES = {
    "BOOL": "bool",
    "BF16": "bfloat16",
    **{f"{letter}{bits}": f"{kind}{bits}" for letter, kind in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)},
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
}
"""The format's names of dtypes → PyTorch's."""

METADATA = {"format": "pt"}
"""What a file says about itself: its tensors are laid out as PyTorch's. Some programs refuse a file that does not."""


def write(file: BinaryIO, tree: Any) -> None:
    """Write a dict of text → tensor.

    Raises:
        TypeError, ValueError: it is something else, or a name cannot be written.
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
    """Its array on the host, contiguous: the library writes down memory as it lies."""
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
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def is_one(begin: bytes, size: int) -> bool:
    """Whether a file of `size` bytes that begins so can be of this format: the length of its header, and an object of JSON."""
    return begin[8:9] == b"{" and int.from_bytes(begin[:8], "little") <= min(size - 8, LONGEST_HEADER)


def read(file: BinaryIO) -> dict[str, Tensor]:
    """The tensors in a file.

    Raises:
        ValueError: it is no such file, or damaged, or holds numbers that a tensor cannot.
        ImportError: the library is missing.
    """
    deserialize, content = _library("safetensors").deserialize, file.read()
    try:
        entries = dict(deserialize(content))
    except (MemoryError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a panic of the library, which is written in Rust, is no Exception
        raise ValueError(str(error)) from error
    del content
    return {name: Tensor(_numbers(name, entries.pop(name)), device="cpu") for name in sorted(entries)}


def _numbers(name: str, entry: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    if entry["dtype"] not in NAMES:
        raise ValueError(f"{name[:80]!r} is of {entry['dtype']}; a tensor holds real numbers of 8 to 64 bits, no 8-bit floats")
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
