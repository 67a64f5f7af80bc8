"""1×1 convolution without stride and padding: an image is its own im2col matrix, and nothing is copied."""

from __future__ import annotations

from math import prod
from typing import Any

from microtensor.runtime import threads
from microtensor.runtime.arrays import Array, array_module

from ..problem import Problem
from . import blocking
from .im2col import flip
from .small_gemm import multiply, multiply_transposed


def why_not(problem: Problem) -> str:
    """It is for 1×1 kernels."""
    return "" if problem.is_pointwise else "the kernel is not 1×1 with stride 1 and no padding"


def forward(x: Array, weight: Array, bias: Array | None, problem: Problem) -> Array:
    """(N, C, H, W), (O, C/G, 1, 1), (O,) → (N, O, H, W)."""
    return _product(x, weight, bias, problem.groups)


def grad_input(g: Array, weight: Array, bias: Array | None, problem: Problem) -> Array:
    """(N, O, H, W), (O, C/G, 1, 1), (C,) → (N, C, H, W)."""
    return _product(g, flip(weight, problem.groups), bias, problem.groups)


def grad_weight(x: Array, g: Array, problem: Problem) -> Array:
    """(N, C, H, W), (N, O, H, W) → (O, C/G, 1, 1)."""
    pixels, slopes = (v.reshape(len(v), problem.groups, -1, prod(v.shape[2:])) for v in (x, g))  # (N, G, C/G, H · W)
    count = min(blocking.PARTIAL_SUMS, len(x))
    sums: list[Any] = [None] * count

    def work(i: int) -> None:
        part = slice(i * len(x) // count, (i + 1) * len(x) // count)
        sums[i] = multiply_transposed(slopes[part], pixels[part]).sum(0)  # (G, O/G, C/G)

    threads.share(work, range(count), x.nbytes + g.nbytes < 2 * blocking.MIN_SHARED_BYTES)
    return array_module(x).ascontiguousarray(sum(sums)).reshape(problem.weight)


def _product(x: Array, weight: Array, bias: Array | None, groups: int) -> Array:
    """A product for each image, of some images at a time: (N, C, H, W), (O, C/G, 1, 1) → (N, O, H, W)."""
    matrix = weight.reshape(groups, len(weight) // groups, -1)
    pixels = x.reshape(len(x), groups, matrix.shape[2], prod(x.shape[2:]))  # (N, G, C/G, H · W)
    y = array_module(x).empty((*pixels.shape[:2], matrix.shape[1], pixels.shape[3]), x.dtype)
    shift = None if bias is None else bias.reshape(groups, -1, 1)

    def work(part: slice) -> None:
        multiply(matrix, pixels[part], out=y[part])
        if shift is not None:
            y[part] += shift

    nbytes = x.nbytes + y.nbytes
    images = max(blocking.BLOCK_BYTES * len(x) // nbytes, 1)
    threads.share(work, threads.slices(len(x), images), nbytes < 2 * blocking.MIN_SHARED_BYTES)
    return y.reshape(len(x), len(weight), *x.shape[2:])
