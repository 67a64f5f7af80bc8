"""Checks that do not stop a device: the error comes when the host waits for the device anyway.

Whether a label is out of range, the host can tell only once it has the label, and for that it waits until a GPU has done all
that it was asked to do: a check like this at every step would leave the GPU idle half of the time. So on a device a check only
remembers, on the device, the worst number that it met. The next copy from that device to the host (`loss.item()`, say) waits in
any case; then the number is there, and the error is raised.

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

MOST = 100
"""Checks that wait for their device at a time. With one more, the oldest is looked at."""


class Check(NamedTuple):
    """What makes two checks the same one: these share one number on the device."""

    device: str
    message: str
    kind: type[Exception]
    limit: int | float


Number = Callable[[Any], Any]

lock = threading.Lock()
waiting: dict[Check, tuple[Array, Number]] = {}
"""For each check on a device that nobody has looked at: the worst number so far, and how to read it. The oldest is first."""


@in_child
def _renew() -> None:
    """Whoever held the lock is not in a forked child; nor is the device, which no child of a fork can use."""
    global lock
    lock = threading.Lock()
    waiting.clear()


def check_limit(
    worst: Array, limit: float, message: str, kind: type[Exception] = ValueError, read: Number = lambda number: number
) -> None:
    """Raise `kind(message)` if `worst` is above `limit`, or nan: at once on the CPU, else at the next copy from its device.

    Calls on one device that share message, kind and limit share one number there, the largest. Each failure is raised once, in
    whichever thread copies first. An error that is raised later says so.

    Args:
        worst: an array of one number.
        message: with `{}` where the number is to stand, or a format as `{:.3g}`; no other braces.
        read: what stands there: a function of `worst` as a Python number.

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
        oldest = next(iter(waiting)) if len(waiting) > MOST else None
        overdue = None if oldest is None else waiting.pop(oldest)
    if oldest is not None and overdue is not None:
        _look(oldest, *overdue, _late(oldest))


def check_range(index: Array, least: int, length: int, message: str, kind: type[Exception] = IndexError) -> Array | None:
    """Raise `kind(message)` if an integer in `index` is below `least`, or `length` or more: when, see `check_limit`.

    Args:
        index: integers.
        message: with `{}` where the number is to stand.

    Returns:
        None where all are known to be in range. On a device, where that is not known, an array of bools: which are out of
        range. The caller keeps these from being used, and makes the results that depend on them nan.

    >>> check_range(np.array([0, 3]), 0, 3, "example: index {} is out of range: it must be from 0 to 2")
    Traceback (most recent call last):
        ...
    IndexError: example: index 3 is out of range: it must be from 0 to 2
    """
    if not index.size:
        return None
    follow(index)
    offset = index.astype(np.int64, copy=False)
    offset = (offset - least if least else offset).view(np.uint64)  # a negative number becomes larger than any length
    check_offset(offset.max(), least, length, message, kind)
    return None if array_module(index) is np else offset > length - least - 1


def check_offset(worst: Array, least: int, length: int, message: str, kind: type[Exception] = IndexError) -> None:
    """As `check_range`, of numbers whose worst is known: `worst` is the largest of number − least, uint64."""
    check_limit(worst, length - least - 1, message, kind, lambda number: int(np.uint64(number).astype(np.int64)) + least)


def raise_failures(device: str) -> None:
    """Look at all checks that wait for `device`, and raise the first error. The rest of them wait for the next call."""
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
