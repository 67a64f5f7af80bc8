"""Max unpooling: a partial inverse of max pooling, which puts each maximum back to its argmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from microtensor.autograd.graph import Node, T
from microtensor.ops.gathering import scatter
from microtensor.ops.shape import reshape
from microtensor.runtime.sizes import check_size
from microtensor.tensor import Tensor

from ..module import Module
from .pool_windows import check_pool_input
from .windows import Window, pair


def max_unpool2d(x: T, indices: Node, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None) -> T:
    """Zeros, with each value of x at its index: (N, C, H', W') → (N, C, H, W). A partial inverse of `max_pool2d`.

    H = (H' − 1) · stride − 2 · padding + kh, unless `output_size` is given: pooling maps several sizes to one.
    (Zeiler & Fergus 2014, section 2.1, arxiv.org/abs/1311.2901, visualise networks with it.)

    Where windows overlap, one pixel may be the maximum of several, so its index occurs more than once. Then the last value, row
    by row, is kept, and it alone gets a gradient. The result of a pool has equal values there.

    Args:
        indices: those of `max_pool2d(…, return_indices=True)`: row · W + column in each image, in the shape of x.
        kernel_size, stride, padding: those of the pooling.
        output_size: (H, W) or a whole shape, where several sizes are possible: less than a stride off the default.

    Raises:
        MemoryError: the result would be larger than the memory.
        IndexError: an index is outside of the image, as when the size is not that of the pooled image. (On a GPU it is raised
            by the next copy to the host.)
        TypeError: x or `indices` is no tensor; the indices are no integers.
        ValueError: x is no batch of images; the indices have another shape; pooling an image of this size gives another shape.

    >>> from microtensor.nn.layers.pool import max_pool2d
    >>> y, indices = max_pool2d(Tensor([[[[1.0, 5.0], [3.0, 2.0]]]]), 2, return_indices=True)
    >>> max_unpool2d(y, indices, 2)
    Tensor([[[[0., 5.],
              [0., 0.]]]])
    """
    check_pool_input("max_unpool2d", x)
    window = Window.of("max_unpool2d", kernel_size, kernel_size if stride is None else stride, padding)
    if not isinstance(indices, Node) or indices.dtype.kind not in "iu":
        given = str(indices.dtype) if isinstance(indices, Node) else type(indices).__name__
        raise TypeError(f"max_unpool2d: indices must be a Tensor of integers, as max_pool2d returns it, got {given}")
    if indices.shape != x.shape:
        raise ValueError(f"max_unpool2d: expected an index for each element of x {x.shape}, got shape {indices.shape}")
    height, width = _size(x.shape, window, output_size)
    check_size("max_unpool2d", "the result", (*x.shape[:2], height, width), x, "give a smaller stride or kernel")
    images, area = x.shape[0] * x.shape[1], height * width
    if type(indices.array) is np.ndarray and indices.array.size:
        low, high = int(indices.array.min()), int(indices.array.max())
        if low < 0 or high >= area:
            raise IndexError(
                f"max_unpool2d: index {low if low < 0 else high} is not in an image of {height} × {width}; "
                "give the size of the image before pooling: output_size=(height, width)"
            )
    flat = (images, x.shape[2] * x.shape[3])
    zeros = x.constant(x.xp.zeros((images, area), x.dtype))
    return reshape(scatter(zeros, 1, reshape(indices, flat), reshape(x, flat)), (*x.shape[:2], height, width))


def _size(shape: tuple[int, ...], window: Window, output_size: Any) -> tuple[int, int]:
    """Height and width of the image before pooling."""
    steps = zip(shape[2:], window.kernel, window.stride, window.padding)
    height, width = ((n - 1) * stride - sum(sides) + kernel for n, kernel, stride, sides in steps)
    if output_size is None:
        if min(height, width) < 1:
            raise ValueError(f"max_unpool2d: x {shape} and padding {window.padding} leave an image of {height} × {width}")
        return height, width
    whole = isinstance(output_size, (tuple, list)) and len(output_size) == 4
    size = pair("max_unpool2d", "output_size", output_size[2:] if whole else output_size, 1)
    if any(abs(given - default) >= stride for given, default, stride in zip(size, (height, width), window.stride)):
        raise ValueError(
            f"max_unpool2d: output_size {output_size} must be less than a stride {window.stride} off {(height, width)}, "
            f"for pooling to give {shape[2:]}"
        )
    return size


class MaxUnpool2d(Module):
    """`max_unpool2d` as a layer: x and indices (N, C, H', W') → (N, C, H, W).

    >>> from microtensor.nn.layers.pool import MaxPool2d
    >>> pool, unpool = MaxPool2d(2, stride=2, return_indices=True), MaxUnpool2d(2, stride=2)
    >>> unpool(*pool(Tensor([[[[1.0, 5.0, 0.0], [3.0, 2.0, 0.0]]]])), output_size=(2, 3))
    Tensor([[[[0., 5., 0.],
              [0., 0., 0.]]]])
    """

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        window = Window.of("MaxUnpool2d", kernel_size, kernel_size if stride is None else stride, padding)
        self.kernel_size, self.stride, self.padding = window.kernel, window.stride, pair("MaxUnpool2d", "padding", padding, 0)

    def forward(self, x: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        return max_unpool2d(x, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
