"""Read `.pth` and `.pt`, the files of `torch.save`, without PyTorch and without running any code. Writing is not supported.

Since PyTorch 1.6 such a file is a zip archive: `data.pkl` is a pickle of the tree, in which each tensor is given by its shape,
its strides and the name of its storage; the bytes of each storage are a member of their own. Before, a file was five pickles
followed by the storages (torch/serialization.py, functions `_save` and `_legacy_save`). Both are read as trees of dicts, lists,
tuples, sets, tensors, numbers, str, bytes and None: an OrderedDict as a dict, a Parameter as a Tensor, bfloat16 as float32, a
torch.dtype or torch.device as its name, NumPy arrays as Tensors and NumPy scalars as numbers. An object of another class
becomes a `Placeholder`. Tensors that shared memory get a copy each.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

import numpy as np

from ..tensor import Tensor
from .archive import read_text, size_of
from .pickled_numpy import NumPyArray, NumPyType
from .pickled_pytorch import Storage, View, find_class, find_storage, itemsize
from .placeholder import Placeholder
from .stored_arrays import DTYPES, allowance, plain, view, widened
from .tree_json import MAX_DEPTH
from .unpickle import Constructor, Unpickler

MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of an old file holds this number."""

LEGACY_PROTOCOL = 1001
"""The second pickle holds this one."""

TENSOR_BYTES = 512
"""Memory of a tensor besides its data, roughly: the Tensor, the array, shape and strides."""


def write(file: BinaryIO, tree: Any) -> None:
    """Refuse: reading a pickle requires trust in its author, and there are better formats.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        "save: PyTorch's pickle files can be read, but not written; save as .safetensors, which PyTorch reads with "
        "safetensors.torch.load_file(path), or as .npz"
    )


def wrote(names: Iterable[str]) -> bool:
    """Whether a zip archive with these members was written by torch.save."""
    return any(_is_root(name) for name in names)


def _is_root(name: str) -> bool:
    return name == "data.pkl" or name.endswith("/data.pkl") and name.count("/") == 1


def read_archive(archive: zipfile.ZipFile, found: dict[str, zipfile.ZipInfo], file: BinaryIO) -> Any:
    """Read the tree in a zip archive, whose members are `found`.

    Raises:
        Exception: of many kinds, if the archive is of another format, damaged, or holds nothing that can be read.
    """
    size = size_of(file)
    roots = [name.removesuffix("data.pkl") for name in found if _is_root(name)]
    if len(roots) != 1:
        raise ValueError("it is a zip archive, but not from torch.save: it has no data.pkl, or several")
    (root,) = roots
    if root + "constants.pkl" in found:
        raise ValueError("it is a TorchScript program; in PyTorch: torch.save(torch.jit.load(path).state_dict(), path)")
    order = read_text(archive, found[root + "byteorder"], file) if root + "byteorder" in found else b"little"
    if order not in (b"little", b"big"):
        raise ValueError("its byte order is neither little nor big")
    storages = _Storages()

    def persistent_load(description: Any) -> Storage | Placeholder:
        storage = storages.described(description)
        if isinstance(storage, Storage):
            member = found.get(f"{root}data/{storage.key}")
            if member is None or member.file_size != storage.size:
                held = "no bytes" if member is None else f"{member.file_size:,}"
                raise ValueError(f"its storage {storage.key[:40]!r} should have {storage.size:,} bytes, and has {held}")
        return storage

    def content(storage: Storage) -> np.ndarray[Any, Any]:
        with archive.open(found[f"{root}data/{storage.key}"]) as stream:
            return _bytes(stream, storage.size)

    text = read_text(archive, found[root + "data.pkl"], file)
    tree = Unpickler(io.BytesIO(text), len(text), find_class, persistent_load).load()
    return _Builder(content, order == b"little", allowance(size), len(text)).tree(tree)


def read_legacy(file: BinaryIO) -> Any:
    """Read the tree in a file from before PyTorch 1.6.

    Raises:
        Exception: of many kinds, if the file is of another format, damaged, or holds nothing that can be read.
    """
    size, storages = size_of(file), _Storages()

    def persistent_load(description: Any) -> Storage | Placeholder:
        storage = storages.described(description)
        if isinstance(storage, Placeholder) and len(description) > 4:
            # The size of such a storage is unknown, and so is where the next one begins.
            raise ValueError(storage.reason)
        return storage

    unpickler = Unpickler(file, size, find_class, persistent_load)
    if unpickler.load() != MAGIC or unpickler.load() != LEGACY_PROTOCOL:
        raise ValueError("it is a pickle, but not from torch.save")
    unpickler.load()  # about the machine that wrote it; storages are always little-endian
    tree, keys = unpickler.load(), unpickler.load()
    pickled = file.tell()
    named = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not named or set(keys) != storages.known.keys() or len(keys) != len(storages.known):
        raise ValueError("its list of storages does not match its tensors")
    contents: dict[str, np.ndarray[Any, Any]] = {}
    for key in keys:
        expected = storages.known[key].size
        found = int.from_bytes(file.read(8), "little") * itemsize(storages.known[key].dtype)
        if found != expected or expected > size - file.tell():
            raise ValueError(f"its storage {key[:40]!r} should have {expected:,} bytes, and has not")
        contents[key] = _bytes(file, expected)
    if file.tell() != size:
        raise ValueError(f"{size - file.tell():,} bytes follow its last storage")
    return _Builder(lambda storage: contents[storage.key], True, allowance(size), pickled).tree(tree)


class _Storages:
    """The storages of a file by key. All descriptions of one storage must agree."""

    def __init__(self) -> None:
        self.known: dict[str, Storage] = {}

    def described(self, description: Any) -> Storage | Placeholder:
        storage = find_storage(description)
        if isinstance(storage, Storage):
            known = self.known.setdefault(storage.key, storage)
            if (known.size, known.dtype) != (storage.size, storage.dtype):
                raise ValueError(f"its storage {storage.key[:40]!r} has two descriptions that differ")
        return storage


def _bytes(stream: Any, count: int) -> np.ndarray[Any, Any]:
    """The next `count` bytes, as a writable array. The caller has checked `count` against the size of the file."""
    found = np.empty(count, np.uint8)
    if stream.readinto(found) != count:
        raise ValueError("a storage is cut short")
    return found


class _Builder:
    """Builds the tree that the pickle describes, with a tensor in place of each `View`.

    Args:
        content: a storage → its bytes.
        little: whether they are little-endian.
        allowed: limit on the bytes of all tensors together. Without it, a thousand tensors could view one large storage, or
            one tensor could expand a small storage (stride 0) to any size.
        pickled: size of the pickle in bytes, which is also the limit on values in the tree. A tree can only have more if lists
            are nested within each other several times, which can give 2¹⁰⁰⁰ values.
    """

    def __init__(self, content: Callable[[Storage], np.ndarray[Any, Any]], little: bool, allowed: int, pickled: int) -> None:
        self.content, self.little, self.allowed, self.nodes = content, little, allowed, pickled
        self.contents: dict[str, np.ndarray[Any, Any]] = {}
        self.taken: set[str] = set()
        self.made: dict[int, Tensor | Placeholder] = {}
        self.unread: Placeholder | None = None

    def tree(self, value: Any) -> Any:
        """Build the whole tree.

        Raises:
            ValueError: it has no tensor, but something that cannot be read: the file holds something else than weights.
        """
        tree = self.build(value)
        if self.unread is not None and not any(isinstance(made, Tensor) for made in self.made.values()):
            raise ValueError(self.unread.reason)
        return tree

    def build(self, value: Any, depth: int = 0) -> Any:
        """Build one value of the tree. A view that occurs twice becomes one tensor."""
        self.nodes -= 1
        if self.nodes < 0 or depth > MAX_DEPTH + 1:
            raise ValueError(
                f"its tree is nested more than {MAX_DEPTH} deep, contains itself, or repeats the same lists too often"
            )
        if value is None or isinstance(value, (bool, int, float, str, bytes)):
            return value
        if isinstance(value, dict):
            return {_key(key): self.build(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return type(value)(self.build(item, depth + 1) for item in value)
        if isinstance(value, (View, NumPyArray)):
            if id(value) not in self.made:
                self.made[id(value)] = self._tensor(value)
            value = self.made[id(value)]
        elif not isinstance(value, Placeholder):
            value = _stand_in(value)
        if isinstance(value, Placeholder):
            self.unread = self.unread or value
        return value

    def _tensor(self, described: View | NumPyArray) -> Tensor | Placeholder:
        array = self._array(described) if isinstance(described, View) else described.array(self._spend)
        return array if isinstance(array, Placeholder) else Tensor(array, device="cpu")

    def _spend(self, count: int, shape: tuple[int, ...] = ()) -> None:
        """Count the bytes of a tensor before it is allocated, and raise at the limit."""
        self.allowed -= count + TENSOR_BYTES
        if self.allowed < 0:
            raise ValueError(f"its tensors take more memory than a file of its size may; one has the shape {shape}"[:300])

    def _array(self, described: View) -> np.ndarray[Any, Any]:
        storage, shape = described.storage, described.shape
        half = described.dtype == "bfloat16"
        dtype = DTYPES[described.dtype].newbyteorder("<" if self.little else ">")
        self._spend(math.prod(shape) * (4 if half else dtype.itemsize), shape)
        if 0 in shape:
            return np.empty(shape, np.float32 if half else described.dtype)
        if storage.key not in self.contents:
            self.contents[storage.key] = self.content(storage)
        content = self.contents[storage.key]
        array = view(content, dtype, shape, described.strides, described.offset, (storage.start, storage.stop))
        if half:
            return widened(array)
        whole = array.flags.c_contiguous and array.nbytes == content.nbytes and array.dtype.isnative and array.dtype != bool
        if not whole or storage.key in self.taken:
            return plain(array)
        self.taken.add(storage.key)  # the first tensor uses the memory itself, further ones copy it
        return array


def _key(key: Any) -> Any:
    if isinstance(key, (View, NumPyArray)):
        raise ValueError("its tree has a tensor as a key")
    return _stand_in(key) if isinstance(key, (NumPyType, Constructor)) else key


def _stand_in(value: Any) -> str | Placeholder:
    """What to return for a value that is neither data nor a tensor: the name of a dtype, or a placeholder."""
    if isinstance(value, NumPyType):
        dtype = value.dtype()
        return value.unread() if dtype is None else dtype.name
    what = value.name if isinstance(value, Constructor) else f"a {type(value).__name__}"
    return Placeholder(what, f"its tree holds {what}, which is not a tensor, number, str or None")
