"""What is inside a network: the filters that it learned, the maps that it makes of an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd.arguments import is_number
from ..runtime.integers import as_integer
from .style import WIDTH, host, plain
from .tiles import FOOT, MARGIN, Sheet, Tile, around_zero, as_picture, columns_for, numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOVE = 0.2
"""Inches above a tile, for its number."""


def filters(
    weight: Any, columns: int | None = None, scale: str = "joint", limit: float | None = None, title: str = ""
) -> Figure:
    """The kernels of a convolution: each a tile, with its number. In a first layer they are what it looks for in the pixels.

    Kernels of one channel are blue where they are negative and red where they are positive, white at 0. Kernels of three are
    taken as red, green and blue: middle grey is 0, and where one is redder it asks for more red. Of kernels with other numbers
    of channels each channel is a tile, in a column for each kernel.

    Args:
        weight: (K, C, h, w), or a layer that has such a `weight`.
        columns: tiles beside each other; as many as make the figure a little wider than high if None.
        scale: "joint": all share one range, from minus to plus the largest magnitude of all; "each" kernel has its own.
        limit: the end of the joint range, if it is not to be the largest magnitude: so that several figures share it.
        title: stands above.

    Raises:
        TypeError: weight is not of numbers, `columns` no integer, or `limit` no number.
        ValueError: it is not (K, C, h, w), holds a number that is not finite, or too many tiles to be seen; `columns` is below
            1; the scale is unknown; the limit is not above 0, or given where each kernel has a scale of its own.
    """
    array = numbers("filters", "weight", getattr(weight, "weight", weight))
    columns = _checked("filters", columns, scale)
    if limit is not None and not is_number(limit):
        raise TypeError(f"filters: limit must be a number, got {limit!r}")
    if limit is not None and (scale == "each" or not 0 < limit < np.inf):
        raise ValueError(f'filters: limit must be above 0 and finite, with scale "joint", got {limit} with {scale!r}')
    if array.ndim != 4:
        raise ValueError(f"filters: weight must be (K, C, h, w), as a Conv2d has it, got shape {array.shape}")
    count, channels, height, width = array.shape
    planes = channels not in (1, 3)  # each channel a tile, below the one before
    across, down = (48, 64) if planes else (1024, 3)
    if count > across or channels > down:
        some = f"weight[:{min(count, across)}, :{min(channels, down)}]"
        raise ValueError(f"filters: {count} kernels of {channels} channels are too many to be seen; give some: {some}")
    largest = np.abs(array).max((1, 2, 3), keepdims=True)
    top = float(largest.max()) if limit is None else float(limit)
    signed = array / (np.where(largest > 0, largest, 1) if scale == "each" else top or 1)
    if planes:
        signed = signed.transpose(1, 0, 2, 3).reshape(-1, 1, height, width)
    limits = (0.12, 0.7) if planes else (0.3, 1.2)
    columns, step = columns_for(len(signed), width / height, count if planes else columns, *limits)
    side = 0.92 * step
    tall, above, head = side * height / width, 0.0 if planes else ABOVE, 0.6 if planes else MARGIN
    head += 0.35 if title else 0
    row_height = tall + above + step - side
    sheet = Sheet(head + -(-len(signed) // columns) * row_height + (0.45 if channels == 3 else FOOT))
    edge = (WIDTH - columns * step) / 2
    shown: Any = None
    for i, kernel in enumerate(signed):
        row, column = divmod(i, columns)
        at = Tile(edge + column * step + (step - side) / 2, head + row * row_height + above, side, tall)
        if channels == 3:
            sheet.show(around_zero(kernel, 1.0), at)
        else:
            shown = sheet.show(kernel[0], at, cmap="RdBu_r", vmin=-1, vmax=1)
            sheet.frame(at)
        small = min(9.0, 40 * side)  # points
        if not planes or row == 0:
            sheet.write(at.left + side / 2, at.top - 0.05, str(i), small if planes else 9)
        if planes and column == 0:
            sheet.write(at.left - 0.06, at.top + tall / 2, str(row), small, ha="right", va="center")
    low, high = (f"−{top:.3g}", f"{top:.3g}") if scale == "joint" else ("−largest", "largest")
    if channels == 3:
        text = f"±{top:.3g}" if scale == "joint" else "± the largest weight of each kernel"
        sheet.write(WIDTH / 2, sheet.height - 0.17, f"middle grey: weight 0; range of each colour: {text}", 11)
    else:
        sheet.bar(shown, "weight" if scale == "joint" else "weight, each kernel on its own scale", (low, "0", high))
    if planes:
        sheet.write(WIDTH / 2, head - 0.35, "across: the kernels; down: their channels", 11)
    if title:
        sheet.write(WIDTH / 2, 0.33, plain(title), 13)
    return sheet.figure


def filter_frames(weights: Sequence[Any], titles: Sequence[str] | None = None, columns: int | None = None) -> Iterator[Figure]:
    """`filters` at several times, on one scale for all: what `save_animation` makes a film of.

        frames = filter_frames(kept, titles=[f"epoch {i}" for i in range(len(kept))])
        save_animation(frames, "filters.gif")

    Args:
        weights: (K, C, h, w) each, copies made while training: `kept.append(layer.weight.detach().clone())`.
        titles: of each; "0", "1" … if None.
        columns: as in `filters`.

    Raises:
        TypeError, ValueError: as `filters`; or there is no weight, or another number of titles.
    """
    if not isinstance(weights, (list, tuple)) or not weights:
        raise TypeError(f"filter_frames: weights must be a list of weights (K, C, h, w), got {weights!r:.80}")
    names = [str(i) for i in range(len(weights))] if titles is None else list(titles)
    if len(names) != len(weights):
        raise ValueError(f"filter_frames: {len(weights)} weights need as many titles, got {len(names)}")
    arrays = [numbers("filter_frames", f"weight {i}", getattr(w, "weight", w)) for i, w in enumerate(weights)]
    limit = max(float(np.abs(array).max()) for array in arrays) or 1.0
    return (filters(array, columns, limit=limit, title=name) for array, name in zip(arrays, names))


def feature_maps(maps: Any, image: Any = None, columns: int | None = None, scale: str = "joint", first: int = 0) -> Figure:
    """What the channels of a layer make of one image: a tile for each, with its number.

    A channel that is 0 everywhere is hatched, with a ✗ beside its number: for this image it is dead.

    Args:
        maps: (C, H, W), or (1, C, H, W), as `nn.activations` gives them.
        image: (1, H, W) or (3, H, W), or with an axis of length 1 before: drawn first, from its least number to its largest.
        columns: tiles beside each other; as many as make the figure a little wider than high if None.
        scale: "joint": all maps share one range; "each" has its own. It goes from 0 to the largest number, or, where any number
            is negative, from minus to plus the largest magnitude, 0 in white.
        first: the number of the first channel, where `maps` is a part of a layer.

    Raises:
        TypeError: maps or image are not of numbers, `columns` or `first` is no integer.
        ValueError: a shape is another, a number is not finite, there are more than 400 maps; `columns` is below 1, `first`
            below 0; the scale is unknown.
    """
    planes = _single("maps", maps)
    columns, first = _checked("feature_maps", columns, scale), as_integer("feature_maps", "first", first, least=0)
    picture = None if image is None else _single("image", image)
    if picture is not None and len(picture) not in (1, 3):
        raise ValueError(f"feature_maps: image must be (1, H, W) or (3, H, W), got shape {host(image).shape}")
    if len(planes) > 400:
        raise ValueError(f"feature_maps: {len(planes)} maps are too many to be seen; draw them in parts: maps[:400], first=0")
    height, width = planes.shape[1:]
    signed, largest = bool((planes < 0).any()), np.abs(planes).max((1, 2), keepdims=True)
    top = float(largest.max())
    shaded = planes / np.where(largest > 0, largest if scale == "each" else top, 1)
    shades: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -1} if signed else {"cmap": "inferno", "vmin": 0}

    count = len(planes) + (picture is not None)
    columns, step = columns_for(count, width / height, columns, least=0.3)
    side = 0.92 * step
    tall = side * height / width
    row_height = tall + ABOVE + step - side
    sheet = Sheet(MARGIN + -(-count // columns) * row_height + FOOT)
    places = [
        Tile((WIDTH - columns * step) / 2 + j * step + (step - side) / 2, MARGIN + i * row_height + ABOVE, side, tall)
        for i, j in (divmod(n, columns) for n in range(count))
    ]
    if picture is not None:
        at = places.pop(0)
        fitted = min(side / picture.shape[2], tall / picture.shape[1])
        wide, high = fitted * picture.shape[2], fitted * picture.shape[1]
        at = Tile(at.left + (side - wide) / 2, at.top + (tall - high) / 2, wide, high)
        sheet.show(as_picture(picture, picture.min(), picture.max()), at)
        sheet.write(at.left + wide / 2, at.top - 0.05, "image", 9)
    shown: Any = None
    for i, (plane, at) in enumerate(zip(shaded, places), first):
        shown = sheet.show(plane, at, vmax=1, **shades)
        dead = not plane.any()
        if dead:
            shown.set_visible(False)
        sheet.frame(at, hatch="////" if dead else None)
        sheet.write(at.left + side / 2, at.top - 0.05, f"{i} ✗" if dead else str(i), 9)
    dead_count = int((largest == 0).sum())
    what = "activation" if scale == "joint" else "activation, each map on its own scale"
    if dead_count:
        what += f"; hatched, ✗: 0 everywhere ({dead_count} of {len(planes)})"
    high_name = f"{top:.3g}" if scale == "joint" else "largest"
    sheet.bar(shown, what, (f"−{high_name}", "0", high_name) if signed else ("0", high_name))
    return sheet.figure


def _single(what: str, value: Any) -> np.ndarray[Any, Any]:
    """(C, H, W) of (C, H, W) or (1, C, H, W)."""
    array = numbers("feature_maps", what, value)
    given = array.shape
    array = array[0] if array.ndim == 4 and len(array) == 1 else array
    if array.ndim != 3:
        raise ValueError(f"feature_maps: {what} must be of one image, (C, H, W) or (1, C, H, W), got shape {given}")
    return array


def _checked(who: str, columns: Any, scale: Any) -> int | None:
    if scale not in ("joint", "each"):
        raise ValueError(f'{who}: scale must be "joint" or "each", got {scale!r}')
    return None if columns is None else as_integer(who, "columns", columns, least=1)
