"""Zip archives, the container of .npz and of PyTorch's files. Nothing in an archive is trusted: each size is checked first."""

from __future__ import annotations

import os
import zipfile
from typing import BinaryIO

from .stored_arrays import allowance

METADATA_BYTES = 2**16
"""Bytes of metadata (JSON or pickle) that any file may declare. A larger file may declare as many as its own size."""

LAST_RECORD = b"PK\x05\x06"
"""First bytes of the end of central directory record. A comment may follow the record."""

LAST_RECORD_BYTES = 22

LONGEST_COMMENT_BYTES = 2**16 - 1

LOCATOR = b"PK\x06\x07"
"""First bytes of the ZIP64 locator. It stands right before the last record, and the ZIP64 record right before the locator."""

LOCATOR_BYTES, LARGE_RECORD_BYTES = 20, 56


def size_of(file: BinaryIO) -> int:
    """Size of `file` in bytes. Leaves the file positioned at its start."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def members(archive: zipfile.ZipFile, file: BinaryIO) -> dict[str, zipfile.ZipInfo]:
    """Name → member, in the order of the archive. Names are not sanitised, since nothing is extracted to disk.

    Raises:
        ValueError: the members declare more bytes than the file's size allows (a zip bomb), a name occurs twice, or the archive
            uses encryption or compression other than deflate, which no file of tensors does.
    """
    size, listed = size_of(file), archive.infolist()
    if _declared_members(file, size) not in (len(listed), min(len(listed), 0xFFFF)):  # zipfile does not check this
        raise ValueError("its table of contents is damaged")
    declared = sum(member.file_size for member in listed)
    if declared > allowance(size):
        raise ValueError(
            f"it has {size:,} bytes, but declares {declared:,} when unpacked; if you trust it, load it with the library that "
            "wrote it, and save it again uncompressed"
        )
    found: dict[str, zipfile.ZipInfo] = {}
    for member in listed:
        name = member.orig_filename  # `filename` is sanitised for file systems
        if name in found:
            raise ValueError(f"it has two members named {name[:80]!r}")
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"its member {name[:80]!r} is encrypted, or compressed by another method than deflate")
        found[name] = member
    return found


def _declared_members(file: BinaryIO, size: int) -> int:
    """Number of members according to the end of central directory record, or to the ZIP64 record, which archives of more than
    4 GiB or 65,535 members have. Both are found as zipfile finds them.
    """
    length = min(size, LAST_RECORD_BYTES + LONGEST_COMMENT_BYTES)
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
    """The bytes of a member with metadata. Parsed into Python objects, each byte may cost a hundred bytes of memory.

    Raises:
        ValueError: it declares more bytes than the whole file has, which metadata never does; or it has fewer than declared.
    """
    if member.file_size > max(size_of(file), METADATA_BYTES):
        raise ValueError(f"{member.orig_filename[:80]!r} declares {member.file_size:,} bytes, more than the file has")
    with archive.open(member) as stream:
        text = stream.read(member.file_size)
    if len(text) != member.file_size:
        raise ValueError(f"{member.orig_filename[:80]!r} has {len(text):,} bytes, but declares {member.file_size:,}")
    return text
