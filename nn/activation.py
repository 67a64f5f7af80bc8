"""Activation functions as layers. The functions themselves are methods of Tensor."""

from __future__ import annotations

from microtensor.nn.module import Module
from microtensor.tensor import Tensor


class ReLU(Module):
    """max(x, 0), element by element. The gradient at 0 is 0.

    Args:
        inplace: understood, so that networks written for PyTorch run unchanged, but a result always has memory of its own.

    >>> ReLU()(Tensor([-1.0, 2.0]))
    Tensor([0., 2.])
    """

    def __init__(self, inplace: bool = False) -> None:
        if not isinstance(inplace, bool):
            raise TypeError(f"ReLU: inplace must be True or False, got {type(inplace).__name__}; apply a layer as ReLU()(x)")

    def forward(self, x: Tensor) -> Tensor:
        """x → the same shape."""
        return x.relu()


class Tanh(Module):
    """Hyperbolic tangent, element by element: between −1 and 1."""

    def forward(self, x: Tensor) -> Tensor:
        """x → the same shape."""
        return x.tanh()


class Sigmoid(Module):
    """Logistic function 1 / (1 + e^−x), element by element: between 0 and 1."""

    def forward(self, x: Tensor) -> Tensor:
        """x → the same shape."""
        return x.sigmoid()


class Softmax(Module):
    """e^x over the sum of e^x along axis `dim`: positive numbers that sum to 1.

    Not in front of `CrossEntropyLoss`, which takes logits.

    >>> Softmax(dim=1)(Tensor([[0.0, 0.0]]))
    Tensor([[0.5, 0.5]])
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """x → the same shape."""
        return x.softmax(dim=self.dim)

    def extra_repr(self) -> str:
        """The axis."""
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """log(softmax(x)) along axis `dim`, exact also where softmax itself rounds to 0."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """x → the same shape."""
        return x.log_softmax(dim=self.dim)

    def extra_repr(self) -> str:
        """The axis."""
        return f"dim={self.dim}"
