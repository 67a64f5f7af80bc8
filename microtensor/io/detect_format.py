"""Which format a file is of. Its bytes say, not its name: the same weights are called .pth, .pt, .bin, .ckpt and .pth.tar."""

from __future__ import annotations

import pickle  # the name of an instruction
import zipfile
from typing import Any, BinaryIO

from . import npz, pytorch, safetensors
from .archive import members, size_of

BEGIN = 16
"""How many of a file's bytes are looked at first."""

OTHERS = {
    b"\x89HDF\r\n\x1a\n": "it is an HDF5 file, such as Keras writes",
    b"\x1f\x8b": "it is compressed with gzip; unpack it first",
    b"BZh": "it is compressed with bzip2; unpack it first",
    b"\xfd7zXZ": "it is compressed with xz; unpack it first",
    b"7z\xbc\xaf": "it is a 7z archive; unpack it first",
    b"\x93NUMPY": "it is one array, as numpy.save writes it: microtensor.tensor(numpy.load(path))",
    b"GGUF": "it is a GGUF file, of llama.cpp",
    b"version https://": "it is a pointer of Git LFS, in place of the file itself: fetch that with `git lfs pull`",
    b"<": "it is a web page: the download went wrong",
}
"""What other files begin with that people have in place of weights, and what to say."""


def read(file: BinaryIO, suffix: str = "") -> Any:
    """The tree in a file of any format that is known.

    Args:
        suffix: of its name, in lower case: whose errors to give where the bytes do not say what it is.

    Raises:
        Exception: of many kinds, for a file that is of no such format, or damaged.
    """
    size = size_of(file)
    begin = file.read(BEGIN)
    file.seek(0)
    if safetensors.is_one(begin, size):  # first, for the length of its header may begin with the same byte as a pickle
        return safetensors.read(file)
    if begin[:1] == pickle.PROTO:
        return pytorch.read_legacy(file)
    if suffix == ".safetensors" and not begin.startswith(b"PK"):
        return safetensors.read(file)
    if begin.startswith(b"PK") or zipfile.is_zipfile(file):  # other bytes may stand before an archive
        with zipfile.ZipFile(file) as archive:
            found = members(archive, file)
            theirs = pytorch.wrote(found) or suffix in (".pth", ".pt") and not npz.wrote(found)
            return (pytorch if theirs else npz).read_archive(archive, found, file)
    raise ValueError(
        next((what for other, what in OTHERS.items() if begin.lstrip().startswith(other)), "")
        or "it begins neither as a zip archive (.npz, PyTorch's .pth), nor as .safetensors, nor as a pickle of PyTorch's"
    )
