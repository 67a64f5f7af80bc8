"""Images beside maps of what mattered in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runtime.integers import as_integer
from .style import INK, VERMILION, WIDTH, host, inches, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def saliency_grid(images: Any, maps: Any, labels: Any = None, predictions: Any = None, columns: int = 4) -> Figure:
    """Each image beside its saliency map, with its true and its predicted class; wrong ones in a frame, with a ✗.

    Args:
        images: (N, H, W), (N, 1, H, W) or, red, green and blue, (N, 3, H, W). Each is drawn from its own least number to its
            largest. One image may come without N.
        maps: (N, H, W) or (N, 1, H, W), as `microtensor.saliency` gives them; of one image (H, W). Each is drawn from 0 to its
            own largest number; if any number is negative, all are drawn from minus to plus the largest magnitude of each, 0 in
            white.
        labels, predictions: a class for each image, a number or a name, to be written above; of one image just that.
        columns: so many pairs stand beside each other; fewer where what is written above them needs more room.

    Raises:
        TypeError: images or maps are not of numbers, classes neither integers nor names, `columns` is no integer.
        ValueError: shapes do not fit each other, a number is not finite, there is nothing to draw, or `columns` < 1.
    """
    images, maps = _batch(host(images), host(maps))
    pictures, heat = _pictures("images", images, channels=(1, 3)), _pictures("maps", maps, channels=(1,))[..., 0]
    count, height, width = heat.shape
    if pictures.shape[:3] != heat.shape:
        raise ValueError(f"saliency_grid: images (N, H, W) {pictures.shape[:3]} and maps {heat.shape} must agree")
    columns = as_integer("saliency_grid", "columns", columns, least=1)
    titles, wrong = _titles(_classes("labels", labels, count), _classes("predictions", predictions, count))

    figure = new_figure(height=1, arranged=False)
    from matplotlib.patches import Rectangle

    # All lengths in inches. A layout engine would shrink the pictures to make room for their titles.
    margin, between, foot = 0.15, 0.3, 0.95
    written = inches(titles, fontsize=11)
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


def _batch(images: np.ndarray[Any, Any], maps: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Images and maps with an axis for N, where there is one of each and N is missing."""
    if maps.ndim == 2:  # (H, W), and so one
        maps = maps[None]
    if (
        maps.ndim and len(maps) == 1 and (images.ndim == 2 or images.ndim == 3 and len(images) == 3)
    ):  # three images would have three maps
        images = images[None]
    return images, maps


def _pictures(what: str, value: Any, channels: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """(N, H, W) or (N, C, H, W) → (N, H, W, C), of float64."""
    array = host(value)
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
    array = host(value)
    if count == 1 and not array.ndim:
        array = array[None]
    if array.shape != (count,):
        raise ValueError(f"saliency_grid: {what} must be one for each of {count} images, got shape {array.shape}")
    if array.dtype.kind not in "iuU":
        raise TypeError(f"saliency_grid: {what} must be integers or names, got {array.dtype}")
    return [plain(name) for name in array.tolist()]


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
