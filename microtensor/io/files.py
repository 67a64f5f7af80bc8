"""Atomic writes: a file is written whole or not at all."""

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
"""Names of temporary files. They do not contain the final name, which may already be as long as the system allows."""

STALE_SECONDS = 3600.0
"""A temporary file that was not written to for so long is taken to be left behind by a killed process."""


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces `path` when the block ends, and is deleted if the block raises.

    The bytes go to a temporary file in the same folder, are flushed to the disk (fsync), and the file is then renamed: a reader
    of `path` sees the old file or the new one, never half of one, even if the program is killed or the disk is full. After the
    block, the new file survives a loss of power. A symbolic link stays a link; the file that it points to is replaced.

    A program that is killed while it writes leaves its temporary file behind (`.microtensor-….part`). A write to that folder
    an hour later or more removes it: a younger one may still be in use.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: `path` exists and is not a regular file, but a folder or a device, say.
        OSError: the system refuses to write. The error names `path`, not the temporary file.

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
    """Let an OSError name `path` if it names no file (as when the disk is full) or names `instead_of`."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and (error.filename is None or str(error.filename) == str(instead_of)):
            error.filename = os.fspath(path)
            del error.filename2  # set where renaming failed; left at None, it would be printed
        raise


def check_place(path: str | os.PathLike[str]) -> Path:
    """Check that a file can be written at `path`, and return where: for a check before long work rather than after it.

    Raises:
        FileNotFoundError: the folder does not exist.
        PermissionError: the folder is not writable.
        ValueError: `path` exists and is not a regular file, but a folder or a device, say.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: the folder {target.parent} does not exist; make it first")
    if target.exists() and not target.is_file():
        raise ValueError(f"cannot write {path}: it exists, and is not a regular file")
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(errno.EACCES, f"the folder {target.parent} may not be written to", str(path))
    return target


def _remove_stale(folder: Path) -> None:
    with (
        suppress(OSError),
        os.scandir(folder) as entries,
    ):  # another process may remove them first, or another user may own them
        for entry in entries:
            if TEMPORARY.fullmatch(entry.name) and entry.stat(follow_symlinks=False).st_mtime < time.time() - STALE_SECONDS:
                os.unlink(entry.path)


def _sync_folder(folder: Path) -> None:
    """Flush the renamed entry of the folder to the disk, where the system can."""
    if os.name != "posix":  # Windows cannot open folders
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (
            errno.EACCES,
            errno.EINVAL,
            errno.ENOTSUP,
        ):  # a folder without read permission, or a file system without fsync
            raise
