"""Pictures of a training run: its curve, its mistakes, and what it looked at.

They need matplotlib: `pip install "microtensor[plot]"`.
Each function returns a matplotlib Figure, 8 inches (800 pixels of a web page) wide, and shows nothing: no window, no state of
pyplot. `save` writes it to a file. No picture says anything by colour alone; the two colours are Okabe and Ito's blue
and vermilion (jfly.uni-koeln.de/color), which all eyes tell apart.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .backend import is_array, to_numpy
from .files import whole_file
from .graph import Node

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 8.0
"""Inches, of every figure."""

BLUE, VERMILION = "#0072b2", "#d55e00"
INK, FAINT = "#222222", "#767676"

SUFFIXES = (".png", ".svg", ".pdf")


def training_curve(history: Sequence[Mapping[str, Any]]) -> Figure:
    """How loss and accuracy went, epoch by epoch, on the training data and on the validation data.

    Args:
        history: a mapping for each epoch, with any of "loss", "accuracy" (a fraction: 0.98 is drawn as 98 %), "val_loss" and
            "val_accuracy", and "epoch" (else they count from 1). What an epoch lacks, or has as None, is left out.

    Returns:
        A Figure with a panel for the loss and one for the accuracy; with one panel if there is no number for the other.

    Raises:
        TypeError: `history` is not a sequence of mappings.
        ValueError: it is empty, or holds neither a loss nor an accuracy.
    """
    if not isinstance(history, Sequence) or not all(isinstance(row, Mapping) for row in history):
        raise TypeError(f'training_curve: expected a list with a dict per epoch, such as {{"loss": 0.1}}, got {history!r}')
    panels = [
        (quantity, label, scale)
        for quantity, label, scale in (("loss", "loss", 1), ("accuracy", "accuracy (%)", 100))
        if any(row.get(key) is not None for row in history for key in (quantity, f"val_{quantity}"))
    ]
    if not panels:
        raise ValueError('training_curve: the history has no "loss", "accuracy", "val_loss" or "val_accuracy" to draw')

    figure = _figure(height=3.6)
    from matplotlib.ticker import MaxNLocator

    epochs = [float(row.get("epoch", i)) for i, row in enumerate(history, 1)]
    named: dict[str, Any] = {}  # the legend: a line of each name
    for axes, (quantity, label, scale) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        for key, name, style in (
            (quantity, "training", {"color": BLUE, "marker": "o", "linestyle": "-"}),
            (f"val_{quantity}", "validation", {"color": VERMILION, "marker": "s", "linestyle": "--"}),
        ):
            points = [(epoch, scale * float(row[key])) for epoch, row in zip(epochs, history) if row.get(key) is not None]
            if points:
                (named[name],) = axes.plot(*zip(*points), linewidth=2, markersize=6 if len(history) <= 40 else 0, **style)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlabel("epoch", fontsize=12)
        axes.set_ylabel(label, fontsize=12)
        axes.tick_params(labelsize=11)
        axes.grid(color="#dddddd")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        named.values(), named.keys(), loc="outside upper center", ncols=2, frameon=False, fontsize=12, handlelength=3.5
    )
    return figure


def saliency_grid(images: Any, maps: Any, labels: Any = None, predictions: Any = None, columns: int = 4) -> Figure:
    """Each image beside its saliency map, with its true and its predicted class; wrong ones in a frame, with a ✗.

    Args:
        images: (N, H, W), (N, 1, H, W) or, red, green and blue, (N, 3, H, W). Each is drawn from its own least number to its
            largest.
        maps: (N, H, W) or (N, 1, H, W), as `microtensor.saliency` gives them. Each is drawn from 0 to its own largest
            number; if any number is negative, all are drawn from minus to plus the largest magnitude of each, 0 in white.
        labels, predictions: a class for each image, a number or a name, to be written above.
        columns: so many pairs stand beside each other; fewer where what is written above them needs more room.

    Raises:
        TypeError: images or maps are not of numbers, classes neither whole numbers nor names, `columns` is no whole number.
        ValueError: shapes do not fit each other, a number is not finite, there is nothing to draw, or `columns` < 1.
    """
    pictures, heat = _pictures("images", images, channels=(1, 3)), _pictures("maps", maps, channels=(1,))[..., 0]
    count, height, width = heat.shape
    if pictures.shape[:3] != heat.shape:
        raise ValueError(f"saliency_grid: images (N, H, W) {pictures.shape[:3]} and maps {heat.shape} must agree")
    if not isinstance(columns, (int, np.integer)) or isinstance(columns, bool):
        raise TypeError(f"saliency_grid: columns must be a whole number, got {columns!r}")
    if columns < 1:
        raise ValueError(f"saliency_grid: columns must be at least 1, got {columns}")
    titles, wrong = _titles(_classes("labels", labels, count), _classes("predictions", predictions, count))

    figure = _figure(height=1, arranged=False)
    from matplotlib.patches import Rectangle

    # All lengths in inches. A layout engine would shrink the pictures to make room for their titles.
    margin, between, foot = 0.15, 0.3, 0.95
    written = _width(titles, fontsize=11)
    columns = max(1, min(columns, count, int((WIDTH - 2 * margin) / (written + 0.1))))
    rows = -(-count // columns)
    gap = 0.04 * width  # between image and map, in pixels
    pair_width = min((WIDTH - 2 * margin - (columns - 1) * between) / columns, 3.7)
    pair_height = pair_width * height / (2 * width + gap)
    above = 0.23 + 0.2 * len(titles[0].splitlines())
    side = (WIDTH - columns * pair_width - (columns - 1) * between) / 2
    figure_height = rows * (above + pair_height) + foot
    figure.set_figheight(figure_height)

    signed = bool((heat < 0).any())
    shades: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -1, "vmax": 1} if signed else {"cmap": "inferno", "vmin": 0, "vmax": 1}
    for i, (picture, map_) in enumerate(zip(pictures, heat)):
        row, column = divmod(i, columns)
        left, bottom = side + column * (pair_width + between), figure_height - (row + 1) * (above + pair_height)
        place = (left / WIDTH, bottom / figure_height, pair_width / WIDTH, pair_height / figure_height)
        axes = figure.add_axes(place, xticks=(), yticks=())
        low, high = picture.min(), picture.max()
        picture = np.broadcast_to((picture - low) / (high - low or 1), (height, width, 3))
        axes.imshow(picture, extent=(0, width, height, 0), interpolation="nearest")
        map_ = map_ / (np.abs(map_).max() or 1)
        shown = axes.imshow(map_, extent=(width + gap, 2 * width + gap, height, 0), interpolation="nearest", **shades)
        axes.set(xlim=(0, 2 * width + gap), ylim=(height, 0))
        axes.set_title(titles[i], fontsize=11, color=VERMILION if wrong[i] else INK, pad=9)
        axes.spines[:].set_visible(False)
        if wrong[i]:
            corner, size = (-gap, -gap), (2 * width + 3 * gap, height + 2 * gap)
            axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=VERMILION, linewidth=2.5, clip_on=False))

    bar = figure.add_axes((0.3, 0.42 / figure_height, 0.4, 0.14 / figure_height))
    scale = figure.colorbar(shown, cax=bar, orientation="horizontal", ticks=(-1, 0, 1) if signed else (0, 1))
    scale.ax.set_xticklabels(("−largest", "0", "largest") if signed else ("0", "largest"), fontsize=11, color=INK)
    scale.ax.set_title("saliency, each map on its own scale", fontsize=11, color=INK, pad=5)
    return figure


def confusion_matrix(labels: Any, predictions: Any = None, classes: Sequence[Any] | None = None) -> Figure:
    """How often each true class (rows) was taken for each class (columns), with the counts in the cells.

    A cell is the darker, the larger its share of its row; right answers, on the diagonal, are blue, mistakes vermilion. Where
    the counts would be too small to read, with some 25 classes or more, there are the shades alone.

    Args:
        labels: the true classes (N,), whole numbers ≥ 0; or, without `predictions`, the counts themselves: (K, K), whole
            numbers ≥ 0, rows true, columns predicted.
        predictions: the predicted classes (N,).
        classes: the K names of the classes, 0 to K − 1 if None; K is then the largest class + 1.

    Raises:
        TypeError: labels, predictions or counts are not whole numbers.
        ValueError: their shapes or the number of names do not fit, a number is negative, or there are no classes or over 800.
    """
    names = None if classes is None else [_text(name) for name in classes]
    counts = _counts(labels, predictions, names)
    size = len(counts)
    if names is None:
        names = [str(i) for i in range(size)]

    figure = _figure(height=7.4)
    from matplotlib.colors import LinearSegmentedColormap

    blue, vermilion = (LinearSegmentedColormap.from_list("", ["white", color]) for color in (BLUE, VERMILION))
    of_row = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shade = np.cbrt(of_row)  # or nobody would see a mistake that happens once in a hundred times
    colors = np.where(np.eye(size, dtype=bool)[..., None], blue(shade), vermilion(shade))
    luminance = colors[..., :3] ** 2.2 @ (0.2126, 0.7152, 0.0722)

    axes = figure.subplots()
    axes.imshow(colors, interpolation="nearest")
    cell = 6.0 * 72 / size  # points, as are font sizes
    fontsize = min(14.0, cell / 1.8, cell / (0.3 + 0.65 * len(str(counts.max()))))
    if fontsize >= 7:
        for (i, j), n in np.ndenumerate(counts):
            color = "white" if luminance[i, j] < 0.18 else "black" if n else FAINT  # whichever has more contrast
            axes.text(j, i, str(n), ha="center", va="center", fontsize=fontsize, color=color)

    step = -(-size // 30)
    at, shown, tick_size = range(0, size, step), names[::step], min(11.0, step * cell / 1.7)
    slanted = _width(names, tick_size) * 72 > 0.9 * step * cell
    axes.set_xticks(at, shown, fontsize=tick_size, rotation=45 if slanted else 0, ha="right" if slanted else "center")
    if slanted:
        axes.tick_params(axis="x", pad=1)
    axes.set_yticks(at, shown, fontsize=tick_size)
    axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#cccccc", linewidth=min(1, cell / 30))
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted class", fontsize=12)
    axes.set_ylabel("true class", fontsize=12)
    right, total = int(np.trace(counts)), int(counts.sum())
    axes.set_title(f"{right:,} of {total:,} right" + (f" ({right / total:.2%})" if total else ""), fontsize=12)
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure to a file, whole or not at all: .png (1,600 pixels wide), .svg or .pdf, by the suffix.

    Raises:
        TypeError: `figure` is no figure.
        ValueError: the suffix is another.
        FileNotFoundError: the folder does not exist.
    """
    if not hasattr(figure, "savefig"):
        raise TypeError(f"plot.save: expected a matplotlib Figure, got {type(figure).__name__}; the path comes second")
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"plot.save: {path} has the suffix {suffix!r}; supported: {', '.join(SUFFIXES)}")
    with whole_file(path) as file:
        figure.savefig(file, format=suffix[1:])


def require() -> None:
    """Raise if matplotlib is missing: to be called before hours of training, rather than to find out after them.

    Raises:
        ImportError: it is, and the message names the extra that installs it.
    """
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise ImportError('microtensor.plot needs matplotlib: pip install "microtensor[plot]"') from error


def _figure(height: float, arranged: bool = True) -> Figure:
    """An empty figure. `arranged`: matplotlib makes room for titles and labels, and leaves 0.08 inches around them."""
    require()
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08) if arranged else None
    return Figure(figsize=(WIDTH, height), dpi=200, layout=layout, facecolor="white")


def _text(name: Any) -> str:
    """As matplotlib is to write it: a dollar sign would begin a formula."""
    return str(name).replace("$", r"\$")


def _width(texts: Sequence[str], fontsize: float) -> float:
    """Inches that the widest line of the texts takes."""
    from matplotlib.textpath import TextPath

    lines = {line for text in texts for line in text.splitlines() if line.strip()}
    return max((TextPath((0, 0), line, size=fontsize).get_extents().width / 72 for line in lines), default=0.0)


def _numpy(value: Any) -> np.ndarray[Any, Any]:
    """A tensor, an array of any device, or a list → an array on the host."""
    if isinstance(value, Node):
        value = value.data
    return to_numpy(value) if is_array(value) else np.asarray(value)


def _pictures(what: str, value: Any, channels: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """(N, H, W) or (N, C, H, W) → (N, H, W, C), of float64."""
    array = _numpy(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"saliency_grid: {what} must be numbers, got {array.dtype}")
    given = array.shape
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or array.shape[1] not in channels or not array.size:
        of = " or ".join(str(c) for c in channels)
        raise ValueError(f"saliency_grid: {what} must be (N, H, W) or (N, C, H, W) with C {of}, none of them 0, got {given}")
    if not np.isfinite(array).all():
        i = int(np.flatnonzero(~np.isfinite(array).all(axis=(1, 2, 3)))[0])
        raise ValueError(f"saliency_grid: {what}[{i}] has numbers that are infinite or nan; did the training diverge?")
    return array.transpose(0, 2, 3, 1).astype(np.float64)


def _classes(what: str, value: Any, count: int) -> list[str | None]:
    """A class for each of `count` images, as text, or None for each."""
    if value is None:
        return [None] * count
    array = _numpy(value)
    if array.shape != (count,):
        raise ValueError(f"saliency_grid: {what} must be one for each of {count} images, got shape {array.shape}")
    if array.dtype.kind not in "iuU":
        raise TypeError(f"saliency_grid: {what} must be whole numbers or names, got {array.dtype}")
    return [_text(name) for name in array.tolist()]


def _titles(truths: Sequence[str | None], guesses: Sequence[str | None]) -> tuple[list[str], list[bool]]:
    """What stands above each pair, and whether its prediction is wrong."""
    titles, wrong = [], []
    for truth, guess in zip(truths, guesses):
        wrong.append(truth is not None and guess is not None and truth != guess)
        lines = [] if truth is None else [f"true {truth}"]
        if guess is not None:
            lines.append(f"predicted {guess}" + ("  ✗" if wrong[-1] else ""))
        titles.append("\n".join(lines))
    return titles, wrong


def _counts(labels: Any, predictions: Any, names: list[str] | None) -> np.ndarray[Any, Any]:
    """Labels and predictions, or a matrix → counts (K, K) of int64, rows true, columns predicted."""
    given = [_numpy(value) for value in (labels, predictions) if value is not None]
    for array in given:
        if array.dtype.kind not in "iu" and array.size:
            raise TypeError(f"confusion_matrix: expected whole numbers, got {array.dtype}; convert them: .astype(int)")
        if array.size and array.min() < 0:
            raise ValueError(f"confusion_matrix: expected numbers from 0 up, got {array.min()}")
    first, *rest = (array.astype(np.int64) for array in given)
    if not rest:
        if first.ndim != 2 or first.shape[0] != first.shape[1]:
            raise ValueError(f"confusion_matrix: expected counts (K, K), or labels and predictions, got shape {first.shape}")
        size = len(first)
    else:
        if first.ndim != 1 or first.shape != rest[0].shape:
            shapes = f"labels {first.shape} and predictions {rest[0].shape}"
            raise ValueError(f"confusion_matrix: {shapes} must be as many, along one axis")
        size = int(np.max([first, *rest], initial=-1)) + 1
        size = max(size, len(names or ()))  # the last classes may not occur
    if names is not None and len(names) != size:
        raise ValueError(f"confusion_matrix: {len(names)} names for {size} classes")
    if not 0 < size <= 800:
        raise ValueError(f"confusion_matrix: {size} classes cannot be drawn on 800 pixels")
    if not rest:
        return first
    counts = np.zeros((size, size), np.int64)
    np.add.at(counts, (first, *rest), 1)
    return counts
