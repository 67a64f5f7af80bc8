"""Tensors, and trees of them, in a file and back: `save` and `load`. Nothing in a file is ever executed.

The suffix names the format, and each has a file in `formats`: `.npz` is NumPy's, `.safetensors` that of PyTorch's ecosystem,
`.pth` and `.pt` are what `torch.save` writes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from .files import whole_file
from .formats import npz, pytorch, safetensors

StrPath: TypeAlias = str | os.PathLike[str]


class Format(NamedTuple):
    """What writes a tree to a file, and what reads it from one."""

    write: Callable[[BinaryIO, Any], None]
    read: Callable[[BinaryIO], Any]


FORMATS = {
    ".npz": Format(npz.write, npz.read),
    ".safetensors": Format(safetensors.write, safetensors.read),
    ".pth": Format(pytorch.write, pytorch.read),
    ".pt": Format(pytorch.write, pytorch.read),
}


def save(path: StrPath, tree: Any) -> None:
    """Write tensors to a file: all of them, or, if anything goes wrong, nothing, and what stood at `path` stays.

    Args:
        path: its suffix names the format. `.npz`, which `numpy.load` reads too, holds any tree; `.safetensors` holds named
            tensors only, and needs the extra of that name. `.pth` and `.pt` are only read.
        tree: a dict of name → Tensor or array, such as a `state_dict`; or any nesting of dicts (with text or whole numbers as
            keys), lists and tuples that holds tensors, arrays, numbers, texts, bools and None, such as the states of a model,
            an optimiser and a schedule together. Arrays may be on any device, and hold floating-point numbers, integers or
            bools. Graphs and gradients are not saved.

    Raises:
        TypeError: the tree holds something else. The message says what, and where.
        ValueError: the suffix names no format that can be written, a name cannot be written, or the tree holds itself.
        FileNotFoundError: the folder does not exist.
        ImportError: the extra is missing, and the message says how to install it.

    >>> import os, tempfile
    >>> from microtensor import Tensor
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "checkpoint.npz")
    ...     save(path, {"model": {"fc.weight": Tensor([[1.0, 2.0]])}, "epoch": 3, "betas": (0.9, 0.999)})
    ...     load(path)
    {'model': {'fc.weight': Tensor([[1., 2.]])}, 'epoch': 3, 'betas': (0.9, 0.999)}
    """
    if isinstance(path, Mapping):
        raise TypeError("save: the path comes first: save(path, tensors)")
    write = _format("save", path).write
    with whole_file(path) as file:
        write(file, tree)


def load(path: StrPath) -> Any:
    """Read what `save` wrote, or NumPy, safetensors or PyTorch: on the CPU, in its order, each tensor of its own dtype.

    A file of PyTorch's gives the tree that was saved: a dict of name → Tensor, as `Module.load_state_dict` takes it, or one
    that holds such a dict. PyTorch need not be installed. bfloat16, which NumPy lacks, becomes float32, which holds its numbers
    exactly. The tensors of a `.safetensors` file come in the order of their names.

    The file may come from anywhere. Nothing in it is executed, and it is refused if it announces more memory than a hundred
    times its size (16 MiB, if it is small): only a file made to harm, or nearly all zeros and compressed, does.

    Raises:
        ValueError: the suffix names no known format, or the file is of another format, damaged, incomplete, or holds something
            else than a tree of tensors and plain values, such as a model's code.
        OSError: there is no such file, or it cannot be read.
        ImportError: a `.safetensors` file needs the extra of that name.
    """
    read = _format("load", path).read
    with open(path, "rb") as file:
        try:
            return read(file)
        except (MemoryError, ImportError):
            raise
        except Exception as error:  # zipfile and zlib raise a dozen kinds of errors on damaged files
            raise ValueError(f"load: {path} is no {Path(path).suffix} file of tensors, or is damaged: {error}") from error


def _format(what: str, path: StrPath) -> Format:
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"{what}: {path} has the suffix {suffix!r}; supported: {', '.join(FORMATS)}")
    return FORMATS[suffix]
