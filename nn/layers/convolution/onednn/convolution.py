"""Convolution on arrays by oneDNN, a library that compiles each for the CPU at hand: an optional extra, for float32.

What the extra `onednn` installs (`pip install onednn-cpu-gomp`, on Linux) is used by itself, after a test: at first use, a few
convolutions are compared with those of `columns`, and where they differ, the library stays off, with a warning. The environment
variable MICROTENSOR_ONEDNN=0 turns it off, and `kernels.plain` for a few lines; MICROTENSOR_ONEDNN=/a/path/libdnnl.so.3 takes
that library instead, from conda, say.

The threads are ours (`threads.share`), and the library uses none: a convolution is cut, by its shape alone, into parts of
images, or of channels where the weight is larger than the images. So numbers do not depend on how many threads there are. They
are those of the NumPy ways but for rounding, and may depend on the CPU, for which the library chooses its code.
"""

from __future__ import annotations

import os
import warnings
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path

import numpy as np

from microtensor.runtime.arrays import Array
from microtensor.runtime.cuda.kernels import chosen

from ...windows import Pair, Window
from ..cpu import im2col
from .bindings import Failure, Library
from .schedule import BLOCK, FORWARD, LEAST, TO_INPUT, TO_WEIGHT, Schedule, Shape

VARIABLE = "MICROTENSOR_ONEDNN"
PACKAGE, FILE = "onednn-cpu-gomp", "libdnnl.so.3"

FEW = 3
"""With fewer channels, the gradient to the images is quicker by columns: oneDNN computes a whole block of 16. Measured."""

NARROW = 48
"""With fewer channels, the gradient to a 1×1 kernel is quicker as matrix products of the images as they lie. Measured."""

SHAPES = 1024
"""Of so many shapes, what was compiled is kept."""


def forward(x: Array, weight: Array, bias: Array | None, window: Window, groups: int) -> Array | None:
    """(N, C, H, W), (O, C/G, kh, kw), (O,) → (N, O, H', W'); None where oneDNN is off, or slower than another way."""
    if window.kernel == (1, 1) or not _takes(x, weight, bias):
        return None
    schedule = _schedule(FORWARD, x.shape, weight.shape, window, groups, bias is not None)
    return schedule and schedule.run([x, weight, None], bias)


def to_input(g: Array, weight: Array, bias: Array | None, window: Window, groups: int, size: Pair) -> Array | None:
    """The adjoint of `forward` in x: (N, O, H', W'), (O, C/G, kh, kw), (C,) → (N, C, *size); None as `forward`."""
    channels = groups * weight.shape[1]
    if window.kernel == (1, 1) or channels < FEW or not _takes(g, weight, bias):
        return None
    schedule = _schedule(TO_INPUT, (len(g), channels, *size), weight.shape, window, groups, False)
    x = schedule and schedule.run([None, weight, g])
    if x is not None and bias is not None:
        x += bias[:, None, None]
    return x


def to_weight(x: Array, g: Array, window: Window, groups: int) -> Array | None:
    """The adjoint of `forward` in the weight: (N, C, H, W), (N, O, H', W') → (O, C/G, kh, kw); None as `forward`."""
    if (window.kernel == (1, 1) and x.shape[1] // groups < NARROW) or not _takes(x, g):
        return None
    shape = (g.shape[1], x.shape[1] // groups, *window.kernel)
    schedule = _schedule(TO_WEIGHT, x.shape, shape, window, groups, False)
    return schedule and schedule.run([x, None, g])


def _takes(*arrays: Array | None) -> bool:
    """Whether these are for oneDNN."""
    fit = all(a is None or (type(a) is np.ndarray and a.dtype == np.float32 and a.size > 0) for a in arrays)
    return fit and chosen.kernels and library() is not None


@lru_cache(SHAPES)
def _schedule(kind: str, x: Shape, weight: Shape, window: Window, groups: int, bias: bool) -> Schedule | None:
    """How to do it; None if the library cannot, or is slower than we are. Measured."""
    found, sizes = library(), (weight[0] // groups, weight[1])
    if found is None or (1 < groups < x[1] and any(size % BLOCK and BLOCK % size for size in sizes)):
        return None  # of groups that fill no blocks, most of what the library computes is nothing
    try:
        schedule = Schedule(found, kind, x, weight, window, groups, bias, LEAST)
    except Failure:
        return None
    # Columns and a matrix product: it has them too, where it has no code of its own for a shape. Ours are quicker.
    return None if any("gemm" in code.convolution.implementation for code in schedule.compiled) else schedule


# The library


@cache
def library() -> Library | None:
    """oneDNN, if it is installed, not turned off, and computes what `columns` does; None if not, with a warning if that is odd.

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
        _warn(f"oneDNN is not used: {wrong}. Convolutions go on without it; {VARIABLE}=0 says that they should")
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
"""What the test at first use computes, each cut into as many parts as there can be."""

TOLERANCE = 1e-4
"""Of the largest number: sums of a few hundred products differ by 1e-6, and what lies in a wrong place by 1."""


def _differs(found: Library) -> str:
    """How what this library computes differs from what `columns` does; "" if it does not."""
    rng = np.random.default_rng(0)
    for images, channels, kernels, groups, size, window in TRIALS:
        shape = (kernels, channels // groups, *window.kernel)
        shapes = ((images, channels, *size), shape, (images, kernels, *window.places("conv2d", size)), (kernels,))
        x, weight, g, bias = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
        for kind, arrays, shift, expected in (
            (FORWARD, [x, weight, None], bias, im2col.forward(x, weight, bias, window, groups)),
            (TO_INPUT, [None, weight, g], None, im2col.to_input(g, weight, None, window, groups, size)),
            (TO_WEIGHT, [x, None, g], None, im2col.to_weight(x, g, window, groups)),
        ):
            try:
                schedule = Schedule(found, kind, x.shape, weight.shape, window, groups, shift is not None, least=1)
            except Failure:  # then it is not used for such a shape
                continue
            most = np.abs(schedule.run(arrays, shift) - expected).max() / np.abs(expected).max()
            if not most < TOLERANCE:
                return (
                    f"version {found.version} computes a convolution ({kind}, {window}, {groups} groups) wrong, by {most:.0%}"
                )
    return ""
