"""Figures one after the other, as a GIF."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..autograd.arguments import is_number
from ..io.files import whole_file
from ..runtime.text import kind_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100
"""So that a figure is 800 pixels wide."""


def save_animation(figures: Iterable[Figure], path: str | os.PathLike[str], fps: float = 2.0, hold: float = 2.0) -> None:
    """Write figures, all of one size, to a .gif that repeats for ever, 800 pixels wide, whole or not at all.

    A generator of figures is drawn as it goes: of each is kept an image, a byte for each pixel.

    Args:
        figures: as the functions of `plot` return them.
        fps: frames per second, at most 50: browsers slow down what is faster.
        hold: seconds that the last one stays, at least as long as the others.

    Raises:
        TypeError: `figures` holds something else, or a number is none.
        ValueError: there is no figure, they are not of one size, fps or hold is out of range, or the suffix is another.
        FileNotFoundError: the folder does not exist.
    """
    if Path(path).suffix.lower() != ".gif":
        raise ValueError(f"plot.save_animation: {path} must end in .gif; a single figure is written by plot.save")
    for name, value in (("fps", fps), ("hold", hold)):
        if not is_number(value):
            raise TypeError(f"plot.save_animation: {name} must be a number, got {value!r}")
    if not 0 < fps <= 50:
        raise ValueError(f"plot.save_animation: fps must be above 0 and at most 50, got {fps}")
    if not 0 <= hold <= 600:
        raise ValueError(f"plot.save_animation: hold must be from 0 to 600 seconds, got {hold}")
    if hasattr(figures, "savefig") or not isinstance(figures, Iterable):
        raise TypeError(f"plot.save_animation: expected several figures, got {kind_of(figures)}; plot.save writes a single one")
    frames = _frames(figures)
    first = next(frames, None)
    if first is None:
        raise ValueError("plot.save_animation: there is no figure to write")
    rest = list(frames)  # all durations must be known when the first is written
    usual = round(1000 / fps)
    durations = [usual] * len(rest) + [max(usual, round(1000 * hold))]
    with whole_file(path) as file:
        first.save(file, format="GIF", save_all=True, append_images=rest, duration=durations, loop=0)


def _frames(figures: Iterable[Any]) -> Iterator[Any]:
    """Each figure as an image of 256 colours."""
    from PIL import Image

    size: tuple[int, int] | None = None
    for i, figure in enumerate(figures):
        if not hasattr(figure, "savefig"):
            raise TypeError(f"plot.save_animation: frame {i} must be a matplotlib Figure, got {kind_of(figure)}")
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=DPI)
        image = Image.open(file).convert("RGB")
        if size is not None and image.size != size:
            raise ValueError(
                f"plot.save_animation: frame {i} has {image.size[0]}×{image.size[1]} pixels, those before {size[0]}×{size[1]}; "
                "draw all in one size"
            )
        size = image.size
        yield image.quantize(256)
