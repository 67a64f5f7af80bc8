"""Metrics, such as accuracy, and their means over the batches of an epoch, kept on the device."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from microtensor.autograd.arguments import is_number
from microtensor.autograd.broadcasting import check_devices
from microtensor.autograd.graph import is_floating
from microtensor.runtime.arrays import follow, is_array
from microtensor.runtime.deferred_checks import check_range
from microtensor.runtime.integers import is_integer
from microtensor.tensor import Tensor

from ..losses.classification import cross_entropy, nll_loss
from ..losses.dice import dice_loss
from ..losses.likelihood import binary_cross_entropy, binary_cross_entropy_with_logits, kl_div
from ..losses.reduction import Loss
from ..losses.regression import huber_loss, l1_loss, mse_loss, smooth_l1_loss
from .history import mode_of

Metrics: TypeAlias = Mapping[str, Callable[[Tensor, Tensor], Any]]
"""Name → a function of scores and labels that returns the mean over the batch, one number.

An attribute `higher_is_better` of the function, True or False as in torchmetrics, says whether higher or lower is better, for
callbacks that look for the best epoch. `accuracy` has it; the losses of this library are better when they are lower.
"""


LOSSES = (
    cross_entropy, nll_loss, dice_loss, binary_cross_entropy, binary_cross_entropy_with_logits, kl_div, huber_loss, l1_loss,
    mse_loss, smooth_l1_loss,
)  # fmt: skip
"""The functions of this library for which lower is better."""


def accuracy(scores: Tensor, labels: Tensor, k: int = 1) -> Tensor:
    """The fraction of labels among the k highest scores: scores (N, C, …), labels (N, …) → one number, on the same device.

    Of equal scores the first counts as the highest, so that a network which gives all classes the same score is not always
    right. A nan is never right. Labels below 0, such as an ignored −100, are left out. Labels may also be probabilities
    (N, C, …): the label is the class with the highest.

    Raises:
        ValueError: the shapes or the devices do not fit, k is no integer of 1 or more, or a label is out of range. (On a
            GPU a label out of range is reported at the next copy to the host.)

    >>> scores = Tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]])
    >>> accuracy(scores, Tensor([1, 2], dtype="int64")).item(), accuracy(scores, Tensor([1, 1], dtype="int64"), k=2).item()
    (0.5, 1.0)
    """
    if not is_integer(k) or k < 1:
        raise ValueError(f"accuracy: k must be an integer of 1 or more, got {k!r}")
    if labels.shape == scores.shape and is_floating(labels.dtype):
        labels = labels.argmax(dim=1)
    if not is_classification(scores, labels):
        raise ValueError(
            f"accuracy: scores (N, C, …) need integer labels (N, …), got {scores.shape} and {labels.dtype} {labels.shape}"
        )
    check_devices("accuracy", [scores, labels])
    xp, values, targets, count = scores.xp, scores.array, labels.array, scores.shape[1]
    follow(values)
    counted = targets >= 0
    targets = xp.maximum(targets, 0)
    message = f"accuracy: labels must be below {count}, the number of classes, got {{}}"
    outside = check_range(targets, 0, count, message, ValueError)
    targets = (targets if outside is None else xp.where(outside, 0, targets))[:, None]
    target_scores = xp.take_along_axis(values, targets, axis=1)
    classes = xp.arange(count).reshape(-1, *[1] * (scores.ndim - 2))
    before = ~(values <= target_scores) | ((values == target_scores) & (classes < targets))  # ranked before the label
    right = (before.sum(1) < k) & counted
    return scores.constant(xp.asarray(right.sum() / xp.maximum(counted.sum(), 1), dtype="float64"))  # 0.965, not 0.9649999738


accuracy.higher_is_better = True  # type: ignore[attr-defined]


def mode_of_metric(name: str, metrics: Metrics | None) -> str | None:
    """Whether higher ("max") or lower ("min") is better for a column, as its metric says, or else its name; None: neither.

    >>> mode_of_metric("val_top3", {"top3": functools.partial(accuracy, k=3)}), mode_of_metric("val_mae", {"mae": l1_loss})
    ('max', 'min')
    """
    function: Any = (metrics or {}).get(name.removeprefix("val_"))
    while isinstance(function, functools.partial):
        function = function.func
    higher = getattr(function, "higher_is_better", None)
    if isinstance(higher, bool):
        return "max" if higher else "min"
    if isinstance(function, Loss) or any(function is known for known in LOSSES):
        return "min"
    return mode_of(name)


def is_classification(scores: Any, labels: Any) -> bool:
    """Whether these are scores (N, C, …) and integer labels (N, …), or as many probabilities as scores."""
    if not isinstance(scores, Tensor) or not isinstance(labels, Tensor) or scores.ndim < 2:
        return False
    if labels.dtype.kind in "iu":
        return labels.shape == (scores.shape[0], *scores.shape[2:])
    return is_floating(labels.dtype) and labels.shape == scores.shape and scores.shape[1] > 1


def usual_metrics(scores: Any, labels: Any) -> Metrics:
    """The default metrics: the accuracy of a classifier, and with more than ten classes top-5 too; none for a regression.

    Floating-point labels are probabilities if none is negative and those of each sample add up to 1, and else a regression's.
    """
    if not is_classification(scores, labels) or is_floating(labels.dtype) and not _are_probabilities(labels):
        return {}
    top5: Metrics = {"top5": lambda scores, labels: accuracy(scores, labels, k=5)} if scores.shape[1] > 10 else {}
    return {"accuracy": accuracy, **top5}


def _are_probabilities(labels: Tensor) -> bool:
    sums_to_one = abs(labels.array.sum(1) - 1) < 1e-3
    return bool(sums_to_one.all()) and bool((labels.array >= 0).all())


class Means:
    """Running means over samples. On a GPU the sums stay there: nothing waits for the device before `values`.

    Attributes:
        count: samples so far.
        sums: name → the sum of the batches' means, each times its number of samples.
        counts: name → samples; fewer than `count` if the pass was resumed with other metrics than before.
    """

    def __init__(self) -> None:
        self.count = 0
        self.sums: dict[str, Any] = {}
        self.counts: dict[str, int] = {}

    def add(self, count: int, **means: Any) -> None:
        """Add the means of a batch of `count` samples.

        Raises:
            TypeError: one is not a number.
        """
        self.count += count
        for name, mean in means.items():
            number = mean.array if isinstance(mean, Tensor) else mean
            if not (isinstance(number, (int, float, np.number)) or is_array(number) and number.size == 1):
                given = f"shape {number.shape}" if is_array(number) else type(mean).__name__
                raise TypeError(f"a metric must be one number, a Tensor or a float, but {name!r} is {given}")
            if isinstance(mean, Tensor):
                mean = mean.item() if mean.device == "cpu" else mean.detach()
            self.sums[name] = self.sums.get(name, 0.0) + mean * count
            self.counts[name] = self.counts.get(name, 0) + count

    def values(self) -> dict[str, float]:
        """The means over all samples so far.

        Raises:
            ValueError: there are none.
        """
        if not self.count:
            raise ValueError("the data has no batch: a data set that is empty, or smaller than a batch with drop_last")
        return {name: float(total) / self.counts[name] for name, total in self.sums.items()}

    def state_dict(self) -> dict[str, Any]:
        """The sums and the counts."""
        sums = {name: float(total) for name, total in self.sums.items()}
        return {"count": self.count, "sums": sums, "counts": dict(self.counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`.

        Raises:
            ValueError: it is no such state.
        """
        count, sums = state["count"], dict(state["sums"])
        counts = dict(state.get("counts") or dict.fromkeys(sums, count))  # older files have one count for all
        integers = [count, *counts.values()]
        if (
            any(type(n) is not int or n < 0 for n in integers)
            or sums.keys() != counts.keys()
            or not all(map(is_number, sums.values()))
        ):
            raise ValueError(f"means: expected sums by name, and how many samples they are of, got {state!r}")
        if any(not 0 < n <= count for n in counts.values()):
            raise ValueError(f"means: expected counts from 1 to {count}, got {counts}")
        self.count, self.sums, self.counts = count, sums, counts
