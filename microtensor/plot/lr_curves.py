"""Learning rate schedules as curves, one for each parameter group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import LINES, curve_axes, escaped, new_figure, on_host

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def learning_rates(rates: Any, names: Sequence[Any] | None = None, log: bool = False) -> Figure:
    """The learning rate of each parameter group against the step, or, for a history, against the epoch.

    Args:
        rates: (steps,) or (steps, groups), as `nn.preview_lr` returns them; or a history: a dict per epoch with "lr", a number
            or a list with one per group.
        names: of the groups; default: "group 0", "group 1", ….
        log: a logarithmic axis, on which equal ratios of rates have equal distances.

    Raises:
        TypeError: rates are not numbers.
        ValueError: there are none, or more than 12 groups; one is negative, infinite or nan; epochs have different numbers of
            rates; names do not match the groups; or `log` and a group has no rate above 0.
    """
    is_history = isinstance(rates, Sequence) and len(rates) > 0 and all(isinstance(row, Mapping) for row in rates)
    if is_history and not all("lr" in row for row in rates):
        raise ValueError('learning_rates: each epoch of the history must have an "lr"')
    at = [float(row.get("epoch", i)) for i, row in enumerate(rates, 1)] if is_history else None
    try:
        array = on_host([row["lr"] for row in rates] if is_history else rates)
    except ValueError:  # lists of unequal length
        raise ValueError("learning_rates: each step must have the same number of rates, one per group") from None
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
    labels = [f"group {i}" for i in range(groups)] if names is None else [escaped(name) for name in names]
    if len(labels) != groups:
        raise ValueError(f"learning_rates: {groups} groups need as many names, got {len(labels)}")
    if log and not (table > 0).any(axis=0).all():
        raise ValueError("learning_rates: a group whose rate is always 0 has no place on a logarithmic axis; log=False")

    figure = new_figure(height=3.6)
    from matplotlib.ticker import MaxNLocator

    axes = figure.subplots()
    steps = np.arange(len(table)) if at is None else np.array(at)
    marker = "o" if len(table) <= 40 else ""
    for i, (label, (color, style)) in enumerate(zip(labels, LINES)):
        shown = np.where(table[:, i] > 0, table[:, i], np.nan) if log else table[:, i]
        axes.plot(steps, shown, color=color, linestyle=style, linewidth=2, label=label, marker=marker, markersize=4)
    if log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch" if is_history else "step", fontsize=12)
    axes.set_ylabel("learning rate", fontsize=12)
    curve_axes(axes)
    if groups > 1 or names is not None:
        figure.legend(loc="outside upper center", ncols=min(groups, 4), frameon=False, fontsize=11, handlelength=3.5)
    return figure
