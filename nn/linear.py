"""Fully connected layers, and the two layers that only pass their input on: flattened, or as it is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from microtensor.arguments import check_tensors
from microtensor.graph import T
from microtensor.nn import init
from microtensor.nn.module import Module, Parameter
from microtensor.op import Rule, op
from microtensor.random import Generator
from microtensor.tensor import Tensor


def linear(x: T, weight: T, bias: T | None = None) -> T:
    """x Wᵀ + b: each output is a weighted sum of all inputs. x (…, in), weight (out, in), bias (out,) → (…, out).

    Raises:
        TypeError: an input is a number or no tensor; they do not share one floating-point dtype.
        ValueError: the shapes do not fit.

    >>> linear(Tensor([1.0, 2.0]), Tensor([[3.0, 4.0], [5.0, 6.0]]), Tensor([0.5, 0.0]))
    Tensor([11.5, 17. ])
    """
    x, weight, bias = check_tensors("linear", 2, x=x, weight=weight, bias=bias)
    if weight.ndim != 2:
        raise ValueError(f"linear: weight must have two axes, (out, in), got shape {weight.shape}")
    if not x.ndim or x.shape[-1] != weight.shape[1]:
        given = f"has {x.shape[-1]}" if x.ndim else "has no axis"
        hint = "; flatten it first, with Flatten()" if math.prod(x.shape[1:]) == weight.shape[1] else ""
        raise ValueError(
            f"linear: weight {weight.shape} takes {weight.shape[1]} numbers along the last axis, but x {x.shape} {given}{hint}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"linear: weight {weight.shape} gives {weight.shape[0]} numbers, but bias has shape {bias.shape}")
    return _linear(x, weight, bias)


# One rule rather than `x @ weight.T + bias`: it writes the gradient of the weight in the weight's own order, and adds the bias
# in place. LeNet's three layers at batch 64 take 0.40 ms, both passes, where the composition takes 0.55.
@op
def _linear(x: Any, weight: Any, bias: Any = None) -> Rule[T]:
    rows = math.prod(x.shape[:-1])
    data = x.data.reshape(rows, x.shape[-1]) @ weight.data.T
    if bias is not None:
        data += bias.data

    def flat(v: Any) -> Any:
        return v if v.ndim == 2 else v.reshape((rows, v.shape[-1]))

    return data.reshape(*x.shape[:-1], weight.shape[0]), (
        lambda g: g @ weight,
        lambda g: flat(g).mT @ flat(x),
        lambda g: flat(g).sum(0),
    )


class Linear(Module):
    """A fully connected layer: (…, in_features) → (…, out_features). See `linear`.

    `weight` (out_features, in_features) and `bias` (out_features,) are drawn from U(−b, b) with b = 1/√in_features, as PyTorch
    draws them.

    Args:
        in_features: how many numbers it takes, along the last axis.
        out_features: how many it gives.
        bias: whether it adds a bias; without, `self.bias` is None.
        generator: where the initial weights come from; the default generator if None.

    Raises:
        ValueError: a number of features is less than 1.

    >>> layer = Linear(784, 10)
    >>> layer(Tensor([[0.0] * 784])).shape, sum(p.data.size for p in layer.parameters())
    ((1, 10), 7850)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *, generator: Generator | None = None) -> None:
        for name, count in (("in_features", in_features), ("out_features", out_features)):
            if not isinstance(count, (int, np.integer)) or count < 1:
                raise ValueError(f"Linear: {name} must be a whole number of 1 or more, got {count!r}")
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(np.empty((out_features, in_features), np.float32))
        self.bias = Parameter(np.empty(out_features, np.float32)) if bias else None
        bound = 1 / math.sqrt(in_features)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound, generator)

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in_features) → (…, out_features)."""
        return linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The settings."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Flatten(Module):
    """Axes `start_dim` to `end_dim` as one; as it is made, all but the batch's: (N, C, H, W) → (N, C·H·W).

    >>> Flatten()(Tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    Tensor([[1., 2., 3., 4.]])
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Tensor) -> Tensor:
        """x (N, …) → (N, the product of the rest)."""
        return x.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """The settings."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """The input as it is: a place where another layer may stand, or a branch that passes everything on."""

    def forward(self, x: Tensor) -> Tensor:
        """x → x."""
        return x
