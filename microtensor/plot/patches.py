"""What excites the units of a network, in pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import FAINT, WIDTH, inches, plain, require
from .tiles import MARGIN, Sheet, Tile, around_zero, as_picture, numbers, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def patches(found: Mapping[Any, Sequence[Any]], reconstructions: Mapping[Any, Sequence[Any]] | None = None) -> Figure:
    """The image patches that excite units most, a row for each unit; below each patch what of it did so, by deconvolution.

    Zeiler and Fergus 2013, figure 2, arxiv.org/abs/1311.2901. Above a patch stands its activation, if there is
    room; a unit that no patch excites has a ✗. All patches share one scale, from their least number to their largest. In a
    reconstruction grey is 0, and brighter pixels raise the activation; each is on its own scale. Where a unit sees beyond the
    border of an image, its patch has a hatched side.

    Args:
        found: for each unit, or for whatever name is to stand beside its row, its patches, as `nn.top_patches` gives them.
            To draw units of several layers in one figure, put them into one dict: {"layer 2, map 7": …}.
        reconstructions: for each unit of `found`, an array (C, h, w) for each of its patches, as
            `saliency.reconstruct_patches` gives them.

    Raises:
        TypeError: it is no dict of such patches.
        ValueError: there is nothing to draw, more than 64 units or more than 24 patches of one; the reconstructions are not of
            these patches; a number is not finite; or images have neither one nor three channels.
    """
    rows = _rows(found)
    arrays = [
        [numbers("patches", f"unit {name}: patch {i}", patch.pixels) for i, patch in enumerate(row)] for name, row in rows
    ]
    for (name, _), pixels in zip(rows, arrays):
        if any(p.ndim != 3 or p.shape[0] not in (1, 3) for p in pixels):
            raise ValueError(f"patches: unit {name}: a patch must be (1, h, w) or (3, h, w), got {pixels[0].shape}")
    below = None if reconstructions is None else _below(reconstructions, rows)
    low, high = min(p.min() for row in arrays for p in row), max(p.max() for row in arrays for p in row)

    require()
    names = [plain(name) if isinstance(name, str) else f"unit {name}" for name, _ in rows]
    names = [name if row[0].value > 0 else f"{name}\n✗ never on" for name, (_, row) in zip(names, rows)]
    beside = inches(names, 10) + 0.25
    count = max(len(row) for _, row in rows)
    step = min((WIDTH - beside - 2 * MARGIN) / count, 1.1)
    side = 0.92 * step
    windows = [_window(row) for _, row in rows]
    heights = [side * h / w if h <= w else side for h, w in windows]  # the taller side fills the tile
    block = [0.24 + h * (1 if below is None else 2) + (0 if below is None else 0.05) + 0.1 for h in heights]
    sheet = Sheet(MARGIN + sum(block) + (0.45 if below is None else 0.62))
    top, edge = MARGIN, (WIDTH - beside - count * step) / 2 + beside
    for i, (_, row) in enumerate(rows):
        sheet.write(edge - 0.15, top + (0.24 + block[i]) / 2, names[i], 10, ha="right", va="center")
        for j, patch in enumerate(row):
            cell = Tile(edge + j * step, top + 0.24, side, heights[i])
            if 15 * step >= 6:  # points; smaller, nobody reads it
                sheet.write(cell.left + side / 2, cell.top - 0.05, short(patch.value), min(9.0, 15 * step))
            at = _place(patch, windows[i], cell)
            empty = "/////" if at.width < 0.99 * cell.width or at.height < 0.99 * cell.height else None
            sheet.frame(cell, hatch=empty, color="#bbbbbb")
            sheet.show(as_picture(arrays[i][j], low, high), at)
            if below is not None:
                down = heights[i] + 0.05
                sheet.frame(cell._replace(top=cell.top + down), hatch=empty, color="#bbbbbb")
                sheet.show(around_zero(below[i][j]), at._replace(top=at.top + down))
        top += block[i]
    foot = ["the patches that excite each unit most, with its activation above each"]
    if below is not None:
        foot.append("under each: what of it did so, by deconvolution; grey is 0, each on its own scale")
    for i, line in enumerate(reversed(foot)):
        sheet.write(WIDTH / 2, sheet.height - 0.15 - 0.19 * i, line, 10.5, color=FAINT)
    return sheet.figure


def _rows(found: Any) -> list[tuple[Any, list[Any]]]:
    """The name and the patches of each unit."""
    if not isinstance(found, Mapping):
        raise TypeError(f"patches: expected a dict of units and their patches, as nn.top_patches gives it, got {found!r:.80}")
    rows = [(name, list(row)) for name, row in found.items()]
    for name, row in rows:
        if not row or not all(hasattr(patch, "pixels") and hasattr(patch, "box") for patch in row):
            raise TypeError(f"patches: unit {name} must have a list of patches, as nn.top_patches gives them, got {row!r:.80}")
    most = max((len(row) for _, row in rows), default=0)
    if not 0 < len(rows) <= 64 or most > 24:
        raise ValueError(f"patches: 1 to 64 units of at most 24 patches can be drawn, got {len(rows)} of {most}")
    return rows


def _below(reconstructions: Any, rows: Sequence[tuple[Any, Sequence[Any]]]) -> list[list[np.ndarray[Any, Any]]]:
    """A reconstruction for each patch, of its size."""
    if not isinstance(reconstructions, Mapping) or any(name not in reconstructions for name, _ in rows):
        raise ValueError("patches: reconstructions must be a dict with the same units as the patches")
    below = [[numbers("patches", f"unit {name}: a reconstruction", r) for r in reconstructions[name]] for name, _ in rows]
    for (name, row), arrays in zip(rows, below):
        wanted, given = [patch.pixels.shape for patch in row], [array.shape for array in arrays]
        if wanted != given:
            raise ValueError(f"patches: unit {name}: the reconstructions must have the shapes of its patches, got {given[:3]}")
    return below


def _window(row: Sequence[Any]) -> tuple[int, int]:
    """Pixels (high, wide) that a cell of this row shows: the field of the unit, or what there is of it where it is larger."""
    high, wide = (max(patch.box[axis][1] - patch.box[axis][0] for patch in row) for axis in (0, 1))
    most_high, most_wide = (max(patch.pixels.shape[axis] for patch in row) for axis in (1, 2))
    return high if high <= 1.5 * most_high else most_high, wide if wide <= 1.5 * most_wide else most_wide


def _place(patch: Any, window: tuple[int, int], cell: Tile) -> Tile:
    """Where the pixels of a patch stand in its cell: as they lie in the unit's field, if the cell shows all of it."""
    scale = min(cell.width / window[1], cell.height / window[0])
    offsets = []
    for axis, (room, length) in enumerate(((window[0], patch.pixels.shape[1]), (window[1], patch.pixels.shape[2]))):
        start, end = patch.box[axis]
        offsets.append(max(0, -start) if end - start <= room else (room - length) / 2)
    height, width = patch.pixels.shape[1] * scale, patch.pixels.shape[2] * scale
    left = cell.left + (cell.width - window[1] * scale) / 2 + offsets[1] * scale
    return Tile(left, cell.top + (cell.height - window[0] * scale) / 2 + offsets[0] * scale, width, height)
