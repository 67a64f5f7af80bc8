"""Many small pictures in one figure, laid out in inches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .style import FAINT, INK, WIDTH, host, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARGIN = 0.15
"""Inches that are left empty at the figure's borders."""

FOOT = 0.95
"""Inches at the foot, for a colour bar."""


class Tile(NamedTuple):
    """Where a picture stands: its upper left corner and its size, in inches from the upper left corner of the figure."""

    left: float
    top: float
    width: float
    height: float


class Sheet:
    """A figure with one pair of axes all over it, whose unit is the inch: x to the right, y down."""

    def __init__(self, height: float) -> None:
        self.figure: Figure = new_figure(height, arranged=False)
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1), xticks=(), yticks=())
        self.axes.set(xlim=(0, WIDTH), ylim=(height, 0))
        self.axes.set_axis_off()
        self.height = height

    def show(self, picture: Any, at: Tile, **shades: Any) -> Any:
        """A picture (h, w), or (h, w, 3) of numbers from 0 to 1."""
        extent = (at.left, at.left + at.width, at.top + at.height, at.top)
        shown = self.axes.imshow(picture, extent=extent, interpolation="nearest", aspect="auto", **shades)
        self.axes.set(xlim=(0, WIDTH), ylim=(self.height, 0))  # as they were: a picture changes them
        return shown

    def frame(self, at: Tile, hatch: str | None = None, color: str = FAINT) -> None:
        """A thin line around a place; hatched, below pictures, for what has none."""
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
        """A text; its middle, at its foot, is at (x, y) if nothing else is said."""
        where = {"ha": "center", "va": "baseline"} | where
        self.axes.text(x, y, text, fontsize=fontsize, color=color, **where)

    def bar(self, shown: Any, label: str, names: Sequence[str]) -> None:
        """A colour bar at the foot, where `FOOT` is to be free, for a picture shown from −1 or 0 to 1: two or three names."""
        place = self.figure.add_axes((0.3, 0.38 / self.height, 0.4, 0.14 / self.height))
        ticks = (-1, 0, 1) if len(names) == 3 else (0, 1)
        scale = self.figure.colorbar(shown, cax=place, orientation="horizontal", ticks=ticks)
        scale.ax.set_xticklabels(names, fontsize=11, color=INK)
        scale.ax.set_title(label, fontsize=11, color=INK, pad=5)


def columns_for(count: int, aspect: float, wanted: int | None, least: float, most: float = 1.2) -> tuple[int, float]:
    """How many tiles stand beside each other, and how wide each is, gap included, in inches.

    Args:
        aspect: of a tile, its width over its height.
        wanted: so many, if they are not narrower than `least`; if None, as many as make the whole three times as wide as high,
            but 8 in any case.
        least, most: inches, of a tile's width.
    """
    room = WIDTH - 4 * MARGIN
    columns = wanted if wanted is not None else max(8, round((3 * count / aspect) ** 0.5))
    columns = max(1, min(columns, count, int(room / least)))
    return columns, min(room / columns, most)


def numbers(who: str, what: str, value: Any) -> np.ndarray[Any, Any]:
    """A tensor, an array of any device or a list → finite float64 on the host.

    Raises:
        TypeError: it is not of numbers.
        ValueError: a number is not finite, or there is none.
    """
    try:
        array = host(value)
    except ValueError:  # nested lists of unequal length
        raise ValueError(
            f"{who}: {what} must be one array of numbers, got a list of arrays of several shapes: give one"
        ) from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{who}: {what} must be numbers, got {array.dtype}")
    if not array.size:
        raise ValueError(f"{who}: {what} has no numbers: its shape is {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{who}: {what} has numbers that are infinite or nan; did the training diverge?")
    return array.astype(np.float64)


def short(value: float) -> str:
    """Three digits of a number: 9.44, 8.00, 0.123."""
    return f"{value:#.3g}".rstrip(".").replace("-", "−")


def as_picture(pixels: np.ndarray[Any, Any], low: float, high: float) -> np.ndarray[Any, Any]:
    """(1, h, w) or (3, h, w) → (h, w, 3), numbers from 0 at `low` to 1 at `high`."""
    shaded = np.clip((pixels - low) / ((high - low) or 1), 0, 1)
    picture: np.ndarray[Any, Any] = np.broadcast_to(shaded, (3, *pixels.shape[1:])).transpose(1, 2, 0)
    return picture


def around_zero(pixels: np.ndarray[Any, Any], largest: float | None = None) -> np.ndarray[Any, Any]:
    """(1, h, w) or (3, h, w), signed → (h, w, 3): 0 in the middle grey, from minus to plus `largest`, or their own largest."""
    largest = float(np.abs(pixels).max()) if largest is None else largest
    return as_picture(pixels, -(largest or 1), largest or 1)
