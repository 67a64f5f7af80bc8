"""Activation functions along an axis, as layers: softmax and its variants, and the gated linear unit."""

from __future__ import annotations

from microtensor.ops import smooth_activations
from microtensor.runtime.integers import as_integer, is_integer
from microtensor.tensor import Tensor

from ..module import Module


class _Along(Module):
    """A layer that works along an axis, which must be given: PyTorch guesses a missing one, with a warning."""

    def __init__(self, dim: int | None = None) -> None:
        if not is_integer(dim):
            name, given = (
                type(self).__name__,
                "is missing" if dim is None else f"must be an integer, got {type(dim).__name__}",
            )
            raise TypeError(f"{name}: dim {given}; name the axis of the classes, {name}(dim=1) for (N, C) and (N, C, H, W)")
        self.dim = int(dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_Along):
    """e^x over the sum of e^x along axis `dim`: positive values that sum to 1.

    Not in front of `CrossEntropyLoss`, which takes logits.

    Raises:
        TypeError: `dim` is missing, or no integer.

    >>> Softmax(dim=1)(Tensor([[0.0, 0.0]]))
    Tensor([[0.5, 0.5]])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.softmax(dim=self.dim)


class LogSoftmax(_Along):
    """log(softmax(x)) along axis `dim`, exact also where softmax itself rounds to 0."""

    def forward(self, x: Tensor) -> Tensor:
        return x.log_softmax(dim=self.dim)


class Softmin(_Along):
    """softmax(−x) along axis `dim`: positive values that sum to 1, the larger the smaller x is."""

    def forward(self, x: Tensor) -> Tensor:
        return smooth_activations.softmin(x, dim=self.dim)


class Softmax2d(Module):
    """Softmax over the channels, at each position separately: (N, C, H, W) or (C, H, W) → the same shape.

    Raises:
        ValueError: on call, x has other axes.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim not in (3, 4):
            raise ValueError(f"Softmax2d: expected images (N, C, H, W) or (C, H, W), got shape {x.shape}")
        return x.softmax(dim=-3)


class GLU(Module):
    """a · sigmoid(b), where a is the first half of x along axis `dim` and b the second: that axis becomes half as long.

    >>> GLU(dim=1)(Tensor([[1.0, 2.0, 0.0, 0.0]]))
    Tensor([[0.5, 1. ]])
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = as_integer("GLU", "dim", dim)

    def forward(self, x: Tensor) -> Tensor:
        return smooth_activations.glu(x, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
