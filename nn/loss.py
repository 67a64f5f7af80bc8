"""Losses: one number that says how wrong the scores are."""

from __future__ import annotations

from typing import Any

import numpy as np

from microtensor.backend import Array, is_array, to_device
from microtensor.graph import Node, T
from microtensor.op import Rule, op
from microtensor.ops.reduce import softmax


def cross_entropy(logits: T, target: Any, reduction: str = "mean") -> T:
    """−log softmax(logits)[target]: logits (N, C), target (N,) class numbers → one number, or (N,) for reduction "none".

    The gradient for the logits is softmax(logits) − onehot(target), over N for "mean". Stable for logits of any size.

    Args:
        target: whole numbers from 0 to C − 1, a Tensor, an array or a list.
        reduction: "mean", "sum" or "none".

    Raises:
        TypeError: labels that are no integers, or logits that are not floating point.
        ValueError: shapes that do not fit, a label out of range, an unknown reduction.

    >>> from microtensor import Tensor
    >>> cross_entropy(Tensor([[0.0, 0.0]]), [1])
    Tensor(0.6931472)
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'cross_entropy: reduction must be "mean", "sum" or "none", got {reduction!r}')
    if not isinstance(logits, Node):
        raise TypeError(f"cross_entropy: expected logits as a Tensor, got {type(logits).__name__}; wrap it: Tensor(...)")
    if logits.ndim != 2 or not logits.shape[1]:
        raise ValueError(f"cross_entropy: expected logits (N, C), got shape {logits.shape}")
    if logits.dtype.kind != "f":
        raise TypeError(f"cross_entropy: expected floating-point logits, got {logits.dtype}; use .to('float32')")
    labels = _labels(target, logits)
    losses: Any = _negative_log_likelihood(logits, labels=labels)
    return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()


def _labels(target: Any, logits: Node) -> Array:
    """Class numbers as an integer array where the logits are, checked against their shape."""
    labels = target.data if isinstance(target, Node) else target if is_array(target) else np.asarray(target)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"cross_entropy: labels must be whole numbers, got {labels.dtype}; use .to('int64')")
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"cross_entropy: logits {logits.shape} need {logits.shape[0]} labels, got shape {labels.shape}")
    if isinstance(labels, np.ndarray):  # on a GPU the check would wait for the device at every step
        wrong = labels[(labels < 0) | (labels >= logits.shape[1])]
        if wrong.size:
            raise ValueError(
                f"cross_entropy: labels must be 0 to {logits.shape[1] - 1} for {logits.shape[1]} classes, got {wrong[0]}"
            )
    return to_device(labels, logits.device)


@op
def _negative_log_likelihood(logits: T, *, labels: Array) -> Rule[T]:
    """−log softmax(logits)[label] for each row: (N, C) → (N,)."""
    xp, classes = logits.xp, logits.shape[1]
    hot = labels[:, None] == xp.arange(classes)
    shifted = logits.data - logits.data.max(1, keepdims=True)
    losses = xp.log(xp.exp(shifted).sum(1)) - xp.where(hot, shifted, 0).sum(1)

    def vjp(g: Any) -> Any:
        return (softmax(logits, dim=1) - logits.constant(hot.astype(logits.dtype))) * g.reshape((-1, 1))

    return losses, (vjp,)
