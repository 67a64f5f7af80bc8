"""How fast a probability falls, or rises, while pixels go in the order of a map: saliency methods side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runtime.text import kind_of
from .style import LINES, new_figure, plain, quiet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..saliency import Curve


def probability_curves(deletion: Mapping[str, Curve], insertion: Mapping[str, Curve] | None = None) -> Figure:
    """The probability of the class while pixels are taken away, and while they come back, the most important first.

    The faster it falls, and the faster it rises, the better the map; the area under each curve stands beside its name. Of
    several images it is the mean, in a band from the first quartile to the third.

    Args:
        deletion: by the name of a method, what `saliency.deletion` gives; up to 12.
        insertion: what `saliency.insertion` gives, in a second panel.

    Returns:
        A Figure with one panel, or two.

    Raises:
        TypeError: these are no dicts of curves.
        ValueError: there is none, or more than 12; or a curve of no image.

    >>> from microtensor import saliency, zeros
    >>> x = zeros(1, 2, 2)
    >>> figure = probability_curves({"in reading order": saliency.deletion(lambda x: x.flatten(1), x, x[0], steps=4)})
    """
    panels = {"deletion": _checked("deletion", deletion)}
    if insertion is not None:
        panels["insertion"] = _checked("insertion", insertion)
    figure = new_figure(height=4.2 + 0.22 * max(map(len, panels.values())))
    for axes, (what, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items()):
        for (name, curve), (color, style) in zip(curves.items(), LINES):
            score, x = 100 * np.atleast_2d(curve.score), 100 * curve.fraction
            label = f"{plain(name)}: {np.mean(curve.auc):.3f}"
            axes.plot(x, score.mean(axis=0), color=color, linestyle=style, linewidth=2, label=label)
            if len(score) > 1:
                low, high = np.quantile(score, (0.25, 0.75), axis=0)
                axes.fill_between(x, low, high, color=color, alpha=0.12, linewidth=0)
        quiet(axes)
        axes.set(xlim=(0, 100), ylim=(0, None))
        axes.set_xlabel("pixels taken away (%)" if what == "deletion" else "pixels that came back (%)", fontsize=12)
        axes.set_ylabel("probability of the class (%)", fontsize=12)
        axes.set_title(f"{what}: the {'lower' if what == 'deletion' else 'higher'}, the better", fontsize=12)
        below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17)}  # on the curves it would hide some
        axes.legend(title="area under the curve", fontsize=11, title_fontsize=11, handlelength=3, frameon=False, **below)
    return figure


def _checked(what: str, curves: Any) -> Mapping[str, Curve]:
    """
    Raises:
        TypeError, ValueError: as `probability_curves`.
    """
    fits = isinstance(curves, Mapping) and all(hasattr(curve, "fraction") for curve in curves.values())
    if not fits:
        given = "one of something else" if isinstance(curves, Mapping) else kind_of(curves)
        raise TypeError(f"probability_curves: {what} must be a dict of what saliency.{what} gives, by name, got {given}")
    if not 0 < len(curves) <= len(LINES):
        raise ValueError(f"probability_curves: 1 to {len(LINES)} curves can be told apart, got {len(curves)} of {what}")
    for name, curve in curves.items():
        if not np.size(curve.auc):
            raise ValueError(f"probability_curves: {what}[{name!r}] is of no image")
    return curves
