"""What few labels are worth: accuracy by the number of labelled samples, for several ways to learn from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..autograd.arguments import is_number
from ..runtime.integers import is_integer
from .style import BLUE, FAINT, INK, VERMILION, new_figure, plain, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Runs: TypeAlias = Mapping[str, Mapping[int, Sequence[float]]]
"""For each way to learn, and each number of labelled samples: what came out, once per seed."""

LOOKS = (
    {"color": BLUE, "marker": "o", "linestyle": "-"},
    {"color": VERMILION, "marker": "s", "linestyle": "--"},
    {"color": INK, "marker": "^", "linestyle": "-."},
    {"color": FAINT, "marker": "D", "linestyle": ":"},
    {"color": BLUE, "marker": "v", "linestyle": (0, (6, 2, 1, 2, 1, 2))},
)
"""How the ways look, in their order; no two alike for those who see no colours."""


def few_shot_curve(accuracies: Runs, seconds: Runs | None = None, chance: float | None = None) -> Figure:
    """Accuracy by the number of labelled samples, for several ways to learn from them, and what each cost.

    A point is the mean over seeds, its bar one standard deviation to each side (of a sample: n − 1), where there are two seeds
    or more. Points of the same number of samples stand a little beside each other.

    Args:
        accuracies: way → number of labelled samples → accuracies, fractions from 0 to 1, one per seed. Five ways at most.
        seconds: of the same form: seconds of CPU time; a second panel, with a logarithmic axis.
        chance: the accuracy of guessing, drawn as a thin line.

    Returns:
        A Figure with one panel, or two.

    Raises:
        TypeError: the arguments are not of this form.
        ValueError: there is nothing to draw, or more than five ways; a number is no fraction, or no positive time; `seconds`
            has another way.

    >>> figure = few_shot_curve({"from scratch": {10: [0.5, 0.6], 100: [0.8, 0.9]}}, chance=0.1)
    """
    _check("accuracies", accuracies, most=1.0)
    if seconds is not None:
        _check("seconds", seconds, most=np.inf)
        if unknown := [name for name in seconds if name not in accuracies]:
            raise ValueError(f"few_shot_curve: seconds has {unknown[0]!r}, and accuracies has no such way")
    if chance is not None and not (is_number(chance) and 0 <= chance <= 1):
        raise ValueError(f"few_shot_curve: chance must be a fraction from 0 to 1, got {chance!r}")

    figure = new_figure(height=4.2)
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    panels = figure.subplots(1, 1 if seconds is None else 2, squeeze=False, width_ratios=None if seconds is None else (3, 2))[0]
    names = [*accuracies]
    if chance is not None:
        panels[0].axhline(100 * chance, color=FAINT, linewidth=1)
        panels[0].annotate(
            "guessing", (1, 100 * chance), (-4, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
            ha="right", fontsize=11, color=FAINT,
        )  # fmt: skip
    _lines(panels[0], accuracies, names, scale=100)
    panels[0].set_ylabel("test accuracy (%)", fontsize=12)
    if any(len(xs) > 1 for of in accuracies.values() for xs in of.values()):
        panels[0].set_title("mean ± standard deviation over seeds", fontsize=11)
    if seconds is not None:
        _lines(panels[1], seconds, names, scale=1)
        panels[1].set_yscale("log")
        panels[1].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panels[1].yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        panels[1].yaxis.set_minor_formatter(NullFormatter())
        panels[1].set_ylabel("CPU time of training (s)", fontsize=12)
    counts = sorted({count for runs in accuracies.values() for count in runs})
    for axes in panels:
        axes.set_xscale("log")
        axes.set_xticks(counts, [f"{count:,}" for count in counts])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("labelled samples", fontsize=12)
        quiet(axes)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=12, handlelength=3.5)
    return figure


def _lines(axes: Axes, runs: Runs, names: Sequence[str], scale: float) -> None:
    """A line with bars for each way."""
    for name, of in runs.items():
        i = names.index(name)
        counts = sorted(of)
        values = [scale * np.asarray(of[count], np.float64) for count in counts]
        spreads = [x.std(ddof=1) if len(x) > 1 else 0.0 for x in values]
        aside = 1.07 ** (i - (len(names) - 1) / 2)
        axes.errorbar(
            [count * aside for count in counts], [x.mean() for x in values], yerr=spreads,
            label=plain(name), linewidth=2, markersize=6, capsize=3, elinewidth=1.2, **LOOKS[i],
        )  # fmt: skip


def _check(what: str, runs: Any, most: float) -> None:
    """Refuse what is not of the form of `Runs`, or has numbers that cannot be."""
    nested = isinstance(runs, Mapping) and all(isinstance(of, Mapping) for of in runs.values())
    flat = [x for of in runs.values() for x in of.items()] if nested else []
    if not nested or not all(is_integer(n) and isinstance(xs, (Sequence, np.ndarray)) for n, xs in flat):
        raise TypeError(
            f"few_shot_curve: {what} must be a dict of dicts of lists, such as "
            f'{{"from scratch": {{100: [0.8, 0.9]}}}}, got {runs!r}'
        )
    if not flat or not all(n > 0 and len(xs) for n, xs in flat):
        raise ValueError(f"few_shot_curve: {what} needs a number or more for each number of samples, 1 or more; got {runs!r}")
    if len(runs) > len(LOOKS):
        raise ValueError(f"few_shot_curve: {len(LOOKS)} ways can be told apart, got {len(runs)}; draw two figures")
    for x in (x for _, xs in flat for x in xs):
        if not is_number(x):
            raise TypeError(f"few_shot_curve: {what} must be numbers, got {x!r}")
        if not 0 <= x <= most or x == np.inf or what == "seconds" and not x:
            kind = "fractions from 0 to 1" if most == 1 else "seconds above 0"
            raise ValueError(f"few_shot_curve: {what} must be {kind}, got {x!r}")
