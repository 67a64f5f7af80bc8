"""Freed memory is kept for the next training step, instead of being returned to the system.

A training step allocates the same arrays as the step before. glibc's `free` returns the top of the heap to the system once
more than a threshold is free there, and the next `malloc` gets it back page by page, with a page fault for each, and cleared:
that can take longer than the arithmetic done in it. So `keep` raises the thresholds for the process: when a module first
gives a result of RETURNED_BYTES or more, not when the package is imported. The number of glibc's arenas (heaps, one or more for
each thread) stays as it is, for other libraries' threads too. Other systems' allocators are left as they are.
"""

from __future__ import annotations

import ctypes
import os
import sys

VARIABLE = "MICROTENSOR_KEEP_MEMORY"
"""The environment variable: "0" leaves glibc's thresholds as they are."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""mallopt's parameters: how many bytes may be free at the top of the heap before it shrinks; from how many bytes on an array is
mapped outside the heap, and unmapped when it is freed."""

TRIM_BYTES = (1 << 31) - 1
"""The largest value that mallopt takes, an int: 2 GiB."""

MMAP_BYTES = 1 << 25
"""The largest value that mallopt takes (DEFAULT_MMAP_THRESHOLD_MAX on 64 bits): 32 MiB."""


RETURNED_BYTES = 1 << 17
"""glibc's own thresholds at the start of a process (DEFAULT_TRIM_THRESHOLD, DEFAULT_MMAP_THRESHOLD): 128 KiB. A program whose
arrays are smaller has nothing to gain."""

undecided = True
"""Whether `keep` was not called yet: a module asks at each call, and a name costs less than a call."""


def keep() -> bool:
    """Keep up to 2 GiB of freed memory from now on, in all threads of the process; whether that is so.

    Arrays of more than 32 MiB still come from the system and return to it. `give_back` empties what is kept.
    """
    global undecided
    undecided = False
    if os.environ.get(VARIABLE) == "0" or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # not glibc
        return False
    return all([mallopt(M_MMAP_THRESHOLD, MMAP_BYTES), mallopt(M_TRIM_THRESHOLD, TRIM_BYTES)])


def give_back() -> None:
    """Return to the system what is kept and not in use."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None
    if trim is not None:
        trim(0)
