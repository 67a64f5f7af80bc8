"""Transposed convolution: each element of the input adds a kernel, times the element, to a larger image.

It is the gradient of a convolution with respect to its input, and computed by it. (Zeiler et al. 2010, "Deconvolutional
networks"; Dumoulin & Visin 2016, arxiv.org/abs/1603.07285, chapter 4.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from microtensor.autograd.graph import T
from microtensor.ops.padding import pad
from microtensor.random import Generator
from microtensor.runtime.integers import as_integer
from microtensor.tensor import Tensor

from .conv import Convolution, _grad_input, check_dtypes, check_kernels
from .windows import Window, check_images, check_result, per_axis


def conv_transpose2d(
    x: T,
    weight: T,
    bias: T | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> T:
    """Add kernels to images: (N, C, H, W), (C, O/groups, kh, kw), (O,) → (N, O, H', W').

    y[n, o, i·stride + a·dilation − padding, j·stride + b·dilation − padding] += weight[c, o, a, b] · x[n, c, i, j]

    for all c, i, j, a, b, starting from bias[o].

    H' = (H − 1)·stride − 2·padding + dilation·(kh − 1) + 1 + output_padding. `conv2d` with the same settings turns an image of
    this size into H × W again.

    Args:
        stride: pixels from one kernel to the next, one integer or (height, width).
        padding: pixels cropped on each side.
        output_padding: more pixels at the bottom and on the right, fewer than the stride or the dilation: a `conv2d` of stride
            s gives the same size for s different sizes of its input, and this says for which.
        groups: channels are split into this many groups, each with kernels of its own.
        dilation: pixels from one element of a kernel to the next.

    Raises:
        MemoryError: the result would be larger than the memory.
        TypeError: the inputs have different dtypes, or none of floating point; a setting is no integer.
        ValueError: the shapes do not fit each other, output_padding is too large, or the result would have no pixels.

    >>> conv_transpose2d(Tensor([[[[1.0, 2.0]]]]), Tensor([[[[1.0, 1.0, 1.0]]]]), stride=2)
    Tensor([[[[1., 1., 3., 2., 2.]]]])
    """
    y: T = _conv_transpose("conv_transpose2d", 2, x, weight, bias, stride, padding, output_padding, groups, dilation)
    return y


def conv_transpose1d(
    x: T,
    weight: T,
    bias: T | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> T:
    """Add kernels to sequences: (N, C, L), (C, O/groups, k), (O,) → (N, O, L').

    `conv_transpose2d` with one axis less: see there for the settings, each of them one integer, and for what it raises.

    >>> conv_transpose1d(Tensor([[[1.0, 2.0]]]), Tensor([[[1.0, 1.0, 1.0]]]))
    Tensor([[[1., 3., 3., 2.]]])
    """
    y: T = _conv_transpose("conv_transpose1d", 1, x, weight, bias, stride, padding, output_padding, groups, dilation)
    return y


def _conv_transpose(
    operation: str,
    axes: int,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: Any,
    dilation: Any,
) -> Any:
    x, weight, bias = _checked(operation, axes, x, weight, bias, groups)
    window = Window.of(operation, weight.shape[2:], stride, padding, dilation, axes=axes)
    more = per_axis(operation, "output_padding", output_padding, 0, axes)
    _check_output_padding(operation, more, window.stride[2 - axes :], window.dilation[2 - axes :])
    if axes == 1:
        x, weight, more = x.unsqueeze(2), weight.unsqueeze(2), (0, *more)
    least = window.covered(x.shape[2:])
    size = (least[0] + more[0], least[1] + more[1])
    if min(*size, *x.shape[2:]) < 1:
        given = f"{operation}: of x of size {x.shape[4 - axes :]}, kernel {weight.shape[4 - axes :]} and padding {padding} make"
        raise ValueError(f"{given} an image of size {size[2 - axes :]}: give a larger x or less padding")
    check_result(operation, x, window, groups * weight.shape[1], size, size)
    rows, columns = more[0] // window.stride[0], more[1] // window.stride[1]
    if rows or columns:  # with a dilation, output_padding may exceed the stride: as if zeros followed in x
        x = pad(x, (0, columns, 0, rows))
    y = _grad_input(x, weight, bias, window=window, groups=groups, size=size)
    return y if axes == 2 else y.squeeze(2)


def _check_output_padding(operation: str, more: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> None:
    if any(m >= max(s, d) for m, s, d in zip(more, stride, dilation)):
        raise ValueError(
            f"{operation}: output_padding {more} must be less than the stride {tuple(stride)} or the dilation {tuple(dilation)}"
        )


def _checked(operation: str, axes: int, x: Any, weight: Any, bias: Any, groups: Any) -> list[Any]:
    x, weight, bias = check_dtypes(operation, x, weight, bias)
    check_images(operation, x, axes)
    as_integer(operation, "groups", groups, least=1)
    if weight.ndim != axes + 2:
        names = "(C, O/groups, kh, kw)" if axes == 2 else "(C, O/groups, k)"
        raise ValueError(f"{operation}: expected weight of {axes + 2} axes {names}, got shape {weight.shape}")
    if x.shape[1] != weight.shape[0]:
        raise ValueError(
            f"{operation}: weight {weight.shape} takes {weight.shape[0]} channels, but x {x.shape} has {x.shape[1]}; "
            "the input's channels are the first axis of weight here"
        )
    check_kernels(operation, weight.shape, weight.shape[1])
    if weight.shape[0] % groups:
        raise ValueError(f"{operation}: groups={groups} must divide the {weight.shape[0]} channels of x")
    kernels = groups * weight.shape[1]
    if bias is not None and bias.shape != (kernels,):
        raise ValueError(f"{operation}: the result has {kernels} channels, but bias has shape {bias.shape}")
    return [x, weight, bias]


class ConvTranspose(Convolution):
    """What the two layers share."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        *,
        generator: Generator | None = None,
    ) -> None:
        name = type(self).__name__
        if padding_mode != "zeros" or isinstance(padding, str):
            raise ValueError(
                f"{name}: padding is a number of pixels to crop, with padding_mode 'zeros', "
                f"got padding={padding!r}, padding_mode={padding_mode!r}"
            )
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, generator=generator
        )
        self.output_padding = per_axis(name, "output_padding", output_padding, 0, self.axes)
        _check_output_padding(name, self.output_padding, self.stride, self.dilation)

    def forward(self, x: Tensor, output_size: Any = None) -> Tensor:
        """x (N, in_channels, …) → (N, out_channels, …).

        Args:
            output_size: the wanted size, instead of `output_padding`: one integer, one for each spatial axis, or a whole shape,
                whose last axes count.

        Raises:
            ValueError: no `output_padding` gives this size.
        """
        if self.padding_mode != "zeros":
            raise ValueError(f"{type(self).__name__}: padding_mode must be 'zeros', got {self.padding_mode!r}")
        more = self.output_padding if output_size is None else self._output_padding(x, output_size)
        function = conv_transpose1d if self.axes == 1 else conv_transpose2d
        y: Tensor = function(x, self.weight, self.bias, self.stride, self.padding, more, self.groups, self.dilation)
        return y

    def _output_padding(self, x: Tensor, output_size: Any) -> tuple[int, ...]:
        """The `output_padding` that gives this size."""
        name = type(self).__name__
        check_images(name, x, self.axes)
        if isinstance(output_size, (tuple, list)) and len(output_size) == self.axes + 2:
            output_size = output_size[2:]
        size = per_axis(name, "output_size", output_size, 1, self.axes)
        window = Window.of(name, self.weight.shape[2:], self.stride, self.padding, self.dilation, axes=self.axes)
        least = window.covered((1, *x.shape[2:])[-2:])[2 - self.axes :]
        more = tuple(n - m for n, m in zip(size, least))
        if any(not 0 <= m < stride for m, stride in zip(more, self.stride)):
            most = tuple(m + stride - 1 for m, stride in zip(least, self.stride))
            raise ValueError(f"{name}: x {x.shape} can become of size {least} to {most}, not of output_size {size}")
        return more


class ConvTranspose1d(ConvTranspose):
    """`conv_transpose1d` with learned kernels: (N, in_channels, L) → (N, out_channels, L'). As `ConvTranspose2d`.

    >>> ConvTranspose1d(4, 2, 3, stride=2)
    ConvTranspose1d(4, 2, kernel_size=(3,), stride=(2,))
    """

    axes = 1


class ConvTranspose2d(ConvTranspose):
    """`conv_transpose2d` with learned kernels: (N, in_channels, H, W) → (N, out_channels, H', W').

    `weight` is (in_channels, out_channels/groups, kh, kw) and `bias` (out_channels,), both drawn from U(−b, b) with
    b = 1/√(out_channels/groups · kh · kw), as PyTorch draws them.

    Args:
        kernel_size, stride, padding, output_padding, groups, dilation: as for `conv_transpose2d`.
        bias: whether it adds a bias; without, `self.bias` is None.
        padding_mode: "zeros"; there is no other.
        generator: where the initial weights come from; the default generator if None.

    Raises:
        TypeError: a setting is no integer.
        ValueError: a setting is out of range, or groups do not divide the channels.

    >>> up = ConvTranspose2d(8, 4, 3, stride=2, padding=1)
    >>> x = Tensor([[[[0.0] * 5] * 5] * 8])
    >>> up(x).shape, up(x, output_size=(10, 10)).shape
    ((1, 4, 9, 9), (1, 4, 10, 10))
    """

    axes = 2
