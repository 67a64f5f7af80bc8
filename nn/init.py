"""Initial weights: functions that fill a tensor in place, and return it."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from microtensor.autograd.grad_mode import no_grad
from microtensor.random import Generator, default
from microtensor.runtime.arrays import Array, to_device
from microtensor.runtime.names import missing
from microtensor.runtime.scoped import Block, Setting
from microtensor.tensor import Tensor

__all__ = [
    "calculate_gain", "constant_", "fans", "kaiming_normal_", "kaiming_uniform_", "normal_", "ones_", "skipped", "uniform_",
    "xavier_normal_", "xavier_uniform_", "zeros_",
]  # fmt: skip

X = TypeVar("X", bound=Tensor)

GAINS = {
    "linear": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "conv3d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 3 / 4,
}
"""The factor by which weights must be larger, so that each function keeps the variance of its input. leaky_relu's depends on
its slope."""


class _Skip(threading.local):
    active = False


_skip = _Skip()


def skipped() -> Block:
    """Inside the block, the functions of this file leave tensors as they are, so layers are made without drawing weights.

    For weights that are then loaded, or only counted: most systems assign memory when it is first written to, so VGG-16, of 138
    million parameters, is made at once. The values of the weights are undefined.

    >>> from microtensor import nn
    >>> with skipped():
    ...     layer = nn.Linear(25088, 4096)
    >>> layer.weight.shape
    (4096, 25088)
    """
    return Setting(_skip, active=True)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The gain of an activation function, by which the standard deviation of the weights before it is multiplied.

    For relu it is √2, as it sets half of the signal's power to 0 (He et al. 2015, section 2.2, arxiv.org/abs/1502.01852), for
    leaky_relu with negative slope `param` (0.01 if None) √(2 / (1 + param²)).

    Raises:
        ValueError: the function is not known.

    >>> calculate_gain("leaky_relu", 1.0)
    1.0
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in GAINS:
        raise ValueError(f"calculate_gain: expected one of {', '.join([*GAINS, 'leaky_relu'])}, got {nonlinearity!r}")
    return GAINS[nonlinearity]


def fans(tensor: Tensor) -> tuple[int, int]:
    """How many inputs each output depends on, and how many outputs each input affects: (fan_in, fan_out).

    For a weight (out, in) of a linear layer: (in, out). For one (out, in / groups, kh, kw) of a convolution:
    (in / groups · kh · kw, out · kh · kw).

    Raises:
        ValueError: the tensor has fewer than two axes.

    >>> fans(Tensor([[1.0, 2.0, 3.0]]))
    (3, 1)
    """
    if tensor.ndim < 2:
        raise ValueError(
            f"init: fan_in and fan_out need a weight of two axes or more, got shape {tensor.shape}; "
            "fill a bias with zeros_ or uniform_"
        )
    kernel_elements = math.prod(tensor.shape[2:])
    return tensor.shape[1] * kernel_elements, tensor.shape[0] * kernel_elements


def uniform_(tensor: X, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> X:
    """Fill with values of the uniform distribution over [a, b).

    Raises:
        ValueError: a > b.
    """
    if not a <= b:
        raise ValueError(f"uniform_: the interval [{a}, {b}) is empty; a must not be larger than b")
    if _skip.active:
        return tensor
    return _fill(tensor, _generator(generator).uniform(a, b, tensor.shape, tensor.dtype))


def normal_(tensor: X, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> X:
    """Fill with values of the normal distribution.

    Raises:
        ValueError: std < 0.
    """
    if not std >= 0:
        raise ValueError(f"normal_: the standard deviation must not be negative, got {std}")
    if _skip.active:
        return tensor
    return _fill(tensor, _generator(generator).normal(mean, std, tensor.shape, tensor.dtype))


def constant_(tensor: X, val: float) -> X:
    """Fill with `val`."""
    return _fill(tensor, val)


def zeros_(tensor: X) -> X:
    """Fill with 0."""
    return _fill(tensor, 0)


def ones_(tensor: X) -> X:
    """Fill with 1."""
    return _fill(tensor, 1)


def kaiming_uniform_(
    tensor: X,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> X:
    """Uniform over ±√3 · gain / √fan: the variance of `kaiming_normal_`, which describes the arguments."""
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: X,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> X:
    """Normal with standard deviation gain / √fan: keeps the variance of signals through layers with rectifiers.

    He et al. 2015, equations 10 and 14, arxiv.org/abs/1502.01852.

    Args:
        tensor: a weight (out, in, …).
        a: the negative slope of leaky_relu; 0 for relu.
        mode: "fan_in" keeps the variance in the forward pass, "fan_out" in the backward pass.
        nonlinearity: the activation function that follows, as in `calculate_gain`.
        generator: the source of random numbers; the default generator if None.

    Raises:
        ValueError: the mode or the function is not known, or the tensor has fewer than two axes.
    """
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def xavier_uniform_(tensor: X, gain: float = 1.0, generator: Generator | None = None) -> X:
    """Uniform over ±gain · √(6 / (fan_in + fan_out)).

    Glorot & Bengio 2010, equation 16, "Understanding the difficulty of training deep feedforward neural networks".

    Raises:
        ValueError: the tensor has fewer than two axes.
    """
    bound = math.sqrt(3) * _xavier_std(tensor, gain)
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: X, gain: float = 1.0, generator: Generator | None = None) -> X:
    """Normal with standard deviation gain · √(2 / (fan_in + fan_out)): as `xavier_uniform_`, with the same variance."""
    return normal_(tensor, 0.0, _xavier_std(tensor, gain), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f'init: mode must be "fan_in" or "fan_out", got {mode!r}')
    fan = fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def _xavier_std(tensor: Tensor, gain: float) -> float:
    return gain * math.sqrt(2 / max(sum(fans(tensor)), 1))


def _generator(generator: Generator | None) -> Generator:
    return default if generator is None else generator


def _fill(tensor: X, values: Array | float) -> X:
    """Write into the tensor's own memory, and count a new version, so that a pending backward pass notices."""
    if _skip.active:
        return tensor
    with no_grad():
        tensor[...] = values if isinstance(values, (int, float)) else to_device(values, tensor.device)
    return tensor


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing(__name__, name, __all__)
