"""Zip archives, in which .npz and PyTorch's files lie. An archive may come from anywhere, and is believed in nothing."""

from __future__ import annotations

import os
import zipfile
from typing import BinaryIO

from .numbers import allowance

SMALL_TEXT = 2**16
"""Bytes of structure that any file may announce. A larger file may announce as many as it has."""


def size_of(file: BinaryIO) -> int:
    """The bytes that `file` has. It is at its beginning afterwards."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def members(archive: zipfile.ZipFile, file: BinaryIO) -> dict[str, zipfile.ZipInfo]:
    """Name → member, in their order. Names are as the file has them; nothing is written to where they may point.

    Raises:
        ValueError: the members announce more bytes than the file's size allows, a name is there twice, or the archive uses
            what no file of tensors does: encryption, compression other than deflate.
    """
    size, listed = size_of(file), archive.infolist()
    file.seek(-12, os.SEEK_END)
    if int.from_bytes(file.read(2), "little") != min(len(listed), 0xFFFF):  # zipfile never looks at this
        raise ValueError("its table of contents is damaged")
    announced = sum(member.file_size for member in listed)
    if announced > allowance(size):
        raise ValueError(
            f"it has {size:,} bytes, and announces {announced:,}; if you trust it, load it with the library that wrote it, and "
            "save it again uncompressed"
        )
    found: dict[str, zipfile.ZipInfo] = {}
    for member in listed:
        name = member.orig_filename  # `filename` is made fit for a file system
        if name in found:
            raise ValueError(f"it holds {name[:80]!r} twice")
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"its member {name[:80]!r} is encrypted, or compressed otherwise than by deflate")
        found[name] = member
    return found


def read_text(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: BinaryIO) -> bytes:
    """The bytes of a member that describes a structure, from which Python objects are made: a hundred bytes for one, at worst.

    Raises:
        ValueError: it announces more bytes than the file has, which structure never does; or fewer than that come.
    """
    if member.file_size > max(size_of(file), SMALL_TEXT):
        raise ValueError(f"{member.orig_filename[:80]!r} announces {member.file_size:,} bytes, more than the file has")
    with archive.open(member) as stream:
        text = stream.read(member.file_size)
    if len(text) != member.file_size:
        raise ValueError(f"{member.orig_filename[:80]!r} has {len(text):,} bytes, but announces {member.file_size:,}")
    return text
