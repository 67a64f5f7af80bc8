"""Memory that a step has freed is kept for the next one.

A training step makes the same arrays as the step before. glibc's `free` gives large ones back to the system, and the next
`malloc` gets them again page by page, each cleared and mapped anew: that can take longer than the arithmetic done in it. So
glibc is asked to keep what is freed. Other systems' allocators are left as they are.
"""

from __future__ import annotations

import ctypes
import os
import sys

VARIABLE = "MICROTENSOR_KEEP_MEMORY"
"""Set it to 0, and glibc does as it would by itself."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""mallopt's names: how much may be free at the top of the heap; from which size on an array is mapped by itself, in bytes; and
how many heaps there are: with one for each thread, what one has freed is not for the others."""

MOST_KEPT = (1 << 31) - 1
LARGEST = 1 << 25
"""The most that mallopt takes for each."""


def keep() -> bool:
    """From now on memory that was freed is kept, up to 2 GiB, for all threads of the process; whether it is so.

    Arrays of more than 32 MiB still come from the system, and go back there. `give_back` empties what is kept.
    """
    if os.environ.get(VARIABLE) == "0" or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # not glibc
        return False
    return all([mallopt(M_MMAP_THRESHOLD, LARGEST), mallopt(M_TRIM_THRESHOLD, MOST_KEPT), mallopt(M_ARENA_MAX, 1)])


def give_back() -> None:
    """Give what is kept and not in use back to the system."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None
    if trim is not None:
        trim(0)
