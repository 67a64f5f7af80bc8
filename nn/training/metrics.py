"""How good scores are, beside the loss: fractions of right answers, summed up over batches without waiting for the device."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from microtensor.autograd.arguments import is_number
from microtensor.autograd.graph import is_floating
from microtensor.autograd.op import check_devices
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
"""Name → a function of scores and labels that gives a mean over the batch: one number.

An attribute `higher_is_better` of the function, True or False as in torchmetrics, says which way is better, to whatever looks
for the best epoch. `accuracy` has it; the losses of this library are better lower.
"""


LOSSES = (
    cross_entropy, nll_loss, dice_loss, binary_cross_entropy, binary_cross_entropy_with_logits, kl_div, huber_loss, l1_loss,
    mse_loss, smooth_l1_loss,
)  # fmt: skip
"""The functions of this library that are better lower."""


def accuracy(scores: Tensor, labels: Tensor, k: int = 1) -> Tensor:
    """The fraction of labels among the k highest scores: scores (N, C, …), labels (N, …) → one number, on the same device.

    Of equal scores the first counts as the highest, so a network that gives the same score to all classes is not always
    right; a nan is never right. Labels below 0, such as an ignored −100, are left out. Labels may be probabilities (N, C, …)
    too: then the likeliest class is the label.

    Raises:
        ValueError: the shapes or the devices do not fit, k is no integer of 1 or more, or a label is out of range. (On a
            GPU the last is noticed when numbers are next copied from there.)

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
    xp, given, wanted, count = scores.xp, scores.array, labels.array, scores.shape[1]
    follow(given)
    asked = wanted >= 0
    wanted = xp.maximum(wanted, 0)
    message = f"accuracy: labels must be below {count}, the number of classes, got {{}}"
    outside = check_range(wanted, 0, count, message, ValueError)
    wanted = (wanted if outside is None else xp.where(outside, 0, wanted))[:, None]
    own = xp.take_along_axis(given, wanted, axis=1)
    classes = xp.arange(count).reshape(-1, *[1] * (scores.ndim - 2))
    before = ~(given <= own) | ((given == own) & (classes < wanted))  # what stands before the label in the order of scores
    right = (before.sum(1) < k) & asked
    counted = xp.maximum(asked.sum(), 1)
    return scores.constant(xp.asarray(right.sum() / counted, dtype="float64"))  # 0.965, not 0.9649999738


accuracy.higher_is_better = True  # type: ignore[attr-defined]


def mode_of_metric(name: str, metrics: Metrics | None) -> str | None:
    """Which way a column of the history is better, "max" or "min": as its metric says, or else as its name does; None: neither.

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
    """What is measured where nobody says what: the accuracy of a classifier, and of one with more than ten classes top-5 too.

    Labels of floating point are regression's or probabilities; they are taken for probabilities where they are none below 0
    and sum up to one for every sample, which is looked at in the first batch alone.
    """
    if not is_classification(scores, labels) or is_floating(labels.dtype) and not _are_probabilities(labels):
        return {}
    top5: Metrics = {"top5": lambda scores, labels: accuracy(scores, labels, k=5)} if scores.shape[1] > 10 else {}
    return {"accuracy": accuracy, **top5}


def _are_probabilities(labels: Tensor) -> bool:
    with_one = abs(labels.array.sum(1) - 1) < 1e-3
    return bool(with_one.all()) and bool((labels.array >= 0).all())


class Means:
    """Means over samples, batch by batch. On a device the sums stay there: nothing waits for them before `values`.

    Attributes:
        count: samples so far.
        sums: of each mean times its samples.
        counts: samples of each: fewer than `count` where a pass was resumed that measured something else before.
    """

    def __init__(self) -> None:
        self.count = 0
        self.sums: dict[str, Any] = {}
        self.counts: dict[str, int] = {}

    def add(self, count: int, **means: Any) -> None:
        """Take in a batch of `count` samples with these means.

        Raises:
            TypeError: one is no number.
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
        """The means over everything so far.

        Raises:
            ValueError: there was nothing.
        """
        if not self.count:
            raise ValueError("the data has no batch: a data set that is empty, or smaller than a batch with drop_last")
        return {name: float(total) / self.counts[name] for name, total in self.sums.items()}

    def state_dict(self) -> dict[str, Any]:
        """The sums, to go on from."""
        sums = {name: float(total) for name, total in self.sums.items()}
        return {"count": self.count, "sums": sums, "counts": dict(self.counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken.

        Raises:
            ValueError: it is no such state.
        """
        count, sums = state["count"], dict(state["sums"])
        counts = dict(state.get("counts") or dict.fromkeys(sums, count))  # files of before have one count for all
        whole = [count, *counts.values()]
        if (
            any(type(n) is not int or n < 0 for n in whole)
            or sums.keys() != counts.keys()
            or not all(map(is_number, sums.values()))
        ):
            raise ValueError(f"means: expected sums by name, and how many samples they are of, got {state!r}")
        if any(not 0 < n <= count for n in counts.values()):
            raise ValueError(f"means: expected counts from 1 to {count}, got {counts}")
        self.count, self.sums, self.counts = count, sums, counts
