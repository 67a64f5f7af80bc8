"""How a training went: its curve, and its mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import BLUE, FAINT, VERMILION, host, inches, new_figure, plain, quiet

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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

    figure = new_figure(height=3.6)
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
        quiet(axes)
    figure.legend(
        named.values(), named.keys(), loc="outside upper center", ncols=2, frameon=False, fontsize=12, handlelength=3.5
    )
    return figure


def confusion_matrix(labels: Any, predictions: Any = None, classes: Sequence[Any] | None = None) -> Figure:
    """How often each true class (rows) was taken for each class (columns), with the counts in the cells.

    A cell is the darker, the larger its share of its row; right answers, on the diagonal, are blue, mistakes vermilion. Where
    the counts would be too small to read, with some 25 classes or more, there are the shades alone.

    Args:
        labels: the true classes (N,), integers ≥ 0; or, without `predictions`, the counts themselves: (K, K), whole
            numbers ≥ 0, rows true, columns predicted.
        predictions: the predicted classes (N,).
        classes: the K names of the classes, 0 to K − 1 if None; K is then the largest class + 1.

    Raises:
        TypeError: labels, predictions or counts are not integers.
        ValueError: their shapes or the number of names do not fit, a number is negative, or there are no classes or over 800.
    """
    names = None if classes is None else [plain(name) for name in classes]
    counts = _counts(labels, predictions, names)
    size = len(counts)
    if names is None:
        names = [str(i) for i in range(size)]

    figure = new_figure(height=7.4)
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
    slanted = inches(names, tick_size) * 72 > 0.9 * step * cell
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


def _counts(labels: Any, predictions: Any, names: list[str] | None) -> np.ndarray[Any, Any]:
    """Labels and predictions, or a matrix → counts (K, K) of int64, rows true, columns predicted."""
    given = [host(value) for value in (labels, predictions) if value is not None]
    for array in given:
        if array.dtype.kind not in "iu" and array.size:
            raise TypeError(f"confusion_matrix: expected integers, got {array.dtype}; convert them: .astype(int)")
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
