"""Some files out of a .tar.gz, as a stream. The archive may come from anywhere: no size in it is believed, nothing is unpacked.

Python's `tarfile` takes a long name of any length into memory and walks on for hours where a header announces more bytes than
there are. Here each number is checked when it is read, and each piece is bounded before it is read.

A tar archive is blocks of 512 bytes: for each member a header, then its contents, the last block filled up with zeros
(POSIX.1-1988, "ustar"). Long names stand in members of their own before the one that they name: GNU's of type L, POSIX's (pax)
of type x, which is a list of `length key=value`.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO, NamedTuple, cast

from .idx import take

BLOCK = 512
LONGEST_NOTE_BYTES = 1 << 20
"""Of a long name, or of a list of attributes: Linux takes paths of 4,096 bytes."""

MOST_MEMBERS = 10_000
"""Of an archive. The published ones have a dozen; a header takes some 10 µs."""

_PIECE_BYTES = 1 << 18


class Member(NamedTuple):
    """What a header says: the name, the type (see `_read`), and how many bytes of contents follow."""

    name: str
    type: bytes
    size: int


def read_members(path: Path, folder: str, names: Collection[str], most: int, in_all: int) -> dict[str, bytes]:
    """The contents of the regular files of these names, as far as they are there, in `folder` of the archive or at its top.

    Args:
        most: bytes of one of them.
        in_all: bytes of the whole archive, unpacked.

    Raises:
        ValueError: it is no .tar.gz, is cut short or damaged, or holds more than that.
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
    """What is wrong with an archive."""


class _Bounded:
    """A stream that ends in words after so many bytes, and where it is cut short."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self.stream, self.most, self.left = stream, most, most

    def block(self) -> bytes:
        """The next block; nothing at the end."""
        self._count(BLOCK)
        data = take(self.stream, BLOCK)
        if data and len(data) < BLOCK:
            raise EOFError("it ends in the middle of a block")
        return bytes(data)

    def contents(self, size: int, keep: bool) -> bytes:
        """The contents of a member, up to the next block. What is not kept is passed over, a piece at a time."""
        padded = -(-size // BLOCK) * BLOCK
        self._count(padded)
        kept = bytes(take(self.stream, size)) if keep else b""
        self._skip(padded - len(kept))
        return kept

    def rest(self) -> None:
        """Read to the end, where gzip compares its checksum."""
        while piece := self.stream.read(_PIECE_BYTES):
            self._count(len(piece))

    def _count(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise _Refused(f"announces more than {self.most:,} bytes, and is no archive of this data set; get it again")

    def _skip(self, size: int) -> None:
        while size:
            piece = self.stream.read(min(size, _PIECE_BYTES))
            if not piece:
                raise EOFError("it ends in the middle of a file")
            size -= len(piece)


def _read(stream: _Bounded, folder: str, names: Collection[str], most: int) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    noted: dict[str, str] = {}  # of the next member: its path and size, where its header has no room for them
    for _ in range(MOST_MEMBERS):
        header = stream.block()
        if not any(header):  # a block of zeros ends an archive; some have none
            break
        member = _member(header, noted)
        if member.type in (b"L", b"K", b"x", b"g", b"X"):  # about the next one, or about all: a name, a link's aim, attributes
            if member.size > LONGEST_NOTE_BYTES:
                raise _Refused(f"announces a name or note of {member.size:,} bytes, which none has; get it again")
            noted |= _notes(member.type, stream.contents(member.size, keep=True))
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
        raise _Refused(f"has more than {MOST_MEMBERS:,} members, and is no archive of this data set; get it again")
    stream.rest()
    return found


def _member(header: bytes, noted: dict[str, str]) -> Member:
    """What a header says, and what was noted before it."""
    without_sum = header[:148] + b" " * 8 + header[156:]
    signed = sum(memoryview(without_sum).cast("b"))  # as some old programs add up
    if _number(header[148:156]) not in (sum(without_sum), signed):
        raise _Refused("is no .tar.gz, or is cut short or damaged (a header's checksum is wrong); get it again")
    name, prefix = (_text(field) for field in (header[:100], header[345:500]))
    if prefix and header[257:263] == b"ustar\0":
        name = f"{prefix}/{name}"
    size = noted.get("size", "")
    return Member(noted.get("path", name), header[156:157], int(size) if size else _number(header[124:136]))


def _number(field: bytes) -> int:
    """Octal digits; or, after a byte of 0x80, a binary number, the highest byte first."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip(b" ").decode("latin-1")
    if not all(digit in "01234567" for digit in digits):
        raise _Refused(f"is no .tar.gz, or is cut short or damaged (a header has {digits!r} for a number); get it again")
    return int(digits or "0", 8)


def _notes(type: bytes, contents: bytes) -> dict[str, str]:
    """What a member says about the next one. A global one (g) may say nothing that is needed here."""
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
    """Up to the first zero."""
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")
