"""A check of an array's size before it is computed: a padding of a million pixels is refused with a clear error.

NumPy would fail only where it allocates the memory; and where the system overcommits memory, it would not fail but be killed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Any

import numpy as np

LARGE_BYTES = 1 << 28
"""Smaller arrays are allowed without asking the system how much memory it has."""

UNKNOWN_BYTES = 1 << 46
"""The memory assumed where the system does not say: more than any machine has."""


def check_size(name: str, what: str, shape: Sequence[int], like: Any, hint: str = "") -> None:
    """Refuse an array that is larger than the memory.

    Args:
        what: what the array is, for the error message, such as "the result".
        like: a tensor or an array whose dtype and device it will have.
        hint: what the user can do instead.

    Raises:
        MemoryError: it takes more bytes than the memory has.

    >>> check_size("pad", "the result", (1 << 40, 1 << 40), np.zeros(1, np.float32))
    Traceback (most recent call last):
        ...
    MemoryError: pad: the result (1099511627776, 1099511627776) of float32 takes 4194304 EiB, more than the memory
    """
    bytes_ = prod(shape) * like.dtype.itemsize
    if bytes_ < LARGE_BYTES:
        return
    data = getattr(like, "_data", like)
    if bytes_ > (memory_bytes() if type(data) is np.ndarray else UNKNOWN_BYTES):
        lengths = ", ".join(str(n) if n < 1 << 63 else "2⁶³ or more" for n in shape)
        raise MemoryError(
            f"{name}: {what} ({lengths}) of {like.dtype} takes {in_words(bytes_)}, more than the memory"
            + (f"; {hint}" if hint else "")
        )


def memory_bytes() -> int:
    """The bytes of memory of this machine, or the limit of this process if that is lower."""
    return min(_physical(), _allowed())


@cache
def _physical() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return UNKNOWN_BYTES


def _allowed() -> int:
    """The limit that `ulimit -v` sets. Not cached: it can change while the program runs."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        return UNKNOWN_BYTES if limit == resource.RLIM_INFINITY else limit
    except (ImportError, OSError):
        return UNKNOWN_BYTES


def in_words(bytes_: int) -> str:
    """A number of bytes in the unit in which it is from 1 to 1,023.

    >>> in_words(3 << 30)
    '3 GiB'
    """
    if bytes_ >> 110:
        return "over 10¹⁵ EiB"
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if bytes_ < 1024:
            return f"{bytes_:.4g} {unit}"
        bytes_ /= 1024  # type: ignore[assignment]
    return f"{bytes_:.7g} EiB"
