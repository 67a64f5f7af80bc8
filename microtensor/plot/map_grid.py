"""A grid of images beside their saliency maps, with true and predicted classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runtime.integers import as_integer
from .style import INK, VERMILION, WIDTH, escaped, new_figure, on_host, text_width_inches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def saliency_grid(images: Any, maps: Any, labels: Any = None, predictions: Any = None, columns: int = 4) -> Figure:
    """Each image beside its saliency map, with its true and predicted class; wrong predictions in a frame, with a ✗.

    Args:
        images: (N, H, W), (N, 1, H, W) or RGB (N, 3, H, W). Each is drawn from its own minimum to its maximum. A single image
            may come without N.
        maps: (N, H, W) or (N, 1, H, W), as `microtensor.saliency` returns them; for a single image (H, W). Each is drawn from 0
            to its own maximum; if any value is negative, each from minus to plus its largest magnitude, with 0 in white.
        labels, predictions: a class for each image, a number or a name, written above it; for a single image just that.
        columns: pairs per row; fewer if their titles are wide.

    Raises:
        TypeError: images or maps do not hold numbers, classes are neither integers nor names, `columns` is not an integer.
        ValueError: shapes do not match, a value is infinite or nan, there is nothing to draw, or `columns` < 1.
    """
    images, maps = _batch(on_host(images), on_host(maps))
    pictures, heat = _pictures("images", images, channels=(1, 3)), _pictures("maps", maps, channels=(1,))[..., 0]
    count, height, width = heat.shape
    if pictures.shape[:3] != heat.shape:
        raise ValueError(f"saliency_grid: images (N, H, W) {pictures.shape[:3]} and maps {heat.shape} must agree")
    columns = as_integer("saliency_grid", "columns", columns, least=1)
    titles, wrong = _titles(_classes("labels", labels, count), _classes("predictions", predictions, count))

    figure = new_figure(height=1, arranged=False)
    # All lengths in inches. A layout engine would shrink the images to make room for their titles.
    margin, between, foot = 0.15, 0.3, 0.95
    columns = max(1, min(columns, count, int((WIDTH - 2 * margin) / (text_width_inches(titles, fontsize=11) + 0.1))))
    pair_width = min((WIDTH - 2 * margin - (columns - 1) * between) / columns, 3.7)
    pair_height = pair_width * height / (width * (2 + GAP))
    above = 0.23 + 0.2 * len(titles[0].splitlines())
    left = (WIDTH - columns * pair_width - (columns - 1) * between) / 2
    figure_height = -(-count // columns) * (above + pair_height) + foot
    figure.set_figheight(figure_height)

    signed = bool((heat < 0).any())
    colors: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -1} if signed else {"cmap": "inferno", "vmin": 0}
    for i in range(count):
        row, column = divmod(i, columns)
        x, y = left + column * (pair_width + between), figure_height - (row + 1) * (above + pair_height)
        place = (x / WIDTH, y / figure_height, pair_width / WIDTH, pair_height / figure_height)
        axes = figure.add_axes(place, xticks=(), yticks=())
        shown = _draw_pair(axes, pictures[i], heat[i], colors)
        axes.set_title(titles[i], fontsize=11, color=VERMILION if wrong[i] else INK, pad=9)
        if wrong[i]:
            _frame_pair(axes, height, width)
    bar = figure.add_axes((0.3, 0.42 / figure_height, 0.4, 0.14 / figure_height))
    scale = figure.colorbar(shown, cax=bar, orientation="horizontal", ticks=(-1, 0, 1) if signed else (0, 1))
    scale.ax.set_xticklabels(("−largest", "0", "largest") if signed else ("0", "largest"), fontsize=11, color=INK)
    scale.ax.set_title("saliency, each map on its own scale", fontsize=11, color=INK, pad=5)
    return figure


GAP = 0.04
"""Between image and map, as a fraction of their width."""


def _draw_pair(axes: Axes, picture: np.ndarray[Any, Any], map: np.ndarray[Any, Any], colors: dict[str, Any]) -> Any:
    """An image (H, W, C) and, on its right, its map (H, W); returns matplotlib's image of the map."""
    height, width = map.shape
    low, high = picture.min(), picture.max()
    rgb = np.broadcast_to((picture - low) / (high - low or 1), (height, width, 3))
    axes.imshow(rgb, extent=(0, width, height, 0), interpolation="nearest")
    extent = ((1 + GAP) * width, (2 + GAP) * width, height, 0)
    shown = axes.imshow(map / (np.abs(map).max() or 1), extent=extent, interpolation="nearest", vmax=1, **colors)
    axes.set(xlim=(0, (2 + GAP) * width), ylim=(height, 0))
    axes.spines[:].set_visible(False)
    return shown


def _frame_pair(axes: Axes, height: int, width: int) -> None:
    """The frame around an image with a wrong prediction, and its map."""
    from matplotlib.patches import Rectangle

    gap = GAP * width
    corner, size = (-gap, -gap), (2 * width + 3 * gap, height + 2 * gap)
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=VERMILION, linewidth=2.5, clip_on=False))


def _batch(images: np.ndarray[Any, Any], maps: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Images and maps with a batch axis, which a single image and map may lack."""
    if maps.ndim == 2:  # (H, W): a single image
        maps = maps[None]
    if (
        maps.ndim and len(maps) == 1 and (images.ndim == 2 or images.ndim == 3 and len(images) == 3)
    ):  # (3, H, W) with one map is one RGB image
        images = images[None]
    return images, maps


def _pictures(what: str, value: Any, channels: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """(N, H, W) or (N, C, H, W) → (N, H, W, C), float64."""
    array = on_host(value)
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
        raise ValueError(f"saliency_grid: {what}[{i}] has values that are infinite or nan; did the training diverge?")
    return array.transpose(0, 2, 3, 1).astype(np.float64)


def _classes(what: str, value: Any, count: int) -> list[str | None]:
    """The class of each of `count` images as text, or None for each."""
    if value is None:
        return [None] * count
    array = on_host(value)
    if count == 1 and not array.ndim:
        array = array[None]
    if array.shape != (count,):
        raise ValueError(f"saliency_grid: {what} must be one for each of {count} images, got shape {array.shape}")
    if array.dtype.kind not in "iuU":
        raise TypeError(f"saliency_grid: {what} must be integers or names, got {array.dtype}")
    return [escaped(name) for name in array.tolist()]


def _titles(truths: Sequence[str | None], guesses: Sequence[str | None]) -> tuple[list[str], list[bool]]:
    """The title above each pair, and whether its prediction is wrong."""
    titles, wrong = [], []
    for truth, guess in zip(truths, guesses):
        wrong.append(truth is not None and guess is not None and truth != guess)
        lines = [] if truth is None else [f"true {truth}"]
        if guess is not None:
            lines.append(f"predicted {guess}" + ("  ✗" if wrong[-1] else ""))
        titles.append("\n".join(lines))
    return titles, wrong
