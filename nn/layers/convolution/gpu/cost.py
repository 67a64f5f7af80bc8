"""Convolution on a GPU: NVIDIA's cuDNN where it may be used, or four ways without it, and which of them a shape asks for.

    cudnn       where it is installed, has passed its trial and has a plan: see cudnn.py
    gemm        1×1, without stride and padding: one matrix product per image, nothing is unfolded
    tiles       unfold some images, multiply by the library's matrix product; any window
    implicit    a kernel of our own that multiplies without unfolding; any window
    depthwise   a kernel of our own for one channel per group

A depthwise convolution always takes its own kernels: as a matrix product it would have one row. Between our other ways decides
what each has to do, in bytes that pass between memory and processor: see `cost`. It is arithmetic, not measurement: nobody has
timed these on a GPU yet. `way` takes the choice over, to time one beside the other.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from math import prod
from types import ModuleType
from typing import NamedTuple

import numpy as np

from microtensor.runtime.arrays import Array, array_module
from microtensor.runtime.cuda.settings import get_allow_tf32, get_convolution_workspace
from microtensor.runtime.scoped import Block, Setting

from ...windows import Pair, Window
from . import cudnn, im2col, implicit_gemm, pointwise
from . import depthwise as direct

WAYS: dict[str, ModuleType] = {
    "gemm": pointwise,
    "tiles": im2col,
    "implicit": implicit_gemm,
    "depthwise": direct,
    "cudnn": cudnn,
}
"""By name: the files that hold each way's `forward`, `to_input` and `to_weight`."""

PLAIN = {"e": 20.0, "f": 20.0, "d": 10.0}
"""Operations that a GPU does in plain arithmetic while it moves a byte to or from memory, by the letter of the dtype; a half is
computed as float32. (NVIDIA's data sheets: A100 19.5 TFLOP/s and 1.6 to 2 TB/s, H100 67 and 3.35; half of it for float64.)"""

MATRIX = {"e": 200.0, "f": 20.0, "d": 20.0}
"""The same with the units for matrices, which cuBLAS uses where there are any for the dtype."""

TF32 = 100.0
"""The same for float32, where it may be computed in TF32."""

SHARES = {"library": 0.8, "ours": 0.5}
"""What part of these a matrix product attains, assumed: cuBLAS's, and our kernel's, whose threads hold 4 × 4 results each where
cuBLAS's hold 8 × 8 and so read half as much from shared memory."""

LIBRARY_TILE = 32
"""What cuBLAS's smallest tiles are about: a matrix with fewer rows takes as long as with so many."""

CACHE = 3.0
"""How many times as fast as memory the cache is from which tiles read the same numbers again."""

LAUNCH = 10e6
"""Bytes that could be moved in the time that a launch takes: 3 µs, at 3 TB/s."""


class Problem(NamedTuple):
    """A convolution's shape: channels and kernels are those of a group."""

    letter: str
    images: int
    groups: int
    channels: int
    kernels: int
    size: Pair
    places: Pair
    window: Window

    @property
    def depthwise(self) -> bool:
        """Whether each channel has one kernel of its own, and our kernels for that can be launched."""
        return self.channels == self.kernels == 1 and self.groups < 1 << 16

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Of images, weights and results."""
        c, o = self.groups * self.channels, self.groups * self.kernels
        return (self.images, c, *self.size), (o, self.channels, *self.window.kernel), (self.images, o, *self.places)

    def fitting(self) -> list[str]:
        """The names of our own ways that compute it."""
        fits = {
            "depthwise": self.depthwise,
            "gemm": self.window == Window((1, 1)),
            "implicit": implicit_gemm.fits(self.size, self.places, self.channels, self.kernels, self.window, self.groups),
            "tiles": True,
        }
        return [name for name, fit in fits.items() if fit]


class Chosen(threading.local):
    """What each thread has chosen."""

    way: str | None = None


chosen = Chosen()


def way(name: str) -> Block:
    """Inside, convolutions of this thread's on a GPU are computed in the way of this name: to compare them.

    Raises:
        ValueError: there is no such way; inside: it does not compute such a convolution.
    """
    if name not in WAYS:
        raise ValueError(f"way: expected one of {', '.join(WAYS)}, got {name!r}")
    return Setting(chosen, way=name)


def forward(x: Array, weight: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """(N, C, H, W), (O, C/G, kh, kw), (O,) → (N, O, H', W')."""
    xp, places = array_module(x), window.places("conv2d", x.shape[2:])
    if not x.size:
        return xp.zeros((len(x), len(weight), *places), x.dtype)
    of = _problem(x, len(weight), places, window, groups)
    x, weight, bias = _contiguous(x, weight, bias)
    y: Array = _way("forward", of, x).forward(x, weight, bias, window, groups)
    return y


def to_input(g: Array, weight: Array, bias: Array | None, window: Window, groups: int, size: Pair) -> Array:
    """The adjoint of `forward` in x: (N, O, H', W'), (O, C/G, kh, kw), (C,) → (N, C, *size)."""
    n, o, *places = g.shape
    channels = weight.shape[1]
    if not g.size:
        return array_module(g).zeros((n, groups * channels, *size), g.dtype)
    shape = (size[0], size[1])
    of = Problem(g.dtype.char, n, groups, channels, o // groups, shape, (places[0], places[1]), window)
    g, weight, bias = _contiguous(g, weight, bias)
    x: Array = _way("to_input", of, g).to_input(g, weight, bias, window, groups, shape)
    return x


def to_weight(x: Array, g: Array, window: Window, groups: int) -> Array:
    """The adjoint of `forward` in the weight: (N, C, H, W), (N, O, H', W') → (O, C/G, kh, kw)."""
    if not x.size:
        return array_module(x).zeros((g.shape[1], x.shape[1] // groups, *window.kernel), x.dtype)
    of = _problem(x, g.shape[1], g.shape[2:], window, groups)
    x, g, _ = _contiguous(x, g, None)
    weight: Array = _way("to_weight", of, x).to_weight(x, g, window, groups)
    return weight


def _problem(x: Array, kernels: int, places: Pair, window: Window, groups: int) -> Problem:
    n, channels, height, width = x.shape
    return Problem(
        x.dtype.char, n, groups, channels // groups, kernels // groups, (height, width), (places[0], places[1]), window
    )


def _contiguous(x: Array, weight: Array, bias: Array | None) -> tuple[Array, Array, Array | None]:
    """As kernels take them."""
    whole = array_module(x).ascontiguousarray
    return whole(x), whole(weight), None if bias is None else whole(bias)


def _way(operation: str, of: Problem, array: Array) -> ModuleType:
    if chosen.way is None:
        if not of.depthwise and cudnn.offers(array, operation, of.shapes, of.window):
            return cudnn
        return WAYS[choice(operation, of, get_allow_tf32(), get_convolution_workspace())]
    fitting = of.fitting() + ["cudnn"] * cudnn.offers(array, operation, of.shapes, of.window)
    if chosen.way not in fitting:
        raise ValueError(f"way: {chosen.way} does not compute this convolution, {', '.join(fitting)} do: {of}")
    return WAYS[chosen.way]


@lru_cache(4096)
def choice(operation: str, of: Problem, tf32: bool, workspace: int) -> str:
    """The name of our own way that should be fastest."""
    fitting = of.fitting()
    if "depthwise" in fitting:
        return "depthwise"
    return min(fitting, key=lambda name: cost(name, operation, of, tf32, workspace))


def cost(name: str, operation: str, of: Problem, tf32: bool, workspace: int) -> float:
    """How long a way takes, in bytes that could be moved meanwhile: those it moves, or what it computes, and its launches.

    Moving and computing overlap, so the longer of the two counts. A result of r × c numbers, each a sum of t products, takes
    2 · r · c · t operations, r and c rounded up to whole tiles:

        forward      r = O/G,  c = places,  t = C/G · kh · kw      for each image and group (`implicit`: all images at once)
        to_input     r = C/G · kh · kw,  c = places,  t = O/G      `implicit`: r = C/G, c = pixels, t = O/G · kh · kw / stride²
        to_weight    r = O/G,  c = C/G · kh · kw,  t = images · places

    Images, results and weights are moved once. Beside that `tiles` writes the columns, C · kh · kw · places for each image, and
    reads them again; to the weight it lays out the gradient anew. `implicit` takes what it multiplies from the cache, once for
    each tile of rows. It has one block of threads for each tile, and where these are few, the rest of the GPU waits.
    """
    n, groups, channels, kernels = of.images, of.groups, of.channels, of.kernels
    taps, pixels, places = prod(of.window.kernel), prod(of.size), prod(of.places)
    item = np.dtype(of.letter).itemsize
    x, y, weight = (
        item * n * groups * channels * pixels,
        item * n * groups * kernels * places,
        item * groups * kernels * channels * taps,
    )
    columns, moved = item * n * groups * channels * taps * places, x + y + weight

    if name == "implicit":
        rows, across, terms, again = {
            "forward": (kernels, n * places, channels * taps, columns),
            "to_input": (channels, n * pixels, max(kernels * taps // prod(of.window.stride), 1), y * taps),
            "to_weight": (kernels, channels * taps, n * places, columns),
        }[operation]
        tile = (64, 64) if operation == "to_weight" else implicit_gemm.TILES[implicit_gemm.tile(rows)]
        down, right = -(-rows // tile[0]), -(-across // tile[1])
        blocks = implicit_gemm.BLOCKS if operation == "to_weight" else down * right * groups  # its sums are cut into shares
        work = 2 * groups * down * tile[0] * right * tile[1] * terms
        rate = PLAIN[of.letter] * SHARES["ours"] * min(1, blocks / implicit_gemm.BLOCKS)
        return max(moved, down * again / CACHE, work / rate) + LAUNCH * (2 if operation == "to_weight" else 1)

    rows, across, terms, stack = {
        "forward": (kernels, places, channels * taps, n * groups),
        "to_input": (channels * taps, places, kernels, n * groups),
        "to_weight": (kernels, channels * taps, n * places, groups),
    }[operation]
    work = 2 * stack * -(-rows // LIBRARY_TILE) * -(-across // LIBRARY_TILE) * LIBRARY_TILE**2 * terms
    rate = (TF32 if tf32 and of.letter == "f" else MATRIX[of.letter]) * SHARES["library"]
    if name == "gemm":
        launches = 4  # with three for the pointers to the matrices of a stack
        moved += 2 * x + 2 * n * weight if operation == "to_weight" else 0  # images transposed; products, and their sum
    else:
        launches = -(-columns // workspace) * (2 + groups if operation == "to_weight" else 5)
        moved += 2 * columns + (2 * y if operation == "to_weight" else 0)
    return max(moved, work / rate) + LAUNCH * launches
