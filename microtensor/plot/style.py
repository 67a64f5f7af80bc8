"""The style of all figures: size, colours, axes, saving to a file.

No figure relies on colour alone; the two colours are blue and vermilion from Okabe and Ito's palette
(jfly.uni-koeln.de/color), which people with colour vision deficiency can tell apart.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd.graph import Node
from ..io.files import check_place, whole_file
from ..runtime.arrays import is_array, to_numpy
from ..runtime.extras import install_hint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 8.0
"""Width of every figure in inches: 800 pixels at 100 dpi."""

BLUE, VERMILION = "#0072b2", "#d55e00"
INK, FAINT = "#222222", "#767676"

LINES = [((BLUE, VERMILION, INK)[i % 3], ("-", "--", ":", "-.")[i % 4]) for i in range(12)]
"""Colours and line styles of curves: neighbours differ in both, and all 12 are distinct."""

SUFFIXES = (".png", ".svg", ".pdf")


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Save a figure as .png (1,600 pixels wide), .svg or .pdf, by the suffix; after an error there is no partial file.

    Raises:
        TypeError: `figure` is not a figure.
        ValueError: another suffix.
        FileNotFoundError: the folder does not exist.
    """
    if not hasattr(figure, "savefig"):
        raise TypeError(f"plot.save: expected a matplotlib Figure, got {type(figure).__name__}; the path comes second")
    suffix = check_path(path)
    with whole_file(path) as file:
        figure.savefig(file, format=suffix[1:])


def check_path(path: str | os.PathLike[str]) -> str:
    """Check the path of a figure before a long computation, rather than fail after it. Returns its suffix.

    Raises:
        ValueError: `save` does not support the suffix, or something that is not a file is at `path`.
        FileNotFoundError: the folder does not exist.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"plot.save: {path} has the suffix {suffix!r}; supported: {', '.join(SUFFIXES)}")
    check_place(path)
    return suffix


def require() -> None:
    """Raise if matplotlib is not installed: called before training, rather than fail after it.

    Raises:
        ImportError: matplotlib is missing; the message says what to install.
    """
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise ImportError(f"microtensor.plot needs matplotlib: {install_hint('plot')}") from error


def new_figure(height: float, arranged: bool = True) -> Figure:
    """An empty figure. With `arranged`, matplotlib makes room for titles and labels, with 0.08 inches around them."""
    require()
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08) if arranged else None
    return Figure(figsize=(WIDTH, height), dpi=200, layout=layout, facecolor="white")


def integer_ticks(axes: Axes) -> None:
    """Ticks at integers, for pixels and positions; no lines above and on the right."""
    from matplotlib.ticker import MaxNLocator

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.tick_params(labelsize=11)
    axes.spines[["top", "right"]].set_visible(False)


def curve_axes(axes: Axes) -> None:
    """Axes of curves: a light grid behind them, readable tick labels, no lines above and on the right."""
    axes.tick_params(labelsize=11)
    axes.grid(color="#dddddd")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def escaped(name: Any) -> str:
    """A name as text for matplotlib: a dollar sign would start a formula."""
    return str(name).replace("$", r"\$")


def text_width_inches(texts: Sequence[str], fontsize: float) -> float:
    """The width of the widest line of the texts, in inches."""
    from matplotlib.textpath import TextPath

    lines = {line for text in texts for line in text.splitlines() if line.strip()}
    return max((TextPath((0, 0), line, size=fontsize).get_extents().width / 72 for line in lines), default=0.0)


def on_host(value: Any) -> np.ndarray[Any, Any]:
    """A tensor, an array of any device, or a list → a NumPy array."""
    if isinstance(value, Node):
        value = value.array
    return to_numpy(value) if is_array(value) else np.asarray(value)
