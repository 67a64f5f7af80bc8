"""Activation functions as layers. Each applies a function of microtensor/ops, whose docstring says more.

`rrelu` is here and not in ops, because it draws random numbers.

`inplace` is understood, so that networks written for PyTorch run unchanged, but a result always has memory of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from microtensor.autograd.arguments import check_tensors, is_number
from microtensor.autograd.graph import T
from microtensor.ops import activations, smooth_activations
from microtensor.ops.elementwise import where
from microtensor.random import Generator, default, seed_from
from microtensor.runtime.arrays import array_module
from microtensor.runtime.cuda.philox import uniform
from microtensor.runtime.integers import is_integer
from microtensor.tensor import Tensor

from ..module import Module, Parameter


class _Inplace(Module):
    """A layer that accepts `inplace`, which has no effect."""

    inplace: bool = False

    def __init__(self, inplace: bool = False) -> None:
        if not isinstance(inplace, bool):
            name = type(self).__name__
            raise TypeError(
                f"{name}: inplace must be True or False, got {type(inplace).__name__}; apply a layer as {name}()(x)"
            )
        self.inplace = inplace


def _number(layer: Module, setting: str, value: Any) -> Any:
    if not is_number(value):
        name = type(layer).__name__
        raise TypeError(f"{name}: {setting} must be a number, got {type(value).__name__}; apply a layer as {name}()(x)")
    return value


# Piecewise linear ones


class ReLU(_Inplace):
    """max(x, 0), element by element. The gradient at 0 is 0.

    >>> ReLU()(Tensor([-1.0, 2.0]))
    Tensor([0., 2.])
    """

    def forward(self, x: Tensor) -> Tensor:
        return activations.relu(x)


class ReLU6(_Inplace):
    """min(max(x, 0), 6), element by element. The gradient at 0 and at 6 is 0.

    >>> ReLU6()(Tensor([-1.0, 2.0, 8.0]))
    Tensor([0., 2., 6.])
    """

    min_val: float = 0.0
    max_val: float = 6.0

    def forward(self, x: Tensor) -> Tensor:
        if (self.min_val, self.max_val) == (0, 6):
            return activations.relu6(x)
        return activations.hardtanh(x, _number(self, "min_val", self.min_val), _number(self, "max_val", self.max_val))


class LeakyReLU(_Inplace):
    """x where x > 0, negative_slope · x elsewhere. The gradient at 0 is `negative_slope`.

    >>> LeakyReLU(0.1)(Tensor([-2.0, 2.0]))
    Tensor([-0.2,  2. ])
    """

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.negative_slope = _number(self, "negative_slope", negative_slope)

    def forward(self, x: Tensor) -> Tensor:
        return activations.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class PReLU(Module):
    """x where x > 0, weight · x elsewhere: a leaky ReLU that learns its slope. At 0 the gradient for x is the weight.

    Args:
        num_parameters: 1 for one slope, or the number of channels for one slope per channel.
        init: the slope to start with.

    Raises:
        ValueError: num_parameters is less than 1.

    >>> layer = PReLU(num_parameters=2)
    >>> layer(Tensor([[-4.0, 4.0]])).detach(), layer.weight.detach()
    (Tensor([[-1.,  4.]]), Tensor([0.25, 0.25]))
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        if not is_integer(num_parameters) or num_parameters < 1:
            raise ValueError(f"PReLU: num_parameters must be an integer of 1 or more, got {num_parameters!r}")
        self.num_parameters = num_parameters
        self.weight = Parameter(np.full(num_parameters, _number(self, "init", init), np.float32))

    def forward(self, x: Tensor) -> Tensor:
        return activations.prelu(x, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


def rrelu(
    x: T,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> T:
    """x where x > 0, slope · x elsewhere: while training each slope is drawn from U(lower, upper), otherwise it is their mean.

    Xu, Wang, Chen & Li 2015, "Empirical evaluation of rectified activations in convolutional network", section 2.4.

    Args:
        generator: the random generator; the default one if None.

    Raises:
        TypeError: x is no floating-point tensor.
        ValueError: lower is larger than upper.

    >>> rrelu(Tensor([-2.0, 2.0]), 0.25, 0.75)
    Tensor([-1.,  2.])
    """
    (given,) = check_tensors("rrelu", 1, x=x)
    if not lower <= upper:
        raise ValueError(f"rrelu: lower must not be larger than upper, got {lower} and {upper}")
    if not training:
        return activations.leaky_relu(given, (lower + upper) / 2)
    if array_module(given.array) is np:
        slopes = (default if generator is None else generator).uniform(0, 1, given.shape, given.dtype) * (upper - lower) + lower
    else:  # on a GPU the slopes are drawn there
        slopes = uniform(given.array, seed_from(generator), lower, upper)
    return where(given > 0, given, given * given.constant(slopes))


class RReLU(_Inplace):
    """`rrelu`: a leaky ReLU whose slopes are drawn from U(lower, upper) while training, and their mean afterwards.

    Args:
        generator: the random generator; the default one if None.

    Raises:
        ValueError: lower is larger than upper.

    >>> RReLU(0.25, 0.75).eval()(Tensor([-2.0, 2.0]))
    Tensor([-1.,  2.])
    """

    def __init__(
        self, lower: float = 1 / 8, upper: float = 1 / 3, inplace: bool = False, *, generator: Generator | None = None
    ) -> None:
        super().__init__(inplace)
        self.lower, self.upper, self.generator = _number(self, "lower", lower), _number(self, "upper", upper), generator
        if not lower <= upper:
            raise ValueError(f"RReLU: lower must not be larger than upper, got {lower} and {upper}")

    def forward(self, x: Tensor) -> Tensor:
        lower, upper = _number(self, "lower", self.lower), _number(self, "upper", self.upper)
        return rrelu(x, lower, upper, self.training, generator=self.generator)

    def extra_repr(self) -> str:
        return f"lower={self.lower}, upper={self.upper}"


class Threshold(_Inplace):
    """x where x > threshold, `value` elsewhere. The gradient at the threshold is 0.

    >>> Threshold(0.5, -7.0)(Tensor([0.5, 2.0]))
    Tensor([-7.,  2.])
    """

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.threshold, self.value = _number(self, "threshold", threshold), _number(self, "value", value)

    def forward(self, x: Tensor) -> Tensor:
        return activations.threshold(x, self.threshold, self.value)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, value={self.value}"


class Hardshrink(Module):
    """x, but 0 where |x| ≤ lambd. The gradient there is 0."""

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = _number(self, "lambd", lambd)

    def forward(self, x: Tensor) -> Tensor:
        return activations.hardshrink(x, _number(self, "lambd", self.lambd))

    def extra_repr(self) -> str:
        return str(self.lambd)


class Softshrink(Module):
    """x moved towards 0 by lambd, and 0 where |x| ≤ lambd. The gradient there is 0.

    Raises:
        ValueError: lambd is negative.
    """

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = _number(self, "lambd", lambd)
        if lambd < 0:
            raise ValueError(f"Softshrink: lambd must not be negative, got {lambd}")

    def forward(self, x: Tensor) -> Tensor:
        return activations.softshrink(x, _number(self, "lambd", self.lambd))

    def extra_repr(self) -> str:
        return str(self.lambd)


class Hardtanh(_Inplace):
    """x, but no smaller than `min_val` and no larger than `max_val`. The gradient at these is 0.

    Raises:
        ValueError: min_val is not smaller than max_val.

    >>> Hardtanh(-2.0, 2.0)(Tensor([-3.0, 0.5, 3.0]))
    Tensor([-2. ,  0.5,  2. ])
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.min_val, self.max_val = _number(self, "min_val", min_val), _number(self, "max_val", max_val)
        if not min_val < max_val:
            raise ValueError(f"Hardtanh: min_val must be smaller than max_val, got {min_val} and {max_val}")

    def forward(self, x: Tensor) -> Tensor:
        return activations.hardtanh(x, _number(self, "min_val", self.min_val), _number(self, "max_val", self.max_val))

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


class Hardsigmoid(_Inplace):
    """relu6(x + 3) / 6: linear from 0, at −3, to 1, at 3. The gradient at −3 and 3 is 0."""

    def forward(self, x: Tensor) -> Tensor:
        return activations.hardsigmoid(x)


class Hardswish(_Inplace):
    """x · relu6(x + 3) / 6. The gradient at −3 is 0, at 3 it is 1."""

    def forward(self, x: Tensor) -> Tensor:
        return activations.hardswish(x)


# Smooth ones


class Tanh(Module):
    """Hyperbolic tangent, element by element: between −1 and 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x.tanh()


class Tanhshrink(Module):
    """x − tanh(x), element by element."""

    def forward(self, x: Tensor) -> Tensor:
        return smooth_activations.tanhshrink(x)


class Sigmoid(Module):
    """Logistic function 1 / (1 + e^−x), element by element: between 0 and 1."""

    def forward(self, x: Tensor) -> Tensor:
        return smooth_activations.sigmoid(x)


class LogSigmoid(Module):
    """log(sigmoid(x)), exact also where sigmoid rounds to 0 or 1."""

    def forward(self, x: Tensor) -> Tensor:
        return smooth_activations.logsigmoid(x)


class Softplus(Module):
    """log(1 + e^(beta · x)) / beta, a smooth relu; x itself where beta · x > threshold."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta, self.threshold = _number(self, "beta", beta), _number(self, "threshold", threshold)

    def forward(self, x: Tensor) -> Tensor:
        return smooth_activations.softplus(x, _number(self, "beta", self.beta), _number(self, "threshold", self.threshold))

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Softsign(Module):
    """x / (1 + |x|): between −1 and 1."""

    def forward(self, x: Tensor) -> Tensor:
        return smooth_activations.softsign(x)


class ELU(_Inplace):
    """x where x > 0, alpha · (e^x − 1) elsewhere. The gradient at 0 is `alpha`."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = _number(self, "alpha", alpha)

    def forward(self, x: Tensor) -> Tensor:
        return smooth_activations.elu(x, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class CELU(_Inplace):
    """x where x > 0, alpha · (e^(x / alpha) − 1) elsewhere: an ELU whose slope at 0 is 1 for every alpha."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = _number(self, "alpha", alpha)

    def forward(self, x: Tensor) -> Tensor:
        return smooth_activations.celu(x, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class SELU(_Inplace):
    """1.0507 · elu(x, 1.6733), with more digits: with weights of variance 1 / fan-in, activations keep mean 0, variance 1."""

    def forward(self, x: Tensor) -> Tensor:
        return smooth_activations.selu(x)


class GELU(Module):
    """x · Φ(x), Φ the normal distribution function; `approximate="tanh"` for its older approximation by a tanh.

    Raises:
        ValueError: `approximate` is neither "none" nor "tanh".
    """

    def __init__(self, approximate: str = "none") -> None:
        if not isinstance(approximate, str) or approximate not in ("none", "tanh"):
            given = repr(approximate) if isinstance(approximate, str) else type(approximate).__name__
            raise ValueError(f'GELU: approximate must be "none" or "tanh", got {given}; apply a layer as GELU()(x)')
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        return smooth_activations.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(_Inplace):
    """x · sigmoid(x), also called swish."""

    def forward(self, x: Tensor) -> Tensor:
        return smooth_activations.silu(x)


class Mish(_Inplace):
    """x · tanh(softplus(x))."""

    def forward(self, x: Tensor) -> Tensor:
        return smooth_activations.mish(x)
