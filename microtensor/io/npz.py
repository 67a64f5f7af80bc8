"""NumPy's `.npz`: a zip archive with one array per member, which `numpy.load` can read.

A dict of named tensors has one member per tensor. Any other tree of dicts, lists and values has an additional member,
`tree.json`, with its structure; its tensors are members named by their dotted paths.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

import numpy as np

from ..runtime.arrays import to_numpy
from ..tensor import Tensor
from . import tree_json
from .archive import read_text
from .stored_arrays import array_of, plain, view

STRUCTURE = "tree.json"
"""The member with the structure of a tree. It cannot clash with a tensor: names of tensors end in .npy."""

MAGIC = b"\x93NUMPY\x01\x00"
"""First bytes of an array: the signature and version 1.0, which NumPy writes for all numeric arrays."""

HEADER = re.compile(rb"\{'descr': '([<>|=][biuf]\d+)', 'fortran_order': (True|False), 'shape': \(((?:\d+, ?)*\d*)\), \} *\n")
"""The header that follows: a Python dict as NumPy writes it. Matched as text, so that nothing is evaluated."""


def write(file: BinaryIO, tree: Any) -> None:
    """Write a tree.

    Raises:
        TypeError, ValueError: the tree holds something else, or a name cannot be written.
    """
    flat = _named_arrays(tree)
    text, arrays = tree_json.split(tree) if flat is None else ("", flat)
    with zipfile.ZipFile(file, "w") as archive:  # not compressed: weights hardly compress
        if text:
            archive.writestr(zipfile.ZipInfo(STRUCTURE), text.encode("utf-8", "surrogatepass"))
        for name, array in arrays.items():
            member = zipfile.ZipInfo()
            member.filename = f"{name}.npy"  # the constructor of ZipInfo changes names with NUL or backslash
            try:
                fits = len(member.filename.encode()) < 2**16
            except UnicodeEncodeError:  # a lone surrogate
                fits = False
            if not fits:
                raise ValueError(f"save: the name {name[:40]!r} has more than 65,531 bytes in UTF-8, or is not Unicode text")
            with archive.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, to_numpy(array), version=(1, 0), allow_pickle=False)


def _named_arrays(tree: Any) -> dict[str, Any] | None:
    """The arrays of a dict of str → array; None if the tree is anything else."""
    if not isinstance(tree, Mapping) or not all(isinstance(name, str) for name in tree):
        return None
    try:
        arrays = {str(name): array_of(value) for name, value in tree.items()}
    except TypeError:  # not numeric: `split` raises, and says where
        return None
    return None if any(array is None for array in arrays.values()) else arrays


def wrote(names: Iterable[str]) -> bool:
    """Whether all members of a zip archive have names as NumPy writes them."""
    return all(name.endswith(".npy") or name == STRUCTURE or _added_by_packer(name) for name in names)


def read_archive(archive: zipfile.ZipFile, found: dict[str, zipfile.ZipInfo], file: BinaryIO) -> Any:
    """Read the tree in a zip archive, whose members are `found`.

    Raises:
        Exception: of many kinds, if the archive holds something else or is damaged.
    """
    found = {name: member for name, member in found.items() if not _added_by_packer(name)}
    structure = found.pop(STRUCTURE, None)
    text = None if structure is None else read_text(archive, structure, file).decode("utf-8", "surrogatepass")
    tensors = {}
    for name, member in found.items():
        if not name.endswith(".npy"):
            raise ValueError(f"its member {name[:80]!r} is not a .npy array")
        with archive.open(member) as stream:
            tensors[name.removesuffix(".npy")] = Tensor(_read_array(name, stream, member.file_size), device="cpu")
    return tensors if text is None else tree_json.join(text, tensors)


def _added_by_packer(name: str) -> bool:
    """Whether a repacking program added this member: a folder, or macOS's metadata."""
    return name.endswith("/") or name.startswith("__MACOSX/")


def _read_array(name: str, stream: Any, size: int) -> np.ndarray[Any, Any]:
    """Read one array of `size` bytes, header included. Memory is allocated only if the header agrees with that size."""
    magic = stream.read(len(MAGIC))
    length = int.from_bytes(stream.read(2), "little")
    header = stream.read(length)
    if b"'descr': '|O'" in header:
        raise ValueError(f"{name!r} holds pickled Python objects, which are never read: unpickling could run code")
    match = HEADER.fullmatch(header)
    if magic != MAGIC or match is None:
        raise ValueError(f"{name!r} is not a numeric array")
    dtype = np.dtype(match[1].decode())
    if dtype.itemsize > 8:
        raise ValueError(f"{name!r} is of {dtype}; tensors support dtypes of at most 64 bits")
    shape = tuple(int(n) for n in re.findall(rb"\d+", match[3]))
    left = size - len(MAGIC) - 2 - length
    if math.prod(shape) * dtype.itemsize != left:
        raise ValueError(f"{name!r} has {left:,} bytes of data, but its header says {dtype} {shape}")
    if match[2] == b"True":  # column-major
        return plain(view(stream.read(left), dtype, shape[::-1]).T)
    return plain(view(stream.read(left), dtype, shape))
