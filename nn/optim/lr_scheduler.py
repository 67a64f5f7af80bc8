"""What schedules share: they count steps, and set the learning rates of an optimiser. And how one follows another."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from microtensor.autograd.arguments import is_number
from microtensor.runtime.integers import as_integer

from .optimizer import Optimizer


class LRScheduler:
    """A learning rate that changes while training goes on: `step()` after each step of the optimizer, or after each epoch.

    A schedule of one's own is a constructor and `get_lr`: the learning rates, from `last_epoch` and `base_lrs` alone.
    So each rate depends on the number of steps only: one that is written into `param_groups` meanwhile holds until the next.

    Args:
        optimizer: its `param_groups` have the learning rates "lr" to start from. They are kept there as "initial_lr", and every
            schedule made for this optimizer starts from them.
        last_epoch: how many steps were taken before, −1 for a schedule that begins. To go on from a checkpoint, rather make
            the schedule as at first and load its state.

    Attributes:
        last_epoch: the steps so far, whether they are epochs or batches.
        base_lrs: the learning rate of each group to start from.

    Raises:
        TypeError: `optimizer` is no Optimizer, or a setting is of the wrong kind.
        ValueError: a setting is out of range, or `last_epoch` is not −1 and a group has no "initial_lr".

    >>> from microtensor import nn
    >>> class InverseRoot(LRScheduler):
    ...     def get_lr(self):
    ...         return [base / (1 + self.last_epoch) ** 0.5 for base in self.base_lrs]
    >>> schedule = InverseRoot(nn.SGD(nn.Linear(1, 1).parameters(), lr=1.0))
    >>> for _ in range(3):
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    unsaved: ClassVar[frozenset[str]] = frozenset({"optimizer"})
    """The attributes that are no part of the state."""
    needs_metric: ClassVar[bool] = False
    """Whether `step` wants to know how training goes: `step(metric)`."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = self._checked(optimizer)
        self.last_epoch = self._whole("last_epoch", last_epoch, least=-1)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ValueError(
                    f'{self._name}: group {i} has no "initial_lr" to go on from after step {last_epoch}; load the state of the '
                    "optimizer first, or leave last_epoch out and load the state of the schedule"
                )
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self._last_lr: list[float] = []
        self.step()

    def get_lr(self) -> list[float]:
        """The learning rate of each group after `last_epoch` steps: each schedule defines its own."""
        raise NotImplementedError(f"{self._name}: define get_lr(self)")

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group that the schedule has set last."""
        return list(self._last_lr)

    def step(self) -> None:
        """Count one step, and set the learning rates.

        Raises:
            ValueError: the optimizer was given further groups after the schedule was made.
        """
        self._note_step()
        self.last_epoch += 1
        self._set(self.get_lr())

    def _note_step(self) -> None:
        """Let the optimizer know that a step of the schedule, not the constructor's, came before any of its own."""
        if self.last_epoch >= 0 and not self.optimizer.has_stepped:
            self.optimizer.overtaken_by = self._name

    def set_again(self) -> None:
        """Set the learning rates of the place where the schedule stands, after one of its settings was changed."""
        if not self.needs_metric:
            self.last_epoch -= 1
            self.step()

    def functions(self) -> list[Callable[[int], float]]:
        """What it computes with that its state does not have."""
        return []

    def _set(self, rates: Sequence[float]) -> None:
        self._check_groups(len(rates))
        for group, rate in zip(self.optimizer.param_groups, rates):
            group["lr"] = rate
        self._last_lr = list(rates)

    def _check_groups(self, expected: int) -> None:
        groups = len(self.optimizer.param_groups)
        if groups != expected:
            raise ValueError(
                f"{self._name}: it is for {expected} groups, and the optimizer has {groups}; "
                "make the schedule after the last add_param_group"
            )

    # Saving and loading

    def state_dict(self) -> dict[str, Any]:
        """The settings and where the schedule stands: numbers, strings, and lists and dicts of them. Functions are left out."""
        return {
            name: list(value) if isinstance(value, list) else value
            for name, value in vars(self).items()
            if name not in self.unsaved
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where the schedule of `state_dict` stood, with its settings. The learning rates are set to what they were then.

        Raises:
            TypeError: it is no dict.
            ValueError: it is the state of another kind of schedule, or for another number of groups; a value in it is of the
                wrong kind, or gives no learning rate. Nothing is changed then.
        """
        self._check_state(state_dict)
        before = self.state_dict(), [dict(group) for group in self.optimizer.param_groups]
        try:
            self._restore(state_dict)
            rates = [*self.get_lr(), *self._last_lr]
            if len(rates) != 2 * len(self.optimizer.param_groups) or not all(
                is_number(rate) and math.isfinite(rate) for rate in rates
            ):
                raise ValueError(f"the learning rates are {rates}")
        except Exception as error:
            self._restore(before[0])
            for group, settings in zip(self.optimizer.param_groups, before[1]):
                group.update(settings)
            raise ValueError(f"{self._name}: from this state no learning rates come: {error}") from error

    def _check_state(self, state: Any) -> None:
        if not isinstance(state, Mapping):
            raise TypeError(f"{self._name}: expected a dict, as state_dict() gives it, got {type(state).__name__}")
        if state.keys() != self.state_dict().keys():
            raise ValueError(
                f"{self._name}: this is the state of another schedule: it has {', '.join(sorted(state)) or 'nothing'}; "
                f"expected {', '.join(sorted(self.state_dict()))}"
            )
        for name, own in self.state_dict().items():
            if name != "_schedulers" and not _alike(own, state[name]):
                raise ValueError(f"{self._name}: {name} of the state must be of the kind of {own!r}, got {state[name]!r}")
        groups = len(self.optimizer.param_groups)
        if len(state["_last_lr"]) != groups:
            raise ValueError(f"{self._name}: the state is for {len(state['_last_lr'])} groups, the optimizer has {groups}")

    def _restore(self, state: Mapping[str, Any]) -> None:
        for name, value in vars(self).items():
            if name not in self.unsaved:
                setattr(self, name, list(state[name]) if isinstance(value, list) else state[name])
        self._set(self._last_lr)

    # For constructors

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _checked(self, optimizer: Any) -> Optimizer:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{self._name}: expected an Optimizer, got {type(optimizer).__name__}")
        return optimizer

    def _whole(self, key: str, value: Any, least: int) -> int:
        return as_integer(self._name, key, value, least)

    def _number(self, key: str, value: Any, least: float = 0.0, most: float = math.inf) -> float:
        """A finite number from `least` to `most`."""
        if not is_number(value):
            raise TypeError(f"{self._name}: {key} must be a number, got {value!r} ({type(value).__name__})")
        if not (least <= value <= most and math.isfinite(value)):
            bound = "" if most == math.inf else f" and at most {most:g}"
            raise ValueError(f"{self._name}: {key} must be finite, at least {least:g}{bound}, got {value}")
        return float(value)

    def _per_group(self, key: str, value: Any, most: float = math.inf) -> list[float]:
        """A number for each group, or one for all."""
        groups = len(self.optimizer.param_groups)
        values = list(value) if isinstance(value, (list, tuple)) else [value] * groups
        if len(values) != groups:
            raise ValueError(
                f"{self._name}: {key} has {len(values)} numbers for {groups} groups; give one for each, or one number"
            )
        return [self._number(key, number, most=most) for number in values]


def _alike(own: Any, value: Any) -> bool:
    """Whether a value of a state may stand where a schedule has its own: integers for integers, lists for lists …"""
    if isinstance(own, (list, tuple)):
        return isinstance(value, (list, tuple)) and all(is_number(x) or not is_number(y) for x, y in zip(value, own))
    if isinstance(own, (bool, str)):
        return type(value) is type(own)
    if isinstance(own, int):
        return is_number(value) and abs(value) < 2**63 and value == int(value)
    if isinstance(own, float) or own is None:
        return value is None or is_number(value)
    return True


class SequentialLR(LRScheduler):
    """One schedule after another, such as a warm-up and then a cosine. Each counts its own steps from 0.

    Args:
        optimizer: the one that all the schedules are made for.
        schedulers: in their order.
        milestones: at which step each but the first begins; increasing.
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
        self._milestones = [self._whole("a milestone", milestone, least=1) for milestone in milestones]
        if any(a >= b for a, b in zip(self._milestones, self._milestones[1:])):
            raise ValueError(f"{self._name}: milestones must increase, got {milestones!r}")
        super().__init__(optimizer, last_epoch)

    def functions(self) -> list[Callable[[int], float]]:
        """Those of all its schedules."""
        return [function for schedule in self._schedulers for function in schedule.functions()]

    def get_lr(self) -> list[float]:
        """See the class."""
        return self._schedulers[self._place()].get_lr()

    def step(self) -> None:
        """Count one step, which is one of the schedule whose turn it is, and set the learning rates."""
        self._note_step()
        self.last_epoch += 1
        place = self._place()
        schedule = self._schedulers[place]
        schedule.last_epoch = self.last_epoch - (self._milestones[place - 1] if place else 0) - 1
        schedule.step()
        self._last_lr = schedule.get_last_lr()

    def _place(self) -> int:
        return bisect_right(self._milestones, self.last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """As `LRScheduler`, with the states of the schedules as a list under "_schedulers"."""
        return {**super().state_dict(), "_schedulers": [schedule.state_dict() for schedule in self._schedulers]}

    def _check_state(self, state: Any) -> None:
        super()._check_state(state)
        if not isinstance(state["_schedulers"], (list, tuple)):
            raise ValueError(f"{self._name}: _schedulers of the state must be a list, got {state['_schedulers']!r}")
        if len(state["_schedulers"]) != len(self._schedulers):
            raise ValueError(
                f"{self._name}: the state is of {len(state['_schedulers'])} schedules, here are {len(self._schedulers)}"
            )
        for schedule, its in zip(self._schedulers, state["_schedulers"]):
            schedule._check_state(its)

    def _restore(self, state: Mapping[str, Any]) -> None:
        for schedule, its in zip(self._schedulers, state["_schedulers"]):
            schedule._restore(its)
        super()._restore(state)

    def _set(self, rates: Sequence[float]) -> None:
        self._schedulers[self._place()]._set(rates)
        self._last_lr = list(rates)
