"""Losses of regression: the distance of predicted values from their targets.

All take x and a target of the same shape: shapes that would broadcast, such as (N, 1) and (N,), are refused, since each element
would be compared with all others. Differentiable in x and in the target.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from microtensor.autograd.autocast import widened
from microtensor.autograd.graph import T
from microtensor.autograd.op import Rule, op
from microtensor.ops.elementwise import abs, clamp
from microtensor.tensor import Tensor

from .reduction import Loss, check_reduction, constant, number_within, paired, reduce


def mse_loss(x: T, target: Any, reduction: str = "mean", weight: Any = None) -> T:
    """(x − target)², the squared error: x (…), target (…) → one number, or (…) for reduction "none".

    Args:
        target: a tensor, which gets a gradient too, an array or a list.
        reduction: "mean", "sum" or "none". The mean of nothing is nan, as in PyTorch.
        weight: a factor for the loss of each element. The mean is Σ weight · loss / Σ weight.

    Raises:
        TypeError: x is no floating-point tensor; the target or the weight is not numeric.
        ValueError: the shapes differ, or the reduction is unknown.

    >>> mse_loss(Tensor([1.0, 2.0]), [1.0, 4.0])
    Tensor(2.)
    """
    difference = _difference("mse_loss", x, target, reduction)
    return _weighted("mse_loss", difference * difference, weight, reduction)


def l1_loss(x: T, target: Any, reduction: str = "mean", weight: Any = None) -> T:
    """|x − target|, the absolute error: x (…), target (…) → one number, or (…) for reduction "none".

    The gradient is 0 where they are equal. Arguments and errors are `mse_loss`'s.

    >>> l1_loss(Tensor([1.0, 2.0]), [1.0, 4.0])
    Tensor(1.)
    """
    return _weighted("l1_loss", abs(_difference("l1_loss", x, target, reduction)), weight, reduction)


def huber_loss(x: T, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None) -> T:
    """d² / 2 where d = |x − target| is at most delta, delta · (d − delta / 2) beyond: the gradient of outliers is limited.

    Huber 1964, "Robust estimation of a location parameter". x (…), target (…) → one number, or (…) for reduction "none".

    Args:
        delta: where the parabola turns into a straight line; more than 0.
        weight: as in `mse_loss`, but the mean divides by the number of elements, as in PyTorch.

    Raises:
        TypeError, ValueError: as `mse_loss`; delta is not more than 0.

    >>> huber_loss(Tensor([0.5, 3.0]), [0.0, 0.0], reduction="none")
    Tensor([0.125, 2.5  ])
    """
    delta = _more_than_0("huber_loss", "delta", delta)
    losses: Any = _huber(_difference("huber_loss", x, target, reduction), delta=delta)
    return reduce(losses if weight is None else losses * _weights("huber_loss", weight, losses), reduction)


def smooth_l1_loss(x: T, target: Any, reduction: str = "mean", beta: float = 1.0) -> T:
    """d² / (2 · beta) where d = |x − target| is less than beta, d − beta / 2 beyond: huber_loss over beta; for beta 0, l1_loss.

    Girshick 2015, "Fast R-CNN", equation 3, arxiv.org/abs/1504.08083. x (…), target (…) → one number, or (…) for "none".

    Raises:
        TypeError, ValueError: as `mse_loss`; beta is negative.

    >>> smooth_l1_loss(Tensor([0.5, 3.0]), [0.0, 0.0], reduction="none", beta=2.0)
    Tensor([0.0625, 2.    ])
    """
    beta = number_within("smooth_l1_loss", "beta", beta, 0, math.inf)
    difference = _difference("smooth_l1_loss", x, target, reduction)
    losses: Any = _huber(difference, delta=beta) / beta if beta else abs(difference)
    return reduce(losses, reduction)


# One rule: the composition of five operations takes twice as long.
@op(elementwise=True)
def _huber(x: T, *, delta: float) -> Rule[T]:
    """c · (|x| − c / 2), where c = min(|x|, delta)."""
    d = x.xp.abs(x.array)
    c = d.clip(0, delta)
    return c * (d - c / 2), (lambda g: g * clamp(x, -delta, delta),)


def _difference(name: str, x: Any, target: Any, reduction: str) -> Any:
    """x − target, of equal shapes."""
    check_reduction(name, reduction)
    x = widened(x)
    target = paired(name, x, target)
    return x - target


def _weighted(name: str, losses: Any, weight: Any, reduction: str) -> Any:
    """Losses reduced: the mean is the weighted one."""
    if weight is None:
        return reduce(losses, reduction)
    weights = _weights(name, weight, losses)
    weighted = losses * weights
    return weighted.sum() / weights.sum() if reduction == "mean" else reduce(weighted, reduction)


def _weights(name: str, weight: Any, losses: Any) -> Any:
    """A weight for each loss."""
    weights = constant(name, "weight", weight, losses)
    if weights.shape != losses.shape:
        raise ValueError(f"{name}: weight must have the shape of x, {losses.shape}, got {weights.shape}")
    return weights


def _more_than_0(name: str, what: str, value: Any) -> float:
    number = number_within(name, what, value, 0, math.inf)
    if not number:
        raise ValueError(f"{name}: {what} must be more than 0, got {value!r}")
    return number


class MSELoss(Loss):
    """`mse_loss` as a layer: x (…), target (…) → one number.

    >>> MSELoss()(Tensor([1.0, 2.0]), [1.0, 4.0])
    Tensor(2.)
    """

    def forward(self, x: Tensor, target: Any) -> Tensor:
        return mse_loss(x, target, self.reduction)


class L1Loss(Loss):
    """`l1_loss` as a layer: x (…), target (…) → one number."""

    def forward(self, x: Tensor, target: Any) -> Tensor:
        return l1_loss(x, target, self.reduction)


class HuberLoss(Loss):
    """`huber_loss` as a layer: x (…), target (…) → one number.

    Raises:
        TypeError, ValueError: an unknown reduction; delta is no number, or not more than 0.
    """

    usual: ClassVar[dict[str, Any]] = {"reduction": "mean", "delta": 1.0}

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = _more_than_0("HuberLoss", "delta", delta)

    def forward(self, x: Tensor, target: Any) -> Tensor:
        return huber_loss(x, target, self.reduction, self.delta)


class SmoothL1Loss(Loss):
    """`smooth_l1_loss` as a layer: x (…), target (…) → one number.

    Raises:
        TypeError, ValueError: an unknown reduction; beta is no number, or negative.
    """

    usual: ClassVar[dict[str, Any]] = {"reduction": "mean", "beta": 1.0}

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = number_within("SmoothL1Loss", "beta", beta, 0, math.inf)

    def forward(self, x: Tensor, target: Any) -> Tensor:
        return smooth_l1_loss(x, target, self.reduction, self.beta)
