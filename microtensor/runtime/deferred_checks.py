"""Checks that do not synchronize with a GPU: the error is raised at the next copy to the host, which synchronizes anyway.

To see whether a label is out of range, the host must copy it from the GPU, and for that waits until the GPU has done all queued
work: at every step, that would leave the GPU idle half of the time. So on a GPU a check only computes the worst value, and
keeps it there. The next copy from that device to the host (`loss.item()`, say) waits in any case; then the value is read, and
the error raised.

On the CPU the error is raised at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import arrays
from .arrays import Array, array_module, device_of, follow
from .forking import in_child

MAX_WAITING = 100
"""Pending checks. With one more, the oldest is read, which synchronizes."""


class Check(NamedTuple):
    """The key of a check: calls with the same key share one value on the device."""

    device: str
    message: str
    kind: type[Exception]
    limit: int | float


Number = Callable[[Any], Any]

lock = threading.Lock()
waiting: dict[Check, tuple[Array, Number]] = {}
"""Pending checks, the oldest first: the worst value so far, on the device, and how to turn it into what the message says."""


@in_child
def _renew() -> None:
    """A forked child has a lock of its own, and no pending checks: it cannot use its parent's GPU."""
    global lock
    lock = threading.Lock()
    waiting.clear()


def check_limit(
    worst: Array, limit: float, message: str, kind: type[Exception] = ValueError, read: Number = lambda number: number
) -> None:
    """Raise `kind(message)` if `worst` is above `limit`, or nan: at once on the CPU, else at the next copy from its device.

    Calls on one device with the same message, kind and limit share one value there, the largest. A failure is raised once, in
    the thread that copies first. An error of an earlier step says so.

    Args:
        worst: an array of one element.
        message: with `{}`, or a format such as `{:.3g}`, for the value; no other braces.
        read: from `worst`, as a Python number, to the value in the message.

    >>> check_limit(np.array(3), 5, "example: expected 5 at most, got {}")
    >>> check_limit(np.array(7), 5, "example: expected 5 at most, got {}")
    Traceback (most recent call last):
        ...
    ValueError: example: expected 5 at most, got 7
    """
    check = Check(device_of(worst), message, kind, limit)
    if check.device == "cpu":
        _look(check, worst, read, "")
        return
    follow(worst)
    with lock:
        before = waiting.pop(check, None)
        waiting[check] = worst if before is None else array_module(worst).maximum(before[0], worst), read
        oldest = next(iter(waiting)) if len(waiting) > MAX_WAITING else None
        overdue = None if oldest is None else waiting.pop(oldest)
    if oldest is not None and overdue is not None:
        _look(oldest, *overdue, _late(oldest))


def check_range(index: Array, least: int, length: int, message: str, kind: type[Exception] = IndexError) -> Array | None:
    """Raise `kind(message)` if an integer in `index` is below `least`, or `length` or more: see `check_limit` for when.

    Args:
        index: integers.
        message: with `{}` for the worst index.

    Returns:
        None on the CPU, where all are in range. On a GPU, where that is not known yet, an array of bools: which are out of
        range. The caller does not index with these, and sets the results that depend on them to nan.

    >>> check_range(np.array([0, 3]), 0, 3, "example: index {} is out of range: it must be from 0 to 2")
    Traceback (most recent call last):
        ...
    IndexError: example: index 3 is out of range: it must be from 0 to 2
    """
    if not index.size:
        return None
    follow(index)
    offset = index.astype(np.int64, copy=False)
    offset = (offset - least if least else offset).view(np.uint64)  # a negative index becomes larger than any length
    check_offset(offset.max(), least, length, message, kind)
    return None if array_module(index) is np else offset > length - least - 1


def check_offset(worst: Array, least: int, length: int, message: str, kind: type[Exception] = IndexError) -> None:
    """`check_range` where the worst index is known: `worst` is the largest of index − least, as uint64."""
    check_limit(worst, length - least - 1, message, kind, lambda number: int(np.uint64(number).astype(np.int64)) + least)


def raise_failures(device: str) -> None:
    """Read the pending checks of `device`, and raise the first error. Those after it stay pending until the next call."""
    while waiting:
        with lock:
            check = next((check for check in waiting if check.device == device), None)
            if check is None:
                return
            worst, read = waiting.pop(check)
        _look(check, worst, read, _late(check))


def _look(check: Check, worst: Array, read: Number, late: str) -> None:
    number = worst.item()  # waits for the device
    if not number <= check.limit:
        raise check.kind(check.message.format(read(number)) + late)


def _late(check: Check) -> str:
    return f" (in an earlier step: on {check.device} such an error is noticed when numbers are next copied from there)"


arrays.after_copy.append(raise_failures)
