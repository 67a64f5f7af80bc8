"""Detect the format of a file from its first bytes, not its name: the same weights are called .pth, .pt, .bin or .ckpt."""

from __future__ import annotations

import pickle  # for the opcode PROTO only
import zipfile
from typing import Any, BinaryIO

from . import npz, pytorch, safetensors
from .archive import members, size_of

SIGNATURE_BYTES = 16
"""How many of a file's first bytes are compared."""

OTHERS = {
    b"\x89HDF\r\n\x1a\n": "it is an HDF5 file, such as Keras writes",
    b"\x1f\x8b": "it is compressed with gzip; unpack it first",
    b"BZh": "it is compressed with bzip2; unpack it first",
    b"\xfd7zXZ": "it is compressed with xz; unpack it first",
    b"7z\xbc\xaf": "it is a 7z archive; unpack it first",
    b"\x93NUMPY": "it is a single array written by numpy.save: use microtensor.tensor(numpy.load(path))",
    b"GGUF": "it is a GGUF file, of llama.cpp",
    b"version https://": "it is a Git LFS pointer, not the file itself: fetch that with `git lfs pull`",
    b"<": "it is a web page: the download went wrong",
}
"""First bytes of other files that people try to load as weights → what to say."""


def read(file: BinaryIO, suffix: str = "") -> Any:
    """Read a file of any known format.

    Args:
        suffix: of the file's name, in lower case: decides between formats where the bytes do not.

    Raises:
        Exception: of many kinds, if the file is of another format or damaged.
    """
    size = size_of(file)
    begin = file.read(SIGNATURE_BYTES)
    file.seek(0)
    if safetensors.is_one(begin, size):  # first: its header length may start with the byte of a pickle
        return safetensors.read(file)
    if begin[:1] == pickle.PROTO:
        return pytorch.read_legacy(file)
    if suffix == ".safetensors" and not begin.startswith(b"PK"):
        return safetensors.read(file)
    if begin.startswith(b"PK") or zipfile.is_zipfile(file):  # other bytes may precede an archive
        with zipfile.ZipFile(file) as archive:
            found = members(archive, file)
            theirs = pytorch.wrote(found) or suffix in (".pth", ".pt") and not npz.wrote(found)
            return (pytorch if theirs else npz).read_archive(archive, found, file)
    raise ValueError(
        next((what for other, what in OTHERS.items() if begin.lstrip().startswith(other)), "")
        or "it starts neither like a zip archive (.npz, PyTorch's .pth), nor like .safetensors, nor like PyTorch's old pickles"
    )
