"""Learning rate schedules that are a function of the number of steps: step, exponential, linear, polynomial, cosine, lambda."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .lr_scheduler import LRScheduler
from .optimizer import Optimizer


class LambdaLR(LRScheduler):
    """The learning rate of each group times a function of the number of steps.

    Args:
        optimizer: its groups have the initial learning rates.
        lr_lambda: number of steps → factor; one function for all groups, or a list of one per group. Functions are not saved
            with the state: create the schedule with the same ones again.
        last_epoch: as in `LRScheduler`.

    Raises:
        TypeError, ValueError: as `LRScheduler`; the number of functions is not the number of groups.

    >>> from microtensor import nn
    >>> schedule = LambdaLR(nn.SGD(nn.Linear(1, 1).parameters(), lr=1.0), lambda step: 1 / (1 + step))
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    unsaved = frozenset({"optimizer", "lr_lambdas"})

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        groups = len(self._checked(optimizer).param_groups)
        self.lr_lambdas: list[Any] = list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * groups
        if len(self.lr_lambdas) != groups:
            raise ValueError(f"{self._name}: {len(self.lr_lambdas)} functions for {groups} groups; give one for each, or one")
        for function in self.lr_lambdas:
            if not callable(function):
                raise TypeError(f"{self._name}: lr_lambda must be a function, or a list of them, got {function!r}")
        super().__init__(optimizer, last_epoch)

    def functions(self) -> list[Callable[[int], float]]:
        """The functions, one per group."""
        return list(self.lr_lambdas)

    def get_lr(self) -> list[float]:
        """The formula of the class."""
        return [float(base * function(self.last_epoch)) for base, function in zip(self.base_lrs, self.lr_lambdas)]


class _FactorLR(LRScheduler):
    """The base of the schedules below: the initial learning rate of every group times one factor."""

    def factor_at(self, step: int) -> float:
        """The factor after this many steps."""
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        """The formula of the class."""
        factor = self.factor_at(self.last_epoch)
        return [base * factor for base in self.base_lrs]


class StepLR(_FactorLR):
    """The learning rate times gamma, every `step_size` steps.

    Args:
        optimizer: its groups have the initial learning rates.
        step_size: steps between two changes.
        gamma: the factor at each change.
        last_epoch: as in `LRScheduler`.

    >>> from microtensor import nn
    >>> schedule = StepLR(nn.SGD(nn.Linear(1, 1).parameters(), lr=1.0), step_size=2, gamma=0.5)
    >>> for _ in range(5):
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size = self._integer("step_size", step_size, least=1)
        self.gamma = self._number("gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def factor_at(self, step: int) -> float:
        """gamma ^ ⌊step / step_size⌋."""
        return self.gamma ** (step // self.step_size)


class MultiStepLR(_FactorLR):
    """The learning rate times gamma at each of the milestones.

    Args:
        optimizer: its groups have the initial learning rates.
        milestones: numbers of steps, in any order; one that is given twice counts twice.
        gamma: the factor at each milestone.
        last_epoch: as in `LRScheduler`.

    >>> from microtensor import nn
    >>> schedule = MultiStepLR(nn.SGD(nn.Linear(1, 1).parameters(), lr=1.0), milestones=[2, 3], gamma=0.5)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1) -> None:
        if isinstance(milestones, (str, bytes)) or not isinstance(milestones, Iterable):
            raise TypeError(f"{self._name}: milestones must be a list of integers, got {milestones!r}")
        self.milestones = sorted(self._integer("a milestone", milestone, least=0) for milestone in milestones)
        self.gamma = self._number("gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def factor_at(self, step: int) -> float:
        """gamma ^ (number of milestones reached)."""
        return self.gamma ** bisect_right(self.milestones, step)


class ExponentialLR(_FactorLR):
    """The learning rate times gamma, at every step.

    Args:
        optimizer: its groups have the initial learning rates.
        gamma: the factor at each step.
        last_epoch: as in `LRScheduler`.

    >>> from microtensor import nn
    >>> schedule = ExponentialLR(nn.SGD(nn.Linear(1, 1).parameters(), lr=1.0), gamma=0.5)
    >>> for _ in range(3):
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.125]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = self._number("gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def factor_at(self, step: int) -> float:
        """gamma ^ step."""
        return self.gamma**step


class ConstantLR(_FactorLR):
    """The learning rate times `factor` for the first `total_iters` steps; then the initial learning rate.

    Args:
        optimizer: its groups have the initial learning rates.
        factor: from 0 to 1.
        total_iters: steps with the factor.
        last_epoch: as in `LRScheduler`.

    >>> from microtensor import nn
    >>> schedule = ConstantLR(nn.SGD(nn.Linear(1, 1).parameters(), lr=1.0), factor=0.5, total_iters=2)
    >>> rates = []
    >>> for _ in range(3):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [0.5, 0.5, 1.0]
    """

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5, last_epoch: int = -1) -> None:
        self.factor = self._number("factor", factor, most=1)
        self.total_iters = self._integer("total_iters", total_iters, least=1)
        super().__init__(optimizer, last_epoch)

    def factor_at(self, step: int) -> float:
        """`factor`, then 1."""
        return self.factor if step < self.total_iters else 1.0


class LinearLR(_FactorLR):
    """A linear warm-up: the learning rate times a factor from `start_factor` to `end_factor`, which then stays.

    Goyal et al. 2017, "Accurate, large minibatch SGD: training ImageNet in 1 hour", section 2.2, arxiv.org/abs/1706.02677.

    Args:
        optimizer: its groups have the learning rates that are multiplied by the factors.
        start_factor, end_factor: from 0 to 1.
        total_iters: steps from the first to the last factor.
        last_epoch: as in `LRScheduler`.

    >>> from microtensor import nn
    >>> schedule = LinearLR(nn.SGD(nn.Linear(1, 1).parameters(), lr=1.0), start_factor=0.5, total_iters=2)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [0.5, 0.75, 1.0, 1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor = self._number("start_factor", start_factor, most=1)
        self.end_factor = self._number("end_factor", end_factor, most=1)
        self.total_iters = self._integer("total_iters", total_iters, least=1)
        super().__init__(optimizer, last_epoch)

    def factor_at(self, step: int) -> float:
        """start + (end − start) · step / total; the end factor after `total_iters` steps."""
        return self.start_factor + (self.end_factor - self.start_factor) * min(step / self.total_iters, 1.0)


class PolynomialLR(_FactorLR):
    """The learning rate decays to 0 in `total_iters` steps, as a power of the fraction of steps that are left.

    Args:
        optimizer: its groups have the initial learning rates.
        total_iters: steps until the rate is 0.
        power: 1 for linear decay; with more than 1 the rate falls faster at first.
        last_epoch: as in `LRScheduler`.

    >>> from microtensor import nn
    >>> schedule = PolynomialLR(nn.SGD(nn.Linear(1, 1).parameters(), lr=1.0), total_iters=2, power=2.0)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters = self._integer("total_iters", total_iters, least=1)
        self.power = self._number("power", power)
        super().__init__(optimizer, last_epoch)

    def factor_at(self, step: int) -> float:
        """(1 − step / total) ^ power; 0 after `total_iters` steps."""
        return (1 - min(step / self.total_iters, 1.0)) ** self.power


class CosineAnnealingLR(LRScheduler):
    """Cosine annealing: the learning rate decays to `eta_min` along half a period of a cosine, in `T_max` steps.

    Loshchilov & Hutter 2017, equation 5, arxiv.org/abs/1608.03983, without restarts. After `T_max` steps the cosine continues,
    and the rate rises again, as in PyTorch.

    Args:
        optimizer: its groups have the initial learning rates.
        T_max: steps until the rate is `eta_min`.
        eta_min: the lowest learning rate.
        last_epoch: as in `LRScheduler`.

    >>> from microtensor import nn
    >>> optimizer = nn.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    >>> schedule = CosineAnnealingLR(optimizer, T_max=2)
    >>> for _ in range(2):
    ...     schedule.step()
    ...     print(round(optimizer.param_groups[0]["lr"], 6))
    0.5
    0.0
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max = self._integer("T_max", T_max, least=1)
        self.eta_min = self._number("eta_min", eta_min)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The formula of the class."""
        return [cosine(base, self.eta_min, self.last_epoch / self.T_max) for base in self.base_lrs]


def cosine(start: float, end: float, fraction: float) -> float:
    """From `start` (fraction 0) to `end` (fraction 1) along half a period of a cosine: flat at both ends."""
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2
