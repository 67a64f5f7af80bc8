"""Fused kernels: what would be a chain of array calls, done by a GPU in one.

A chain of array calls reads and writes all its numbers once per call, and each call costs a launch. Where that matters, a `.cu`
file stands beside the Python file that uses it, in CUDA C++, and the Python file has both ways, the plain one as reference:

    kernels = Kernels(__file__, "batch_norm.cu")

    def normalise(x, mean, scale):
        if usable(x):
            y = x.copy()
            kernels.each("normalise", x.dtype, x.size, y, mean, scale)
            return y
        return (x - mean) * scale

The source is compiled for each dtype when it is first used (CuPy keeps what was compiled in a folder of the user's): `real` is
the type of the arrays, `wide` the type to sum in. See kernel.cuh for what all kernels stand on.

Parameters: an array is a pointer to its first number, an int a `size` (64 bits), a float a `wide`, None a null pointer; a
NumPy array is a struct of these bytes, passed by value.
"""

from __future__ import annotations

import re
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import Array, array_module, follow
from ..scoped import Setting

THREADS = 256
"""In a block, where a kernel does not ask for another number."""

MOST_BLOCKS = 1 << 16
"""In a grid whose threads share a loop: enough for any GPU."""

HALF = "#include <cuda_fp16.h>\ntypedef __half real; typedef float wide;\n"
TYPES = {"e": HALF, "f": "typedef float real; typedef float wide;\n", "d": "typedef double real; typedef double wide;\n"}
"""What stands before a source, for each dtype by its letter."""

PRELUDE = Path(__file__).with_name("kernel.cuh")

INCLUDE = re.compile(r'^#include "(.+)"$', re.MULTILINE)
"""One file in another, for what some kernels share: the compiler gets a single text, and would look for no file."""

OPTIONS = ("--std=c++17",)


class Chosen(threading.local):
    """What each thread has chosen."""

    kernels = True


chosen = Chosen()


class plain(Setting):
    """Inside, plain array calls alone compute, without kernels on a GPU and without oneDNN on the CPU.

    It is there to compare, or to tell whether a kernel is at fault.
    """

    def __init__(self) -> None:
        super().__init__(chosen, kernels=False)


def usable(array: Array) -> bool:
    """Whether there are kernels for this array: it is on a GPU, and floating point.

    >>> usable(np.ones(3))
    False
    """
    return type(array) is not np.ndarray and chosen.kernels and array.dtype.char in TYPES and array_module(array) is not np


class Kernels:
    """The kernels of a `.cu` file that stands beside the file `beside`."""

    def __init__(self, beside: str, name: str) -> None:
        self.path = Path(beside).with_name(name)

    def source(self, letter: str) -> str:
        """What is compiled for the dtype of this letter. In ASCII: CuPy writes it to a file, in the system's own encoding."""
        text = TYPES[letter] + PRELUDE.read_text(encoding="utf-8") + _with_includes(self.path)
        return text.encode("ascii", "replace").decode("ascii")

    def each(self, name: str, dtype: Any, count: int, *arguments: Any) -> None:
        """Launch a kernel whose threads share a loop over `count` numbers."""
        self.blocks(name, dtype, min(-(-count // THREADS), MOST_BLOCKS), *arguments)

    def blocks(
        self,
        name: str,
        dtype: Any,
        count: int | tuple[int, ...],
        *arguments: Any,
        threads: int = THREADS,
        beside: Array | None = None,
    ) -> None:
        """Launch a kernel of `count` blocks, along up to three axes. Without blocks there is nothing to do.

        Args:
            beside: an array on the GPU where the kernel is to run; None: the first of the arguments.

        Raises:
            ValueError: an array is not contiguous: the kernel would take other numbers for its own.
        """
        grid = count if isinstance(count, tuple) else (count,)
        if 0 in grid:
            return
        letter = np.dtype(dtype).char
        number = np.float64 if letter == "d" else np.float32
        array = beside
        if array is None:
            array = next(a for a in arguments if not isinstance(a, (int, float, np.ndarray, type(None))))
        follow(array)
        kernel = _compiled(array_module(array), self, letter, name)
        kernel(grid, (threads,), tuple([_parameter(name, a, number) for a in arguments]))


def _with_includes(path: Path) -> str:
    """The text of a file, with those that it includes by a path from where it stands."""
    text = path.read_text(encoding="utf-8")
    return INCLUDE.sub(lambda found: _with_includes(path.parent / found[1]), text)


@cache
def _compiled(xp: Any, kernels: Kernels, letter: str, name: str) -> Any:
    return _module(xp, kernels, letter).get_function(name)


@cache
def _module(xp: Any, kernels: Kernels, letter: str) -> Any:
    return xp.RawModule(code=kernels.source(letter), options=OPTIONS)


def _parameter(kernel: str, argument: Any, number: Any) -> Any:
    """As CuPy passes it. It would take a Python float for a double, whatever the kernel expects, and None for nothing. Of
    NumPy's arrays it passes those of a single element: so a struct becomes one.
    """
    if argument is None:
        return np.int64(0)
    if isinstance(argument, int):
        return np.int64(argument)
    if isinstance(argument, float):
        return number(argument)
    if isinstance(argument, np.ndarray) and argument.size != 1:
        return np.ascontiguousarray(argument).reshape(-1).view(np.dtype((np.void, argument.nbytes)))
    if not isinstance(argument, np.ndarray) and not argument.flags.c_contiguous:
        raise ValueError(
            f"{kernel}: a kernel takes contiguous arrays, got shape {argument.shape} with strides {argument.strides}"
        )
    return argument
