"""A file lock, so that one run at a time writes to a folder. The system releases it when the process ends, however it ends."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .run_settings import warn

fcntl: Any = None
msvcrt: Any = None
with suppress(ImportError):  # WebAssembly has neither; it has one process only
    import fcntl
with suppress(ImportError):
    import msvcrt

NAME = ".microtensor-lock"
HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
"""The error numbers for a lock that another process holds."""

_taken: dict[Any, int] = {}
"""The folders that this process has locked → its process id. A forked child inherits the dict, with the id of its parent."""
_guard = threading.Lock()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder: for this process, for others on this machine, and on other machines if the file system supports that.

    It is a lock of the system (fcntl, or msvcrt on Windows) on a file `.microtensor-lock` in the folder. It is released when
    the process ends, also by `kill -9`: a file that is left behind locks nothing. If the file system has no locks, a warning
    says so.

    Raises:
        BlockingIOError: another run holds the lock.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, locked(Path(folder)):
    ...     with locked(Path(folder)):
    ...         pass
    Traceback (most recent call last):
        ...
    BlockingIOError: ...
    """
    status = os.stat(folder)
    key = (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(folder)
    with _guard:
        if _taken.get(key) == os.getpid():
            raise BlockingIOError(_refusal(folder, "another fit of this program"))
        _taken[key] = os.getpid()
    file = None
    try:
        file = _acquire(folder)
        yield
    finally:
        if file is not None:
            _release(folder / NAME, file)
        with _guard:
            _taken.pop(key, None)


def _refusal(folder: Path, who: str) -> str:
    return (
        f"Checkpoint: {who} is training in {folder}, and two runs would overwrite each other's checkpoints; wait for its end, "
        "or give another folder"
    )


def _acquire(folder: Path) -> int | None:
    """The descriptor of the locked file; None if locks are not supported."""
    if fcntl is None and msvcrt is None:
        return None
    path = folder / NAME
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            _warn(folder, f"{path} cannot be written")
            return None
        try:
            held = not _lock(file)
            if held:
                raise BlockingIOError(_refusal(folder, _holder(file)))
        except OSError as error:
            os.close(file)
            if isinstance(error, BlockingIOError):
                raise
            if sys.platform not in ("emscripten", "wasi"):  # one process only
                _warn(folder, f"its file system has no locks ({error.strerror})")
            return None
        with suppress(OSError):
            if os.path.samestat(os.fstat(file), os.stat(path)):  # the last holder has not deleted it
                os.ftruncate(file, 0)
                os.pwrite(file, f" process {os.getpid()} on {socket.gethostname()}".encode(), 0) if fcntl else None
                return file
        os.close(file)


def _lock(file: int) -> bool:
    """Try to lock the file, and return whether it worked. Forked children do not inherit a lock of fcntl."""
    try:
        if fcntl is not None:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    except OSError as error:
        if error.errno in HELD:
            return False
        raise
    return True


def _holder(file: int) -> str:
    """The process that holds the lock, which has written its id to the file."""
    with suppress(OSError, ValueError):
        if words := os.pread(file, 200, 0).decode().strip() if fcntl else "":
            return words
    return "another process"


def _release(path: Path, file: int) -> None:
    with suppress(OSError):
        if fcntl is not None:
            os.unlink(path)  # while it is locked: a process that has opened it already finds it deleted, and tries again
    os.close(file)
    with suppress(OSError):
        if fcntl is None:
            os.unlink(path)  # Windows deletes no open file: this fails if another run has opened it


def _warn(folder: Path, why: str) -> None:
    warn(f"Checkpoint: {folder} could not be locked: {why}; see to it that one run alone trains there at a time")
