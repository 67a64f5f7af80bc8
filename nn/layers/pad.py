"""Padding as layers. Each applies `microtensor.pad` to the last axis or the last two, in one of its modes."""

from __future__ import annotations

from typing import Any

from microtensor.autograd.arguments import is_number
from microtensor.ops.padding import pad
from microtensor.runtime.integers import as_integers
from microtensor.tensor import Tensor

from ..module import Module


class _Pad(Module):
    """The base class of padding layers: pixels on each side, (left, right) or (left, right, top, bottom)."""

    axes = 2
    """2 for images, 1 for sequences."""
    mode = "constant"

    def __init__(self, padding: Any) -> None:
        name, sides = type(self).__name__, 2 * self.axes
        amounts = as_integers(name, "padding", padding)
        if not isinstance(padding, (tuple, list)):
            amounts *= sides
        if len(amounts) != sides:
            order = "(left, right)" if sides == 2 else "(left, right, top, bottom)"
            raise ValueError(f"{name}: padding must be one integer for all sides, or {order}, got {padding!r}")
        self.padding = amounts

    def forward(self, x: Tensor) -> Tensor:
        return pad(x, self.padding, self.mode, getattr(self, "value", None))

    def extra_repr(self) -> str:
        return f"padding={self.padding}"


class _ConstantPad(_Pad):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        if not is_number(value):
            raise TypeError(f"{type(self).__name__}: value must be a number, got {type(value).__name__}")
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad2d(_ConstantPad):
    """A constant on all sides: (…, H, W) → (…, top + H + bottom, left + W + right). Negative padding crops.

    Args:
        padding: pixels, one integer for all sides or (left, right, top, bottom).

    Raises:
        TypeError: `padding` is no integer and no sequence of integers, or `value` no number.
        ValueError: `padding` has not four of them.

    >>> ConstantPad2d((1, 0, 0, 0), 7.0)(Tensor([[[1.0, 2.0]]]))
    Tensor([[[7., 1., 2.]]])
    """


class ConstantPad1d(_ConstantPad):
    """A constant at both ends: (…, L) → (…, left + L + right)."""

    axes = 1


class ZeroPad2d(_Pad):
    """Zeros on all sides: (…, H, W) → (…, top + H + bottom, left + W + right).

    >>> ZeroPad2d(1)(Tensor([[[5.0]]]))
    Tensor([[[0., 0., 0.],
             [0., 5., 0.],
             [0., 0., 0.]]])
    """

    value: float = 0.0


class ZeroPad1d(_Pad):
    """Zeros at both ends: (…, L) → (…, left + L + right)."""

    axes = 1
    value: float = 0.0


class ReflectionPad2d(_Pad):
    """The image mirrored at its outermost pixels, which are not repeated: (…, H, W) → (…, top + H + bottom, left + W + right).

    >>> ReflectionPad2d((2, 0, 0, 0))(Tensor([[[1.0, 2.0, 3.0]]]))
    Tensor([[[3., 2., 1., 2., 3.]]])
    """

    mode = "reflect"


class ReflectionPad1d(_Pad):
    """The sequence mirrored at its first and last element: (…, L) → (…, left + L + right)."""

    axes = 1
    mode = "reflect"


class ReplicationPad2d(_Pad):
    """The outermost pixels repeated: (…, H, W) → (…, top + H + bottom, left + W + right).

    >>> ReplicationPad2d((2, 0, 0, 0))(Tensor([[[1.0, 2.0, 3.0]]]))
    Tensor([[[1., 1., 1., 2., 3.]]])
    """

    mode = "replicate"


class ReplicationPad1d(_Pad):
    """The first and the last element repeated: (…, L) → (…, left + L + right)."""

    axes = 1
    mode = "replicate"


class CircularPad2d(_Pad):
    """The image continued periodically: (…, H, W) → (…, top + H + bottom, left + W + right).

    >>> CircularPad2d((2, 0, 0, 0))(Tensor([[[1.0, 2.0, 3.0]]]))
    Tensor([[[2., 3., 1., 2., 3.]]])
    """

    mode = "circular"


class CircularPad1d(_Pad):
    """The sequence continued periodically: (…, L) → (…, left + L + right)."""

    axes = 1
    mode = "circular"
