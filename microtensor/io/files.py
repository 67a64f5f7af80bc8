"""Files that are written whole or not at all: what `state` and `plot` share."""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

TEMPORARY = re.compile(r"\.microtensor-[0-9a-f]{16}\.part")
"""The name of a file that is being written. Not made of the final name, which may be as long as the system takes."""

STALE = 3600.0
"""Seconds without a byte written, after which a temporary file is taken to be what a killed process left behind."""


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write bytes to, which takes its place at `path` when the block ends, and leaves no trace if it raises.

    The bytes go to a temporary file in the same folder, down to the disk, and are then renamed: a reader of `path` sees the
    old file or the new one, never half of one, also where the program is stopped or the disk is full in between; and where the
    block has ended, the new one is there even after a loss of power. A symbolic link stays a link, and the file that it
    points to is replaced.

    A program that is killed while it writes leaves its temporary file behind (`.microtensor-….part`). The next write to that
    folder removes it, an hour later at the earliest: a younger one may still be growing.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: something that is no file, such as a folder or a device, stands at `path`.
        OSError: the system refuses to write. It names `path`, not the temporary file.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with whole_file(f"{folder}/note") as file:
    ...         _ = file.write(b"whole")
    ...     pathlib.Path(folder, "note").read_bytes()
    b'whole'
    """
    target = check_place(path)
    _remove_stale(target.parent)
    temporary = target.with_name(f".microtensor-{secrets.token_hex(8)}.part")
    try:
        with naming(path, temporary):
            with open(temporary, "xb") as file:  # inside the try: Ctrl-C may come between any two steps
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
    except BaseException:  # a KeyboardInterrupt too
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


@contextmanager
def naming(path: str | os.PathLike[str], instead_of: Path | None = None) -> Iterator[None]:
    """Errors of the system that name no file, such as that the disk is full, or `instead_of`, name `path`."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and (error.filename is None or str(error.filename) == str(instead_of)):
            error.filename = os.fspath(path)
            del error.filename2  # where a file was to be moved; None would be printed
        raise


def check_place(path: str | os.PathLike[str]) -> Path:
    """Where a file would be written: to be asked before long work, rather than to be refused after it.

    Raises:
        FileNotFoundError: the folder does not exist.
        PermissionError: no file may be made in it.
        ValueError: something that is no file, such as a folder or a device, stands at `path`.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: the folder {target.parent} does not exist; make it first")
    if target.exists() and not target.is_file():
        raise ValueError(f"cannot write {path}: it is there already, and is no file")
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(errno.EACCES, f"the folder {target.parent} may not be written to", str(path))
    return target


def _remove_stale(folder: Path) -> None:
    with suppress(OSError), os.scandir(folder) as entries:  # another process may be faster, or the files be another user's
        for entry in entries:
            if TEMPORARY.fullmatch(entry.name) and entry.stat(follow_symlinks=False).st_mtime < time.time() - STALE:
                os.unlink(entry.path)


def _sync_folder(folder: Path) -> None:
    """The new name down to the disk, where the system can."""
    if os.name != "posix":  # Windows opens no folders
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EINVAL, errno.ENOTSUP):  # a folder that may be written, not read; or no disk
            raise
