"""A learning rate that is reduced when a metric stops improving."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from microtensor.autograd.graph import Node

from .lr_scheduler import LRScheduler
from .optimizer import Optimizer


class ReduceLROnPlateau(LRScheduler):
    """The learning rate is multiplied by `factor` when a metric has not improved for more than `patience` steps.

    Call `step(metric)` once an epoch, with the loss on the validation data for instance.

    Args:
        optimizer: its groups have the learning rates.
        mode: "min" if a lower metric is better, "max" if a higher one is.
        factor: less than 1.
        patience: steps without improvement that are tolerated; the rates are reduced at the next.
        threshold: the least improvement: relative to the best so far ("rel"), or absolute ("abs").
        threshold_mode: "rel" or "abs".
        cooldown: steps after a reduction that do not count as bad.
        min_lr: the least learning rate, for all groups, or a list of one per group.
        eps: reductions by no more than this are not made.

    Attributes:
        best: the best metric so far, None before the first. nan is never better.
        num_bad_epochs: steps since then, or since the last reduction.

    Raises:
        TypeError: `optimizer` is no Optimizer, or a setting has the wrong type.
        ValueError: a setting is out of range.

    >>> from microtensor import nn
    >>> schedule = ReduceLROnPlateau(nn.SGD(nn.Linear(1, 1).parameters(), lr=1.0), factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     schedule.step(loss)
    >>> schedule.get_last_lr()
    [0.5]
    """

    needs_metric = True

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        self.optimizer = self._checked(optimizer)
        for key, value, known in (("mode", mode, ("min", "max")), ("threshold_mode", threshold_mode, ("rel", "abs"))):
            if value not in known:
                raise ValueError(f'{self._name}: {key} must be "{known[0]}" or "{known[1]}", got {value!r}')
        self.mode, self.threshold_mode = mode, threshold_mode
        self.factor = self._number("factor", factor)
        if self.factor >= 1:
            raise ValueError(f"{self._name}: factor must be less than 1, got {factor}")
        self.patience = self._integer("patience", patience, least=0)
        self.threshold = self._number("threshold", threshold)
        self.cooldown = self._integer("cooldown", cooldown, least=0)
        self.min_lrs = self._per_group("min_lr", min_lr)
        self.eps = self._number("eps", eps)
        self.best: float | None = None
        self.num_bad_epochs = self.cooldown_counter = 0
        self.last_epoch = 0
        self._last_lr = self.get_lr()

    def get_lr(self) -> list[float]:
        """The learning rates as they are."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """Count one step with this metric, and reduce the learning rates if it has not improved for too long.

        Args:
            metrics: a number, or a tensor with one element; reading it from a GPU waits for the device.

        Raises:
            TypeError: it is not one number.
            ValueError: a group was added to the optimizer after the schedule was created.
        """
        metric = self._metric(metrics)
        self._check_groups(len(self.min_lrs))
        self._check_order()
        self.last_epoch += 1
        if self._is_better(metric):
            self.best, self.num_bad_epochs = metric, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        rates = self.get_lr()
        if self.num_bad_epochs > self.patience:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
            reduced = [max(rate * self.factor, least) for rate, least in zip(rates, self.min_lrs)]
            rates = [new if rate - new > self.eps else rate for rate, new in zip(rates, reduced)]
        self._set(rates)

    def _metric(self, metrics: Any) -> float:
        value = metrics.array if isinstance(metrics, Node) else metrics
        if isinstance(value, (int, float, np.number)) or getattr(value, "size", 0) == 1:
            return float(value.item() if hasattr(value, "item") else value)
        raise TypeError(f"{self._name}: step needs the metric, one number, got {metrics!r}")

    def _is_better(self, metric: float) -> bool:
        if self.best is None:
            return metric < math.inf if self.mode == "min" else metric > -math.inf
        sign = -1 if self.mode == "min" else 1
        limit = self.best * (1 + sign * self.threshold) if self.threshold_mode == "rel" else self.best + sign * self.threshold
        return metric < limit if self.mode == "min" else metric > limit
