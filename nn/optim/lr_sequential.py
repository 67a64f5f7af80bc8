"""Several learning rate schedules, one after another."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .lr_scheduler import LRScheduler
from .optimizer import Optimizer


class SequentialLR(LRScheduler):
    """Several schedules, one after another, such as a warm-up and then a cosine. Each counts its steps from 0.

    Args:
        optimizer: the optimizer of all the schedules.
        schedulers: the schedules, in order.
        milestones: the step at which the second and each further schedule begins; increasing.
        last_epoch: as in `LRScheduler`.

    Raises:
        TypeError: as `LRScheduler`, or `schedulers` holds something else.
        ValueError: as `LRScheduler`; a schedule is for another optimizer, or needs a metric at each step; the milestones do
            not increase, or are not one fewer than the schedules.

    >>> from microtensor import nn
    >>> optimizer = nn.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    >>> warm_up = nn.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> cosine = nn.CosineAnnealingLR(optimizer, T_max=2)
    >>> schedule = SequentialLR(optimizer, [warm_up, cosine], milestones=[2])
    >>> for _ in range(5):
    ...     print(round(optimizer.param_groups[0]["lr"], 6))
    ...     schedule.step()
    0.5
    0.75
    1.0
    0.5
    0.0
    """

    unsaved = frozenset({"optimizer", "_schedulers"})

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
    ) -> None:
        self._checked(optimizer)
        if not isinstance(schedulers, (list, tuple)) or not schedulers:
            raise TypeError(f"{self._name}: schedulers must be a list of schedules, got {schedulers!r}")
        for i, schedule in enumerate(schedulers):
            if not isinstance(schedule, LRScheduler):
                raise TypeError(f"{self._name}: schedule {i} must be an LRScheduler, got {type(schedule).__name__}")
            if schedule.needs_metric:
                raise ValueError(f"{self._name}: schedule {i}, {schedule._name}, needs a metric at each step; step it apart")
            if schedule.optimizer is not optimizer:
                raise ValueError(f"{self._name}: schedule {i}, {schedule._name}, is for another optimizer")
        if not isinstance(milestones, (list, tuple)) or len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"{self._name}: {len(schedulers)} schedules need a list of {len(schedulers) - 1} milestones between them, "
                f"got {milestones!r}"
            )
        self._schedulers = list(schedulers)
        self._milestones = [self._integer("a milestone", milestone, least=1) for milestone in milestones]
        if any(a >= b for a, b in zip(self._milestones, self._milestones[1:])):
            raise ValueError(f"{self._name}: milestones must increase, got {milestones!r}")
        super().__init__(optimizer, last_epoch)

    def functions(self) -> list[Callable[[int], float]]:
        """The functions of all its schedules."""
        return [function for schedule in self._schedulers for function in schedule.functions()]

    def get_lr(self) -> list[float]:
        """See the class."""
        return self._schedulers[self._current()].get_lr()

    def step(self) -> None:
        """Count one step, let the present schedule take it, and set the learning rates."""
        self._check_order()
        self.last_epoch += 1
        i = self._current()
        schedule = self._schedulers[i]
        schedule.last_epoch = self.last_epoch - (self._milestones[i - 1] if i else 0) - 1
        schedule.step()
        self._last_lr = schedule.get_last_lr()

    def _current(self) -> int:
        """The index of the present schedule."""
        return bisect_right(self._milestones, self.last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """As of `LRScheduler`, with the list of the states of its schedules under "_schedulers"."""
        return {**super().state_dict(), "_schedulers": [schedule.state_dict() for schedule in self._schedulers]}

    def _check_state(self, state: Any) -> None:
        super()._check_state(state)
        if not isinstance(state["_schedulers"], (list, tuple)):
            raise ValueError(f"{self._name}: _schedulers of the state must be a list, got {state['_schedulers']!r}")
        if len(state["_schedulers"]) != len(self._schedulers):
            raise ValueError(
                f"{self._name}: the state is of {len(state['_schedulers'])} schedules, here are {len(self._schedulers)}"
            )
        for schedule, own_state in zip(self._schedulers, state["_schedulers"]):
            schedule._check_state(own_state)

    def _restore(self, state: Mapping[str, Any]) -> None:
        for schedule, own_state in zip(self._schedulers, state["_schedulers"]):
            schedule._restore(own_state)
        super()._restore(state)

    def _set(self, rates: Sequence[float]) -> None:
        self._schedulers[self._current()]._set(rates)
        self._last_lr = list(rates)
