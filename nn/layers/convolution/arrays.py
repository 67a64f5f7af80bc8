"""Convolution and its two adjoints on arrays, each in the way that its shape asks for.

What there is to choose from stands in the other files of this folder. All of them compute the same numbers, but for rounding.
"""

from __future__ import annotations

from microtensor.backend import Array
from microtensor.nn.layers.convolution import columns, depthwise
from microtensor.nn.layers.windows import Pair, Window


def forward(x: Array, weight: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """(N, C, H, W), (O, C/G, kh, kw), (O,) → (N, O, H', W')."""
    if groups == x.shape[1] == len(weight):
        y = depthwise.forward(x, weight, window)
    else:
        y = columns.forward(x, weight, window, groups)
    if bias is not None:
        y += bias[:, None, None]
    return y


def to_input(g: Array, weight: Array, bias: Array | None, window: Window, groups: int, size: Pair) -> Array:
    """The adjoint of `forward` in x: (N, O, H', W'), (O, C/G, kh, kw), (C,) → (N, C, *size)."""
    if groups == g.shape[1] and weight.shape[1] == 1:
        x = depthwise.to_input(g, weight, window, size)
    else:
        x = columns.to_input(g, weight, window, groups, size)
    if bias is not None:
        x += bias[:, None, None]
    return x


def to_weight(x: Array, g: Array, window: Window, groups: int) -> Array:
    """The adjoint of `forward` in the weight: (N, C, H, W), (N, O, H', W') → (O, C/G, kh, kw)."""
    if groups == x.shape[1] == g.shape[1]:
        return depthwise.to_weight(x, g, window)
    return columns.to_weight(x, g, window, groups)
