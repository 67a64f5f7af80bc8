"""The image patches that activate the units of a network most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import FAINT, WIDTH, escaped, require, text_width_inches
from .tiles import MARGIN, Sheet, Tile, finite_array, signed_to_rgb, three_digits, to_rgb

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def patches(found: Mapping[Any, Sequence[Any]], reconstructions: Mapping[Any, Sequence[Any]] | None = None) -> Figure:
    """The image patches with the highest activations of each unit, a row per unit; below them their reconstructions.

    Zeiler and Fergus 2013, figure 2, arxiv.org/abs/1311.2901. The activation is written above a patch, if there is room; a unit
    that no patch activates has a ✗. All patches share one scale, from the minimum to the maximum of all. In a reconstruction
    grey is 0 and brighter pixels raise the activation; each has its own scale. If a receptive field extends beyond the border
    of the image, that side of its patch is hatched.

    Args:
        found: {unit, or any name for a row: its patches}, as `nn.top_patches` returns it. Units of several layers can be
            combined in one dict: {"layer 2, map 7": …}.
        reconstructions: {unit: an array (C, h, w) for each patch}, as `saliency.reconstruct_patches` returns it.

    Raises:
        TypeError: it is not a dict of such patches.
        ValueError: there is nothing to draw, more than 64 units or more than 24 patches of one; the reconstructions do not
            match the patches; a value is infinite or nan; or images do not have one or three channels.
    """
    rows = _rows(found)
    arrays = _pixels(rows)
    low, high = min(p.min() for row in arrays for p in row), max(p.max() for row in arrays for p in row)
    below = None if reconstructions is None else _below(reconstructions, rows)

    require()
    names = [escaped(name) if isinstance(name, str) else f"unit {name}" for name, _ in rows]
    names = [name if row[0].value > 0 else f"{name}\n✗ never active" for name, (_, row) in zip(names, rows)]
    beside = text_width_inches(names, 10) + 0.25
    count = max(len(row) for _, row in rows)
    step = min((WIDTH - beside - 2 * MARGIN) / count, 1.1)
    side = 0.92 * step
    windows = [_window(row) for _, row in rows]
    heights = [side * h / w if h <= w else side for h, w in windows]  # the longer side fills the cell
    blocks = [ABOVE + h * (1 if below is None else 2) + (0 if below is None else GAP) + 0.1 for h in heights]
    sheet = Sheet(MARGIN + sum(blocks) + (0.45 if below is None else 0.62))
    top, left = MARGIN, (WIDTH - beside - count * step) / 2 + beside
    for i, (_, row) in enumerate(rows):
        sheet.write(left - 0.15, top + (ABOVE + blocks[i]) / 2, names[i], 10, ha="right", va="center")
        for j, patch in enumerate(row):
            cell = Tile(left + j * step, top + ABOVE, side, heights[i])
            pictures = [to_rgb(arrays[i][j], low, high)] + ([] if below is None else [signed_to_rgb(below[i][j])])
            _draw_patch(sheet, patch, windows[i], cell, pictures)
        top += blocks[i]
    text = ["the patches with the highest activation of each unit, and the activation"]
    if below is not None:
        text.append("below each patch: the part that activated the unit, by deconvolution; grey is 0, each on its own scale")
    for i, line in enumerate(reversed(text)):
        sheet.write(WIDTH / 2, sheet.height - 0.15 - 0.19 * i, line, 10.5, color=FAINT)
    return sheet.figure


ABOVE, GAP = 0.24, 0.05
"""Inches: for the activation above a patch, and between a patch and its reconstruction."""


def _draw_patch(sheet: Sheet, patch: Any, window: tuple[int, int], cell: Tile, pictures: Sequence[Any]) -> None:
    """A patch in its cell, with its activation above; its reconstruction, if there is one, in a cell below."""
    fontsize = min(9.0, 15 * cell.width / 0.92)
    if fontsize >= 6:  # smaller text is unreadable
        sheet.write(cell.left + cell.width / 2, cell.top - 0.05, three_digits(patch.value), fontsize)
    place = _place(patch, window, cell)
    hatch = "/////" if place.width < 0.99 * cell.width or place.height < 0.99 * cell.height else None
    for i, picture in enumerate(pictures):
        down = i * (cell.height + GAP)
        sheet.frame(cell._replace(top=cell.top + down), hatch=hatch, color="#bbbbbb")
        sheet.show(picture, place._replace(top=place.top + down))


def _pixels(rows: Sequence[tuple[Any, Sequence[Any]]]) -> list[list[np.ndarray[Any, Any]]]:
    """The pixels of each patch, checked: (1, h, w) or (3, h, w)."""
    arrays = [
        [finite_array("patches", f"unit {name}: patch {i}", patch.pixels) for i, patch in enumerate(row)] for name, row in rows
    ]
    for (name, _), pixels in zip(rows, arrays):
        if any(p.ndim != 3 or p.shape[0] not in (1, 3) for p in pixels):
            raise ValueError(f"patches: unit {name}: a patch must be (1, h, w) or (3, h, w), got {pixels[0].shape}")
    return arrays


def _rows(found: Any) -> list[tuple[Any, list[Any]]]:
    """The name and the patches of each unit."""
    if not isinstance(found, Mapping):
        raise TypeError(f"patches: expected a dict of units and their patches, as nn.top_patches returns it, got {found!r:.80}")
    rows = [(name, list(row)) for name, row in found.items()]
    for name, row in rows:
        if not row or not all(hasattr(patch, "pixels") and hasattr(patch, "box") for patch in row):
            raise TypeError(f"patches: unit {name} must have a list of patches from nn.top_patches, got {row!r:.80}")
    most = max((len(row) for _, row in rows), default=0)
    if not 0 < len(rows) <= 64 or most > 24:
        raise ValueError(f"patches: 1 to 64 units of at most 24 patches can be drawn, got {len(rows)} of {most}")
    return rows


def _below(reconstructions: Any, rows: Sequence[tuple[Any, Sequence[Any]]]) -> list[list[np.ndarray[Any, Any]]]:
    """The reconstruction of each patch, checked to have its size."""
    if not isinstance(reconstructions, Mapping) or any(name not in reconstructions for name, _ in rows):
        raise ValueError("patches: reconstructions must be a dict with the same units as the patches")
    below = [[finite_array("patches", f"unit {name}: a reconstruction", r) for r in reconstructions[name]] for name, _ in rows]
    for (name, row), arrays in zip(rows, below):
        wanted, given = [patch.pixels.shape for patch in row], [array.shape for array in arrays]
        if wanted != given:
            raise ValueError(f"patches: unit {name}: the reconstructions must have the shapes of its patches, got {given[:3]}")
    return below


def _window(row: Sequence[Any]) -> tuple[int, int]:
    """Pixels (height, width) of a cell of this row: the receptive field, or its part in the image if it is much larger."""
    high, wide = (max(patch.box[axis][1] - patch.box[axis][0] for patch in row) for axis in (0, 1))
    most_high, most_wide = (max(patch.pixels.shape[axis] for patch in row) for axis in (1, 2))
    return high if high <= 1.5 * most_high else most_high, wide if wide <= 1.5 * most_wide else most_wide


def _place(patch: Any, window: tuple[int, int], cell: Tile) -> Tile:
    """Where the pixels of a patch are in its cell: at their place in the receptive field, if the cell shows all of it."""
    scale = min(cell.width / window[1], cell.height / window[0])
    offsets = []
    for axis, (room, length) in enumerate(((window[0], patch.pixels.shape[1]), (window[1], patch.pixels.shape[2]))):
        start, end = patch.box[axis]
        offsets.append(max(0, -start) if end - start <= room else (room - length) / 2)
    height, width = patch.pixels.shape[1] * scale, patch.pixels.shape[2] * scale
    left = cell.left + (cell.width - window[1] * scale) / 2 + offsets[1] * scale
    return Tile(left, cell.top + (cell.height - window[0] * scale) / 2 + offsets[0] * scale, width, height)
