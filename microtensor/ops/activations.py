"""Activation functions: what a network puts between its layers, so that it can bend. As layers: nn/layers/activation.py.

Most are one line of the operations below them. At a kink the gradient is PyTorch's, and the docstring says which.
`inplace` is understood where PyTorch has it, and does nothing: a graph needs the numbers.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd.arguments import composed
from ..autograd.autocast import at_least_float32, narrowed
from ..autograd.graph import Node, T, is_floating, mode
from ..autograd.op import Rule, op
from ..runtime.arrays import Array, array_module
from ..runtime.cuda.kernels import Kernels, usable
from ..runtime.threads import spread
from .elementwise import clamp, multiply, neg, select, where
from .error_function import BLOCK, _erfc, erfc
from .functions import expm1, tanh
from .reduce import softmax
from .shape import normalize_dim
from .singular import power_of_one_more

kernels = Kernels(__file__, "activations.cu")


def _check_inplace(name: str, inplace: Any) -> None:
    """PyTorch's flag is understood, so that what was written for it runs; a result has memory of its own all the same."""
    if not isinstance(inplace, bool):
        raise TypeError(f"{name}: inplace must be True or False, got {inplace!r}")


# Straight pieces


@op(elementwise=True, output=True)
def relu(x: T, /, inplace: bool = False) -> Rule[T]:
    """max(x, 0). The gradient at 0 is 0.

    Nair and Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".

    >>> import microtensor as mt
    >>> relu(mt.Tensor([-1.0, 0.0, 2.0]))
    Tensor([0., 0., 2.])
    """
    if inplace is not False:
        _check_inplace("relu", inplace)
    highest = math.inf if is_floating(x.dtype) else None  # given both limits, NumPy clips floats in a quarter of the time

    def rectified(data: Array, out: Array | None = None) -> Array:
        return data.clip(0, highest, out=out)

    return spread(rectified, x.array), (lambda g, y: _between(g, y, 0),)


class Rectifier(threading.local):
    """How this thread's backward passes go through a ReLU: see saliency/rectifiers.py."""

    derivative: Callable[[Any, Any], Any] | None = None
    """A function of the gradient that arrives and of where the unit was on; None: the derivative itself."""


rectifier = Rectifier()


def _between(g: Any, y: Any, low: float, high: float = math.nan) -> Any:
    """The gradient g where low < y < high, and where y is nan; else 0. A limit that is nan is none.

    If low is 0, this is the gradient of a ReLU, with or without an upper limit: where a caller has set a rule for all ReLUs
    (guided backpropagation, for one), what that gives.
    """
    if rectifier.derivative is None or low != 0:
        return _passed(g, y, low=low, high=high)
    return rectifier.derivative(g, ~(y <= low) if math.isnan(high) else ~((y <= low) | (y >= high)))


@op(elementwise=True)
def _passed(g: T, y: T, *, low: float, high: float) -> Rule[T]:
    """g where y, which lies between the limits, is neither of them; else 0."""

    def passed(g: Array, y: Array, out: Array | None = None) -> Array:
        inside = y != low
        if not math.isnan(high):
            inside &= y != high
        return select(inside, g, 0, g.dtype, out)

    data = _passed_by_kernel(g.array, y.array, low, high) if usable(g.array) else spread(passed, g.array, y.array)
    return data, (lambda h: _passed(h, y, low=low, high=high), None)


def _passed_by_kernel(g: Array, y: Array, low: float, high: float) -> Array:
    xp = array_module(g)
    dx = xp.empty(g.shape, g.dtype)
    arrays = xp.ascontiguousarray(g), xp.ascontiguousarray(y)
    kernels.each("between", g.dtype, dx.size, dx, *arrays, float(low), float(high), dx.size)
    return dx


@op(elementwise=True, floating=True, output=True)
def hardtanh(x: T, /, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Rule[T]:
    """x, but no smaller than `min_val` and no larger than `max_val`. The gradient at these is 0 (with `clamp`, 1).

    Raises:
        ValueError: min_val is larger than max_val.

    >>> import microtensor as mt
    >>> hardtanh(mt.Tensor([-2.0, 0.5, 2.0]))
    Tensor([-1. ,  0.5,  1. ])
    """
    _check_inplace("hardtanh", inplace)
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val {min_val} is larger than max_val {max_val}")
    return x.array.clip(min_val, max_val), (lambda g, y: _between(g, y, min_val, max_val),)


@composed
def relu6(x: Any, inplace: bool = False) -> Any:
    """min(max(x, 0), 6). The gradient at 0 and at 6 is 0.

    Sandler et al. 2018, "MobileNetV2", section 3, arxiv.org/abs/1801.04381.

    >>> import microtensor as mt
    >>> relu6(mt.Tensor([-1.0, 2.0, 8.0]))
    Tensor([0., 2., 6.])
    """
    _check_inplace("relu6", inplace)
    return hardtanh(x, 0.0, 6.0)


@composed
def leaky_relu(x: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """x where x > 0, negative_slope · x elsewhere. The gradient at 0 is `negative_slope`.

    Maas et al. 2013, "Rectifier nonlinearities improve neural network acoustic models".

    >>> import microtensor as mt
    >>> leaky_relu(mt.Tensor([-2.0, 2.0]), 0.1)
    Tensor([-0.2,  2. ])
    """
    _check_inplace("leaky_relu", inplace)
    return where(x > 0, x, x * negative_slope)


@composed
def prelu(x: Any, weight: Any) -> Any:
    """x where x > 0, weight · x elsewhere: a leaky ReLU that learns its slope. At 0 the gradient for x is the weight.

    He et al. 2015, "Delving deep into rectifiers", section 2.1, arxiv.org/abs/1502.01852.

    Args:
        weight: one number, of shape () or (1,), or one for each channel: for x (N, C, …), shape (C,).

    Raises:
        TypeError: an input is no tensor.
        ValueError: the weight has another shape.

    >>> import microtensor as mt
    >>> prelu(mt.Tensor([[-2.0, -2.0, 2.0]]), mt.Tensor([0.5, 0.1, 0.1]))
    Tensor([[-1. , -0.2,  2. ]])
    """
    if not all(isinstance(v, Node) for v in (x, weight)):
        raise TypeError(f"prelu: the weight must be a Tensor, got {type(weight).__name__}; leaky_relu takes a number")
    x, weight = narrowed(x, weight)
    channels = x.shape[1] if x.ndim > 1 else 1
    if weight.ndim > 1 or weight.numel() not in (1, channels):
        fitting = "(1,)" if channels == 1 else f"(1,) or ({channels},)"
        raise ValueError(
            f"prelu: for x {x.shape} the weight must have shape {fitting}, one slope or one per channel, got {weight.shape}"
        )
    slope = weight.reshape((channels,) + (1,) * (x.ndim - 2) if weight.numel() > 1 else ())
    return where(x > 0, x, x * slope)


@composed
def threshold(x: Any, threshold: float, value: float, inplace: bool = False) -> Any:
    """x where x > threshold, `value` elsewhere. The gradient at the threshold is 0.

    >>> import microtensor as mt
    >>> threshold(mt.Tensor([-1.0, 0.5, 2.0]), 0.5, -7.0)
    Tensor([-7., -7.,  2.])
    """
    _check_inplace("threshold", inplace)
    return where(x <= threshold, value, x)


@composed
def hardshrink(x: Any, lambd: float = 0.5) -> Any:
    """x, but 0 where |x| ≤ lambd. The gradient there is 0, at ±lambd too.

    >>> import microtensor as mt
    >>> hardshrink(mt.Tensor([-2.0, 0.5, 0.6]))
    Tensor([-2. ,  0. ,  0.6])
    """
    return where((x >= -lambd) & (x <= lambd), 0, x)


@composed
def softshrink(x: Any, lambd: float = 0.5) -> Any:
    """x, brought nearer to 0 by lambd, and 0 where |x| ≤ lambd. The gradient there is 0, at ±lambd too.

    Raises:
        ValueError: lambd is negative.

    >>> import microtensor as mt
    >>> softshrink(mt.Tensor([-2.0, 0.5, 0.75]))
    Tensor([-1.5 ,  0.  ,  0.25])
    """
    if lambd < 0:
        raise ValueError(f"softshrink: lambd must not be negative, got {lambd}")
    return x - clamp(x, -lambd, lambd)


@composed
def hardsigmoid(x: Any, inplace: bool = False) -> Any:
    """relu6(x + 3) / 6: a straight line from 0, at −3, to 1, at 3. The gradient at −3 and 3 is 0.

    >>> import microtensor as mt
    >>> hardsigmoid(mt.Tensor([-4.0, 0.0, 1.5]))
    Tensor([0.  , 0.5 , 0.75])
    """
    _check_inplace("hardsigmoid", inplace)
    return hardtanh(x, -3.0, 3.0) / 6 + 0.5  # not by relu6: this is a gate, and no rule for ReLUs is meant for it


@composed
def hardswish(x: Any, inplace: bool = False) -> Any:
    """x · hardsigmoid(x). The gradient at −3 is 0, at 3 it is 1.

    Howard et al. 2019, "Searching for MobileNetV3", section 5.2, arxiv.org/abs/1905.02244.

    >>> import microtensor as mt
    >>> hardswish(mt.Tensor([-1.5, 0.0, 4.0]))
    Tensor([-0.375,  0.   ,  4.   ])
    """
    _check_inplace("hardswish", inplace)
    return x * hardsigmoid(x)


# Bent ones


@op(elementwise=True, floating=True, output=True)
def sigmoid(x: T) -> Rule[T]:
    """Logistic function 1 / (1 + e^−x): between 0 and 1. Where it is smaller than any normal number it is 0.

    >>> import microtensor as mt
    >>> sigmoid(mt.Tensor([-1.0, 0.0, 2.0])).round(decimals=4)
    Tensor([0.2689, 0.5   , 0.8808])
    """
    with np.errstate(over="ignore"):  # where e^−x is inf, 1 / inf is as it should be
        return 1 / (1 + x.xp.exp(-x.array)), (lambda g, y: g * (y * (1 - y)),)


@op(elementwise=True, floating=True)
def logsigmoid(x: T) -> Rule[T]:
    """log(sigmoid(x)) = min(x, 0) − log(1 + e^−|x|), exact also where sigmoid rounds to 0 or 1.

    >>> import microtensor as mt
    >>> logsigmoid(mt.Tensor([-1.0, 0.0, 2.0])).round(decimals=4)
    Tensor([-1.3133, -0.6931, -0.1269])
    """
    xp = x.xp
    return x.array.clip(-math.inf, 0) - xp.log1p(xp.exp(-xp.abs(x.array))), (lambda g: g * sigmoid(neg(x)),)


@op(elementwise=True, floating=True, wide=True)
def softplus(x: T, /, beta: float = 1.0, threshold: float = 20.0) -> Rule[T]:
    """log(1 + e^(beta · x)) / beta: a smooth relu. Where beta · x > threshold it is x itself, as in PyTorch.

    Raises:
        ValueError: beta is 0.

    >>> import microtensor as mt
    >>> softplus(mt.Tensor([-1.0, 0.0, 2.0])).round(decimals=4)
    Tensor([0.3133, 0.6931, 2.1269])
    """
    if beta == 0:
        raise ValueError("softplus: beta must not be 0: it is the steepness of the bend")

    def vjp(g: Any) -> Any:
        z: Any = multiply(x, beta)
        return where(z > threshold, g, g * sigmoid(z))

    xp, z = x.xp, x.array * beta
    bent = (z.clip(0, math.inf) + xp.log1p(xp.exp(-xp.abs(z)))) / beta
    return select(z > threshold, x.array, bent, x.dtype), (vjp,)


@op(elementwise=True, floating=True)
def softsign(x: T) -> Rule[T]:
    """x / (1 + |x|): between −1 and 1.

    >>> import microtensor as mt
    >>> softsign(mt.Tensor([-1.0, 0.0, 3.0]))
    Tensor([-0.5 ,  0.  ,  0.75])
    """
    return x.array / (1 + x.xp.abs(x.array)), (lambda g: g * power_of_one_more(x, k=2, odd=False),)


@composed
def elu(x: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """x where x > 0, alpha · (e^x − 1) elsewhere. The gradient at 0 is `alpha`.

    Clevert et al. 2015, "Fast and accurate deep network learning by exponential linear units", arxiv.org/abs/1511.07289.

    >>> import microtensor as mt
    >>> elu(mt.Tensor([-1.0, 0.0, 2.0])).round(decimals=4)
    Tensor([-0.6321,  0.    ,  2.    ])
    """
    _check_inplace("elu", inplace)
    return where(x > 0, x, _in_dtype_of(x, alpha * expm1(_not_above_0(x))))


@composed
def celu(x: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """x where x > 0, alpha · (e^(x / alpha) − 1) elsewhere: an elu whose slope at 0 is 1 for every alpha.

    Barron 2017, "Continuously differentiable exponential linear units", arxiv.org/abs/1704.07483.

    Raises:
        ValueError: alpha is 0.

    >>> import microtensor as mt
    >>> celu(mt.Tensor([-1.0, 0.0, 2.0]), 2.0).round(decimals=4)
    Tensor([-0.7869,  0.    ,  2.    ])
    """
    _check_inplace("celu", inplace)
    if alpha == 0:
        raise ValueError("celu: alpha must not be 0: x is divided by it")
    return where(x > 0, x, _in_dtype_of(x, alpha * expm1(_not_above_0(x) / alpha)))


@op(elementwise=True)
def _not_above_0(x: T) -> Rule[T]:
    """min(x, 0), with the gradient 1 at 0, and at nan too: `clamp` has 0 there."""

    def vjp(g: Any) -> Any:
        z: Any = x
        return where(z > 0, 0, g)

    return x.xp.minimum(x.array, 0), (vjp,)


def _in_dtype_of(x: Any, y: Any) -> Any:
    """y, which is at most as large as x, as float16 again: under autocast exponentials are computed in float32."""
    return y.to(x.dtype) if x.dtype == np.float16 else y


SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
"""With these, a layer's activations keep mean 0 and variance 1 (Klambauer et al. 2017, equation 14)."""


@composed
def selu(x: Any, inplace: bool = False) -> Any:
    """1.0507 · elu(x, 1.6733), with more digits. The gradient at 0 is their product, 1.7581.

    Klambauer et al. 2017, "Self-normalizing neural networks", arxiv.org/abs/1706.02515.

    >>> import microtensor as mt
    >>> selu(mt.Tensor([-1.0, 0.0, 2.0])).round(decimals=4)
    Tensor([-1.1113,  0.    ,  2.1014])
    """
    _check_inplace("selu", inplace)
    return SELU_SCALE * elu(x, SELU_ALPHA)


@composed
def gelu(x: Any, approximate: str = "none") -> Any:
    """x · Φ(x), where Φ(x) = erfc(−x / √2) / 2 is the probability that a normal variable is below x.

    Hendrycks and Gimpel 2016, "Gaussian error linear units", section 2, arxiv.org/abs/1606.08415.

    Args:
        approximate: "none", or "tanh" for the paper's x · (1 + tanh(√(2/π) · (x + 0.044715 x³))) / 2, up to 5e-4 off.

    Raises:
        ValueError: `approximate` is something else.

    >>> import microtensor as mt
    >>> x = mt.Tensor([-1.0, 0.0, 2.0])
    >>> gelu(x).round(decimals=4), gelu(x, "tanh").round(decimals=4)
    (Tensor([-0.1587,  0.    ,  1.9545]), Tensor([-0.1588,  0.    ,  1.9546]))
    """
    if approximate == "none":
        return _gelu(x)
    if approximate == "tanh":  # (1 + tanh u) / 2 is sigmoid(2u), and keeps its digits where tanh is near −1
        return x * sigmoid(x * (1 + 0.044715 * x * x) * (2 * math.sqrt(2 / math.pi)))
    raise ValueError(f'gelu: approximate must be "none" or "tanh", got {approximate!r}')


def _gelu_formula(x: Any) -> Any:
    """x · Φ(x), Φ(x) = erfc(−x / √2) / 2. Beyond ±40 the density Φ′ rounds to 0, and inf · 0 would be nan."""
    return x * (erfc(clamp(x, -40, 40) * -ROOT) * 0.5)


# One rule: the slope is made of the same intermediate values as the result, and is computed while they are in a core's cache.
@op(elementwise=True, floating=True, meaning=_gelu_formula)
def _gelu(x: T) -> Rule[T]:
    y, slope = _gelu_and_slope(x.array, mode.recording and x.requires_grad)
    return y, (lambda g: g * g.constant(slope),)


ROOT, DENSITY = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)


def _gelu_and_slope(x: Array, sloping: bool) -> tuple[Array, Array | None]:
    """x · Φ(x), and Φ(x) + x · φ(x) if wanted: a block at a time, see `_in_blocks`."""
    xp, dtype, x = array_module(x), x.dtype, at_least_float32(x)
    y, slope = xp.empty(x.shape, dtype), xp.empty(x.shape, dtype) if sloping else None
    step = BLOCK if xp is np else max(1, x.size)
    for start in range(0, x.size, step):
        part = slice(start, start + step)
        z = x.reshape(-1)[part]
        probability = _erfc(z * -ROOT) * 0.5
        y.reshape(-1)[part] = z * probability
        if slope is not None:
            z = z.clip(-40, 40)  # where the density is 0
            probability += z * xp.exp(z * z * -0.5) * DENSITY
            slope.reshape(-1)[part] = probability
    return y, slope


@composed
def silu(x: Any, inplace: bool = False) -> Any:
    """x · sigmoid(x), also called swish.

    Ramachandran et al. 2017, "Searching for activation functions", section 4, arxiv.org/abs/1710.05941.

    >>> import microtensor as mt
    >>> silu(mt.Tensor([-1.0, 0.0, 2.0])).round(decimals=4)
    Tensor([-0.2689,  0.    ,  1.7616])
    """
    _check_inplace("silu", inplace)
    return x * sigmoid(x)


@composed
def mish(x: Any, inplace: bool = False) -> Any:
    """x · tanh(softplus(x)).

    Misra 2019, "Mish: a self regularized non-monotonic activation function", arxiv.org/abs/1908.08681.

    >>> import microtensor as mt
    >>> mish(mt.Tensor([-1.0, 0.0, 2.0])).round(decimals=4)
    Tensor([-0.3034,  0.    ,  1.944 ])
    """
    _check_inplace("mish", inplace)
    return x * _in_dtype_of(x, tanh(softplus(x)))


@composed
def tanhshrink(x: Any) -> Any:
    """x − tanh(x).

    >>> import microtensor as mt
    >>> tanhshrink(mt.Tensor([-1.0, 0.0, 2.0])).round(decimals=4)
    Tensor([-0.2384,  0.    ,  1.036 ])
    """
    return x - tanh(x)


# Over an axis


@composed
def glu(x: Any, dim: int = -1) -> Any:
    """a · sigmoid(b), where a is the first half of x along axis `dim` and b the second: that axis becomes half as long.

    Dauphin et al. 2017, "Language modeling with gated convolutional networks", section 2, arxiv.org/abs/1612.08083.

    Raises:
        TypeError: `dim` is no integer.
        ValueError: it is out of range, or the axis has an odd length.

    >>> import microtensor as mt
    >>> glu(mt.Tensor([1.0, 2.0, 0.0, 0.0]))
    Tensor([0.5, 1. ])
    """
    axis = normalize_dim("glu", dim, x.shape)
    if x.shape[axis] % 2:
        raise ValueError(f"glu: axis {dim} of x {x.shape} must have an even length, to be halved, and has {x.shape[axis]}")
    before, half = (slice(None),) * axis, x.shape[axis] // 2
    return x[(*before, slice(half))] * sigmoid(x[(*before, slice(half, None))])


@composed
def softmin(x: Any, dim: int) -> Any:
    """softmax(−x) along axis `dim`: positive numbers that sum to 1, the larger the smaller x is.

    Raises:
        TypeError, ValueError: as `softmax`.

    >>> import microtensor as mt
    >>> softmin(mt.Tensor([1000.0, 0.0, 0.0]), dim=0)
    Tensor([0. , 0.5, 0.5])
    """
    return softmax(neg(x), dim=dim)
