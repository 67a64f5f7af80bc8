"""Activation functions that are smooth: sigmoid, softplus, the exponential linear units, gelu; gates along an axis.

Piecewise linear ones: activations.py. `inplace` is accepted where PyTorch has it, and has no effect.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd.arguments import composed
from ..autograd.autocast import at_least_float32
from ..autograd.graph import T, mode
from ..autograd.op import Rule, op
from ..runtime.arrays import Array, array_module
from .activations import check_inplace
from .elementwise import clamp, multiply, neg, select, where
from .error_function import BLOCK_ELEMENTS, _erfc, erfc
from .functions import expm1, tanh
from .shape import normalize_dim
from .singular import power_of_one_more
from .softmax import softmax


@op(elementwise=True, floating=True, output=True)
def sigmoid(x: T) -> Rule[T]:
    """Logistic function 1 / (1 + e^−x): between 0 and 1. Below the smallest normal number it is 0.

    >>> import microtensor as mt
    >>> sigmoid(mt.Tensor([-1.0, 0.0, 2.0])).round(decimals=4)
    Tensor([0.2689, 0.5   , 0.8808])
    """
    with np.errstate(over="ignore"):  # e^−x may be inf, and 1 / inf is 0
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
        raise ValueError("softplus: beta must not be 0: x is multiplied and the result divided by it")

    def vjp(g: Any) -> Any:
        z: Any = multiply(x, beta)
        return where(z > threshold, g, g * sigmoid(z))

    xp, z = x.xp, x.array * beta
    smooth = (z.clip(0, math.inf) + xp.log1p(xp.exp(-xp.abs(z)))) / beta
    return select(z > threshold, x.array, smooth, x.dtype), (vjp,)


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
    check_inplace("elu", inplace)
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
    check_inplace("celu", inplace)
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
    """y in float16 if x is: under autocast, exponentials of float16 are computed in float32."""
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
    check_inplace("selu", inplace)
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
    """x · Φ(x), and Φ(x) + x · φ(x) if `sloping`: a block at a time, as in error_function.py."""
    xp, dtype, x = array_module(x), x.dtype, at_least_float32(x)
    y, slope = xp.empty(x.shape, dtype), xp.empty(x.shape, dtype) if sloping else None
    step = BLOCK_ELEMENTS if xp is np else max(1, x.size)
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
    check_inplace("silu", inplace)
    return x * sigmoid(x)


@composed
def mish(x: Any, inplace: bool = False) -> Any:
    """x · tanh(softplus(x)).

    Misra 2019, "Mish: a self regularized non-monotonic activation function", arxiv.org/abs/1908.08681.

    >>> import microtensor as mt
    >>> mish(mt.Tensor([-1.0, 0.0, 2.0])).round(decimals=4)
    Tensor([-0.3034,  0.    ,  1.944 ])
    """
    check_inplace("mish", inplace)
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
    """softmax(−x) along axis `dim`: positive values that sum to 1, the larger the smaller x is.

    Raises:
        TypeError, ValueError: as `softmax`.

    >>> import microtensor as mt
    >>> softmin(mt.Tensor([1000.0, 0.0, 0.0]), dim=0)
    Tensor([0. , 0.5, 0.5])
    """
    return softmax(neg(x), dim=dim)
