"""Learning rates that change while training goes on."""

from __future__ import annotations

import math

from microtensor.nn.optim import Optimizer


class CosineAnnealingLR:
    """The learning rate of every group down to `eta_min` along half a cosine, in `T_max` steps; constant afterwards.

    Loshchilov & Hutter 2017, equation 5, arxiv.org/abs/1608.03983, without restarts: large steps to find the valley, small
    ones to settle in it. Call `step()` after each step of the optimizer.

    Args:
        optimizer: its `param_groups` have the learning rates "lr" to start from.
        T_max: how many steps it takes.
        eta_min: the last learning rate.

    Raises:
        TypeError: `optimizer` is no Optimizer.
        ValueError: T_max is below 1.

    >>> from microtensor import nn
    >>> optimizer = nn.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    >>> schedule = CosineAnnealingLR(optimizer, T_max=2)
    >>> for _ in range(2):
    ...     schedule.step()
    ...     print(round(optimizer.param_groups[0]["lr"], 6))
    0.5
    0.0
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"CosineAnnealingLR: expected an Optimizer, got {type(optimizer).__name__}")
        if T_max < 1:
            raise ValueError(f"CosineAnnealingLR: T_max must be at least 1 step, got {T_max}")
        self.optimizer, self.T_max, self.eta_min = optimizer, T_max, eta_min
        self.base_lrs: list[float] = [group["lr"] for group in optimizer.param_groups]
        self.count = 0

    def step(self) -> None:
        """Count one step, and set the learning rates."""
        self.count += 1
        part = (1 + math.cos(math.pi * min(self.count / self.T_max, 1.0))) / 2
        for group, base in zip(self.optimizer.param_groups, self.base_lrs):
            group["lr"] = self.eta_min + (base - self.eta_min) * part
