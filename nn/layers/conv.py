"""Convolution: three operations that are each other's adjoints, and the layers.

    forward       y = conv2d(x, w)          bilinear in x and w
    grad_input    x̄ = _grad_input(ȳ, w)     ⟨y, ȳ⟩ = ⟨x, x̄⟩: the transposed convolution
    grad_weight   w̄ = _grad_weight(x, ȳ)    ⟨y, ȳ⟩ = ⟨w, w̄⟩

The derivative of each is written in the other two, so gradients exist to any order. How they are computed on arrays is in
the folder `convolution`. A sequence is an image of height 1.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from microtensor.autograd.arguments import check_tensors
from microtensor.autograd.autocast import narrowed
from microtensor.autograd.graph import T, mode
from microtensor.autograd.op import Rule, op
from microtensor.autograd.parallel import may_run_in_parallel
from microtensor.ops.padding import pad
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
from .windows import Window, check_images, check_result, check_shape, is_large, per_axis

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def conv2d(x: T, weight: T, bias: T | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> T:
    """Slide kernels over images: (N, C, H, W), (O, C/groups, kh, kw), (O,) → (N, O, H', W').

    y[n, o, i, j] = bias[o] + Σ weight[o, c, a, b] · x[n, c, i·stride + a·dilation − padding, j·stride + b·dilation − padding]

    (A cross-correlation, as in every deep learning library.) H' = ⌊(H + 2·padding − dilation·(kh − 1) − 1) / stride⌋ + 1.

    Args:
        stride, dilation: pixels, one integer or (height, width).
        padding: zeros on each side: pixels, one integer or (height, width). Or "valid": none. Or "same": as many as give
            H' = ⌈H / stride⌉; if their number is odd, the odd pixel goes to the bottom, and to the right.
        groups: channels are split into this many groups, each with kernels of its own; C groups are a depthwise convolution.

    Raises:
        MemoryError: the result would be larger than the memory.
        TypeError: the inputs have different dtypes, or none of floating point; a setting is no integer.
        ValueError: the shapes do not fit each other, or the kernel is larger than the padded image.

    >>> x, weight = Tensor([[[[1.0, 2.0, 3.0]]]]), Tensor([[[[1.0, -1.0]]]])
    >>> conv2d(x, weight)
    Tensor([[[[-1., -1.]]]])
    >>> conv2d(x, weight, padding="same")
    Tensor([[[[-1., -1.,  3.]]]])
    """
    x, weight, bias, window, groups = _checked("conv2d", 2, x, weight, bias, stride, padding, dilation, groups)
    return _conv2d(x, weight, bias, window=window, groups=groups)


def conv1d(x: T, weight: T, bias: T | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> T:
    """Slide kernels along sequences: (N, C, L), (O, C/groups, k), (O,) → (N, O, L').

    `conv2d` with one axis less: see there for the settings, each of them one integer, and for what it raises.

    >>> conv1d(Tensor([[[1.0, 2.0, 4.0]]]), Tensor([[[-1.0, 1.0]]]))
    Tensor([[[1., 2.]]])
    """
    lines, kernels, bias, window, groups = _checked("conv1d", 1, x, weight, bias, stride, padding, dilation, groups)
    y: Any = _conv2d(lines.unsqueeze(2), kernels.unsqueeze(2), bias, window=window, groups=groups)
    line: T = y.squeeze(2)
    return line


def _checked(
    operation: str, axes: int, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any
) -> tuple[Any, Any, Any, Window, int]:
    """The tensors, the window and the groups of a convolution whose arguments fit each other."""
    x, weight, bias = check_dtypes(operation, x, weight, bias)
    shape, kernels = x.shape, weight.shape
    window, groups = check_geometry(
        operation, axes, shape, kernels, None if bias is None else bias.shape, stride, padding, dilation, groups
    )
    size = shape[2:] if axes == 2 else (1, *shape[2:])
    if is_large(shape, window, kernels[0], size):
        check_result(operation, x, window, kernels[0], size)
    return x, weight, bias, window, groups


def check_dtypes(operation: str, x: Any, weight: Any, bias: Any) -> list[Any]:
    """The tensors of a convolution, in the dtype that `autocast` asks for.

    Raises:
        TypeError: they do not share one floating-point dtype, or one is no tensor.
    """
    if mode.autocast is not None:
        x, weight, bias = narrowed(x, weight, bias)
    return check_tensors(operation, 2, x=x, weight=weight, bias=bias)


def check_geometry(
    operation: str,
    axes: int,
    x: tuple[int, ...],
    weight: tuple[int, ...],
    bias: tuple[int, ...] | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
) -> tuple[Window, int]:
    """The window and the groups of a convolution of these shapes. What fits once is cached.

    Raises:
        TypeError: a setting is no integer.
        ValueError: the shapes do not fit each other, or a setting is out of range.
    """
    if type(groups) is not int or groups < 1:
        groups = as_integer(operation, "groups", groups, least=1)
    stride = per_axis(operation, "stride", stride, 1, axes)
    dilation = per_axis(operation, "dilation", dilation, 1, axes)
    if not isinstance(padding, str):
        padding = per_axis(operation, "padding", padding, 0, axes)
    return _geometry(operation, axes, x, weight, bias, stride, padding, dilation, groups), groups


@lru_cache(maxsize=1024)
def _geometry(
    operation: str,
    axes: int,
    x: tuple[int, ...],
    weight: tuple[int, ...],
    bias: tuple[int, ...] | None,
    stride: tuple[int, ...],
    padding: str | tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Window:
    if len(x) == axes + 1 == len(weight) - 1 and x[-1] == groups * weight[1] != x[0]:
        turned = "x.movedim(-1, 0).unsqueeze(0)"
        raise ValueError(f"{operation}: expected x (N, C, …), got shape {x}, with the channels last: {turned}")
    check_shape(operation, x, axes)
    if len(weight) != axes + 2:
        names = "(O, C/groups, kh, kw)" if axes == 2 else "(O, C/groups, k)"
        raise ValueError(f"{operation}: expected weight of {axes + 2} axes {names}, got shape {weight}")
    check_kernels(operation, weight, weight[0])
    if x[1] % groups or weight[0] % groups:
        raise ValueError(
            f"{operation}: groups={groups} must divide the {x[1]} channels of x and the {weight[0]} kernels of weight"
        )
    if x[1] != groups * weight[1]:
        last = "; they are its last axis, and are to follow the batch: x.movedim(-1, 1)"
        raise ValueError(
            f"{operation}: weight {weight} takes {weight[1]} channels per group, "
            f"but x {x} has {x[1] // groups}" + last * (x[-1] == groups * weight[1])
        )
    if bias is not None and bias != weight[:1]:
        raise ValueError(f"{operation}: weight {weight} has {weight[0]} kernels, but bias has shape {bias}")
    return _window(operation, weight[2:], stride, padding, dilation, x[2:])


def check_kernels(operation: str, weight: tuple[int, ...], kernels: int) -> None:
    """Refuse a weight without kernels, whose result would have no channels.

    Raises:
        ValueError: there are none.
    """
    if not kernels:
        raise ValueError(f"{operation}: weight {weight} has no kernels, and the result would have no channels")


def _window(operation: str, kernel: Any, stride: Any, padding: Any, dilation: Any, size: tuple[int, ...]) -> Window:
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
    _, _, *size = x.shape

    def grad_weight(g: T) -> T:
        return _grad_weight(x, g, window=window, groups=groups)

    if sketching.on:
        y = x.xp.zeros((x.shape[0], weight.shape[0], *window.places("conv2d", size)), x.dtype)
    else:
        y = dispatch.forward(x.array, weight.array, None if bias is None else bias.array, window, groups)
    return y, (
        lambda g: _grad_input(g, weight, window=window, groups=groups, size=(size[0], size[1])),
        may_run_in_parallel(grad_weight, y.size * math.prod(weight.shape[1:]), x.array.size + y.size),
        _grad_bias,
    )


@op(multiply_adds=each_input)
def _grad_input(g: T, weight: T, bias: T | None = None, *, window: Window, groups: int, size: tuple[int, int]) -> Rule[T]:
    """The gradient of each pixel: (N, O, H', W'), (O, C/groups, kh, kw), (C,) → (N, C, *size)."""

    def grad_weight(h: T) -> T:
        return _grad_weight(h, g, window=window, groups=groups)

    if sketching.on:
        x = g.xp.zeros((g.shape[0], groups * weight.shape[1], *size), g.dtype)
    else:
        x = dispatch.grad_input(g.array, weight.array, None if bias is None else bias.array, window, groups, size)
    return x, (
        lambda h: _conv2d(h, weight, None, window=window, groups=groups),
        may_run_in_parallel(grad_weight, g.array.size * math.prod(weight.shape[1:]), x.size + g.array.size),
        _grad_bias,
    )


@op(multiply_adds=each_pair)
def _grad_weight(x: T, g: T, *, window: Window, groups: int) -> Rule[T]:
    """The gradient of each weight: (N, C, H, W), (N, O, H', W') → (O, C/groups, kh, kw)."""
    size = (x.shape[2], x.shape[3])
    return dispatch.grad_weight(x.array, g.array, window, groups), (
        lambda h: _grad_input(g, h, window=window, groups=groups, size=size),
        lambda h: _conv2d(x, h, None, window=window, groups=groups),
    )


def _grad_bias(g: Any) -> Any:
    """The sum over each channel: (N, O, H', W') → (O,). On the CPU by BLAS, which takes half the time of `sum`."""
    if mode.recording or type(g.array) is not np.ndarray:
        return g.sum((0, 2, 3))
    wide = g.array.astype(np.float32) if g.array.dtype == np.float16 else g.array
    rows = wide.reshape(len(wide), math.prod(wide.shape[1:]))
    return g.constant(channel_sums(rows, g.shape[1]).astype(g.dtype, copy=False))


class Convolution(Module):
    """What the layers share: settings, weights and how they print."""

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
        """x padded as `padding_mode` says, and the padding with zeros that is left to do."""
        if self.padding_mode == "zeros":
            return x, self.padding
        name = type(self).__name__
        check_images(name, x, self.axes)
        (top, bottom), (left, right) = _window(
            name, self.weight.shape[2:], self.stride, self.padding, self.dilation, x.shape[2:]
        ).padding
        return pad(x, (left, right, top, bottom)[: 2 * self.axes], mode=self.padding_mode), 0

    def extra_repr(self) -> str:
        """The settings that are not the defaults."""
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        zeros, ones = (0,) * self.axes, (1,) * self.axes
        defaults = {"padding": zeros, "dilation": ones, "output_padding": zeros, "groups": 1}
        parts += [f"{name}={getattr(self, name)}" for name, value in defaults.items() if getattr(self, name, value) != value]
        parts += ["bias=False"] if self.bias is None else []
        return ", ".join(parts + ([f"padding_mode={self.padding_mode}"] if self.padding_mode != "zeros" else []))


class Conv1d(Convolution):
    """`conv1d` with learned kernels: (N, in_channels, L) → (N, out_channels, L'). As `Conv2d`, with one axis less.

    >>> Conv1d(16, 33, 3, stride=2)
    Conv1d(16, 33, kernel_size=(3,), stride=(2,))
    """

    axes = 1

    def forward(self, x: Tensor) -> Tensor:
        """x (N, in_channels, L) → (N, out_channels, L')."""
        x, padding = self.bordered(x)
        return conv1d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Conv2d(Convolution):
    """`conv2d` with learned kernels: (N, in_channels, H, W) → (N, out_channels, H', W').

    `weight` is (out_channels, in_channels/groups, kh, kw) and `bias` (out_channels,), both drawn from U(−b, b) with
    b = 1/√(in_channels/groups · kh · kw), as PyTorch draws them. Each kernel has in_channels/groups · kh · kw + 1 parameters.

    Args:
        kernel_size, stride, padding, dilation, groups: as for `conv2d`: pixels, one integer or (height, width); `padding` may
            be "same" or "valid" too.
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
