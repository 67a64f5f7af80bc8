"""Few-shot curves: accuracy against the number of labelled samples, for several training methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..autograd.arguments import is_number
from ..runtime.integers import is_integer
from .style import BLUE, FAINT, INK, VERMILION, curve_axes, escaped, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Runs: TypeAlias = Mapping[str, Mapping[int, Sequence[float]]]
"""{method: {number of labelled samples: results, one per seed}}."""

STYLES = (
    {"color": BLUE, "marker": "o", "linestyle": "-"},
    {"color": VERMILION, "marker": "s", "linestyle": "--"},
    {"color": INK, "marker": "^", "linestyle": "-."},
    {"color": FAINT, "marker": "D", "linestyle": ":"},
    {"color": BLUE, "marker": "v", "linestyle": (0, (6, 2, 1, 2, 1, 2))},
)
"""Line styles of the methods, in order; distinct without colours too."""


def few_shot_curve(accuracies: Runs, seconds: Runs | None = None, chance: float | None = None) -> Figure:
    """Test accuracy against the number of labelled samples for several training methods, and their training time.

    A point is the mean over seeds; its error bar is one standard deviation (n − 1) to each side, if there are at least two
    seeds. Points with the same number of samples are drawn slightly beside each other.

    Args:
        accuracies: {method: {number of labelled samples: accuracies}}, fractions from 0 to 1, one per seed. Up to five methods.
        seconds: CPU time in seconds, in the same form; drawn in a second panel with a logarithmic axis.
        chance: the accuracy of guessing, drawn as a thin line.

    Returns:
        A Figure with one panel, or two.

    Raises:
        TypeError: the arguments do not have this form.
        ValueError: there is nothing to draw, or more than five methods; an accuracy is not a fraction or a time not positive;
            `seconds` has another method.

    >>> figure = few_shot_curve({"from scratch": {10: [0.5, 0.6], 100: [0.8, 0.9]}}, chance=0.1)
    """
    _check("accuracies", accuracies, most=1.0)
    if seconds is not None:
        _check("seconds", seconds, most=np.inf)
        if unknown := [name for name in seconds if name not in accuracies]:
            raise ValueError(f"few_shot_curve: seconds has {unknown[0]!r}, which accuracies does not have")
    if chance is not None and not (is_number(chance) and 0 <= chance <= 1):
        raise ValueError(f"few_shot_curve: chance must be a fraction from 0 to 1, got {chance!r}")

    figure = new_figure(height=4.2)
    panels = figure.subplots(1, 1 if seconds is None else 2, squeeze=False, width_ratios=None if seconds is None else (3, 2))[0]
    names = [*accuracies]
    if chance is not None:
        panels[0].axhline(100 * chance, color=FAINT, linewidth=1)
        panels[0].annotate(
            "chance", (1, 100 * chance), (-4, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
            ha="right", fontsize=11, color=FAINT,
        )  # fmt: skip
    _lines(panels[0], accuracies, names, scale=100)
    panels[0].set_ylabel("test accuracy (%)", fontsize=12)
    if any(len(xs) > 1 for of in accuracies.values() for xs in of.values()):
        panels[0].set_title("mean ± standard deviation over seeds", fontsize=11)
    if seconds is not None:
        _times(panels[1], seconds, names)
    counts = sorted({count for runs in accuracies.values() for count in runs})
    for axes in panels:
        axes.set_xscale("log")
        axes.set_xticks(counts, [f"{count:,}" for count in counts])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("labelled samples", fontsize=12)
        curve_axes(axes)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=12, handlelength=3.5)
    return figure


def _times(axes: Axes, seconds: Runs, names: Sequence[str]) -> None:
    """The panel of training times, with a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    _lines(axes, seconds, names, scale=1)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("CPU time of training (s)", fontsize=12)


def _lines(axes: Axes, runs: Runs, names: Sequence[str], scale: float) -> None:
    """A line with error bars for each method."""
    for name, by_count in runs.items():
        i = names.index(name)
        counts = sorted(by_count)
        values = [scale * np.asarray(by_count[count], np.float64) for count in counts]
        spreads = [x.std(ddof=1) if len(x) > 1 else 0.0 for x in values]
        shift = 1.07 ** (i - (len(names) - 1) / 2)
        axes.errorbar(
            [count * shift for count in counts], [x.mean() for x in values], yerr=spreads,
            label=escaped(name), linewidth=2, markersize=6, capsize=3, elinewidth=1.2, **STYLES[i],
        )  # fmt: skip


def _check(what: str, runs: Any, most: float) -> None:
    """Refuse data that does not have the form of `Runs`, or impossible values."""
    nested = isinstance(runs, Mapping) and all(isinstance(of, Mapping) for of in runs.values())
    flat = [x for of in runs.values() for x in of.items()] if nested else []
    if not nested or not all(is_integer(n) and isinstance(xs, (Sequence, np.ndarray)) for n, xs in flat):
        raise TypeError(
            f"few_shot_curve: {what} must be a dict of dicts of lists, such as "
            f'{{"from scratch": {{100: [0.8, 0.9]}}}}, got {runs!r}'
        )
    if not flat or not all(n > 0 and len(xs) for n, xs in flat):
        raise ValueError(f"few_shot_curve: {what} needs values for each number of samples, which is at least 1; got {runs!r}")
    if len(runs) > len(STYLES):
        raise ValueError(f"few_shot_curve: {len(STYLES)} methods can be distinguished, got {len(runs)}; draw two figures")
    for x in (x for _, xs in flat for x in xs):
        if not is_number(x):
            raise TypeError(f"few_shot_curve: {what} must be numbers, got {x!r}")
        if not 0 <= x <= most or x == np.inf or what == "seconds" and not x:
            kind = "fractions from 0 to 1" if most == 1 else "seconds above 0"
            raise ValueError(f"few_shot_curve: {what} must be {kind}, got {x!r}")
