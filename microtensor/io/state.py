"""Tensors, and trees of them, in a file and back: `save` and `load`. Nothing in a file is ever executed.

Each format has a file in `formats`: `.npz` is NumPy's, `.safetensors` that of PyTorch's ecosystem, `.pth` and `.pt` are what
`torch.save` writes. The suffix says which one to write; a file that is read says itself what it is.
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
"""What writes a tree to a file, by the file's suffix."""


def save(path: StrPath, tree: Any) -> None:
    """Write tensors to a file: all of them, or, if anything goes wrong, nothing, and what stood at `path` stays.

    Args:
        path: its suffix names the format. `.npz`, which `numpy.load` reads too, holds any tree; `.safetensors` holds named
            tensors only, and needs the extra of that name. `.pth` and `.pt` are only read.
        tree: a dict of name → Tensor or array, such as a `state_dict`; or any nesting of dicts (with text or integers as
            keys), lists and tuples that holds tensors, arrays, numbers, texts, bools and None, such as the states of a model,
            an optimiser and a schedule together. Arrays may be on any device, and hold floating-point numbers, integers or
            bools. Graphs and gradients are not saved.

    Raises:
        TypeError: the tree holds something else. The message says what, and where.
        ValueError: the suffix names no format that can be written, a name cannot be written, or the tree holds itself.
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
    """Read what `save` wrote, or NumPy, safetensors or PyTorch: on the CPU, in its order, each tensor of its own dtype.

    The file's bytes say of what format it is, whatever its name: PyTorch's files are called `.pth`, `.pt`, `.bin`, `.ckpt` or
    `.pth.tar`. One of PyTorch's gives the tree that was saved: a dict of name → Tensor, as `Module.load_state_dict` takes it,
    or a tree that holds such a dict. PyTorch need not be installed. bfloat16, which NumPy lacks, becomes float32, which holds
    its numbers exactly. NumPy's arrays in it become Tensors, and its scalars numbers. What else lies beside the tensors, such
    as an `argparse.Namespace`, becomes a `Placeholder`, which has the name of its class and nothing else. The tensors of a
    `.safetensors` file come in the order of their names.

    The file may come from anywhere. Nothing in it is executed, and it is refused if it announces more memory than a hundred
    times its size (16 MiB, if it is small): only a file made to harm, or nearly all zeros and compressed, does.

    Raises:
        ValueError: the file is of another format, damaged, incomplete, or holds no tensors but something else, such as a
            model's code.
        TypeError: `path` is no path.
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
        except Exception as error:  # zipfile and zlib raise a dozen kinds of errors on damaged files
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # the disk's; EINVAL is a damaged file's
                raise
            kind = f"{suffix} file of tensors" if suffix in WRITERS else "file of tensors"
            raise ValueError(f"load: {path} is no {kind}, or is damaged: {error}") from error


def _check_path(what: str, path: Any, form: str, swapped: bool = False) -> None:
    if isinstance(path, (str, os.PathLike)):
        return
    given = type(path).__name__
    if swapped or isinstance(path, (Mapping, Node, list, tuple)):
        raise TypeError(f"{what}: the path comes first: {form}, got {given}")
    raise TypeError(f"{what}: a path is needed: {form}, got {given}")
