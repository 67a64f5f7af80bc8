"""Depthwise convolution on a GPU: each channel has one kernel of its own (groups = channels). See depthwise.cu."""

from __future__ import annotations

from math import prod

from microtensor.runtime.arrays import Array, array_module
from microtensor.runtime.cuda.kernels import Kernels

from ...windows import Pair, Window
from .implicit_gemm import add_parts, cut, room

kernels = Kernels(__file__, "depthwise.cu")

TERMS = 2048
"""Terms of a sum that a block of 256 threads should have at least: eight each."""


def forward(x: Array, weight: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """(N, C, H, W), (C, 1, kh, kw), (C,) → (N, C, H', W')."""
    n, _, *size = x.shape
    places = window.places("conv2d", size)
    y = array_module(x).empty((n, groups, *places), x.dtype)
    kernels.each("forward", x.dtype, y.size, y, x, weight, bias, window.for_kernels(size, places), n, groups)
    return y


def to_input(g: Array, weight: Array, bias: Array | None, window: Window, groups: int, size: Pair) -> Array:
    """The adjoint of `forward` in x: (N, C, H', W'), (C, 1, kh, kw), (C,) → (N, C, *size)."""
    n, _, *places = g.shape
    x = array_module(g).empty((n, groups, *size), g.dtype)
    kernels.each("to_input", g.dtype, x.size, x, g, weight, bias, window.for_kernels(size, places), n, groups)
    return x


def to_weight(x: Array, g: Array, window: Window, groups: int) -> Array:
    """The adjoint of `forward` in the weight: (N, C, H, W), (N, C, H', W') → (C, 1, kh, kw)."""
    (n, _, *size), places = x.shape, g.shape[2:]
    fours = window.kernel[0] * -(-window.kernel[1] // 4)
    share, shares = cut(n * prod(places), fours * groups, TERMS)
    parts = room(x, shares, (groups, 1, *window.kernel))
    sliding = window.for_kernels(size, places)
    kernels.blocks("to_weight", x.dtype, (fours, groups, shares), parts, x, g, sliding, n, groups, share)
    return add_parts(parts, shares, x.dtype)
