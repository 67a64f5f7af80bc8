"""Convolution: three operations that are each other's adjoints, and the layers.

    forward    y = conv2d(x, w)         bilinear in x and w
    input      x̄ = _to_input(ȳ, w)      ⟨y, ȳ⟩ = ⟨x, x̄⟩: the transposed convolution
    weight     w̄ = _to_weight(x, ȳ)     ⟨y, ȳ⟩ = ⟨w, w̄⟩

The derivative of each is written in the other two, so gradients exist to any order. How they are computed on arrays stands in
the folder `convolution`. A sequence is an image of height 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from microtensor.autograd.arguments import check_tensors
from microtensor.autograd.autocast import at_least_float32, narrowed
from microtensor.autograd.graph import T, mode
from microtensor.autograd.op import Rule, op
from microtensor.autograd.parallel import may_run_in_parallel
from microtensor.ops.padding import pad
from microtensor.ops.product import through_float32
from microtensor.profiler.costs import each_input, each_pair, each_result
from microtensor.random import Generator
from microtensor.runtime.integers import as_integer
from microtensor.runtime.sizes import check_size
from microtensor.tensor import Tensor

from .. import init
from ..module import Module, Parameter
from ..sketching import sketching
from .channels import channel_sums
from .convolution import dispatch
from .windows import Window, check_images, check_result, per_axis

_forward = through_float32(dispatch.forward)
_backward_to_input = through_float32(dispatch.to_input)
_backward_to_weight = through_float32(dispatch.to_weight)

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def conv2d(x: T, weight: T, bias: T | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> T:
    """Slide kernels over images: (N, C, H, W), (O, C/groups, kh, kw), (O,) → (N, O, H', W').

    y[n, o, i, j] = bias[o] + Σ weight[o, c, a, b] · x[n, c, i·stride + a·dilation − padding, j·stride + b·dilation − padding]

    (A cross-correlation, as in every library for neural networks.) H' = ⌊(H + 2·padding − dilation·(kh − 1) − 1) / stride⌋ + 1.

    Args:
        stride, dilation: pixels, one number or (height, width).
        padding: with zeros, on each side: pixels, one number or (height, width). Or "valid": none. Or "same": as many as give
            H' = ⌈H / stride⌉; if their number is odd, the odd pixel goes to the bottom, and to the right.
        groups: channels are cut into so many groups, each with kernels of its own; C groups of 1 are a depthwise convolution.

    Raises:
        MemoryError: the result would be larger than the memory.
        TypeError: inputs of different or not floating dtypes; a setting that is no integer.
        ValueError: shapes that do not fit each other, or a kernel larger than the padded image.

    >>> x, weight = Tensor([[[[1.0, 2.0, 3.0]]]]), Tensor([[[[1.0, -1.0]]]])
    >>> conv2d(x, weight)
    Tensor([[[[-1., -1.]]]])
    >>> conv2d(x, weight, padding="same")
    Tensor([[[[-1., -1.,  3.]]]])
    """
    x, weight, bias = _checked("conv2d", 2, x, weight, bias, groups)
    window = _window("conv2d", weight.shape[2:], stride, padding, dilation, x.shape[2:])
    check_result("conv2d", x, window, weight.shape[0], x.shape[2:])
    return _conv2d(x, weight, bias, window=window, groups=groups)


def conv1d(x: T, weight: T, bias: T | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> T:
    """Slide kernels along sequences: (N, C, L), (O, C/groups, k), (O,) → (N, O, L').

    `conv2d` with one axis less: see there for the settings, each of them one number, and for what it raises.

    >>> conv1d(Tensor([[[1.0, 2.0, 4.0]]]), Tensor([[[-1.0, 1.0]]]))
    Tensor([[[1., 2.]]])
    """
    lines, kernels, bias = _checked("conv1d", 1, x, weight, bias, groups)
    window = _window("conv1d", kernels.shape[2:], stride, padding, dilation, lines.shape[2:])
    check_result("conv1d", lines, window, kernels.shape[0], (1, lines.shape[2]))
    y: Any = _conv2d(lines.unsqueeze(2), kernels.unsqueeze(2), bias, window=window, groups=groups)
    line: T = y.squeeze(2)
    return line


def _checked(operation: str, axes: int, x: Any, weight: Any, bias: Any, groups: Any) -> list[Any]:
    x, weight, bias = narrowed(x, weight, bias)
    x, weight, bias = check_tensors(operation, 2, x=x, weight=weight, bias=bias)
    if x.ndim == axes + 1 == weight.ndim - 1 and x.shape[-1] == groups * weight.shape[1] != x.shape[0]:
        turned = "x.movedim(-1, 0).unsqueeze(0)"
        raise ValueError(f"{operation}: expected x (N, C, …), got shape {x.shape}, with the channels last: {turned}")
    check_images(operation, x, axes)
    as_integer(operation, "groups", groups, least=1)
    if weight.ndim != axes + 2:
        names = "(O, C/groups, kh, kw)" if axes == 2 else "(O, C/groups, k)"
        raise ValueError(f"{operation}: expected weight of {axes + 2} axes {names}, got shape {weight.shape}")
    check_kernels(operation, weight, weight.shape[0])
    if x.shape[1] % groups or weight.shape[0] % groups:
        raise ValueError(
            f"{operation}: groups={groups} must divide the {x.shape[1]} channels of x "
            f"and the {weight.shape[0]} kernels of weight"
        )
    if x.shape[1] != groups * weight.shape[1]:
        last = "; they are its last axis, and are to follow the batch: x.movedim(-1, 1)"
        raise ValueError(
            f"{operation}: weight {weight.shape} takes {weight.shape[1]} channels per group, "
            f"but x {x.shape} has {x.shape[1] // groups}" + last * (x.shape[-1] == groups * weight.shape[1])
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"{operation}: weight {weight.shape} has {weight.shape[0]} kernels, but bias has shape {bias.shape}")
    return [x, weight, bias]


def check_kernels(operation: str, weight: Any, kernels: int) -> None:
    """Refuse a weight without kernels, whose result would have no channels.

    Raises:
        ValueError: there are none.
    """
    if not kernels:
        raise ValueError(f"{operation}: weight {weight.shape} has no kernels, and the result would have no channels")


def _window(operation: str, kernel: Any, stride: Any, padding: Any, dilation: Any, size: Sequence[int]) -> Window:
    """The window that slides over images or sequences of `size`, padded as the user asks, by number or name."""
    named, axes = isinstance(padding, str), len(size)
    window = Window.of(operation, kernel, stride, 0 if named else padding, dilation, axes=axes)
    if named:
        _check_name(operation, padding)
        window = window.keeping((*(1,) * (2 - axes), *size)) if padding == "same" else window
    window.check(operation, size)
    return window


def _check_name(operation: str, padding: str) -> None:
    if padding not in ("valid", "same"):
        raise ValueError(f'{operation}: padding must be "valid", "same" or a number of pixels, got {padding!r}')


@op(multiply_adds=each_result)
def _conv2d(x: T, weight: T, bias: T | None = None, *, window: Window, groups: int) -> Rule[T]:
    size = (x.shape[2], x.shape[3])

    def to_weight(g: T) -> T:
        return _to_weight(x, g, window=window, groups=groups)

    if sketching.on:
        y = x.xp.zeros((x.shape[0], weight.shape[0], *window.places("conv2d", size)), x.dtype)
    else:
        y = _forward(x.array, weight.array, None if bias is None else bias.array, window, groups)
    return y, (
        lambda g: _to_input(g, weight, window=window, groups=groups, size=size),
        may_run_in_parallel(to_weight, y.size * math.prod(weight.shape[1:]), x.array.size + y.size),
        _to_bias,
    )


@op(multiply_adds=each_input)
def _to_input(g: T, weight: T, bias: T | None = None, *, window: Window, groups: int, size: tuple[int, int]) -> Rule[T]:
    """What each pixel contributed: (N, O, H', W'), (O, C/groups, kh, kw), (C,) → (N, C, *size)."""

    def to_weight(h: T) -> T:
        return _to_weight(h, g, window=window, groups=groups)

    if sketching.on:
        x = g.xp.zeros((g.shape[0], groups * weight.shape[1], *size), g.dtype)
    else:
        x = _backward_to_input(g.array, weight.array, None if bias is None else bias.array, window, groups, size)
    return x, (
        lambda h: _conv2d(h, weight, None, window=window, groups=groups),
        may_run_in_parallel(to_weight, g.array.size * math.prod(weight.shape[1:]), x.size + g.array.size),
        _to_bias,
    )


@op(multiply_adds=each_pair)
def _to_weight(x: T, g: T, *, window: Window, groups: int) -> Rule[T]:
    """What each weight contributed: (N, C, H, W), (N, O, H', W') → (O, C/groups, kh, kw)."""
    size = (x.shape[2], x.shape[3])
    return _backward_to_weight(x.array, g.array, window, groups), (
        lambda h: _to_input(g, h, window=window, groups=groups, size=size),
        lambda h: _conv2d(x, h, None, window=window, groups=groups),
    )


def _to_bias(g: Any) -> Any:
    """The sum of each channel: (N, O, H', W') → (O,). On a CPU not by `sum`, which takes twice as long."""
    if mode.recording or type(g.array) is not np.ndarray:
        return g.sum((0, 2, 3))
    rows = at_least_float32(g.array).reshape(len(g.array), math.prod(g.shape[1:]))
    return g.constant(channel_sums(rows, g.shape[1]).astype(g.dtype, copy=False))


class Convolution(Module):
    """What the layers share: their settings, checked, their weights, and how they print."""

    axes: ClassVar[int]
    transposed: ClassVar[bool] = False

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
        padding_mode: str = "zeros",
        *,
        generator: Generator | None = None,
    ) -> None:
        name = type(self).__name__
        for key, value in (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)):
            as_integer(name, key, value, least=1)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"{name}: groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}")
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"{name}: padding_mode must be one of {', '.join(PADDING_MODES)}, got {padding_mode!r}")
        self.in_channels, self.out_channels, self.groups, self.padding_mode = in_channels, out_channels, groups, padding_mode
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, 1, self.axes)
        self.stride = per_axis(name, "stride", stride, 1, self.axes)
        self.dilation = per_axis(name, "dilation", dilation, 1, self.axes)
        self.padding: str | tuple[int, ...]
        if isinstance(padding, str):
            _check_name(name, padding)
            self.padding = padding
        else:
            self.padding = per_axis(name, "padding", padding, 0, self.axes)

        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        shape = (first, second // groups, *self.kernel_size)
        check_size(name, "weight", shape, np.empty(0, np.float32))
        self.weight = Parameter(np.empty(shape, np.float32))
        self.bias = Parameter(np.empty(out_channels, np.float32)) if bias else None
        self._reserve("bias")
        bound = 1 / math.sqrt(second // groups * math.prod(self.kernel_size))
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound, generator=generator)

    def bordered(self, x: Tensor) -> tuple[Tensor, Any]:
        """x with the border that `padding_mode` asks for, and the padding with zeros that is left to do."""
        if self.padding_mode == "zeros":
            return x, self.padding
        name = type(self).__name__
        check_images(name, x, self.axes)
        (top, bottom), (left, right) = _window(
            name, self.weight.shape[2:], self.stride, self.padding, self.dilation, x.shape[2:]
        ).padding
        return pad(x, (left, right, top, bottom)[: 2 * self.axes], mode=self.padding_mode), 0

    def extra_repr(self) -> str:
        """The settings, but for what is as usual."""
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        zeros, ones = (0,) * self.axes, (1,) * self.axes
        usual = {"padding": zeros, "dilation": ones, "output_padding": zeros, "groups": 1}
        parts += [f"{name}={getattr(self, name)}" for name, value in usual.items() if getattr(self, name, value) != value]
        parts += ["bias=False"] if self.bias is None else []
        return ", ".join(parts + ([f"padding_mode={self.padding_mode}"] if self.padding_mode != "zeros" else []))


class Conv1d(Convolution):
    """`conv1d` with kernels that learn: (N, in_channels, L) → (N, out_channels, L'). As `Conv2d`, with one axis less.

    >>> Conv1d(16, 33, 3, stride=2)
    Conv1d(16, 33, kernel_size=(3,), stride=(2,))
    """

    axes = 1

    def forward(self, x: Tensor) -> Tensor:
        """x (N, in_channels, L) → (N, out_channels, L')."""
        x, padding = self.bordered(x)
        return conv1d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Conv2d(Convolution):
    """`conv2d` with kernels that learn: (N, in_channels, H, W) → (N, out_channels, H', W').

    `weight` is (out_channels, in_channels/groups, kh, kw) and `bias` (out_channels,), both drawn from U(−b, b) with
    b = 1/√(in_channels/groups · kh · kw), as PyTorch draws them. Each kernel has in_channels/groups · kh · kw + 1 parameters.

    Args:
        kernel_size, stride, padding, dilation, groups: as for `conv2d`: pixels, one number or (height, width); a padding may be
            "same" or "valid" too.
        bias: whether it adds a bias; without, `self.bias` is None.
        padding_mode: what the padding is filled with: "zeros", or "reflect", "replicate" or "circular", as `pad` does it.
        generator: where the initial weights come from; the default generator if None.

    Raises:
        TypeError: a setting is no integer.
        ValueError: a setting is out of range, groups do not divide the channels, or a name is not known.

    >>> layer = Conv2d(3, 16, 3, padding="same")
    >>> layer(Tensor([[[[0.0] * 5] * 5] * 3])).shape, sum(p.array.size for p in layer.parameters())
    ((1, 16, 5, 5), 448)
    """

    axes = 2

    def forward(self, x: Tensor) -> Tensor:
        """x (N, in_channels, H, W) → (N, out_channels, H', W')."""
        x, padding = self.bordered(x)
        return conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)
