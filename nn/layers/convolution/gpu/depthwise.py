"""Depthwise convolution on a GPU: each channel has one kernel of its own (groups = channels). See depthwise.cu."""

from __future__ import annotations

from math import prod

from microtensor.runtime.arrays import Array, array_module
from microtensor.runtime.cuda.kernels import Kernels

from ..problem import Problem
from .implicit_gemm import MAX_GRID, add_parts, cut, room

kernels = Kernels(__file__, "depthwise.cu")

BLOCK_TERMS = 2048
"""Terms of a sum that a block of 256 threads should have at least: eight each."""


def why_not(problem: Problem) -> str:
    """It is for one kernel a channel."""
    if not problem.is_depthwise:
        return "a channel does not have exactly one kernel of its own"
    return "" if problem.groups < MAX_GRID else "there are more channels than a grid has blocks"


def forward(x: Array, weight: Array, bias: Array | None, problem: Problem) -> Array:
    """(N, C, H, W), (C, 1, kh, kw), (C,) → (N, C, H', W')."""
    y, sliding = array_module(x).empty(problem.y, x.dtype), problem.window.for_kernels(problem.size, problem.places)
    kernels.each("forward", x.dtype, y.size, y, x, weight, bias, sliding, problem.images, problem.groups)
    return y


def grad_input(g: Array, weight: Array, bias: Array | None, problem: Problem) -> Array:
    """(N, C, H', W'), (C, 1, kh, kw), (C,) → (N, C, H, W)."""
    x, sliding = array_module(g).empty(problem.x, g.dtype), problem.window.for_kernels(problem.size, problem.places)
    kernels.each("grad_input", g.dtype, x.size, x, g, weight, bias, sliding, problem.images, problem.groups)
    return x


def grad_weight(x: Array, g: Array, problem: Problem) -> Array:
    """(N, C, H, W), (N, C, H', W') → (C, 1, kh, kw)."""
    window, n, groups = problem.window, problem.images, problem.groups
    fours = window.kernel[0] * -(-window.kernel[1] // 4)
    share, shares = cut(n * prod(problem.places), fours * groups, BLOCK_TERMS)
    partial = room(x, shares, problem.weight)
    sliding = window.for_kernels(problem.size, problem.places)
    kernels.blocks("grad_weight", x.dtype, (fours, groups, shares), partial, x, g, sliding, n, groups, share)
    return add_parts(partial, shares, x.dtype)
