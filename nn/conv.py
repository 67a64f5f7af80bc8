"""Convolution: three operations that are each other's adjoints, and the layer.

    forward    y = conv2d(x, w)         bilinear in x and w
    input      x̄ = _to_input(ȳ, w)      ⟨y, ȳ⟩ = ⟨x, x̄⟩: the transposed convolution
    weight     w̄ = _to_weight(x, ȳ)     ⟨y, ȳ⟩ = ⟨w, w̄⟩

The derivative of each is written in the other two, so gradients exist to any order. On arrays each is one matrix product per
group of images, on columns: every window of the images laid out as a column (Chellapilla, Puri & Simard 2006, "High
performance convolutional neural networks for document processing", section 4), of as many images at a time as the cache holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from microtensor.arguments import check_tensors
from microtensor.backend import Array, array_module
from microtensor.graph import T
from microtensor.nn import init
from microtensor.nn.module import Module, Parameter
from microtensor.nn.windows import Window, check_images, pair
from microtensor.op import Rule, op
from microtensor.ops.shape import whole_number
from microtensor.random import Generator
from microtensor.tensor import Tensor

COLUMN_BYTES = 1 << 20
"""Memory for the columns of one matrix product: about what a core's cache holds. Measured, see benchmarks."""


def conv2d(x: T, weight: T, bias: T | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> T:
    """Slide kernels over images: (N, C, H, W), (O, C/groups, kh, kw), (O,) → (N, O, H', W').

    y[n, o, i, j] = bias[o] + Σ weight[o, c, a, b] · x[n, c, i·stride + a·dilation − padding, j·stride + b·dilation − padding]

    (A cross-correlation, as in every library for neural networks.) H' = ⌊(H + 2·padding − dilation·(kh − 1) − 1) / stride⌋ + 1.

    Args:
        stride, padding, dilation: pixels, one number or (height, width). Padding is with zeros.
        groups: channels are cut into so many groups, each with kernels of its own; C groups of 1 are a depthwise convolution.

    Raises:
        TypeError: inputs of different or not floating dtypes; a setting that is no whole number.
        ValueError: shapes that do not fit each other, or a kernel larger than the padded image.

    >>> x, weight = Tensor([[[[1.0, 2.0, 3.0]]]]), Tensor([[[[1.0, -1.0]]]])
    >>> conv2d(x, weight)
    Tensor([[[[-1., -1.]]]])
    """
    x, weight, bias = check_tensors("conv2d", 2, x=x, weight=weight, bias=bias)
    check_images("conv2d", x)
    if weight.ndim != 4:
        raise ValueError(f"conv2d: expected weight of 4 axes (O, C/groups, kh, kw), got shape {weight.shape}")
    if not isinstance(groups, (int, np.integer)) or groups < 1 or x.shape[1] % groups or weight.shape[0] % groups:
        raise ValueError(
            f"conv2d: groups={groups!r} must divide the {x.shape[1]} channels of x and the {weight.shape[0]} kernels of weight"
        )
    if x.shape[1] != groups * weight.shape[1]:
        raise ValueError(
            f"conv2d: weight {weight.shape} takes {weight.shape[1]} channels per group, "
            f"but x {x.shape} has {x.shape[1] // groups}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"conv2d: weight {weight.shape} has {weight.shape[0]} kernels, but bias has shape {bias.shape}")
    window = Window.of("conv2d", weight.shape[2:], stride, padding, dilation)
    window.places("conv2d", (x.shape[2], x.shape[3]))
    return _conv2d(x, weight, bias, window=window, groups=groups)


@op
def _conv2d(x: T, weight: T, bias: T | None = None, *, window: Window, groups: int) -> Rule[T]:
    size = (x.shape[2], x.shape[3])
    y = _forward(x.data, weight.data, window, groups)
    if bias is not None:
        y += bias.data[:, None, None]
    return y, (
        lambda g: _to_input(g, weight, window=window, groups=groups, size=size),
        lambda g: _to_weight(x, g, window=window, groups=groups),
        lambda g: g.sum((0, 2, 3)),
    )


@op
def _to_input(g: T, weight: T, *, window: Window, groups: int, size: Sequence[int]) -> Rule[T]:
    """What each pixel contributed: (N, O, H', W'), (O, C/groups, kh, kw) → (N, C, *size)."""
    return _backward_input(g.data, weight.data, window, groups, size), (
        lambda h: _conv2d(h, weight, None, window=window, groups=groups),
        lambda h: _to_weight(h, g, window=window, groups=groups),
    )


@op
def _to_weight(x: T, g: T, *, window: Window, groups: int) -> Rule[T]:
    """What each weight contributed: (N, C, H, W), (N, O, H', W') → (O, C/groups, kh, kw)."""
    size = (x.shape[2], x.shape[3])
    return _backward_weight(x.data, g.data, window, groups), (
        lambda h: _to_input(g, h, window=window, groups=groups, size=size),
        lambda h: _conv2d(x, h, None, window=window, groups=groups),
    )


# On arrays


class _Columns:
    """Images unfolded, a part of the batch at a time, into memory that is used again.

    For stride 1 the places are all pixels of H' whole padded rows: each element of the kernel then sees one run of memory,
    and copying that is much faster than copying row by row. What is computed at the end of each row, where the window hangs
    over, is cropped.
    """

    def __init__(self, like: Array, images: int, channels: int, size: Sequence[int], window: Window, groups: int) -> None:
        self.window, self.groups, self.channels = window, groups, channels
        self.places = window.places("conv2d", size)
        self.padded_size = window.padded(size)
        self.flat = window.stride == (1, 1)
        self.row = self.padded_size[1] if self.flat else self.places[1]
        self.height = channels * window.kernel[0] * window.kernel[1]
        each = self.height * self.places[0] * self.row * like.itemsize
        self.step = min(max(1, COLUMN_BYTES // max(each, 1)), max(images, 1))
        xp = array_module(like)
        overhang = window.reach[1] - 1
        self.padded = xp.zeros(self.step * channels * self.padded_size[0] * self.padded_size[1] + overhang, like.dtype)
        self.columns = xp.empty(self.height * self.step * self.places[0] * self.row, like.dtype)

    def parts(self, images: int) -> Iterator[slice]:
        """The batch cut into parts whose columns fill `COLUMN_BYTES`."""
        return (slice(i, min(i + self.step, images)) for i in range(0, images, self.step))

    def unfold(self, x: Array) -> Array:
        """(n, C, H, W) → (G, C/G · kh · kw, n · H' · row)."""
        n, (height, width) = len(x), self.padded_size
        padded = self.padded[: n * self.channels * height * width].reshape(n, self.channels, height, width)
        self.window.crop(padded)[...] = x
        (kh, kw), (sh, sw), (dh, dw), item = self.window.kernel, self.window.stride, self.window.dilation, x.itemsize
        plane = height * width
        shape: tuple[int, ...] = (self.channels, kh, kw, n, self.places[0] * self.row)
        strides: tuple[int, ...] = (plane, dh * width, dw, self.channels * plane, 1)
        if not self.flat:
            shape, strides = (*shape[:4], *self.places), (*strides[:4], sh * width, sw)
        windows = array_module(x).lib.stride_tricks.as_strided(self.padded, shape, [item * stride for stride in strides])
        columns = self.columns[: windows.size].reshape(shape)
        columns[...] = windows
        return columns.reshape(self.groups, self.height // self.groups, -1)

    def crop(self, product: Array) -> Array:
        """(G, O/G, n · H' · row) → (n, G, O/G, H', W'), a view."""
        grid = product.reshape(*product.shape[:2], -1, self.places[0], self.row)
        return grid[..., : self.places[1]].transpose(2, 0, 1, 3, 4)

    def spread(self, g: Array) -> Array:
        """The adjoint of `crop`: (n, O, H', W') → (G, O/G, n · H' · row), with zeros where the window hangs over."""
        n, kernels = g.shape[:2]
        grid = array_module(g).zeros((self.groups, kernels // self.groups, n, self.places[0], self.row), g.dtype)
        grid[..., : self.places[1]] = g.reshape(n, self.groups, -1, *self.places).transpose(1, 2, 0, 3, 4)
        return grid.reshape(self.groups, kernels // self.groups, -1)

    def fold(self, columns: Array, size: Sequence[int]) -> Array:
        """The adjoint of `unfold` for any stride: (G, C/G · kh · kw, n · H' · W') → (n, C, H, W)."""
        columns = columns.reshape(self.channels, *self.window.kernel, -1, *self.places)
        padded = self.window.blank(columns, columns.shape[3], self.channels, size)
        for i, j, view in self.window.taps(padded, self.places):
            view += columns[:, i, j].swapaxes(0, 1)
        return self.window.crop(padded)


def _forward(x: Array, weight: Array, window: Window, groups: int) -> Array:
    """(N, C, H, W), (O, C/G, kh, kw) → (N, O, H', W')."""
    (n, channels, *size), kernels = x.shape, len(weight)
    weight = weight.reshape(groups, kernels // groups, -1)  # (G, O/G, C/G · kh · kw)
    if window == Window((1, 1)):  # an image is its own columns
        pixels = x.reshape(n, groups, channels // groups, size[0] * size[1])
        return (weight @ pixels).reshape(n, kernels, *size)
    columns = _Columns(x, n, channels, size, window, groups)
    y = array_module(x).empty((n, groups, kernels // groups, *columns.places), x.dtype)
    for part in columns.parts(n):
        y[part] = columns.crop(weight @ columns.unfold(x[part]))
    return y.reshape(n, kernels, *columns.places)


def _backward_input(g: Array, weight: Array, window: Window, groups: int, size: Sequence[int]) -> Array:
    """(N, O, H', W'), (O, C/G, kh, kw) → (N, C, H, W)."""
    (n, kernels), channels = g.shape[:2], groups * weight.shape[1]
    (top, bottom), (left, right) = window.padding
    rest = (
        (window.reach[0] - 1 - top, window.reach[0] - 1 - bottom),
        (window.reach[1] - 1 - left, window.reach[1] - 1 - right),
    )
    grouped = weight.reshape(groups, kernels // groups, *weight.shape[1:])
    if window.stride == (1, 1) and min(rest[0] + rest[1]) >= 0:  # a convolution itself, with the kernels turned round
        turned = grouped.swapaxes(1, 2)[..., ::-1, ::-1].reshape(channels, kernels // groups, *window.kernel)
        return _forward(g, turned, window._replace(padding=rest), groups)
    transposed = grouped.reshape(groups, kernels // groups, -1).swapaxes(1, 2)  # (G, C/G · kh · kw, O/G)
    columns = _Columns(g, n, channels, size, window, groups)
    x = array_module(g).empty((n, channels, *size), g.dtype)
    for part in columns.parts(n):
        x[part] = columns.fold(transposed @ _by_group(g[part], groups), size)
    return x


def _backward_weight(x: Array, g: Array, window: Window, groups: int) -> Array:
    """(N, C, H, W), (N, O, H', W') → (O, C/G, kh, kw)."""
    (n, channels, *size), kernels = x.shape, g.shape[1]
    columns = _Columns(x, n, channels, size, window, groups)
    total = array_module(x).zeros((groups, kernels // groups, columns.height // groups), x.dtype)
    for part in columns.parts(n):
        total += columns.spread(g[part]) @ columns.unfold(x[part]).swapaxes(1, 2)
    return total.reshape(kernels, channels // groups, *window.kernel)


def _by_group(g: Array, groups: int) -> Array:
    """(n, O, H', W') → (G, O/G, n · H' · W')."""
    n, kernels = g.shape[:2]
    return g.reshape(n, groups, kernels // groups, -1).transpose(1, 2, 0, 3).reshape(groups, kernels // groups, -1)


class Conv2d(Module):
    """`conv2d` with kernels that learn: (N, in_channels, H, W) → (N, out_channels, H', W').

    `weight` is (out_channels, in_channels/groups, kh, kw) and `bias` (out_channels,), both drawn from U(−b, b) with
    b = 1/√(in_channels/groups · kh · kw), as PyTorch draws them. Each kernel has in_channels/groups · kh · kw + 1 parameters.

    Args:
        kernel_size, stride, padding, dilation: pixels, one number or (height, width).
        generator: where the initial weights come from; the default generator if None.

    >>> layer = Conv2d(3, 16, 3)
    >>> sum(p.data.size for p in layer.parameters())
    448
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        generator: Generator | None = None,
    ) -> None:
        window = Window.of("Conv2d", kernel_size, stride, padding, dilation)
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)):
            whole_number("Conv2d", name, value, least=1)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"Conv2d: groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, _, self.dilation = window
        self.padding = pair("Conv2d", "padding", padding, 0)
        self.weight = Parameter(np.empty((out_channels, in_channels // groups, *window.kernel), np.float32))
        self.bias = Parameter(np.empty(out_channels, np.float32)) if bias else None
        bound = 1 / np.sqrt(in_channels // groups * window.kernel[0] * window.kernel[1])
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        unusual = {"padding": (0, 0), "dilation": (1, 1), "groups": 1}
        parts += [f"{name}={getattr(self, name)}" for name, usual in unusual.items() if getattr(self, name) != usual]
        return ", ".join(parts + ([] if self.bias is not None else ["bias=False"]))
