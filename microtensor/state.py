"""Named tensors in a file and back: `save` and `load`. Nothing in a file is ever executed.

The suffix names the format. `.npz` is NumPy's: a zip archive with one array a member, which `numpy.load` reads too.
"""

from __future__ import annotations

import math
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from .backend import is_array, to_numpy
from .files import whole_file
from .graph import Node
from .tensor import Tensor

StrPath: TypeAlias = str | os.PathLike[str]


def save(path: StrPath, tensors: Mapping[str, Any]) -> None:
    """Write named tensors to a file: all of them, or, if anything goes wrong, nothing, and what stood at `path` stays.

    Args:
        path: its suffix names the format: `.npz`.
        tensors: name → Tensor or array, on any device, of any shape, of floating-point numbers, integers or bools. A name
            is any text, such as a key of a `state_dict`. Graphs and gradients are not saved.

    Raises:
        TypeError: `tensors` is no mapping, a name is no string, or a value is no tensor or array of numbers.
        ValueError: the suffix names no known format, or a name cannot be written.
        FileNotFoundError: the folder does not exist.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "weights.npz")
    ...     save(path, {"fc.weight": Tensor([[1.0, 2.0]]), "fc.bias": Tensor([0.5])})
    ...     load(path)
    {'fc.weight': Tensor([[1., 2.]]), 'fc.bias': Tensor([0.5])}
    """
    if isinstance(path, Mapping):
        raise TypeError("save: the path comes first: save(path, tensors)")
    write, _ = _format("save", path)
    if not isinstance(tensors, Mapping):
        raise TypeError(f"save: expected a dict of name → Tensor, got {type(tensors).__name__}")
    arrays = {}
    for name, value in tensors.items():
        if not isinstance(name, str):
            raise TypeError(f"save: a name must be a string, got {name!r} ({type(name).__name__})")
        array = value.data if isinstance(value, Node) else value
        if not is_array(array) or array.dtype.kind not in "biuf":
            given = f"an array of {array.dtype}" if is_array(array) else type(value).__name__
            raise TypeError(f"save: {name!r} must be a Tensor or an array of numbers, got {given}; wrap numbers: Tensor(...)")
        arrays[name] = array
    with whole_file(path) as file:
        write(file, arrays)


def load(path: StrPath) -> dict[str, Tensor]:
    """Read named tensors from a file, in the order in which they were saved, on the CPU, each of its own dtype.

    The file may come from anywhere. Nothing in it is executed, and it is refused if it announces more memory than a hundred
    times its size (16 MiB, if it is small): only an archive made to harm, or nearly all zeros and compressed, does.

    Raises:
        ValueError: the suffix names no known format, or the file is of another format, damaged, incomplete, or holds
            something else than arrays of numbers, such as pickled objects.
        OSError: there is no such file, or it cannot be read.
    """
    _, read = _format("load", path)
    with open(path, "rb") as file:
        try:
            return {name: Tensor(array) for name, array in read(file)}
        except MemoryError:
            raise
        except Exception as error:  # zipfile and zlib raise a dozen kinds of errors on damaged files
            raise ValueError(f"load: {path} is no {Path(path).suffix} file of tensors, or is damaged: {error}") from error


LARGEST_INFLATION = 100
"""How many times its own size a file may announce. Deflate reaches 1,032 on zeros; weights hardly 1.1."""

SMALL = 2**24
"""Bytes that any file may announce."""

NPY_MAGIC = b"\x93NUMPY\x01\x00"
"""What an array in an .npz begins with: a name, and version 1.0, which NumPy writes for all arrays of plain numbers."""

NPY_HEADER = re.compile(
    rb"\{'descr': '([<>|=][biuf]\d+)', 'fortran_order': (True|False), 'shape': \(((?:\d+, ?)*\d*)\), \} *\n"
)
"""The header that follows: a Python dict, in the one form in which NumPy writes it; so there is no need to evaluate it."""


def _write_npz(file: BinaryIO, arrays: Mapping[str, Any]) -> None:
    with zipfile.ZipFile(file, "w") as archive:  # not compressed: weights are noise to a compressor
        for name, array in arrays.items():
            member = zipfile.ZipInfo()
            member.filename = f"{name}.npy"  # its constructor would change names with NUL or a backslash
            try:
                fits = len(member.filename.encode()) < 2**16
            except UnicodeEncodeError:  # half of a surrogate pair
                fits = False
            if not fits:
                raise ValueError(f"save: the name {name[:40]!r} has more than 65,531 bytes in UTF-8, or is not Unicode text")
            with archive.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, to_numpy(array), version=(1, 0), allow_pickle=False)


def _read_npz(file: BinaryIO) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        size = file.seek(-12, os.SEEK_END) + 12
        if int.from_bytes(file.read(2), "little") != min(len(members), 0xFFFF):  # zipfile never looks at this
            raise ValueError("its table of contents is damaged")
        announced = sum(member.file_size for member in members)
        if announced > max(LARGEST_INFLATION * size, SMALL):
            raise ValueError(f"it has {size:,} bytes, and announces {announced:,}; numpy.load and save again if you trust it")
        seen: set[str] = set()
        for member in members:
            name = member.orig_filename  # as it is in the file; `filename` is made fit for a file system
            if not name.endswith(".npy") or name in seen:
                raise ValueError(f"it holds {name!r}, which is no .npy member, or not the only one of that name")
            seen.add(name)
            with archive.open(member) as stream:
                yield name.removesuffix(".npy"), _read_npy(name, stream, member.file_size)


def _read_npy(name: str, stream: Any, size: int) -> np.ndarray[Any, Any]:
    """One array of `size` bytes, header and all. Nothing is allocated before its header agrees with that size."""
    magic = stream.read(len(NPY_MAGIC))
    length = int.from_bytes(stream.read(2), "little")
    header = stream.read(length)
    if b"'descr': '|O'" in header:
        raise ValueError(f"{name!r} is of pickled Python objects, which run code when they are read, and so never are")
    match = NPY_HEADER.fullmatch(header)
    if magic != NPY_MAGIC or match is None:
        raise ValueError(f"{name!r} is not an array of plain numbers")
    dtype = np.dtype(match[1].decode())
    shape = tuple(int(n) for n in re.findall(rb"\d+", match[3]))
    left = size - len(NPY_MAGIC) - 2 - length
    if math.prod(shape) * dtype.itemsize != left:
        raise ValueError(f"{name!r} has {left:,} bytes of numbers, but its header says {dtype} {shape}")
    array = np.frombuffer(stream.read(left), dtype).reshape(shape, order="F" if match[2] == b"True" else "C")
    return array.astype(dtype.newbyteorder("="), order="C")  # a copy that can be written to


FORMATS: dict[str, tuple[Callable[..., None], Callable[..., Iterator[tuple[str, Any]]]]] = {".npz": (_write_npz, _read_npz)}
"""Suffix → what writes arrays to a file, and what reads them from it."""


def _format(what: str, path: StrPath) -> tuple[Callable[..., None], Callable[..., Iterator[tuple[str, Any]]]]:
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"{what}: {path} has the suffix {suffix!r}; supported: {', '.join(FORMATS)}")
    return FORMATS[suffix]
