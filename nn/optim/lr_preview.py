"""The learning rates that a schedule will set, computed ahead."""

from __future__ import annotations

from microtensor.runtime.integers import as_integer
from microtensor.runtime.text import kind_of

from .lr_scheduler import LRScheduler


def preview_lr(schedule: LRScheduler, steps: int) -> list[list[float]]:
    """The learning rates of the next `steps` steps: a list per step, with one number per group.

    The first list has the present rates. The schedule is run and then restored, together with everything that it changed in
    the `param_groups` of its optimizer, such as the momentum. Parameters are not changed. `plot.learning_rates` draws it.

    Raises:
        TypeError: `schedule` is no LRScheduler, or `steps` no integer.
        ValueError: `steps` is below 1; the schedule needs a metric at each step; or it has fewer steps.

    >>> from microtensor import nn
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    >>> optimizer = nn.SGD([{"params": model[0].parameters(), "lr": 0.5}, {"params": model[1].parameters(), "lr": 1.0}])
    >>> schedule = nn.StepLR(optimizer, step_size=1, gamma=0.5)
    >>> preview_lr(schedule, 3)
    [[0.5, 1.0], [0.25, 0.5], [0.125, 0.25]]
    >>> schedule.last_epoch, optimizer.param_groups[0]["lr"]
    (0, 0.5)
    """
    if not isinstance(schedule, LRScheduler):
        raise TypeError(
            f"preview_lr: expected a schedule, such as CosineAnnealingLR(optimizer, T_max=10), got {kind_of(schedule)}"
        )
    steps = as_integer("preview_lr", "steps", steps, least=1)
    if schedule.needs_metric:
        raise ValueError(
            f'preview_lr: {type(schedule).__name__} needs a metric, which only training provides; draw the "lr" of a history'
        )
    groups = schedule.optimizer.param_groups
    before = [{key: value for key, value in group.items() if key != "params"} for group in groups]
    state, early = schedule.state_dict(), schedule.optimizer.early_schedule
    rates = []
    try:
        for step in range(steps):
            if step:
                schedule.step()
            rates.append([float(group["lr"]) for group in groups])
    finally:
        schedule.load_state_dict(state)
        schedule.optimizer.early_schedule = early
        for group, settings in zip(groups, before):
            group |= settings
    return rates
