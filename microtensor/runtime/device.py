"""The default device: where new tensors are allocated if no device is given.

Data that is on a device already stays there: a tensor, an array on a GPU, the memory that `from_numpy` and `from_dlpack` share,
the results of `zeros_like` and similar functions. All else goes to the default device: Python numbers and lists, NumPy arrays
given to `Tensor`, `tensor`, `as_tensor` and `Parameter`, and the results of `zeros`, `arange`, `rand` and similar functions. So
a layer that is built under another default device has its weights there from the start. (The same as in PyTorch.)
"""

from __future__ import annotations

import threading
from typing import Any

from .arrays import library, parse_device
from .scoped import Setting


class _Chosen(threading.local):
    device: str | None = None
    """As the user wrote it: "cuda" means the GPU that is current when a tensor is made."""


chosen = _Chosen()


def set_default_device(device: str | None) -> None:
    """Set this thread's default device: "cpu", "cuda" or "cuda:N". None is "cpu".

    Other threads keep theirs: those that prepare batches work on the CPU.

    Raises:
        TypeError, ValueError: it is no device.
        RuntimeError: there is no such GPU, or no CuPy; the message says what was found, and what to install.

    >>> set_default_device("cpu")
    >>> get_default_device()
    'cpu'
    """
    if device is not None:
        library(parse_device(device))
    chosen.device = device


def get_default_device() -> str:
    """The full name of this thread's default device: "cpu", "cuda:0", "cuda:1" …"""
    return "cpu" if chosen.device is None else parse_device(chosen.device)


class default_device(Setting):
    """Inside, or in the function that it decorates, new tensors are made on `device`; afterwards where they were before.

    Raises:
        TypeError, ValueError, RuntimeError: as `set_default_device`; the last on entry.

    >>> import microtensor as mt
    >>> with default_device("cpu"):
    ...     mt.zeros(2).device
    'cpu'
    """

    def __init__(self, device: str) -> None:
        parse_device(device)
        super().__init__(chosen, device=device)

    def wanted(self, before: dict[str, Any]) -> dict[str, Any]:
        """The device, if it can be used."""
        library(parse_device(self._values["device"]))
        return self._values


def full_name(device: str | None) -> str:
    """The full name of `device`; of the default device if None."""
    return get_default_device() if device is None else parse_device(device)
