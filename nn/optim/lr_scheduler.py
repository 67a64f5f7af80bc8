"""The base class of learning rate schedules: it counts steps and sets the learning rates of an optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from microtensor.autograd.arguments import is_number
from microtensor.runtime.integers import as_integer

from .optimizer import Optimizer


class LRScheduler:
    """The base class of learning rate schedules. Call `step()` after each step of the optimizer, or after each epoch.

    A schedule of your own defines a constructor and `get_lr`, which computes the learning rates from `last_epoch` and
    `base_lrs` alone. A rate that is written into `param_groups` by hand therefore holds until the next step only.

    Args:
        optimizer: the learning rates "lr" of its `param_groups` are the initial ones. They are kept there as "initial_lr", for
            this and all other schedules of the optimizer.
        last_epoch: the number of steps taken before; −1 for a new schedule. To resume, better create the schedule as at first,
            and load its state.

    Attributes:
        last_epoch: the number of steps so far, each of them a batch or an epoch.
        base_lrs: the initial learning rate of each group.

    Raises:
        TypeError: `optimizer` is no Optimizer, or a setting has the wrong type.
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
    """The attributes that `state_dict` leaves out."""
    needs_metric: ClassVar[bool] = False
    """Whether `step` takes a metric, such as the loss of the validation: `step(metric)`."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = self._checked(optimizer)
        self.last_epoch = self._integer("last_epoch", last_epoch, least=-1)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ValueError(
                    f'{self._name}: group {i} has no "initial_lr" to continue from after step {last_epoch}; load the state of '
                    "the optimizer first, or leave last_epoch out and load the state of the schedule"
                )
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self._last_lr: list[float] = []
        self.step()

    def get_lr(self) -> list[float]:
        """The learning rate of each group after `last_epoch` steps. To be defined by each schedule."""
        raise NotImplementedError(f"{self._name}: define get_lr(self)")

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group that the last step has set."""
        return list(self._last_lr)

    def step(self) -> None:
        """Count one step, and set the learning rates.

        Raises:
            ValueError: a group was added to the optimizer after the schedule was created.
        """
        self._check_order()
        self.last_epoch += 1
        self._set(self.get_lr())

    def _check_order(self) -> None:
        """Tell the optimizer if the schedule steps before it does, so that it can warn. (The constructor's step is none.)"""
        if self.last_epoch >= 0 and not self.optimizer.has_stepped:
            self.optimizer.early_schedule = self._name

    def set_again(self) -> None:
        """Compute the present learning rates again, after a setting was changed."""
        if not self.needs_metric:
            self.last_epoch -= 1
            self.step()

    def functions(self) -> list[Callable[[int], float]]:
        """The user's functions that it calls, which cannot be saved with its state."""
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
        """The settings and the number of steps: numbers, strings, and lists and dicts of them. Functions are left out."""
        return {
            name: list(value) if isinstance(value, list) else value
            for name, value in vars(self).items()
            if name not in self.unsaved
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore a `state_dict()`: settings, number of steps and learning rates.

        Raises:
            TypeError: it is no dict.
            ValueError: it is the state of another class of schedule, or of another number of groups; a value has the wrong
                type, or no learning rate can be computed from it. Nothing is changed then.
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
            if name != "_schedulers" and not _same_type(own, state[name]):
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

    def _integer(self, key: str, value: Any, least: int) -> int:
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
        """A list of one number per group, also from one number for all groups."""
        groups = len(self.optimizer.param_groups)
        values = list(value) if isinstance(value, (list, tuple)) else [value] * groups
        if len(values) != groups:
            raise ValueError(
                f"{self._name}: {key} has {len(values)} numbers for {groups} groups; give one for each, or one number"
            )
        return [self._number(key, number, most=most) for number in values]


def _same_type(own: Any, value: Any) -> bool:
    """Whether a value of a state has the type of the present one: an integer for an integer, a list for a list …"""
    if isinstance(own, (list, tuple)):
        return isinstance(value, (list, tuple)) and all(is_number(x) or not is_number(y) for x, y in zip(value, own))
    if isinstance(own, (bool, str)):
        return type(value) is type(own)
    if isinstance(own, int):
        return is_number(value) and abs(value) < 2**63 and value == int(value)
    if isinstance(own, float) or own is None:
        return value is None or is_number(value)
    return True
