"""Convolution on a GPU as a matrix product without columns: kernels of our own, for any window. See implicit_gemm.cu.

They need no memory beside the result, or little, and read the images as often as there are tiles of kernels. Each number is
computed in plain arithmetic, without the units for matrices: in the array's own precision, half precision added up in float32.
"""

from __future__ import annotations

from math import prod

from microtensor.runtime.arrays import Array, array_module
from microtensor.runtime.cuda.kernels import Kernels

from ...windows import Pair, Window

kernels = Kernels(__file__, "implicit_gemm.cu")

TILES = {64: (64, 64), 16: (16, 256)}
"""The shapes of what a block of threads computes: rows and columns, by the number in the kernels' names."""

BLOCKS = 512
"""So many blocks keep any GPU busy: a few for each of its multiprocessors, of which the largest have about 150."""

TERMS = 256
"""Fewer terms of a sum are not worth a share of their own."""

MOST = 1 << 31
"""Sizes of images and kernels are below it: their numbers are 32 bits in a kernel. The numbers of arrays are 64."""


def fits(x: Pair, places: Pair, channels: int, kernels: int, window: Window, groups: int) -> bool:
    """Whether CUDA's limits let these kernels be launched: sizes of a group's channels and kernels."""
    numbers = (prod(x), prod(places), channels * prod(window.kernel), kernels * prod(window.kernel))
    sides = [n + sum(sides) + s for n, sides, s in zip(x, window.padding, window.stride)]
    rows = -(-max(channels, kernels) // 16) * groups
    return max(*numbers, *sides) < MOST and rows < 1 << 16 and prod(window.stride) < 1 << 16


def tile(rows: int) -> int:
    """The tile for so many rows of a group: 64 × 64, or 16 × 256 where most of 64 rows would be in vain."""
    return 64 if -(-rows // 64) * 64 <= -(-rows // 16) * 16 * 1.5 else 16


def forward(x: Array, weight: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """(N, C, H, W), (O, C/G, kh, kw), (O,) → (N, O, H', W')."""
    (n, _, *size), (o, channels) = x.shape, weight.shape[:2]
    places = window.places("conv2d", size)
    y = array_module(x).empty((n, o, *places), x.dtype)
    shape = tile(o // groups)
    rows, columns = TILES[shape]
    grid = (-(-n * prod(places) // columns), -(-(o // groups) // rows) * groups)
    sliding = window.for_kernels(size, places)
    kernels.blocks(f"forward_{shape}", x.dtype, grid, y, x, weight, bias, sliding, n, channels, o // groups, groups)
    return y


def to_input(g: Array, weight: Array, bias: Array | None, window: Window, groups: int, size: Pair) -> Array:
    """The adjoint of `forward` in x: (N, O, H', W'), (O, C/G, kh, kw), (C,) → (N, C, *size)."""
    (n, o, *places), channels = g.shape, weight.shape[1]
    x = array_module(g).empty((n, groups * channels, *size), g.dtype)
    shape = tile(channels)
    rows, columns = TILES[shape]
    most = prod(-(-pixels // stride) for pixels, stride in zip(size, window.stride))  # pixels of the largest phase
    grid = (-(-n * most // columns), -(-channels // rows) * groups, prod(window.stride))
    sliding = window.for_kernels(size, places)
    kernels.blocks(f"to_input_{shape}", g.dtype, grid, x, g, weight, bias, sliding, n, channels, o // groups, groups)
    return x


def to_weight(x: Array, g: Array, window: Window, groups: int) -> Array:
    """The adjoint of `forward` in the weight: (N, C, H, W), (N, O, H', W') → (O, C/G, kh, kw)."""
    (n, c, *size), (o, *places) = x.shape, g.shape[1:]
    channels, o = c // groups, o // groups
    weights = channels * prod(window.kernel)
    tiles = -(-weights // 64), -(-o // 64) * groups
    share, shares = cut(n * prod(places), prod(tiles))
    parts = room(x, shares, (groups * o, channels, *window.kernel))
    sliding = window.for_kernels(size, places)
    kernels.blocks("to_weight", x.dtype, (*tiles, shares), parts, x, g, sliding, n, channels, o, groups, share)
    return add_parts(parts, shares, x.dtype)


def cut(terms: int, blocks: int, least: int = TERMS) -> Pair:
    """Sums of so many terms, for which there are so many blocks, cut into shares that are blocks of their own.

    Returns:
        Terms of a share, and how many shares there are.
    """
    shares = max(min(-(-BLOCKS // blocks), terms // least, (1 << 16) - 1), 1)
    share = -(-terms // shares)
    return share, -(-terms // share)


def sum_type(array: Array) -> str:
    """The dtype in which a kernel adds up numbers of this array."""
    return "float64" if array.dtype.char == "d" else "float32"


def room(like: Array, shares: int, shape: tuple[int, ...]) -> Array:
    """Where a kernel leaves its shares of a sum: (shares, …). A single one is the sum itself, and no view: it may become a
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
