"""Convolution of 1×1, without stride and padding, on a GPU: an image is its own columns, and nothing is copied but matrices.

To the weight it is a product for each image, and their sum; of as many images at a time as the workspace has room for, since
CuPy lays them out anew, transposed.
"""

from __future__ import annotations

from math import prod

from microtensor.runtime.arrays import Array, array_module

from ...windows import Pair, Window
from .im2col import parts, product, transposed, with_bias
from .implicit_gemm import sum_type


def forward(x: Array, weight: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """(N, C, H, W), (O, C/G, 1, 1), (O,) → (N, O, H, W)."""
    n, _, *size = x.shape
    y = array_module(x).empty((n, len(weight), *size), x.dtype)
    product(weight.reshape(groups, len(weight) // groups, -1), _flat(x, groups), _flat(y, groups))
    return with_bias(y, bias)


def to_input(g: Array, weight: Array, bias: Array | None, window: Window, groups: int, size: Pair) -> Array:
    """The adjoint of `forward` in x: (N, O, H, W), (O, C/G, 1, 1), (C,) → (N, C, H, W)."""
    channels = weight.shape[1]
    x = array_module(g).empty((len(g), groups * channels, *size), g.dtype)
    product(transposed(weight.reshape(groups, -1, channels, 1)), _flat(g, groups), _flat(x, groups))
    return with_bias(x, bias)


def to_weight(x: Array, g: Array, window: Window, groups: int) -> Array:
    """The adjoint of `forward` in the weight: (N, C, H, W), (N, O, H, W) → (O, C/G, 1, 1)."""
    pixels, gradients = _flat(x, groups), _flat(g, groups)
    (n, _, channels, area), kernels = pixels.shape, gradients.shape[2]
    total: Array = None
    for images, _, _ in parts(n, 1, groups * channels * (area + kernels) * x.itemsize):
        each = gradients[images] @ pixels[images].swapaxes(2, 3)  # (n, G, O/G, C/G)
        result = each.reshape(-1, groups * kernels, channels, 1, 1).sum(0, dtype=sum_type(x))
        total = result if total is None else total + result
    return total.astype(x.dtype, copy=False)


def _flat(x: Array, groups: int) -> Array:
    """(N, C, H, W) → (N, G, C/G, H · W), a view."""
    n, c, *size = x.shape
    return x.reshape(n, groups, c // groups, prod(size))
