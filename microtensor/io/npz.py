"""`.npz`, NumPy's: a zip archive with one array a member, which `numpy.load` reads too.

Named tensors are its members, and that is all. A tree of other things, too, has its structure in one member more, `tree.json`,
which any zip tool shows; its tensors are members under their dotted paths.
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
"""The member that holds the structure of a tree. No tensor can have this name: theirs end in .npy."""

MAGIC = b"\x93NUMPY\x01\x00"
"""What an array in an .npz begins with: a name, and version 1.0, which NumPy writes for all arrays of plain numbers."""

HEADER = re.compile(rb"\{'descr': '([<>|=][biuf]\d+)', 'fortran_order': (True|False), 'shape': \(((?:\d+, ?)*\d*)\), \} *\n")
"""The header that follows: a Python dict, in the one form in which NumPy writes it; so there is no need to evaluate it."""


def write(file: BinaryIO, tree: Any) -> None:
    """Write a tree.

    Raises:
        TypeError, ValueError: it is no tree, or a name cannot be written.
    """
    flat = _named_arrays(tree)
    text, arrays = tree_json.split(tree) if flat is None else ("", flat)
    with zipfile.ZipFile(file, "w") as archive:  # not compressed: weights are noise to a compressor
        if text:
            archive.writestr(zipfile.ZipInfo(STRUCTURE), text.encode("utf-8", "surrogatepass"))
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


def _named_arrays(tree: Any) -> dict[str, Any] | None:
    """The arrays of a dict that holds arrays under texts and nothing else; None for another tree."""
    if not isinstance(tree, Mapping) or not all(isinstance(name, str) for name in tree):
        return None
    try:
        arrays = {str(name): array_of(value) for name, value in tree.items()}
    except TypeError:  # not of numbers: `split` says so, and where
        return None
    return None if any(array is None for array in arrays.values()) else arrays


def wrote(names: Iterable[str]) -> bool:
    """Whether the members of a zip archive have the names that NumPy gives them."""
    return all(name.endswith(".npy") or name == STRUCTURE or _is_packers(name) for name in names)


def read_archive(archive: zipfile.ZipFile, found: dict[str, zipfile.ZipInfo], file: BinaryIO) -> Any:
    """The tree in a zip archive, whose members are `found`.

    Raises:
        Exception: of many kinds, for an archive of something else, or a damaged one.
    """
    found = {name: member for name, member in found.items() if not _is_packers(name)}
    structure = found.pop(STRUCTURE, None)
    text = None if structure is None else read_text(archive, structure, file).decode("utf-8", "surrogatepass")
    tensors = {}
    for name, member in found.items():
        if not name.endswith(".npy"):
            raise ValueError(f"it holds {name[:80]!r}, which is no .npy member")
        with archive.open(member) as stream:
            tensors[name.removesuffix(".npy")] = Tensor(_read_array(name, stream, member.file_size), device="cpu")
    return tensors if text is None else tree_json.join(text, tensors)


def _is_packers(name: str) -> bool:
    """Whether programs that pack archives again have added this member: a folder, or what macOS writes beside each file."""
    return name.endswith("/") or name.startswith("__MACOSX/")


def _read_array(name: str, stream: Any, size: int) -> np.ndarray[Any, Any]:
    """One array of `size` bytes, header and all. Nothing is allocated before its header agrees with that size."""
    magic = stream.read(len(MAGIC))
    length = int.from_bytes(stream.read(2), "little")
    header = stream.read(length)
    if b"'descr': '|O'" in header:
        raise ValueError(f"{name!r} is of pickled Python objects, which run code when they are read, and so never are")
    match = HEADER.fullmatch(header)
    if magic != MAGIC or match is None:
        raise ValueError(f"{name!r} is not an array of plain numbers")
    dtype = np.dtype(match[1].decode())
    if dtype.itemsize > 8:
        raise ValueError(f"{name!r} is of {dtype}; a tensor holds numbers of 64 bits at most")
    shape = tuple(int(n) for n in re.findall(rb"\d+", match[3]))
    left = size - len(MAGIC) - 2 - length
    if math.prod(shape) * dtype.itemsize != left:
        raise ValueError(f"{name!r} has {left:,} bytes of numbers, but its header says {dtype} {shape}")
    if match[2] == b"True":  # Fortran's order
        return plain(view(stream.read(left), dtype, shape[::-1]).T)
    return plain(view(stream.read(left), dtype, shape))
