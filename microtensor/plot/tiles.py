"""Figures of many small images: a page on which tiles, texts and colour bars are placed in inches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .style import FAINT, INK, WIDTH, new_figure, on_host

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARGIN = 0.15
"""Empty border of a figure, in inches."""

FOOT = 0.95
"""Height of the colour bar at the bottom, in inches."""


class Tile(NamedTuple):
    """Position and size of an image: its upper left corner, in inches from the upper left corner of the figure."""

    left: float
    top: float
    width: float
    height: float


class Sheet:
    """A figure with one pair of axes over all of it, in inches: x to the right, y downwards."""

    def __init__(self, height: float) -> None:
        self.figure: Figure = new_figure(height, arranged=False)
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1), xticks=(), yticks=())
        self.axes.set(xlim=(0, WIDTH), ylim=(height, 0))
        self.axes.set_axis_off()
        self.height = height

    def show(self, picture: Any, at: Tile, **shades: Any) -> Any:
        """Draw an image (h, w), or (h, w, 3) of values from 0 to 1."""
        extent = (at.left, at.left + at.width, at.top + at.height, at.top)
        shown = self.axes.imshow(picture, extent=extent, interpolation="nearest", aspect="auto", **shades)
        self.axes.set(xlim=(0, WIDTH), ylim=(self.height, 0))  # imshow changes the limits
        return shown

    def frame(self, at: Tile, hatch: str | None = None, color: str = FAINT) -> None:
        """A thin line around a tile; hatched, behind images, for a tile without an image."""
        from matplotlib.patches import Rectangle

        size: dict[str, Any] = {
            "edgecolor": color,
            "linewidth": 0.6,
            "hatch": hatch,
            "fill": False,
            "zorder": -1 if hatch else 1,
        }
        self.axes.add_patch(Rectangle((at.left, at.top), at.width, at.height, **size))

    def write(self, x: float, y: float, text: str, fontsize: float, color: str = INK, **where: Any) -> None:
        """A text; by default centred at x, with its baseline at y."""
        where = {"ha": "center", "va": "baseline"} | where
        self.axes.text(x, y, text, fontsize=fontsize, color=color, **where)

    def bar(self, image: Any, title: str, labels: Sequence[str]) -> None:
        """A colour bar at the bottom (`FOOT` inches must be free), from −1 or 0 to 1, with two or three tick labels."""
        place = self.figure.add_axes((0.3, 0.38 / self.height, 0.4, 0.14 / self.height))
        ticks = (-1, 0, 1) if len(labels) == 3 else (0, 1)
        scale = self.figure.colorbar(image, cax=place, orientation="horizontal", ticks=ticks)
        scale.ax.set_xticklabels(labels, fontsize=11, color=INK)
        scale.ax.set_title(title, fontsize=11, color=INK, pad=5)


def columns_for(count: int, aspect: float, wanted: int | None, narrowest: float, widest: float = 1.2) -> tuple[int, float]:
    """The number of columns of tiles, and the width of a column in inches, gap included.

    Args:
        aspect: width over height of a tile.
        wanted: the number of columns, unless tiles would be narrower than `narrowest`; None: at least 8, and enough to make the
            page three times as wide as high.
        narrowest, widest: limits of a tile's width in inches.
    """
    room = WIDTH - 4 * MARGIN
    columns = wanted if wanted is not None else max(8, round((3 * count / aspect) ** 0.5))
    columns = max(1, min(columns, count, int(room / narrowest)))
    return columns, min(room / columns, widest)


def finite_array(who: str, what: str, value: Any) -> np.ndarray[Any, Any]:
    """A tensor, an array of any device or a list → finite float64 values on the host.

    Raises:
        TypeError: it does not hold numbers.
        ValueError: it is empty, or a value is infinite or nan.
    """
    try:
        array = on_host(value)
    except ValueError:  # nested lists of unequal length
        raise ValueError(f"{who}: {what} must be one array of numbers, got a list of arrays of different shapes") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{who}: {what} must be numbers, got {array.dtype}")
    if not array.size:
        raise ValueError(f"{who}: {what} has no numbers: its shape is {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{who}: {what} has values that are infinite or nan; did the training diverge?")
    return array.astype(np.float64)


def three_digits(value: float) -> str:
    """A number with three significant digits: 9.44, 8.00, 0.123."""
    return f"{value:#.3g}".rstrip(".").replace("-", "−")


def to_rgb(pixels: np.ndarray[Any, Any], low: float, high: float) -> np.ndarray[Any, Any]:
    """(1, h, w) or (3, h, w) → (h, w, 3), scaled so that `low` is 0 and `high` is 1."""
    shaded = np.clip((pixels - low) / ((high - low) or 1), 0, 1)
    picture: np.ndarray[Any, Any] = np.broadcast_to(shaded, (3, *pixels.shape[1:])).transpose(1, 2, 0)
    return picture


def signed_to_rgb(pixels: np.ndarray[Any, Any], largest: float | None = None) -> np.ndarray[Any, Any]:
    """(1, h, w) or (3, h, w), signed → (h, w, 3): 0 is mid-grey; the range is ± `largest`, by default the largest magnitude."""
    largest = float(np.abs(pixels).max()) if largest is None else largest
    return to_rgb(pixels, -(largest or 1), largest or 1)
