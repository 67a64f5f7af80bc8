"""Learning rates, group by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import LINES, host, new_figure, plain, quiet

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def learning_rates(rates: Any, names: Sequence[Any] | None = None, log: bool = False) -> Figure:
    """The learning rate of each parameter group, step by step, or, of a history, epoch by epoch.

    Args:
        rates: (steps,) or (steps, groups), as `nn.preview_lr` gives them; or a history, a dict for each epoch with "lr", a
            number or a list of one for each group.
        names: of the groups; "group 0", "group 1" … if None.
        log: a logarithmic axis: groups whose rates differ by factors stand apart by the same length everywhere.

    Raises:
        TypeError: rates are no numbers.
        ValueError: there are none, or more than 12 groups; they are negative or not finite; epochs have different numbers of
            them; names are not one for each group; `log`, and a group has no rate above 0.
    """
    is_history = isinstance(rates, Sequence) and len(rates) > 0 and all(isinstance(row, Mapping) for row in rates)
    if is_history and not all("lr" in row for row in rates):
        raise ValueError('learning_rates: each epoch of the history must have an "lr"')
    at = [float(row.get("epoch", i)) for i, row in enumerate(rates, 1)] if is_history else None
    try:
        array = host([row["lr"] for row in rates] if is_history else rates)
    except ValueError:  # lists of unequal length
        raise ValueError("learning_rates: each step must have as many rates, one for each group") from None
    if array.dtype.kind not in "iuf":
        raise TypeError(f"learning_rates: expected numbers, (steps,) or (steps, groups), got {rates!r:.80}")
    table = (array[:, None] if array.ndim == 1 else array).astype(np.float64)
    if table.ndim != 2 or not table.size or table.shape[1] > len(LINES):
        raise ValueError(
            f"learning_rates: expected (steps,) or (steps, groups ≤ {len(LINES)}), not empty, got shape {array.shape}"
        )
    if not np.isfinite(table).all() or (table < 0).any():
        raise ValueError("learning_rates: a learning rate is negative, infinite or nan")
    groups = table.shape[1]
    labels = [f"group {i}" for i in range(groups)] if names is None else [plain(name) for name in names]
    if len(labels) != groups:
        raise ValueError(f"learning_rates: {groups} groups need as many names, got {len(labels)}")
    if log and not (table > 0).any(axis=0).all():
        raise ValueError("learning_rates: a group whose rate is always 0 has no place on a logarithmic axis; log=False")

    figure = new_figure(height=3.6)
    from matplotlib.ticker import MaxNLocator

    axes = figure.subplots()
    steps = np.arange(len(table)) if at is None else np.array(at)
    few = len(table) <= 40
    for i, (label, (color, style)) in enumerate(zip(labels, LINES)):
        shown = np.where(table[:, i] > 0, table[:, i], np.nan) if log else table[:, i]
        axes.plot(steps, shown, color=color, linestyle=style, linewidth=2, label=label, marker="o" if few else "", markersize=4)
    if log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch" if is_history else "step", fontsize=12)
    axes.set_ylabel("learning rate", fontsize=12)
    quiet(axes)
    if groups > 1 or names is not None:
        figure.legend(loc="outside upper center", ncols=min(groups, 4), frameon=False, fontsize=11, handlelength=3.5)
    return figure
