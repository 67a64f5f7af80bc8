"""Fused CUDA kernels: one launch for what would be a chain of array calls.

Each call of a chain reads its operands from memory, writes its result there, and costs a launch. Where that matters, a `.cu`
file in CUDA C++ stands beside the Python file that uses it, which has both ways, array calls as the reference:

    kernels = Kernels(__file__, "batch_norm.cu")

    def normalise(x, mean, scale):
        if usable(x):
            y = x.copy()
            kernels.each("normalise", x.dtype, x.size, y, mean, scale)
            return y
        return (x - mean) * scale

The source is compiled for each dtype when it is first used (CuPy keeps what was compiled in a folder of the user's): `real` is
the type of the arrays, `wide` the type to sum in. See kernel.cuh for what all kernels stand on.

Parameters: an array is a pointer to its first element, an int a `size` (64 bits), a float a `wide`, None a null pointer; a
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
"""Threads in a block, unless a kernel needs another number."""

MAX_BLOCKS = 1 << 16
"""The largest grid of a kernel whose threads share a loop (grid-stride loop): enough for any GPU."""

HALF = "#include <cuda_fp16.h>\ntypedef __half real; typedef float wide;\n"
TYPES = {"e": HALF, "f": "typedef float real; typedef float wide;\n", "d": "typedef double real; typedef double wide;\n"}
"""The types that are put before a source, by the letter of the dtype."""

PRELUDE = Path(__file__).with_name("kernel.cuh")

INCLUDE = re.compile(r'^#include "(.+)"$', re.MULTILINE)
"""An include of another file: it is replaced by that file's text, since NVRTC is given a single source and no folder."""

OPTIONS = ("--std=c++17",)


class Chosen(threading.local):
    """Whether each thread uses kernels."""

    kernels = True


chosen = Chosen()


class plain(Setting):
    """Inside, plain array calls alone compute, without kernels on a GPU and without oneDNN on the CPU.

    For comparisons, and to find out whether a kernel is at fault.
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
        """The source to compile for the dtype of this letter. In ASCII, since CuPy writes it to a file in the system's
        encoding."""
        text = TYPES[letter] + PRELUDE.read_text(encoding="utf-8") + _with_includes(self.path)
        return text.encode("ascii", "replace").decode("ascii")

    def each(self, name: str, dtype: Any, count: int, *arguments: Any) -> None:
        """Launch a kernel whose threads share a loop over `count` elements."""
        self.blocks(name, dtype, min(-(-count // THREADS), MAX_BLOCKS), *arguments)

    def blocks(
        self,
        name: str,
        dtype: Any,
        count: int | tuple[int, ...],
        *arguments: Any,
        threads: int = THREADS,
        beside: Array | None = None,
    ) -> None:
        """Launch a kernel on a grid of `count` blocks, of up to three axes; nothing if that is 0.

        Args:
            beside: an array on the GPU where the kernel runs; None: the first array of the arguments.

        Raises:
            ValueError: an array is not contiguous: the kernel would read other elements.
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
    """The text of a file, with its includes, whose paths are relative to its folder, replaced by their text."""
    text = path.read_text(encoding="utf-8")
    return INCLUDE.sub(lambda found: _with_includes(path.parent / found[1]), text)


@cache
def _compiled(xp: Any, kernels: Kernels, letter: str, name: str) -> Any:
    return _module(xp, kernels, letter).get_function(name)


@cache
def _module(xp: Any, kernels: Kernels, letter: str) -> Any:
    return xp.RawModule(code=kernels.source(letter), options=OPTIONS)


def _parameter(kernel: str, argument: Any, number: Any) -> Any:
    """An argument in the form in which CuPy passes it to the kernel with the right size. CuPy would pass a Python float as a
    double, refuses None, and passes NumPy arrays of one element only: so a struct becomes one element of void.
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
