"""Files that are written whole or not at all: what `state` and `plot` share."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write bytes to, which takes its place at `path` when the block ends, and leaves no trace if it raises.

    The bytes go to a temporary file in the same folder, down to the disk, and are then renamed: a reader of `path` sees the
    old file or the new one, never half of one, also where the program is stopped or the disk is full in between. A
    symbolic link stays a link, and the file that it points to is replaced.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: something that is no file, such as a folder or a device, stands at `path`.
        OSError: the system refuses to write.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with whole_file(f"{folder}/note") as file:
    ...         _ = file.write(b"whole")
    ...     pathlib.Path(folder, "note").read_bytes()
    b'whole'
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: the folder {target.parent} does not exist; make it first")
    if target.exists() and not target.is_file():
        raise ValueError(f"cannot write {path}: it is there already, and is no file")
    temporary = target.with_name(f".{secrets.token_hex(8)}.part")
    file = open(temporary, "xb")  # noqa: SIM115 (closed before the renaming, which Windows refuses on an open file)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:  # a KeyboardInterrupt too
        temporary.unlink(missing_ok=True)
        raise
