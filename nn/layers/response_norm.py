"""Local response normalisation between neighbouring channels, as in AlexNet. Batch normalisation replaced it."""

from __future__ import annotations

from typing import Any

from microtensor.autograd.arguments import check_tensors, is_number
from microtensor.autograd.graph import T
from microtensor.autograd.op import Rule, op
from microtensor.ops.reduce import wide
from microtensor.runtime.integers import as_integer
from microtensor.tensor import Tensor

from ..module import Module


def local_response_norm(x: T, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> T:
    """x / (k + alpha · mean of x² over `size` neighbouring channels)^beta: (N, C, …) → the same shape.

    Krizhevsky, Sutskever & Hinton 2012, section 3.3, "ImageNet classification with deep convolutional neural networks". The
    paper multiplies the sum of the squares by its alpha, PyTorch and this function the mean: AlexNet's (n 5, alpha 1e-4, k 2)
    is (size 5, alpha 5e-4, k 2) here. The neighbours of channel c are `size` channels from c − ⌊size / 2⌋ on; missing
    ones count as 0. Squares of float16 are computed in float32.

    Raises:
        TypeError: x is no floating-point tensor, size is no integer, another setting is no number.
        ValueError: x has no axis of channels, size is less than 1.

    >>> local_response_norm(Tensor([[1.0, 2.0, 3.0]]), size=3, alpha=3.0, beta=1.0)
    Tensor([[0.16666667, 0.13333334, 0.21428573]])
    """
    (given,) = check_tensors("local_response_norm", 1, x=x)
    _check("local_response_norm", size, alpha, beta, k)
    if given.ndim < 2:
        raise ValueError(f"local_response_norm: x must have axes (N, C, …), got shape {given.shape}")
    values = wide(given)
    squares: Any = _neighbours(values * values, before=size // 2, after=(size - 1) // 2)
    return (values * (squares * (alpha / size) + k) ** -beta).to(given.dtype)


# One rule for the sum: of a composition of slices, each gradient would be a full array of zeros.
@op
def _neighbours(x: T, *, before: int, after: int) -> Rule[T]:
    """The sum of channels c − before to c + after, for each channel c: (N, C, …) → the same shape."""
    channels, data = x.shape[1], x.array.copy()
    for shift in range(-min(before, channels), min(after, channels) + 1):
        low, high = max(0, -shift), channels - max(0, shift)
        if shift:
            data[:, low:high] += x.array[:, low + shift : high + shift]
    return data, (lambda g: _neighbours(g, before=after, after=before),)


def _check(name: str, size: int, alpha: float, beta: float, k: float) -> None:
    as_integer(name, "size", size, least=1)
    for setting, value in (("alpha", alpha), ("beta", beta), ("k", k)):
        if not is_number(value):
            raise TypeError(f"{name}: {setting} must be a number, got {value!r}")


class LocalResponseNorm(Module):
    """`local_response_norm` as a layer: (N, C, …) → the same shape. It has no parameters.

    Args:
        size: how many neighbouring channels count, the channel itself included.
        alpha: the weight of the mean of squares; `size` times the paper's.
        beta: the exponent.
        k: added to the denominator, to avoid division by 0.

    Raises:
        TypeError: size is no integer, another setting is no number.
        ValueError: size is less than 1.

    >>> LocalResponseNorm(5, alpha=5e-4, k=2.0)
    LocalResponseNorm(5, alpha=0.0005, beta=0.75, k=2.0)
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        _check("LocalResponseNorm", size, alpha, beta, k)
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        return local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
