"""Training curves and confusion matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import BLUE, FAINT, VERMILION, curve_axes, escaped, new_figure, on_host, text_width_inches

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def training_curve(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss and accuracy against the epoch, on training and validation data.

    Args:
        history: a mapping per epoch, with any of "loss", "accuracy" (a fraction: 0.98 is drawn as 98 %), "val_loss" and
            "val_accuracy", and "epoch" (default: counted from 1). Values that are missing or None are left out.

    Returns:
        A Figure with a panel for the loss and one for the accuracy, if there is data for both.

    Raises:
        TypeError: `history` is not a sequence of mappings.
        ValueError: it is empty, or has neither a loss nor an accuracy.
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
    named: dict[str, Any] = {}  # for the legend: a line per name
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
        curve_axes(axes)
    figure.legend(
        named.values(), named.keys(), loc="outside upper center", ncols=2, frameon=False, fontsize=12, handlelength=3.5
    )
    return figure


def confusion_matrix(labels: Any, predictions: Any = None, classes: Sequence[Any] | None = None) -> Figure:
    """The confusion matrix: how often each true class (row) was predicted as each class (column).

    The shade of a cell grows with its share of the row; correct predictions, on the diagonal, are blue, errors vermilion. With
    about 25 classes or more, counts would be too small to read and are left out.

    Args:
        labels: the true classes (N,), integers ≥ 0; or, without `predictions`, the counts themselves: (K, K), integers ≥ 0,
            rows true, columns predicted.
        predictions: the predicted classes (N,).
        classes: the names of the K classes, default 0 to K − 1; K is then the largest class + 1.

    Raises:
        TypeError: labels, predictions or counts are not integers.
        ValueError: shapes or the number of names do not fit, a value is negative, or there are no classes or over 800.
    """
    names = None if classes is None else [escaped(name) for name in classes]
    counts = _counts(labels, predictions, names)
    size = len(counts)
    if names is None:
        names = [str(i) for i in range(size)]

    figure = new_figure(height=7.4)
    from matplotlib.colors import LinearSegmentedColormap

    blue, vermilion = (LinearSegmentedColormap.from_list("", ["white", color]) for color in (BLUE, VERMILION))
    of_row = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shade = np.cbrt(of_row)  # cube root: an error of 1 % is still visible
    colors = np.where(np.eye(size, dtype=bool)[..., None], blue(shade), vermilion(shade))
    luminance = colors[..., :3] ** 2.2 @ (0.2126, 0.7152, 0.0722)

    axes = figure.subplots()
    axes.imshow(colors, interpolation="nearest")
    cell = 6.0 * 72 / size  # points, as are font sizes
    fontsize = min(14.0, cell / 1.8, cell / (0.3 + 0.65 * len(str(counts.max()))))
    if fontsize >= 7:
        for (i, j), n in np.ndenumerate(counts):
            color = "white" if luminance[i, j] < 0.18 else "black" if n else FAINT  # the colour with more contrast
            axes.text(j, i, str(n), ha="center", va="center", fontsize=fontsize, color=color)

    step = -(-size // 30)
    at, shown, tick_size = range(0, size, step), names[::step], min(11.0, step * cell / 1.7)
    slanted = text_width_inches(names, tick_size) * 72 > 0.9 * step * cell
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
    correct, total = int(np.trace(counts)), int(counts.sum())
    axes.set_title(f"{correct:,} of {total:,} correct" + (f" ({correct / total:.2%})" if total else ""), fontsize=12)
    return figure


def _counts(labels: Any, predictions: Any, names: list[str] | None) -> np.ndarray[Any, Any]:
    """Labels and predictions, or a matrix → counts (K, K), int64, rows true, columns predicted."""
    given = [on_host(value) for value in (labels, predictions) if value is not None]
    for array in given:
        if array.dtype.kind not in "iu" and array.size:
            raise TypeError(f"confusion_matrix: expected integers, got {array.dtype}; convert them: .astype(int)")
        if array.size and array.min() < 0:
            raise ValueError(f"confusion_matrix: expected integers of 0 or more, got {array.min()}")
    first, *rest = (array.astype(np.int64) for array in given)
    if not rest:
        if first.ndim != 2 or first.shape[0] != first.shape[1]:
            raise ValueError(f"confusion_matrix: expected counts (K, K), or labels and predictions, got shape {first.shape}")
        size = len(first)
    else:
        if first.ndim != 1 or first.shape != rest[0].shape:
            shapes = f"labels {first.shape} and predictions {rest[0].shape}"
            raise ValueError(f"confusion_matrix: {shapes} must have the same length, along one axis")
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
