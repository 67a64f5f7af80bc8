"""Convolution on a GPU as an implicit GEMM: a matrix product whose im2col matrix is never written. See implicit_gemm.cu.

The kernels work for any window. They need no memory beside the result, or little, and read the images as often as there are
tiles of kernels. They compute in plain arithmetic, without tensor cores: in the array's precision, float16 summed in float32.
"""

from __future__ import annotations

from math import prod

from microtensor.runtime.arrays import Array, array_module
from microtensor.runtime.cuda.kernels import Kernels

from ...windows import Pair
from ..problem import Problem

kernels = Kernels(__file__, "implicit_gemm.cu")

TILES = {64: (64, 64), 16: (16, 256)}
"""The tile that a block of threads computes: rows and columns of the result, by the number in the kernels' names."""

BUSY_BLOCKS = 512
"""This many blocks keep any GPU busy: a few for each of its multiprocessors, of which the largest have about 150."""

MIN_SHARE_TERMS = 256
"""A sum is cut into shares of at least this many terms."""

MAX_SIZE = 1 << 31
"""Sizes of images and kernels are below it: a kernel counts their elements in 32 bits, those of arrays in 64."""

MAX_GRID = 1 << 16
"""CUDA's limit for the blocks of a grid along its second and third axis."""


def why_not(problem: Problem) -> str:
    """CUDA's limits must let these kernels be launched."""
    channels, o, window = problem.channels, problem.kernels, problem.window
    elements = (prod(problem.size), prod(problem.places), channels * problem.taps, o * problem.taps)
    sides = [n + sum(sides) + s for n, sides, s in zip(problem.size, window.padding, window.stride)]
    if max(*elements, *sides) >= MAX_SIZE:
        return "an image or a kernel has 2³¹ elements or more"
    rows = -(-max(channels, o) // 16) * problem.groups
    if rows >= MAX_GRID or prod(window.stride) >= MAX_GRID:
        return "there are more groups or phases of the stride than a grid has blocks"
    return ""


def tile(rows: int) -> int:
    """The tile for this many rows of a group: 64 × 64, or 16 × 256 where most of 64 rows would be unused."""
    return 64 if -(-rows // 64) * 64 <= -(-rows // 16) * 16 * 1.5 else 16


def forward(x: Array, weight: Array, bias: Array | None, problem: Problem) -> Array:
    """(N, C, H, W), (O, C/G, kh, kw), (O,) → (N, O, H', W')."""
    n, groups, channels, o = problem.images, problem.groups, problem.channels, problem.kernels
    y = array_module(x).empty(problem.y, x.dtype)
    shape = tile(o)
    rows, columns = TILES[shape]
    grid = (-(-n * prod(problem.places) // columns), -(-o // rows) * groups)
    sliding = problem.window.for_kernels(problem.size, problem.places)
    kernels.blocks(f"forward_{shape}", x.dtype, grid, y, x, weight, bias, sliding, n, channels, o, groups)
    return y


def grad_input(g: Array, weight: Array, bias: Array | None, problem: Problem) -> Array:
    """(N, O, H', W'), (O, C/G, kh, kw), (C,) → (N, C, H, W)."""
    n, groups, channels, window = problem.images, problem.groups, problem.channels, problem.window
    x = array_module(g).empty(problem.x, g.dtype)
    shape = tile(channels)
    rows, columns = TILES[shape]
    most = prod(-(-pixels // stride) for pixels, stride in zip(problem.size, window.stride))  # pixels of the largest phase
    grid = (-(-n * most // columns), -(-channels // rows) * groups, prod(window.stride))
    sliding = window.for_kernels(problem.size, problem.places)
    kernels.blocks(f"grad_input_{shape}", g.dtype, grid, x, g, weight, bias, sliding, n, channels, problem.kernels, groups)
    return x


def grad_weight(x: Array, g: Array, problem: Problem) -> Array:
    """(N, C, H, W), (N, O, H', W') → (O, C/G, kh, kw)."""
    n, groups, channels, o = problem.images, problem.groups, problem.channels, problem.kernels
    tiles = -(-channels * problem.taps // 64), -(-o // 64) * groups
    share, shares = cut(n * prod(problem.places), prod(tiles))
    partial = room(x, shares, problem.weight)
    sliding = problem.window.for_kernels(problem.size, problem.places)
    kernels.blocks("grad_weight", x.dtype, (*tiles, shares), partial, x, g, sliding, n, channels, o, groups, share)
    return add_parts(partial, shares, x.dtype)


def cut(terms: int, blocks: int, least: int | None = None) -> Pair:
    """Sums of this many terms, each computed by a block: cut into shares, each with a block of its own, if blocks are few.

    Returns:
        Terms of a share (at least `least`, `MIN_SHARE_TERMS` if None), and how many shares there are.
    """
    shares = max(min(-(-BUSY_BLOCKS // blocks), terms // (least or MIN_SHARE_TERMS), MAX_GRID - 1), 1)
    share = -(-terms // shares)
    return share, -(-terms // share)


def sum_type(array: Array) -> str:
    """The dtype in which a kernel sums elements of this array."""
    return "float64" if array.dtype.char == "d" else "float32"


def room(like: Array, shares: int, shape: tuple[int, ...]) -> Array:
    """Where a kernel writes its shares of a sum: (shares, …). A single share is the sum itself, and no view: it may become a
    gradient, and the engine would copy a view.
    """
    return array_module(like).empty((shares, *shape) if shares > 1 else shape, sum_type(like))


def add_parts(parts: Array, shares: int, dtype: str) -> Array:
    """The sum of what `room` holds, in the order of the shares."""
    if shares == 1:
        return parts.astype(dtype, copy=False)
    y = array_module(parts).empty(parts.shape[1:], dtype)
    kernels.each("add_parts", dtype, y.size, y, parts, y.size, shares)
    return y
