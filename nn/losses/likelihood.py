"""Losses of probabilities: binary cross-entropy, and the Kullback–Leibler divergence of distributions.

All take x and a target of the same shape, and are differentiable in both.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from microtensor.autograd.autocast import widened
from microtensor.autograd.graph import T
from microtensor.autograd.op import Rule, op
from microtensor.ops.elementwise import clamp, where
from microtensor.ops.functions import exp, log, log1p
from microtensor.ops.singular import by_convention, tip
from microtensor.ops.smooth_activations import logsigmoid, sigmoid
from microtensor.runtime.deferred_checks import check_limit
from microtensor.tensor import Tensor

from .reduction import Loss, buffered, check_reduction, constant, paired, reduce, refuse_swapped

MIN_LOG = -100.0
"""Logarithms of probabilities are clipped here, as in PyTorch: so a loss stays finite where a probability is 0."""
MIN_PRODUCT = 1e-12
"""x · (1 − x), by which a gradient is divided, is clipped here, as in PyTorch."""


def binary_cross_entropy(x: T, target: Any, weight: Any = None, reduction: str = "mean") -> T:
    """−target · log x − (1 − target) · log(1 − x): x (…) probabilities, target (…) → one number, or (…) for reduction "none".

    Logarithms count as −100 where they are less, so that the loss is finite at 0 and 1; the gradient for x, (x − target) /
    (x · (1 − x)), is divided by 1e-12 at least. Both as in PyTorch. The gradient for the target is that of the limited loss (in
    PyTorch it is infinite at 0 and 1). For logits, `binary_cross_entropy_with_logits` is more accurate.

    Args:
        x: probabilities, such as `sigmoid` gives.
        target: 0 or 1, or probabilities: a tensor, an array or a list. That they are from 0 to 1 is not checked.
        weight: factors for the losses, which broadcast to the shape of x.
        reduction: "mean", "sum" or "none". The mean of nothing is nan, as in PyTorch.

    Raises:
        TypeError: x is no floating-point tensor; the target or the weight is not numeric.
        ValueError: the shapes differ; the reduction is unknown; a number of x is not from 0 to 1 (on a GPU the error is raised
            at the next copy from the device).

    >>> binary_cross_entropy(Tensor([0.5, 0.0]), [1, 1], reduction="none")
    Tensor([  0.6931472, 100.       ])
    """
    name, x = "binary_cross_entropy", widened(x)
    check_reduction(name, reduction)
    target = paired(name, x, target)
    if x.array.size:
        beyond = x.xp.maximum(-x.array, x.array - 1).max()
        check_limit(
            beyond,
            0,
            f"{name}: x must be probabilities, from 0 to 1, got a number {{:.3g}} beyond them; apply sigmoid(), or take "
            "binary_cross_entropy_with_logits()",
        )
    losses: Any = _binary_cross_entropy(x, target)
    return reduce(_scaled(name, losses, weight), reduction)


@op(elementwise=True)
def _binary_cross_entropy(x: Any, target: Any) -> Rule[T]:
    xp = x.xp
    with np.errstate(divide="ignore", invalid="ignore"):  # log 0 is −∞, and limited
        yes, no = (logarithm.clip(MIN_LOG, math.inf) for logarithm in (xp.log(x.array), xp.log1p(-x.array)))

    def for_target(g: Any) -> Any:
        zero, one = x == 0, x == 1  # whose logarithms would warn
        yes = where(zero, MIN_LOG, log(where(zero, 1, x)))
        no = where(one, MIN_LOG, log1p(where(one, 0, -x)))
        return g * (clamp(no, min=MIN_LOG) - clamp(yes, min=MIN_LOG))

    def for_x(g: Any) -> Any:
        products = x * (1 - x)
        back = g * (x - target) / clamp(products, min=MIN_PRODUCT)
        return by_convention(back, g, x, where=lambda: products.array <= MIN_PRODUCT)

    data = -(target.array * yes + (1 - target.array) * no)
    return data, (for_x, for_target)


def binary_cross_entropy_with_logits(
    x: T, target: Any, weight: Any = None, reduction: str = "mean", pos_weight: Any = None
) -> T:
    """`binary_cross_entropy` of sigmoid(x), accurate for any logits: x (…), target (…) → one number, or (…).

    −pos_weight · target · log sigmoid(x) − (1 − target) · log(1 − sigmoid(x)). The gradient for x is sigmoid(x) − target.

    Args:
        x: logits.
        target: 0 or 1, or probabilities: a tensor, an array or a list.
        weight: factors for the losses, which broadcast to the shape of x.
        reduction: "mean", "sum" or "none". The mean of nothing is nan, as in PyTorch.
        pos_weight: factors for the losses of positive examples, of target 1, which broadcast to the shape of x: for (N, C) one
            for each class, above 1 where positive examples are rare.

    Raises:
        TypeError: x is no floating-point tensor; the target or a weight is not numeric.
        ValueError: the shapes do not fit, or the reduction is unknown.

    >>> binary_cross_entropy_with_logits(Tensor([0.0, 10000.0]), [1, 0], reduction="none")
    Tensor([6.931472e-01, 1.000000e+04])
    """
    name, x = "binary_cross_entropy_with_logits", widened(x)
    check_reduction(name, reduction)
    target = paired(name, x, target)
    refuse_swapped(name, "x", x, target)
    positive = None if pos_weight is None else _fitting(name, "pos_weight", pos_weight, x)
    losses: Any = _binary_cross_entropy_with_logits(x, target, positive)
    return reduce(_scaled(name, losses, weight), reduction)


# With s = log(1 + e^−|x|), log(1 + e^−x) is s + max(−x, 0) and log(1 + e^x) is s + max(x, 0): all summands are
# positive, and nothing cancels. (In the usual form (1 − target) · x − log sigmoid(x), all digits cancel where x is −20.)
@op(elementwise=True)
def _binary_cross_entropy_with_logits(x: Any, target: Any, positive: Any = None) -> Rule[T]:
    xp = x.xp
    yes, no = target.array if positive is None else target.array * positive.array, 1 - target.array
    s = xp.log1p(xp.exp(-xp.abs(x.array)))
    data = s * (yes + no) + yes * (-x.array).clip(0, math.inf) + no * x.array.clip(0, math.inf)

    def for_x(g: Any) -> Any:
        if positive is None:
            return g * (sigmoid(x) - target)
        yes = target * positive
        return g * (sigmoid(x) * (yes + (1 - target)) - yes)

    def for_target(g: Any) -> Any:
        return g * (-x if positive is None else logsigmoid(-x) - positive * logsigmoid(x))

    return data, (for_x, for_target, None)


def kl_div(x: T, target: Any, reduction: str = "mean", log_target: bool = False) -> T:
    """target · (log target − x), of which the sum is the Kullback–Leibler divergence: x (…), target (…) → one number, or (…).

    x holds log-probabilities, as `log_softmax` gives, the target probabilities; 0 · log 0 is 0, and its gradient too. Note the
    order: it is KL(target ‖ e^x). Kullback and Leibler 1951, "On information and sufficiency".

    Args:
        target: probabilities, or their logarithms: a tensor, which gets a gradient too, an array or a list.
        reduction: "batchmean" is the divergence itself, summed over each example and averaged over the first axis. "mean" is
            over all elements, and smaller by the number of classes. "sum" or "none".
        log_target: whether the target holds logarithms.

    Raises:
        TypeError: x is no floating-point tensor; the target is not numeric.
        ValueError: the shapes differ, or the reduction is unknown.

    >>> x = Tensor([[0.5, 0.5]]).log()
    >>> kl_div(x, [[0.5, 0.5]], "batchmean"), kl_div(x, [[1.0, 0.0]], "batchmean")
    (Tensor(0.), Tensor(0.6931472))
    """
    check_reduction("kl_div", reduction, KLDivLoss.reductions)
    x = widened(x)
    target = paired("kl_div", x, target)
    share, logarithm = (exp(target), target) if log_target else (target, _log_or_0(target))
    losses = share * (logarithm - x)
    if reduction == "batchmean":
        return losses.sum() / ((x.shape[0] or math.nan) if x.ndim else 1)
    return reduce(losses, reduction)


def _log_or_0(x: Any) -> Any:
    """log x, but 0 at 0, where the gradient is 0 too, and the second derivative nan."""
    zero = x == 0
    return where(zero, tip(x), log(where(zero, 1, x)))


def _scaled(name: str, losses: Any, weight: Any) -> Any:
    return losses if weight is None else losses * _fitting(name, "weight", weight, losses)


def _fitting(name: str, what: str, value: Any, x: Any) -> Any:
    """A constant that broadcasts to the shape of x."""
    values = constant(name, what, value, x)
    last_axes = x.shape[x.ndim - values.ndim :] if values.ndim <= x.ndim else None
    if last_axes is None or any(n not in (1, m) for n, m in zip(values.shape, last_axes)):
        raise ValueError(f"{name}: {what} {values.shape} does not broadcast to the shape of x {x.shape}")
    return values


class BCELoss(Loss):
    """`binary_cross_entropy` as a layer: probabilities (…), target (…) → one number.

    Args:
        weight: factors for the losses; kept as a buffer.
        reduction: "mean", "sum" or "none".

    Raises:
        TypeError, ValueError: the weight is not numeric, or requires a gradient; an unknown reduction.
    """

    def __init__(self, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.weight = buffered("BCELoss", "weight", weight)
        self._reserve("weight", buffers=True)

    def forward(self, x: Tensor, target: Any) -> Tensor:
        return binary_cross_entropy(x, target, self.weight, self.reduction)


class BCEWithLogitsLoss(Loss):
    """`binary_cross_entropy_with_logits` as a layer: logits (…), target (…) → one number.

    Args:
        weight, pos_weight: factors for the losses, and for those of positive examples; kept as buffers.
        reduction: "mean", "sum" or "none".

    Raises:
        TypeError, ValueError: a weight is not numeric, or requires a gradient; an unknown reduction.

    >>> BCEWithLogitsLoss()(Tensor([0.0]), [1])
    Tensor(0.6931472)
    """

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self.weight = buffered("BCEWithLogitsLoss", "weight", weight)
        self.pos_weight = buffered("BCEWithLogitsLoss", "pos_weight", pos_weight)
        self._reserve("weight", "pos_weight", buffers=True)

    def forward(self, x: Tensor, target: Any) -> Tensor:
        return binary_cross_entropy_with_logits(x, target, self.weight, self.reduction, self.pos_weight)


class KLDivLoss(Loss):
    """`kl_div` as a layer: log-probabilities (…), target (…) → one number.

    Args:
        reduction: "mean", "batchmean", "sum" or "none".
        log_target: whether the target holds logarithms.
    """

    reductions: ClassVar[tuple[str, ...]] = ("mean", "batchmean", "sum", "none")
    usual: ClassVar[dict[str, Any]] = {"reduction": "mean", "log_target": False}

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, x: Tensor, target: Any) -> Tensor:
        return kl_div(x, target, self.reduction, self.log_target)
