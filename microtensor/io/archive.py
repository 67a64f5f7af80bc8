"""Zip archives, in which .npz and PyTorch's files lie. An archive may come from anywhere, and is believed in nothing."""

from __future__ import annotations

import os
import zipfile
from typing import BinaryIO

from .stored_arrays import allowance

SMALL_TEXT = 2**16
"""Bytes of structure that any file may announce. A larger file may announce as many as it has."""

LAST_RECORD = b"PK\x05\x06"
"""What the last record of an archive begins with. A comment may follow it."""

LAST_RECORD_BYTES = 22

LONGEST_COMMENT = 2**16 - 1

LOCATOR = b"PK\x06\x07"
"""What stands right before the last record where there is one of 64-bit numbers, and that right before this."""

LOCATOR_BYTES, LARGE_RECORD_BYTES = 20, 56


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
    if _announced(file, size) not in (len(listed), min(len(listed), 0xFFFF)):  # zipfile never looks at this
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


def _announced(file: BinaryIO, size: int) -> int:
    """How many members the archive's last record says that there are, or the one before it, which archives of more than 4 GiB
    or 65,535 members have. They are where zipfile finds them.
    """
    length = min(size, LAST_RECORD_BYTES + LONGEST_COMMENT)
    file.seek(size - length)
    tail = file.read(length)
    without_comment = len(tail) - LAST_RECORD_BYTES
    plain = tail.startswith(LAST_RECORD, without_comment) and tail.endswith(b"\0\0")
    at = without_comment if plain else tail.rfind(LAST_RECORD)
    if tail.startswith(LOCATOR, at - LOCATOR_BYTES):
        begin = size - length + at - LOCATOR_BYTES - LARGE_RECORD_BYTES
        file.seek(max(begin, 0))
        return int.from_bytes(file.read(LARGE_RECORD_BYTES)[32:40], "little")
    return int.from_bytes(tail[at + 10 : at + 12], "little")


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
