"""What all figures share: their size, their colours, how they are written to a file.

No picture says anything by colour alone; the two colours are Okabe and Ito's blue and vermilion
(jfly.uni-koeln.de/color), which all eyes tell apart.
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
"""Inches, of every figure: 800 pixels of a web page."""

BLUE, VERMILION = "#0072b2", "#d55e00"
INK, FAINT = "#222222", "#767676"

LINES = [((BLUE, VERMILION, INK)[i % 3], ("-", "--", ":", "-.")[i % 4]) for i in range(12)]
"""Colours and styles of curves: neighbours differ in both, and no two are alike."""

SUFFIXES = (".png", ".svg", ".pdf")


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure to a file, whole or not at all: .png (1,600 pixels wide), .svg or .pdf, by the suffix.

    Raises:
        TypeError: `figure` is no figure.
        ValueError: the suffix is another.
        FileNotFoundError: the folder does not exist.
    """
    if not hasattr(figure, "savefig"):
        raise TypeError(f"plot.save: expected a matplotlib Figure, got {type(figure).__name__}; the path comes second")
    suffix = check_path(path)
    with whole_file(path) as file:
        figure.savefig(file, format=suffix[1:])


def check_path(path: str | os.PathLike[str]) -> str:
    """The suffix of a file for a figure: to be asked before a long computation, rather than to be refused after it.

    Raises:
        ValueError: it is none that `save` can write, or something that is no file stands at `path`.
        FileNotFoundError: the folder does not exist.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"plot.save: {path} has the suffix {suffix!r}; supported: {', '.join(SUFFIXES)}")
    check_place(path)
    return suffix


def require() -> None:
    """Raise if matplotlib is missing: to be called before hours of training, rather than to find out after them.

    Raises:
        ImportError: it is, and the message says what to install.
    """
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise ImportError(f"microtensor.plot needs matplotlib: {install_hint('plot')}") from error


def new_figure(height: float, arranged: bool = True) -> Figure:
    """An empty figure. `arranged`: matplotlib makes room for titles and labels, and leaves 0.08 inches around them."""
    require()
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08) if arranged else None
    return Figure(figsize=(WIDTH, height), dpi=200, layout=layout, facecolor="white")


def whole_ticks(axes: Axes) -> None:
    """Ticks at integers, for places and pixels; no line above and on the right."""
    from matplotlib.ticker import MaxNLocator

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.tick_params(labelsize=11)
    axes.spines[["top", "right"]].set_visible(False)


def quiet(axes: Axes) -> None:
    """Axes of curves: a pale grid behind them, numbers that can be read, no line above and on the right."""
    axes.tick_params(labelsize=11)
    axes.grid(color="#dddddd")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def plain(name: Any) -> str:
    """As matplotlib is to write it: a dollar sign would begin a formula."""
    return str(name).replace("$", r"\$")


def inches(texts: Sequence[str], fontsize: float) -> float:
    """Inches that the widest line of the texts takes."""
    from matplotlib.textpath import TextPath

    lines = {line for text in texts for line in text.splitlines() if line.strip()}
    return max((TextPath((0, 0), line, size=fontsize).get_extents().width / 72 for line in lines), default=0.0)


def host(value: Any) -> np.ndarray[Any, Any]:
    """A tensor, an array of any device, or a list → an array on the host."""
    if isinstance(value, Node):
        value = value.array
    return to_numpy(value) if is_array(value) else np.asarray(value)
