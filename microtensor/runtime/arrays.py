"""The array library, NumPy or CuPy, and the device of an array.

An array is a `numpy.ndarray` on device "cpu" or a `cupy.ndarray` on device "cuda:0", "cuda:1" …  The rest of
the package calls `xp = array_module(x)` and has one code path for both. Only this file imports CuPy, when a GPU is first asked
for: a program that stays on the CPU does not load it.

CuPy launches kernels on the thread's current GPU, whichever GPU the arrays are on. So every operation and every copy between
devices calls `follow` first, and so does other code that works on arrays. Code that creates arrays does so inside `on`.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from .extras import install_hint
from .integers import is_integer

Array = Any
"""A numpy.ndarray or a cupy.ndarray: Any, since no type describes both."""


class Chosen(threading.local):
    """The GPU that each thread has chosen."""

    gpu = 0
    """The number of the GPU that "cuda" means."""


chosen = Chosen()

after_copy: list[Callable[[str], None]] = []
"""Callbacks for each copy from a device to the host, which has synchronized them; with the device's name. See
deferred_checks.py."""


# Library and device of an array


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
    """Whether `value` is an array of NumPy or CuPy (a NumPy scalar such as `np.float32(1)` is not).

    Raises:
        TypeError: it is a masked array, whose mask a tensor would lose. Every array is checked here before it becomes one.
    """
    if type(value) is np.ndarray:
        return True
    if not isinstance(value, np.ndarray):
        return array_module(value) is not np
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"a masked array of shape {value.shape} would lose its mask: fill in a number, array.filled(0), and keep what "
            "np.ma.getmaskarray(array) gives as a tensor of its own, if it is needed"
        )
    return True


def takes_array(name: str, value: object) -> bool:
    """`is_array`, with the name of the calling function in its error."""
    try:
        return is_array(value)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None


def device_of(array: Array) -> str:
    """Where `array` lives: "cpu", "cuda:0", "cuda:1" …

    >>> device_of(np.zeros(2))
    'cpu'
    """
    return "cpu" if array_module(array) is np else f"cuda:{array.device.id}"


def take(array: Array, index: Array, axis: int | None = None) -> Array:
    """array.take(index, axis) for an index of any integer dtype: NumPy on a 32-bit system refuses int64.

    >>> take(np.array([5.0, 6.0]), np.array([1, 1, 0]))
    array([6., 6., 5.])
    """
    return array.take(index.astype(np.intp, copy=False), axis)


# To another device


def to_device(array: Array, device: str) -> Array:
    """`array` on `device`: itself if it is there already, else a copy.

    A copy to the host also raises the errors of deferred checks: see deferred_checks.py.

    Raises:
        RuntimeError: as `library`.
    """
    device, here = parse_device(device), device_of(array)
    if here == device:
        return array
    if device == "cpu":
        host = array.get()
        for function in after_copy:
            function(here)
        return host
    with on(device) as xp:
        moved = xp.asarray(array)
    follow(moved)
    return moved


def to_numpy(array: Array) -> np.ndarray:
    """`array` on the host: itself if it is a NumPy array, else a copy, which synchronizes."""
    return to_device(array, "cpu")


def follow(array: Array) -> None:
    """Make the GPU of `array` this thread's current one, if it is on a GPU, so that CuPy launches the next kernels there.

    It stays the current one: the next kernels are mostly for the same arrays. With a single GPU nothing has to be done.
    """
    if type(array) is np.ndarray:
        return
    xp = array_module(array)
    if xp is not np and _gpus(xp) > 1 and array.device.id != xp.cuda.runtime.getDevice():
        xp.cuda.Device(array.device.id).use()


@contextmanager
def on(device: str) -> Iterator[ModuleType]:
    """Inside, `device` is the current GPU, where new arrays are allocated; `as` gives the library, NumPy or CuPy.

    Raises:
        TypeError, ValueError: as `parse_device`.
        RuntimeError: as `library`.

    >>> with on("cpu") as xp:
    ...     xp.ones(2)
    array([1., 1.])
    """
    device = parse_device(device)
    xp = library(device)
    if xp is np:
        yield xp
    else:
        with xp.cuda.Device(index_of(device)):
            yield xp


# Names of devices, and which GPUs can be used


def parse_device(device: str) -> str:
    """The full name of `device`: "cuda" is "cuda:0", unless `microtensor.cuda` chose another GPU for this thread.

    Raises:
        TypeError: it is no string.
        ValueError: it is neither "cpu" nor "cuda" nor "cuda:N".

    >>> parse_device("cuda")
    'cuda:0'
    """
    if not isinstance(device, str):
        raise TypeError(f'device: expected "cpu", "cuda" or "cuda:N", got {device!r} ({type(device).__name__})')
    if device == "cpu":
        return device
    kind, _, index = device.partition(":")
    if device == "cuda":
        return f"cuda:{chosen.gpu}"
    if kind == "cuda" and index.isdecimal():
        return f"cuda:{int(index)}"
    raise ValueError(f'device: expected "cpu", "cuda" or "cuda:N", got {device!r}')


def parse_gpu(name: str, device: Any) -> str:
    """The full name of a GPU, from its number, its name, or None for "cuda". `name`: of the calling function, for errors.

    Raises:
        TypeError, ValueError: it is the number or name of no GPU.

    >>> parse_gpu("example", 1)
    'cuda:1'
    """
    number = is_integer(device) and device >= 0
    full = parse_device("cuda" if device is None else f"cuda:{device}" if number else device)
    if full == "cpu":
        raise ValueError(f'{name}: expected a GPU, "cuda", "cuda:N" or its number, got {device!r}')
    return full


def index_of(device: str) -> int:
    """The number of the GPU of this full name.

    >>> index_of("cuda:1")
    1
    """
    return int(device.partition(":")[2])


def gpu_count() -> int:
    """How many GPUs can be used: 0 if CuPy is not installed, or finds none."""
    try:
        return _gpus(importlib.import_module("cupy"))
    except Exception:  # where driver and runtime do not fit, CuPy raises errors of several classes of its own
        return 0


def is_available() -> bool:
    """Whether device "cuda" can be used: CuPy is installed and finds a GPU."""
    return gpu_count() > 0


def library(device: str) -> ModuleType:
    """The library of the arrays on a device of this full name: NumPy; or CuPy, if the GPU can be used.

    Raises:
        RuntimeError: CuPy is not installed, or does not fit the driver, or finds no such GPU, or no compiler for its kernels.
            The message says what was found, and what to install.
    """
    if device == "cpu":
        return np
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "cupy"
        found = "is not installed" if missing else f"cannot be imported ({_first_line(error)})"
        raise RuntimeError(f'device "{device}" needs CuPy, which {found}; {_what_to_install()}') from error
    try:
        count = _gpus(cupy)
    except Exception as error:
        raise RuntimeError(f'device "{device}": {_why_no_gpu(cupy, error)}') from error
    if index_of(device) >= count:
        names = ", ".join(f'"cuda:{i}"' for i in range(count)) or "none"
        raise RuntimeError(f'device "{device}": there is no such GPU; CuPy finds {names}. Use one of these, or device "cpu"')
    try:
        _compiler(cupy)
    except Exception as error:
        built = int(cupy.cuda.runtime.runtimeGetVersion())
        raise RuntimeError(
            f'device "{device}": CuPy finds a GPU, but not NVRTC, the compiler of its kernels ({_first_line(error)}); it comes '
            f'with the extra ctk: pip install "cupy-cuda{built // 1000}x[ctk]"'
        ) from error
    return cupy


@functools.cache
def _gpus(cupy: ModuleType) -> int:
    """How many GPUs CuPy finds. Raises what CuPy does where the driver is missing or too old."""
    return int(cupy.cuda.runtime.getDeviceCount())


@functools.cache
def _compiler(cupy: ModuleType) -> Any:
    """The version of the compiler that CuPy has for its kernels. Raises what CuPy does where there is none."""
    return cupy.cuda.nvrtc.getVersion()


def _why_no_gpu(cupy: ModuleType, error: Exception) -> str:
    """Why the installed CuPy finds no GPU, and what to do."""
    driver, built = _driver(), int(cupy.cuda.runtime.runtimeGetVersion())
    if not driver:
        return _what_to_install()
    if driver // 1000 < built // 1000:
        package = f"cupy-cuda{built // 1000}x"
        return f"the installed CuPy is built for CUDA {_version(built)}: pip uninstall {package}; {_what_to_install()}"
    return f"CuPy finds no GPU ({_first_line(error)}); see what `nvidia-smi` lists, and what CUDA_VISIBLE_DEVICES leaves of it"


def _what_to_install() -> str:
    """The CUDA version of the driver, and how to install a CuPy for it."""
    driver = _driver()
    if not driver:
        return (
            'no NVIDIA driver was found here. Use device "cpu"; or, where there is an NVIDIA GPU, install its driver, and '
            f"{install_hint('cuda12')}, or {install_hint('cuda13')}, after the CUDA version that `nvidia-smi` shows"
        )
    found = f"the NVIDIA driver here is for CUDA {_version(driver)}"
    if driver < 12000:
        return f"{found}: update it to one for CUDA 12 or later, and {install_hint('cuda12')}"
    return f"{found}: {install_hint(f'cuda{min(driver // 1000, 13)}')}"


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _driver() -> int:
    """The newest CUDA version that the driver supports, 12040 for 12.4; 0 without a driver. It needs no CuPy."""
    version = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        driver.cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return 0
    return version.value


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip(" =-")), type(error).__name__)
