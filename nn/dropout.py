"""Dropout: leaving numbers out at random, so that a network learns not to rely on any one of them."""

from __future__ import annotations

from typing import Any

from microtensor.backend import to_device
from microtensor.graph import T, is_floating
from microtensor.nn.module import Module
from microtensor.random import Generator, default
from microtensor.tensor import Tensor


def dropout(x: T, p: float = 0.5, training: bool = True, generator: Generator | None = None) -> T:
    """Each number becomes 0 with probability `p`, or is divided by 1 − p: what is expected stays the same.

    The mask is a constant: the gradient is left out where the number was. When not training, x itself is returned.
    Srivastava et al. 2014, section 10, "Dropout: a simple way to prevent neural networks from overfitting".

    Args:
        p: from 0 (nothing is left out) to 1 (all is).
        generator: where random numbers come from; the default one if None.

    Raises:
        TypeError: x is not floating point.
        ValueError: p is not between 0 and 1.

    >>> dropout(Tensor([1.0, 2.0, 3.0, 4.0]), 0.5, generator=Generator(3))
    Tensor([0., 4., 6., 8.])
    """
    _check_probability("dropout", p)
    if not is_floating(x.dtype):
        raise TypeError(f"dropout: expected floating-point numbers, got {x.dtype}; use .to('float32')")
    if not training or p == 0:
        return x
    kept = (default if generator is None else generator).bernoulli(1 - p, x.shape)
    scale = kept.astype(x.dtype)
    if p < 1:
        scale /= 1 - p
    y: Any = x * x.constant(to_device(scale, x.device))
    return y


def _check_probability(name: str, p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p is the probability to leave a number out, between 0 and 1, got {p}")


class Dropout(Module):
    """`dropout` while training, the identity otherwise.

    Args:
        p: the probability to leave a number out.
        generator: where random numbers come from; the default generator if None.

    Raises:
        ValueError: p is not between 0 and 1.

    >>> Dropout(0.5).eval()(Tensor([1.0, 2.0]))
    Tensor([1., 2.])
    """

    def __init__(self, p: float = 0.5, *, generator: Generator | None = None) -> None:
        _check_probability("Dropout", p)
        self.p = p
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        """x → the same shape."""
        return dropout(x, self.p, self.training, self.generator)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"
