"""`save` and `load`: write tensors and trees of them to a file, and read them. No code in a file is ever executed.

Each format has a module in this folder: `.npz` is NumPy's, `.safetensors` Hugging Face's, `.pth` and `.pt` are written by
`torch.save`. When saving, the suffix of the name selects the format; when loading, the first bytes of the file do.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from ..autograd.graph import Node
from . import detect_format, npz, pytorch, safetensors
from .files import naming, whole_file

StrPath: TypeAlias = str | os.PathLike[str]

WRITERS: dict[str, Callable[[BinaryIO, Any], None]] = {
    ".npz": npz.write,
    ".safetensors": safetensors.write,
    ".pth": pytorch.write,
    ".pt": pytorch.write,
}
"""Suffix of the file name → function that writes a tree."""


def save(path: StrPath, tree: Any) -> None:
    """Write tensors to a file, atomically: if anything goes wrong, a file that was at `path` stays as it was.

    Args:
        path: its suffix selects the format. `.npz`, which `numpy.load` reads too, holds any tree; `.safetensors` holds named
            tensors only, and needs the extra of that name. `.pth` and `.pt` can only be read.
        tree: a dict of name → Tensor or array, such as a `state_dict`; or any nesting of dicts (with str or int keys), lists
            and tuples of tensors, arrays, numbers, strings, bools and None, such as the states of a model, an optimiser and a
            learning rate schedule together. Arrays may be on any device, of floating-point, integer or bool dtype. Graphs and
            gradients are not saved.

    Raises:
        TypeError: the tree holds something else. The message says what, and where.
        ValueError: the format is unknown or cannot be written, a name cannot be written, or the tree contains itself.
        FileNotFoundError: the folder does not exist.
        OSError: the system refuses to write, or the disk is full.
        ImportError: the extra is missing, and the message says how to install it.

    >>> import os, tempfile
    >>> from microtensor import Tensor
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "checkpoint.npz")
    ...     save(path, {"model": {"fc.weight": Tensor([[1.0, 2.0]])}, "epoch": 3, "betas": (0.9, 0.999)})
    ...     load(path)
    {'model': {'fc.weight': Tensor([[1., 2.]])}, 'epoch': 3, 'betas': (0.9, 0.999)}
    """
    _check_path("save", path, "save(path, tensors)", swapped=isinstance(tree, (str, os.PathLike)))
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise ValueError(f"save: {path} has the suffix {suffix!r}; supported: {', '.join(WRITERS)}")
    with whole_file(path) as file:
        WRITERS[suffix](file, tree)


def load(path: StrPath) -> Any:
    """Read a file written by `save`, NumPy, safetensors or PyTorch. Tensors are on the CPU and keep their dtype and order.

    The format is detected from the file's first bytes, whatever its name: PyTorch's files are called `.pth`, `.pt`, `.bin`,
    `.ckpt` or `.pth.tar`. A file of PyTorch's gives the tree that was saved: a dict of name → Tensor, as
    `Module.load_state_dict` takes it, or a tree that holds such a dict. PyTorch need not be installed. bfloat16, which NumPy
    lacks, becomes float32, exactly. NumPy arrays in it become Tensors, and NumPy scalars numbers. Any other object beside the
    tensors, such as an `argparse.Namespace`, becomes a `Placeholder`, which only has the name of its class. The tensors of a
    `.safetensors` file are sorted by name.

    Files need not be trusted: nothing in them is executed, and a file is refused if it would take more memory than a hundred
    times its size (16 MiB if it is small), which only malicious files and compressed zeros do.

    Raises:
        ValueError: the file is of another format, damaged, incomplete, or holds something other than tensors, such as a
            model's code.
        TypeError: `path` is not a path.
        OSError: there is no such file, or it cannot be read.
        ImportError: a `.safetensors` file needs the extra of that name.
    """
    _check_path("load", path, "load(path)")
    suffix = Path(path).suffix.lower()
    with open(path, "rb") as file, naming(path):
        try:
            return detect_format.read(file, suffix)
        except (MemoryError, ImportError):
            raise
        except Exception as error:  # zipfile and zlib raise many kinds of errors on damaged files
            if isinstance(error, OSError) and error.errno not in (
                None,
                errno.EINVAL,
            ):  # of the disk; EINVAL comes from damaged files
                raise
            kind = f"{suffix} file of tensors" if suffix in WRITERS else "file of tensors"
            raise ValueError(f"load: {path} is not a {kind}, or is damaged: {error}") from error


def _check_path(what: str, path: Any, form: str, swapped: bool = False) -> None:
    if isinstance(path, (str, os.PathLike)):
        return
    given = type(path).__name__
    if swapped or isinstance(path, (Mapping, Node, list, tuple)):
        raise TypeError(f"{what}: the path comes first: {form}, got {given}")
    raise TypeError(f"{what}: expected a path: {form}, got {given}")
