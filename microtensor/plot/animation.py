"""Figures as the frames of an animated GIF."""

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
"""Makes a figure 800 pixels wide."""


def save_animation(figures: Iterable[Figure], path: str | os.PathLike[str], fps: float = 2.0, hold: float = 2.0) -> None:
    """Save figures of one size as a .gif that repeats forever, 800 pixels wide; after an error there is no partial file.

    If `figures` is a generator, each figure is drawn and dropped; only its image is kept, one byte per pixel.

    Args:
        figures: as the functions of `plot` return them.
        fps: frames per second, at most 50: browsers slow down faster animations.
        hold: seconds that the last frame is shown; never shorter than the others.

    Raises:
        TypeError: `figures` holds something else, or fps or hold is not a number.
        ValueError: there are no figures, they differ in size, fps or hold is out of range, or another suffix.
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
    rest = list(frames)  # Pillow needs all durations when the first frame is written
    frame_ms = round(1000 / fps)
    durations_ms = [frame_ms] * len(rest) + [max(frame_ms, round(1000 * hold))]
    with whole_file(path) as file:
        first.save(file, format="GIF", save_all=True, append_images=rest, duration=durations_ms, loop=0)


def _frames(figures: Iterable[Any]) -> Iterator[Any]:
    """Each figure as an image with a palette of 256 colours."""
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
                "all frames must have one size"
            )
        size = image.size
        yield image.quantize(256)
