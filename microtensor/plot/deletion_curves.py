"""Deletion and insertion curves of several saliency methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runtime.text import kind_of
from .style import LINES, curve_axes, escaped, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..saliency import Curve


def probability_curves(deletion: Mapping[str, Curve], insertion: Mapping[str, Curve] | None = None) -> Figure:
    """Deletion and insertion curves: the probability of the class while pixels are deleted or inserted, most important first.

    A better map makes the probability fall faster by deletion and rise faster by insertion; the area under each curve is in the
    legend. For several images, the curve is their mean, in a band from the first to the third quartile.

    Args:
        deletion: {name of a method: result of `saliency.deletion`}; up to 12.
        insertion: {name of a method: result of `saliency.insertion`}, in a second panel.

    Returns:
        A Figure with one panel, or two.

    Raises:
        TypeError: an argument is not a dict of curves.
        ValueError: there are no curves, or more than 12; or a curve of no images.

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
            label = f"{escaped(name)}: {np.mean(curve.auc):.3f}"
            axes.plot(x, score.mean(axis=0), color=color, linestyle=style, linewidth=2, label=label)
            if len(score) > 1:
                low, high = np.quantile(score, (0.25, 0.75), axis=0)
                axes.fill_between(x, low, high, color=color, alpha=0.12, linewidth=0)
        curve_axes(axes)
        axes.set(xlim=(0, 100), ylim=(0, None))
        axes.set_xlabel("pixels deleted (%)" if what == "deletion" else "pixels inserted (%)", fontsize=12)
        axes.set_ylabel("probability of the class (%)", fontsize=12)
        axes.set_title(f"{what}: {'lower' if what == 'deletion' else 'higher'} is better", fontsize=12)
        below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17)}  # inside the axes it would cover curves
        axes.legend(title="area under the curve", fontsize=11, title_fontsize=11, handlelength=3, frameon=False, **below)
    return figure


def _checked(what: str, curves: Any) -> Mapping[str, Curve]:
    """The curves, if they can be drawn.

    Raises:
        TypeError, ValueError: as `probability_curves`.
    """
    fits = isinstance(curves, Mapping) and all(hasattr(curve, "fraction") for curve in curves.values())
    if not fits:
        given = "a dict of something else" if isinstance(curves, Mapping) else kind_of(curves)
        raise TypeError(f"probability_curves: {what} must be a dict {{name: result of saliency.{what}}}, got {given}")
    if not 0 < len(curves) <= len(LINES):
        raise ValueError(f"probability_curves: 1 to {len(LINES)} curves can be distinguished, got {len(curves)} of {what}")
    for name, curve in curves.items():
        if not np.size(curve.auc):
            raise ValueError(f"probability_curves: {what}[{name!r}] is of no image")
    return curves
