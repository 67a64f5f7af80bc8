"""1×1 convolution without stride and padding on a GPU: an image is its own im2col matrix, and only matrices are copied.

`grad_weight` is a product for each image, and their sum; of as many images at a time as the workspace has room for, since CuPy
transposes a stack of matrices by copying it.
"""

from __future__ import annotations

from math import prod

from microtensor.runtime.arrays import Array, array_module

from ..problem import Problem, with_bias
from .im2col import parts, product, transposed
from .implicit_gemm import sum_type


def why_not(problem: Problem) -> str:
    """It is for 1×1 kernels."""
    return "" if problem.is_pointwise else "the kernel is not 1×1 with stride 1 and no padding"


def forward(x: Array, weight: Array, bias: Array | None, problem: Problem) -> Array:
    """(N, C, H, W), (O, C/G, 1, 1), (O,) → (N, O, H, W)."""
    groups, y = problem.groups, array_module(x).empty(problem.y, x.dtype)
    product(weight.reshape(groups, problem.kernels, -1), _flat(x, groups), _flat(y, groups))
    return with_bias(y, bias)


def grad_input(g: Array, weight: Array, bias: Array | None, problem: Problem) -> Array:
    """(N, O, H, W), (O, C/G, 1, 1), (C,) → (N, C, H, W)."""
    groups, x = problem.groups, array_module(g).empty(problem.x, g.dtype)
    product(transposed(weight.reshape(groups, -1, problem.channels, 1)), _flat(g, groups), _flat(x, groups))
    return with_bias(x, bias)


def grad_weight(x: Array, g: Array, problem: Problem) -> Array:
    """(N, C, H, W), (N, O, H, W) → (O, C/G, 1, 1)."""
    groups, channels, kernels = problem.groups, problem.channels, problem.kernels
    pixels, gradients = _flat(x, groups), _flat(g, groups)
    total: Array = None
    for images, _, _ in parts(len(x), 1, groups * channels * (pixels.shape[3] + kernels) * x.itemsize):
        each = gradients[images] @ pixels[images].swapaxes(2, 3)  # (n, G, O/G, C/G)
        result = each.reshape(-1, *problem.weight).sum(0, dtype=sum_type(x))
        total = result if total is None else total + result
    return total.astype(x.dtype, copy=False)


def _flat(x: Array, groups: int) -> Array:
    """(N, C, H, W) → (N, G, C/G, H · W), a view."""
    n, c, *size = x.shape
    return x.reshape(n, groups, c // groups, prod(size))
