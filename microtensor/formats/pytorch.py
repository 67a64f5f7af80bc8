"""`.pth` and `.pt`: what `torch.save` writes, read without PyTorch, and without running anything. They are not written here.

Since version 1.6 such a file is a zip archive: `data.pkl`, a pickle of the tree, in which each tensor is described by its
shape, its strides and the name of its storage; and for each storage a member with its bytes. Before, it was five pickles and
then the storages (torch/serialization.py, functions `_save` and `_legacy_save`). Both come out as trees of dicts, lists,
tuples, sets, tensors, numbers, texts and None: an OrderedDict as a dict, a Parameter as a Tensor, bfloat16 as float32, a
torch.dtype or torch.device as its name. Tensors that shared memory have memory of their own.
"""

from __future__ import annotations

import io
import math
import pickle  # the name of an instruction
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..tensor import Tensor
from .archive import members, read_text, size_of
from .numbers import DTYPES, allowance, plain, widened
from .pytorch_names import Storage, View, find_class, find_storage
from .tree import DEEPEST
from .unpickle import Unpickler

MAGIC = 0x1950A86A20F9469CFC6C
"""The number that the first pickle of an old file holds."""

LEGACY_PROTOCOL = 1001
"""And the second."""


def write(file: BinaryIO, tree: Any) -> None:
    """Refuse: whoever reads a pickle must trust it, and there are better formats.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        "save: PyTorch's pickles are read here, not written; write .safetensors, which PyTorch reads with "
        "safetensors.torch.load_file(path), or .npz"
    )


def read(file: BinaryIO) -> Any:
    """The tree in a file.

    Raises:
        Exception: of many kinds, for a file that is no such file, damaged, or holds anything that a tree does not.
    """
    begin, size = file.read(4), size_of(file)
    if begin == b"PK\x03\x04":
        with zipfile.ZipFile(file) as archive:
            return _read_archive(archive, file, size)
    if begin[:1] == pickle.PROTO:
        return _read_legacy(file, size)
    raise ValueError("it begins neither as a zip archive nor as a pickle, as what torch.save writes does")


def _read_archive(archive: zipfile.ZipFile, file: BinaryIO, size: int) -> Any:
    found = members(archive, file)
    roots = [name.removesuffix("data.pkl") for name in found if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1:
        raise ValueError("it is a zip archive, but not one that torch.save wrote: it has no data.pkl, or several")
    (root,) = roots
    if root + "constants.pkl" in found:
        raise ValueError("it is a TorchScript program; in PyTorch: torch.save(torch.jit.load(path).state_dict(), path)")
    order = read_text(archive, found[root + "byteorder"], file) if root + "byteorder" in found else b"little"
    if order not in (b"little", b"big"):
        raise ValueError("its byte order is neither little nor big")

    def content(storage: Storage) -> np.ndarray[Any, Any]:
        member = found.get(f"{root}data/{storage.key}")
        if member is None or member.file_size != storage.size:
            held = "no bytes" if member is None else f"{member.file_size:,}"
            raise ValueError(f"its storage {storage.key[:40]!r} should have {storage.size:,} bytes, and has {held}")
        with archive.open(member) as stream:
            return _bytes(stream, storage.size)

    text = read_text(archive, found[root + "data.pkl"], file)
    tree = Unpickler(io.BytesIO(text), len(text), find_class, find_storage).load()
    return _Builder(content, order == b"little", allowance(size), len(text)).build(tree)


def _read_legacy(file: BinaryIO, size: int) -> Any:
    storages: dict[str, Storage] = {}

    def persistent_load(description: Any) -> Storage:
        storage = find_storage(description)
        known = storages.setdefault(storage.key, storage)
        if (known.size, known.dtype) != (storage.size, storage.dtype):
            raise ValueError(f"its storage {storage.key[:40]!r} is described in two ways")
        return storage

    unpickler = Unpickler(file, size, find_class, persistent_load)
    if unpickler.load() != MAGIC or unpickler.load() != LEGACY_PROTOCOL:
        raise ValueError("it is a pickle, but not one that torch.save wrote")
    unpickler.load()  # of the machine that wrote it; the storages are little-endian on all
    tree, keys = unpickler.load(), unpickler.load()
    pickled = file.tell()
    named = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not named or set(keys) != storages.keys() or len(keys) != len(storages):
        raise ValueError("its list of storages does not fit its tensors")
    contents: dict[str, np.ndarray[Any, Any]] = {}
    for key in keys:
        expected = storages[key].size
        found = int.from_bytes(file.read(8), "little") * DTYPES[storages[key].dtype].itemsize
        if found != expected or expected > size - file.tell():
            raise ValueError(f"its storage {key[:40]!r} should have {expected:,} bytes, and has not")
        contents[key] = _bytes(file, expected)
    if file.tell() != size:
        raise ValueError(f"{size - file.tell():,} bytes follow its last storage")
    return _Builder(lambda storage: contents[storage.key], True, allowance(size), pickled).build(tree)


def _bytes(stream: Any, count: int) -> np.ndarray[Any, Any]:
    """The next `count` bytes, in memory that can be written to. The caller knows that the file announces as many."""
    found = np.empty(count, np.uint8)
    if stream.readinto(found) != count:
        raise ValueError("its storages end in the middle")
    return found


class _Builder:
    """Makes a tree of what the pickle described: its views become tensors.

    Args:
        content: a storage → its bytes.
        little: whether they are little-endian.
        allowed: bytes of all tensors together. Without a limit, a thousand tensors could be views of one large storage, or
            one tensor a small storage expanded to any size.
        pickled: bytes of the pickle, and values that the tree may have: more there are only where the same lists are in many
            places, as many as 2¹⁰⁰⁰ of them.
    """

    def __init__(self, content: Callable[[Storage], np.ndarray[Any, Any]], little: bool, allowed: int, pickled: int) -> None:
        self.content, self.little, self.allowed, self.nodes = content, little, allowed, pickled
        self.contents: dict[str, np.ndarray[Any, Any]] = {}
        self.taken: set[str] = set()
        self.tensors: dict[int, Tensor] = {}

    def build(self, value: Any, depth: int = 0) -> Any:
        """`value`, with tensors in place of views. One view in two places is one tensor."""
        self.nodes -= 1
        if self.nodes < 0 or depth > DEEPEST + 1:
            raise ValueError(
                f"its tree is nested more than {DEEPEST} deep, holds itself, or has the same lists in too many places"
            )
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, View):
            if id(value) not in self.tensors:
                self.tensors[id(value)] = Tensor(self._array(value), device="cpu")
            return self.tensors[id(value)]
        if isinstance(value, dict):
            return {key: self.build(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple, set)):
            return type(value)(self.build(item, depth + 1) for item in value)
        raise ValueError(f"its tree holds a {type(value).__name__}, which is no tensor, number, text or None")

    def _array(self, view: View) -> np.ndarray[Any, Any]:
        storage, itemsize = view.storage, DTYPES[view.dtype].itemsize
        size = math.prod(view.shape) * (4 if view.dtype == "bfloat16" else itemsize)
        self.allowed -= size
        if self.allowed < 0:
            raise ValueError(f"its tensors have more bytes than the file could hold; one has the shape {view.shape}"[:300])
        if not size:
            return np.empty(view.shape, np.float32 if view.dtype == "bfloat16" else view.dtype)
        if storage.key not in self.contents:
            self.contents[storage.key] = self.content(storage)
        content = self.contents[storage.key]
        run = content[storage.start + view.offset * itemsize : storage.stop]
        numbers = run[: len(run) // itemsize * itemsize].view(DTYPES[view.dtype].newbyteorder("<" if self.little else ">"))
        array = as_strided(numbers, view.shape, [stride * itemsize for stride in view.strides])
        if view.dtype == "bfloat16":
            return widened(array)
        whole = array.flags.c_contiguous and array.nbytes == content.nbytes and array.dtype.isnative and array.dtype != bool
        if not whole or storage.key in self.taken:
            return plain(array)
        self.taken.add(storage.key)  # its first tensor has the memory itself, and further ones copies
        return array
