"""Read some files from a .tar.gz as a stream. Archives need not be trusted: sizes are checked, nothing is unpacked to disk.

Python's `tarfile` reads long names of any length into memory, and runs for hours if a header declares far more bytes than
exist. Here each number is checked when it is read, and each read is bounded.

A tar archive consists of blocks of 512 bytes: for each member a header, then its contents, padded with zeros to a full block
(POSIX.1-1988, "ustar"). Long names are in extra members before the member that they name: of type L for GNU, of type x for
POSIX (pax), a list of `length key=value`.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO, NamedTuple, cast

from .idx import take

BLOCK_BYTES = 512
MAX_ATTRIBUTES_BYTES = 1 << 20
"""Of a long name or a list of attributes. Paths on Linux have at most 4,096 bytes."""

MAX_MEMBERS = 10_000
"""Of an archive. The published ones have a dozen; reading a header takes some 10 µs."""

_CHUNK_BYTES = 1 << 18


class Member(NamedTuple):
    """A header: the name, the type (see `_read`), and the size of the contents in bytes."""

    name: str
    type: bytes
    size: int


def read_members(path: Path, folder: str, names: Collection[str], most: int, in_all: int) -> dict[str, bytes]:
    """The contents of the regular files with these names, in `folder` of the archive or at its top. Missing ones are left out.

    Args:
        most: limit on the bytes of one of the files.
        in_all: limit on the bytes of the whole archive, unpacked.

    Raises:
        ValueError: it is not a .tar.gz, is cut short or damaged, or exceeds a limit.
        OSError: it cannot be read.
    """
    with path.open("rb") as file, gzip.GzipFile(fileobj=file) as stream:
        try:
            return _read(_Bounded(cast("IO[bytes]", stream), in_all), folder, names, most)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path} is no .tar.gz, or is cut short or damaged ({error}); get it again") from error
        except _Refused as error:
            raise ValueError(f"{path} {error}") from None


class _Refused(Exception):
    """Something is wrong with the archive."""


class _Bounded:
    """A stream that raises after `most` bytes, or if it is cut short."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self.stream, self.most, self.left = stream, most, most

    def block(self) -> bytes:
        """The next block; empty at the end."""
        self._count(BLOCK_BYTES)
        data = take(self.stream, BLOCK_BYTES)
        if data and len(data) < BLOCK_BYTES:
            raise EOFError("it ends in the middle of a block")
        return bytes(data)

    def contents(self, size: int, keep: bool) -> bytes:
        """Read the contents of a member with their padding. If not kept, they are skipped in chunks, and b"" is returned."""
        padded = -(-size // BLOCK_BYTES) * BLOCK_BYTES
        self._count(padded)
        kept = bytes(take(self.stream, size)) if keep else b""
        self._skip(padded - len(kept))
        return kept

    def rest(self) -> None:
        """Read to the end, where gzip checks its checksum."""
        while chunk := self.stream.read(_CHUNK_BYTES):
            self._count(len(chunk))

    def _count(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise _Refused(f"announces more than {self.most:,} bytes, and is no archive of this data set; get it again")

    def _skip(self, size: int) -> None:
        while size:
            chunk = self.stream.read(min(size, _CHUNK_BYTES))
            if not chunk:
                raise EOFError("it ends in the middle of a file")
            size -= len(chunk)


def _read(stream: _Bounded, folder: str, names: Collection[str], most: int) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    noted: dict[str, str] = {}  # path and size of the next member, if they do not fit in its header
    for _ in range(MAX_MEMBERS):
        header = stream.block()
        if not any(header):  # a block of zeros ends an archive; some have none
            break
        member = _member(header, noted)
        if member.type in (b"L", b"K", b"x", b"g", b"X"):  # attributes of the next member or of all: name, link target, …
            if member.size > MAX_ATTRIBUTES_BYTES:
                raise _Refused(f"announces a name or note of {member.size:,} bytes, which none has; get it again")
            noted |= _attributes(member.type, stream.contents(member.size, keep=True))
            continue
        noted = {}
        if member.type == b"S":
            raise _Refused("has a sparse file in it, which no published archive has; get it again")
        if member.type in (b"1", b"2", b"3", b"4", b"5", b"6"):  # links, devices, folders: they have no contents
            continue
        name = member.name.removeprefix("./").removeprefix(f"{folder}/")
        wanted = name in names and member.type in (b"0", b"\0", b"7")
        if wanted and member.size > most:
            raise _Refused(f"has a {name} of {member.size:,} bytes; expected {most} bytes at most, found more")
        contents = stream.contents(member.size, keep=wanted)
        if wanted:
            found[name] = contents
    else:
        raise _Refused(f"has more than {MAX_MEMBERS:,} members, and is no archive of this data set; get it again")
    stream.rest()
    return found


def _member(header: bytes, noted: dict[str, str]) -> Member:
    """Parse a header, using the attributes noted before it."""
    without_sum = header[:148] + b" " * 8 + header[156:]
    signed = sum(memoryview(without_sum).cast("b"))  # as some old programs compute it
    if _number(header[148:156]) not in (sum(without_sum), signed):
        raise _Refused("is no .tar.gz, or is cut short or damaged (a header's checksum is wrong); get it again")
    name, prefix = (_text(field) for field in (header[:100], header[345:500]))
    if prefix and header[257:263] == b"ustar\0":
        name = f"{prefix}/{name}"
    size = noted.get("size", "")
    return Member(noted.get("path", name), header[156:157], int(size) if size else _number(header[124:136]))


def _number(field: bytes) -> int:
    """Parse octal digits; or, after a byte 0x80, a big-endian integer."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip(b" ").decode("latin-1")
    if not all(digit in "01234567" for digit in digits):
        raise _Refused(f"is no .tar.gz, or is cut short or damaged (a header has {digits!r} for a number); get it again")
    return int(digits or "0", 8)


def _attributes(type: bytes, contents: bytes) -> dict[str, str]:
    """The path and size of the next member from a member with attributes. Global ones (g) are ignored."""
    if type == b"L":
        return {"path": _text(contents)}
    if type == b"K" or type == b"g":
        return {}
    found = {}
    while contents.strip(b"\0"):
        length, space, _ = contents.partition(b" ")
        if not space or not length.isdigit() or len(length) > 7 or not len(length) + 2 < int(length) <= len(contents):
            raise _Refused("is cut short or damaged (its list of attributes is); get it again")
        key, _, value = contents[len(length) + 1 : int(length) - 1].partition(b"=")
        if key.startswith(b"GNU.sparse"):
            raise _Refused("has a sparse file in it, which no published archive has; get it again")
        if key == b"path" or key == b"size" and value.isdigit() and len(value) < 20:
            found[key.decode()] = _text(value)
        contents = contents[int(length) :]
    return found


def _text(field: bytes) -> str:
    """Decode a field up to its first zero byte."""
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")
