"""The dice loss of segmentation: 1 minus the relative overlap of the predicted and the true area."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from microtensor.autograd.autocast import widened
from microtensor.autograd.graph import Node, T, is_floating
from microtensor.ops.elementwise import where
from microtensor.ops.reduce import wide
from microtensor.ops.smooth_activations import sigmoid
from microtensor.ops.softmax import softmax
from microtensor.runtime.integers import as_integer
from microtensor.tensor import Tensor

from .labels import Labels, as_target, class_axis
from .reduction import Loss, check_prediction, check_reduction, number_within, reduce, variable


def dice_loss(logits: T, target: Any, smooth: float = 1.0, ignore_index: int = -100, reduction: str = "mean") -> T:
    """1 − (2 Σ p · t + smooth) / (Σ p² + Σ t² + smooth): logits (N, C, …), target (N, …) → one number, or (N, C) for "none".

    Milletari et al. 2016, "V-Net", section 3, arxiv.org/abs/1606.04797. The sums are over the pixels of an image, for each
    class: p is softmax(logits) over the classes, t is 1 at the pixels of the class and 0 elsewhere. So a class of few pixels
    counts as much as one of many. With a single class, logits (N, 1, …), p is sigmoid(logits) and the target is 1 in the area
    and 0 outside.

    Args:
        target: class indices (N, …), or areas of the logits' shape in floating point, which may be fractions: a Tensor, an
            array or a list. A tensor of areas gets a gradient too.
        smooth: makes the loss 0 where both areas are empty, and smooth where both are small.
        ignore_index: pixels with this label are in no sum.
        reduction: "mean" over images and classes, "sum" or "none". The mean of nothing is nan.

    Raises:
        TypeError: labels that are no integers, or logits that are not floating point.
        ValueError: shapes that do not fit, labels out of range (on a GPU the error is raised at the next copy from the
            device), a negative smooth, an unknown reduction.

    >>> logits = Tensor([[[9.0, 9.0, -9.0]]])  # (1, 1, 3): the first two of three pixels
    >>> dice_loss(logits, [[1, 1, 0]]).item() < 0.001, dice_loss(logits, [[0, 0, 1]]).item() > 0.7
    (True, True)
    """
    name, logits = "dice_loss", widened(logits)
    check_reduction(name, reduction)
    check_prediction(name, "logits", logits)
    if logits.ndim < 2:
        raise ValueError(f"{name}: expected logits (N, C, …), got shape {logits.shape}")
    classes = logits.shape[class_axis(name, "logits", logits)]
    smooth = number_within(name, "smooth", smooth, 0, math.inf)
    ignore = as_integer(name, "ignore_index", ignore_index)
    flat = (logits.shape[0], classes, math.prod(logits.shape[2:]))
    scores: Any = wide(logits).reshape(flat)
    p = sigmoid(scores) if classes == 1 else softmax(scores, dim=1)

    given = as_target(name, target)
    if is_floating(given.dtype) and given.shape == logits.shape:
        t = variable(name, "target", given, scores).reshape(flat)
    else:
        labels = Labels(name, _without_class(given, logits), "logits", logits, None, ignore, classes=max(classes, 2))
        t = scores.constant(labels.written_out()[:, -classes:])
        p = where(scores.constant(labels.kept[:, None]), p, 0)
    overlap, both = (p * t).sum(2), (p * p).sum(2) + (t * t).sum(2)
    return reduce(1 - (2 * overlap + smooth) / (both + smooth), reduction).to(logits.dtype)


def _without_class(target: Any, logits: Node) -> Any:
    """The mask of a single class as class indices 0 and 1: (N, 1, …) or (N, …), of bools too → (N, …)."""
    if logits.shape[1] > 1:
        return target
    mask = target.array if isinstance(target, Node) else target
    if mask.shape == logits.shape:
        mask = mask.reshape(logits.shape[:1] + logits.shape[2:])
    return mask.astype(np.int64) if mask.dtype == np.bool_ else mask


class DiceLoss(Loss):
    """`dice_loss` as a layer: logits (N, C, …), target (N, …) → one number.

    Args:
        smooth, ignore_index, reduction: as `dice_loss`.

    Raises:
        TypeError, ValueError: a setting is invalid.
    """

    usual: ClassVar[dict[str, Any]] = {"smooth": 1.0, "ignore_index": -100, "reduction": "mean"}

    def __init__(self, smooth: float = 1.0, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.smooth = number_within("DiceLoss", "smooth", smooth, 0, math.inf)
        self.ignore_index = as_integer("DiceLoss", "ignore_index", ignore_index)

    def forward(self, logits: Tensor, target: Any) -> Tensor:
        return dice_loss(logits, target, self.smooth, self.ignore_index, self.reduction)
