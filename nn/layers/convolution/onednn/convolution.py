"""Convolution on arrays by oneDNN, a library that compiles each for the CPU at hand: an optional extra, for float32.

Where the extra `onednn` is installed (`pip install onednn-cpu-gomp`, on Linux) it is used, after a test: at first use, a few
convolutions are compared with those of `im2col`, and if they differ, the library stays off, with a warning. The environment
variable MICROTENSOR_ONEDNN=0 turns it off, and `kernels.plain` for a few lines; MICROTENSOR_ONEDNN=/a/path/libdnnl.so.3 names
another file of the library, from conda, say.

The threads are ours (`threads.share`), and the library uses none: a convolution is cut, by its shape alone, into parts of
images, or of channels where the weight is larger than the images. So results do not depend on the number of threads. They are
those of the NumPy ways but for rounding, and may depend on the CPU, for which the library chooses its code.
"""

from __future__ import annotations

import os
import warnings
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from microtensor.runtime.arrays import Array

from ...windows import Window
from ..cpu import im2col
from ..problem import OPERATIONS, Problem, with_bias
from .bindings import Failure, Library
from .schedule import BLOCK_CHANNELS, MIN_PART_MACS, Schedule

VARIABLE = "MICROTENSOR_ONEDNN"
PACKAGE, FILE = "onednn-cpu-gomp", "libdnnl.so.3"

MAX_SCHEDULES = 1024
"""Compiled convolutions are cached for this many problems."""


def why_not(problem: Problem) -> str:
    """It is for float32 on the CPU, where oneDNN is installed and has code of its own for the shape."""
    if problem.device.name != "cpu" or problem.dtype != "f":
        return "it is for float32 on the CPU"
    if not problem.device.kernels or library() is None:
        return "oneDNN is not installed, or is turned off"
    schedule = _schedule(problem)
    return schedule if isinstance(schedule, str) else ""


def forward(x: Array, weight: Array, bias: Array | None, problem: Problem) -> Array:
    """(N, C, H, W), (O, C/G, kh, kw), (O,) → (N, O, H', W')."""
    if problem.bias != (bias is not None):  # what was compiled must get what it was compiled for
        problem = problem._replace(bias=bias is not None)
    return _run([x, weight, None], problem, bias)


def grad_input(g: Array, weight: Array, bias: Array | None, problem: Problem) -> Array:
    """(N, O, H', W'), (O, C/G, kh, kw), (C,) → (N, C, H, W)."""
    return with_bias(_run([None, weight, g], problem), bias)


def grad_weight(x: Array, g: Array, problem: Problem) -> Array:
    """(N, C, H, W), (N, O, H', W') → (O, C/G, kh, kw)."""
    return _run([x, None, g], problem)


def _run(arrays: list[Array | None], problem: Problem, bias: Array | None = None) -> Array:
    schedule: Any = _schedule(problem)  # words are refused by `why_not`
    return schedule.run(arrays, bias)


@lru_cache(MAX_SCHEDULES)
def _schedule(problem: Problem) -> Schedule | str:
    """How to compute a problem; or why oneDNN does not, in words."""
    found, sizes = library(), (problem.kernels, problem.channels)
    fills = all(size % BLOCK_CHANNELS == 0 or BLOCK_CHANNELS % size == 0 for size in sizes)
    if 1 < problem.groups < problem.x[1] and not fills:
        return f"the channels of a group do not fill blocks of {BLOCK_CHANNELS}, and it would mostly multiply zeros"
    if found is None:
        return "oneDNN is not installed, or is turned off"
    try:
        schedule = Schedule(found, problem, MIN_PART_MACS)
    except Failure:
        return "oneDNN has only slow code for this shape"
    if any("gemm" in code.convolution.implementation for code in schedule.compiled):
        return "oneDNN would use im2col for this shape, and ours is quicker"
    return schedule


# The library


@cache
def library() -> Library | None:
    """oneDNN, if it is installed, not turned off, and computes what `im2col` does; else None.

    Warns:
        RuntimeWarning: it is installed, or the environment variable names it, but cannot be used.
    """
    wanted = os.environ.get(VARIABLE, "").strip()
    path = _installed() if wanted in ("", "1") else Path(wanted)
    if path is None or wanted == "0":
        return None
    try:
        found = Library(path)
        wrong = _differs(found)
    except (OSError, AttributeError, Failure) as error:  # AttributeError: a function that it should have is missing
        found, wrong = None, str(error)
    if wrong:
        _warn(
            f"oneDNN is not used: {wrong}. Convolutions are computed without it; {VARIABLE}=0 turns it off without this warning"
        )
        return None
    return found


def _warn(words: str) -> None:
    warnings.warn(words, RuntimeWarning, stacklevel=2)


def _installed() -> Path | None:
    """The library's file in its package."""
    try:
        package = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        return None
    files = [Path(str(package.locate_file(file))) for file in package.files or () if file.name == FILE]
    return files[0].resolve() if files else Path(FILE)


TRIALS = (
    # images, channels, kernels, groups, size, window
    (4, 20, 17, 1, (9, 8), Window((3, 3), (1, 1), ((1, 1), (1, 1)))),
    (1, 5, 40, 1, (7, 9), Window((3, 2), (2, 1), ((1, 0), (0, 2)), (2, 1))),
    (3, 6, 4, 2, (8, 8), Window((2, 2), (2, 2))),
    (3, 18, 18, 18, (10, 9), Window((3, 3), (2, 2), ((1, 1), (1, 1)))),
    (2, 33, 20, 1, (5, 6), Window((1, 1))),
)
"""The convolutions of the test at first use, each cut into as many parts as possible."""

TOLERANCE = 1e-4
"""Relative to the largest value: sums of a few hundred products differ by 1e-6, a value in a wrong place by about 1."""


def _differs(found: Library) -> str:
    """How the results of this library differ from those of `im2col`, in words; "" if they do not."""
    rng = np.random.default_rng(0)
    for images, channels, kernels, groups, size, window in TRIALS:
        shape = (kernels, channels // groups, *window.kernel)
        shapes = ((images, channels, *size), shape, (images, kernels, *window.places("conv2d", size)), (kernels,))
        x, weight, g, bias = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
        for operation, arrays, given in zip(
            OPERATIONS, ([x, weight, None], [None, weight, g], [x, None, g]), ((x, weight, bias), (g, weight, None), (x, g))
        ):
            shift = bias if operation == "forward" else None
            problem = Problem(operation, *shapes[:3], window, groups, bias=shift is not None)
            expected = getattr(im2col, operation)(*given, problem)
            try:
                schedule = Schedule(found, problem, least=1)
            except Failure:  # then it is not used for such a shape
                continue
            most = np.abs(schedule.run(arrays, shift) - expected).max() / np.abs(expected).max()
            if not most < TOLERANCE:
                words = f"computes a convolution ({operation}, {window}, {groups} groups) wrong, by {most:.0%}"
                return f"version {found.version} {words}"
    return ""
