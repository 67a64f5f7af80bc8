"""Which array library holds the numbers, and on which device.

An array is a `numpy.ndarray` on device "cpu" or a `cupy.ndarray` on device "cuda:0", "cuda:1" …  Everything above this
file asks `xp = array_module(x)` and writes one code path. This is the only file that names CuPy, and it imports it the
first time that a device is asked for: a program that stays on the CPU never pays for it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

Array = Any
"""A numpy.ndarray or a cupy.ndarray; neither library's stubs describe both."""

after_copy: list[Callable[[str], None]] = []
"""Called with the name of a device after each copy from it to the host. The host has waited for it: see deferred.py."""


def array_module(array: Array) -> ModuleType:
    """The library that `array` belongs to: numpy or cupy.

    >>> array_module(np.zeros(2)).__name__
    'numpy'
    """
    if type(array) is np.ndarray:
        return np
    cupy = sys.modules.get("cupy")
    return cupy if cupy is not None and isinstance(array, cupy.ndarray) else np


def is_array(value: object) -> bool:
    """Whether `value` is an array of NumPy or CuPy (a NumPy scalar such as `np.float32(1)` is not)."""
    return isinstance(value, np.ndarray) or array_module(value) is not np


def device_of(array: Array) -> str:
    """Where `array` lives: "cpu", "cuda:0", "cuda:1" …

    >>> device_of(np.zeros(2))
    'cpu'
    """
    return "cpu" if array_module(array) is np else f"cuda:{array.device.id}"


def is_available() -> bool:
    """Whether device "cuda" can be used: CuPy is installed and finds a GPU."""
    try:
        return bool(importlib.import_module("cupy").cuda.is_available())
    except Exception:  # a driver that does not fit the runtime raises errors of CuPy's own, as many as there are causes
        return False


def parse_device(device: str) -> str:
    """The full name of `device`: "cuda" is the first GPU, "cuda:0".

    Raises:
        TypeError: it is no string.
        ValueError: it is neither "cpu" nor "cuda" nor "cuda:N".

    >>> parse_device("cuda")
    'cuda:0'
    """
    if not isinstance(device, str):
        raise TypeError(f'device: expected "cpu", "cuda" or "cuda:N", got {device!r} ({type(device).__name__})')
    kind, _, index = device.partition(":")
    if device == "cpu":
        return device
    if kind == "cuda" and (index.isdecimal() or device == "cuda"):
        return f"cuda:{int(index or 0)}"
    raise ValueError(f'device: expected "cpu", "cuda" or "cuda:N", got {device!r}')


def to_device(array: Array, device: str) -> Array:
    """`array` on `device`: itself where it is there already, else a copy.

    A copy to the host also raises the errors of checks that had not waited for the device: see deferred.py.

    Raises:
        RuntimeError: a GPU is asked for and CuPy is not installed, or finds no such GPU.
    """
    device, here = parse_device(device), device_of(array)
    if here == device:
        return array
    if device == "cpu":
        host = array.get()
        for function in after_copy:
            function(here)
        return host
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        raise RuntimeError(
            f'device "{device}" needs CuPy, which is not installed: pip install "microtensor[cuda12]" '
            "(or [cuda13], after the CUDA version that `nvidia-smi` shows)"
        ) from error
    index = int(device.partition(":")[2])
    count = cupy.cuda.runtime.getDeviceCount() if is_available() else 0
    if index >= count:
        raise RuntimeError(f'device "{device}": CuPy finds {count} GPUs here; use device "cpu", or check `nvidia-smi`')
    with cupy.cuda.Device(index):
        return cupy.asarray(array)


def to_numpy(array: Array) -> np.ndarray:
    """`array` on the host: itself where it is a NumPy array, else a copy. Waits for the device."""
    return to_device(array, "cpu")
