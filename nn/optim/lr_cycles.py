"""Cyclic learning rate schedules: cosine annealing with warm restarts, and the one-cycle policy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .lr_scheduler import LRScheduler
from .lr_schedules import cosine
from .optimizer import Optimizer


def linear(start: float, end: float, fraction: float) -> float:
    """From `start` (fraction 0) to `end` (fraction 1) along a straight line."""
    return start + (end - start) * fraction


class CosineAnnealingWarmRestarts(LRScheduler):
    """Cosine annealing with warm restarts: the learning rate decays to `eta_min`, then starts from the initial one again.

    Loshchilov & Hutter 2017, section 3, arxiv.org/abs/1608.03983.

    Args:
        optimizer: its groups have the initial learning rates.
        T_0: steps until the first restart.
        T_mult: the number of steps between restarts is multiplied by this integer at each.
        eta_min: the lowest learning rate.
        last_epoch: as in `LRScheduler`.

    Attributes:
        T_cur: steps since the last restart.
        T_i: steps between the last restart and the next.

    >>> from microtensor import nn
    >>> schedule = CosineAnnealingWarmRestarts(nn.SGD(nn.Linear(1, 1).parameters(), lr=1.0), T_0=1, T_mult=2)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [1.0, 1.0, 0.5, 1.0]
    """

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_0 = self._integer("T_0", T_0, least=1)
        self.T_mult = self._integer("T_mult", T_mult, least=1)
        self.eta_min = self._number("eta_min", eta_min)
        self.T_cur, self.T_i = 0.0, self.T_0
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The formula of the class."""
        return [cosine(base, self.eta_min, self.T_cur / self.T_i) for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Count one step, or go to `epoch`, which may have a fraction: `step(epoch + batch / batches)` after each batch.

        Raises:
            ValueError: `epoch` is negative.
        """
        self._check_order()
        position = self.last_epoch + 1 if epoch is None else self._number("epoch", epoch)
        self.last_epoch = math.floor(position)
        self.T_cur, self.T_i = float(position), self.T_0
        if self.T_mult == 1:
            self.T_cur %= self.T_0
        while self.T_cur >= self.T_i:
            self.T_cur -= self.T_i
            self.T_i *= self.T_mult
        self._set(self.get_lr())


class OneCycleLR(LRScheduler):
    """The one-cycle policy: the learning rate rises to `max_lr`, then decays to nearly 0, while the momentum falls and rises.

    Smith & Topin 2018, "Super-convergence", arxiv.org/abs/1708.07120: large rates in the middle regularise, the long decay
    converges. It counts batches: call `step()` after each step of the optimizer. The "lr" and the momentum of the groups are
    overwritten.

    Args:
        optimizer: with `cycle_momentum` one that has momentum (SGD, RMSprop) or betas (Adam, AdamW).
        max_lr: the highest learning rate, for all groups, or a list of one per group.
        total_steps: steps of the cycle; if None, epochs · steps_per_epoch.
        pct_start: the fraction of the steps in which the rate rises, from 0 to 1.
        anneal_strategy: "cos" or "linear": the shape of the rise and the decay.
        cycle_momentum: whether the momentum goes from `max_momentum` to `base_momentum` and back as the rate rises and falls.
        base_momentum, max_momentum: for all groups, or a list of one per group. In Adam and AdamW the first of the betas.
        div_factor: the first rate is max_lr / div_factor.
        final_div_factor: the last rate is the first / final_div_factor.
        three_phase: first decay to the first rate, in as many steps as the rise took, then to the last.
        last_epoch: as in `LRScheduler`.

    Raises:
        TypeError, ValueError: as `LRScheduler`; the number of steps is missing; the optimizer has no momentum.

    >>> from microtensor import nn
    >>> optimizer = nn.SGD(nn.Linear(1, 1).parameters(), momentum=0.9)
    >>> schedule = OneCycleLR(optimizer, max_lr=1.0, total_steps=5, pct_start=0.6, anneal_strategy="linear")
    >>> for _ in range(5):
    ...     print(*(round(optimizer.param_groups[0][key], 6) for key in ("lr", "momentum")))
    ...     schedule.step()
    0.04 0.95
    0.52 0.9
    1.0 0.85
    0.500002 0.9
    4e-06 0.95
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self.optimizer = self._checked(optimizer)
        self.total_steps = self._steps(total_steps, epochs, steps_per_epoch)
        self.three_phase = bool(three_phase)
        self.pct_start = self._number("pct_start", pct_start, most=0.5 if three_phase else 1)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f'{self._name}: anneal_strategy must be "cos" or "linear", got {anneal_strategy!r}')
        self.anneal_strategy = anneal_strategy
        self.div_factor = self._positive("div_factor", div_factor)
        self.final_div_factor = self._positive("final_div_factor", final_div_factor)
        self.max_lrs = self._per_group("max_lr", max_lr)
        self.cycle_momentum = bool(cycle_momentum)
        if self.cycle_momentum and not optimizer.defaults.keys() & {"momentum", "betas"}:
            raise ValueError(
                f"{self._name}: {type(optimizer).__name__} has neither momentum nor betas to cycle; give cycle_momentum=False"
            )
        self.base_momentums = self._per_group("base_momentum", base_momentum, most=1)
        self.max_momentums = self._per_group("max_momentum", max_momentum, most=1)
        for group, rate in zip(optimizer.param_groups, self.max_lrs):
            group["initial_lr"] = rate / self.div_factor
        super().__init__(optimizer, last_epoch)

    def _positive(self, key: str, value: Any) -> float:
        if not self._number(key, value):
            raise ValueError(f"{self._name}: {key} must be above 0, got {value}")
        return float(value)

    def _steps(self, total: int | None, epochs: int | None, per_epoch: int | None) -> int:
        if total is not None:
            return self._integer("total_steps", total, least=1)
        if epochs is None or per_epoch is None:
            raise ValueError(f"{self._name}: give total_steps, or epochs and steps_per_epoch")
        return self._integer("epochs", epochs, least=1) * self._integer("steps_per_epoch", per_epoch, least=1)

    def step(self) -> None:
        """Count one step, and set learning rates and momenta.

        Raises:
            ValueError: the cycle is over.
        """
        if self.last_epoch >= self.total_steps:
            raise ValueError(
                f"{self._name}: the cycle of {self.total_steps} steps is complete; make it as long as the training"
            )
        super().step()

    def get_lr(self) -> list[float]:
        """The formula of the class."""
        first, last = 1 / self.div_factor, 1 / self.div_factor / self.final_div_factor
        return [self._between(rate * first, rate, rate * last) for rate in self.max_lrs]

    def _set(self, rates: Sequence[float]) -> None:
        super()._set(rates)
        if not self.cycle_momentum:
            return
        for group, low, high in zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums):
            momentum = self._between(high, low, high)
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum

    def _between(self, first: float, peak: float, last: float) -> float:
        """The present value of a quantity that goes from `first` to `peak`, in three phases back to `first`, to `last`."""
        rise = self.pct_start * self.total_steps - 1  # the last step of the first phase, counted from 0; may have a fraction
        phases = [(rise, first, peak), (self.total_steps - 1, peak, last)]
        if self.three_phase:
            phases[1:] = [(2 * rise, peak, first), (self.total_steps - 1, first, last)]
        anneal, begin = cosine if self.anneal_strategy == "cos" else linear, 0.0
        for end, start, target in phases:
            if self.last_epoch <= end:
                return anneal(start, target, (self.last_epoch - begin) / (end - begin) if end > begin else 1.0)
            begin = end
        return last
