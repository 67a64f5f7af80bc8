"""The inside of a network: the filters of a convolution, the feature maps of a layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd.arguments import is_number
from ..runtime.integers import as_integer
from .style import WIDTH, escaped, on_host
from .tiles import FOOT, MARGIN, Sheet, Tile, columns_for, finite_array, signed_to_rgb, to_rgb

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOVE = 0.2
"""Height of the number above a tile, in inches."""


def filters(
    weight: Any, columns: int | None = None, scale: str = "joint", limit: float | None = None, title: str = ""
) -> Figure:
    """The kernels of a convolution as tiles with their numbers; those of a first layer are patterns of pixels.

    Kernels with one channel are drawn in blue (negative), white (0) and red (positive). Kernels with three channels are drawn
    in RGB: mid-grey is 0, and a red pixel has a large weight for red. With any other number of channels each channel is a
    tile; the channels of a kernel form a column.

    Args:
        weight: (K, C, h, w), or a layer with such a `weight`.
        columns: tiles per row; None: enough to make the figure a little wider than high.
        scale: "joint": all kernels share one range, ± the largest magnitude of all; "each": every kernel has its own.
        limit: the end of the joint range instead of the largest magnitude, so that several figures can share it.
        title: written above the figure.

    Raises:
        TypeError: weight does not hold numbers, `columns` is not an integer, or `limit` not a number.
        ValueError: weight is not (K, C, h, w), has a value that is infinite or nan, or too many tiles to be seen; `columns` is
            below 1; the scale is unknown; the limit is not above 0, or is given with scale "each".
    """
    array = finite_array("filters", "weight", getattr(weight, "weight", weight))
    columns = _checked("filters", columns, scale)
    _check_filters(array, scale, limit)
    count, channels, height, width = array.shape
    largest = np.abs(array).max((1, 2, 3), keepdims=True)
    end = float(largest.max()) if limit is None else float(limit)
    signed = array / (np.where(largest > 0, largest, 1) if scale == "each" else end or 1)
    by_channel = channels not in (1, 3)  # each channel is a tile, below the one before
    if by_channel:
        signed = signed.transpose(1, 0, 2, 3).reshape(-1, 1, height, width)
    limits = (0.12, 0.7) if by_channel else (0.3, 1.2)
    columns, step = columns_for(len(signed), width / height, count if by_channel else columns, *limits)
    side = 0.92 * step
    top = (0.6 if by_channel else MARGIN) + (0.35 if title else 0)
    above = 0.0 if by_channel else ABOVE
    row_height = side * height / width + above + step - side
    sheet = Sheet(top + -(-len(signed) // columns) * row_height + (0.45 if channels == 3 else FOOT))
    tiles = _tiles(len(signed), columns, step, height / width, top, above)
    shown = [_draw_kernel(sheet, kernel, tile) for kernel, tile in zip(signed, tiles)][-1]
    if by_channel:
        _number_grid(sheet, tiles, columns)
        sheet.write(WIDTH / 2, top - 0.35, "columns: kernels; rows: their input channels", 11)
    else:
        for i, tile in enumerate(tiles):
            sheet.write(tile.left + side / 2, tile.top - 0.05, str(i), min(9.0, 40 * side))
    if channels == 3:
        ends = f"±{end:.3g}" if scale == "joint" else "± the largest weight of each kernel"
        sheet.write(WIDTH / 2, sheet.height - 0.17, f"mid-grey: weight 0; range of each colour: {ends}", 11)
    else:
        low, high = (f"−{end:.3g}", f"{end:.3g}") if scale == "joint" else ("−largest", "largest")
        sheet.bar(shown, "weight" if scale == "joint" else "weight, each kernel on its own scale", (low, "0", high))
    if title:
        sheet.write(WIDTH / 2, 0.33, escaped(title), 13)
    return sheet.figure


def _check_filters(array: np.ndarray[Any, Any], scale: str, limit: float | None) -> None:
    """Refuse arguments that `filters` cannot draw."""
    if limit is not None and not is_number(limit):
        raise TypeError(f"filters: limit must be a number, got {limit!r}")
    if limit is not None and (scale == "each" or not 0 < limit < np.inf):
        raise ValueError(f'filters: limit must be above 0 and finite, with scale "joint", got {limit} with {scale!r}')
    if array.ndim != 4:
        raise ValueError(f"filters: weight must be (K, C, h, w), as a Conv2d has it, got shape {array.shape}")
    count, channels = array.shape[:2]
    most_kernels, most_channels = (1024, 3) if channels in (1, 3) else (48, 64)
    if count > most_kernels or channels > most_channels:
        some = f"weight[:{min(count, most_kernels)}, :{min(channels, most_channels)}]"
        raise ValueError(f"filters: {count} kernels of {channels} channels are too many to be seen; pass a part: {some}")


def _tiles(count: int, columns: int, step: float, aspect: float, top: float, above: float) -> list[Tile]:
    """Tiles in rows, `step` inches apart, with a gap of 8 % between them; `aspect` is height over width."""
    side = 0.92 * step
    left, row_height = (WIDTH - columns * step) / 2 + (step - side) / 2, side * aspect + above + step - side
    places = (divmod(i, columns) for i in range(count))
    return [Tile(left + column * step, top + row * row_height + above, side, side * aspect) for row, column in places]


def _draw_kernel(sheet: Sheet, kernel: np.ndarray[Any, Any], tile: Tile) -> Any:
    """A kernel (1, h, w) or (3, h, w) from −1 to 1; returns matplotlib's image."""
    if len(kernel) == 3:
        return sheet.show(signed_to_rgb(kernel, 1.0), tile)
    sheet.frame(tile)
    return sheet.show(kernel[0], tile, cmap="RdBu_r", vmin=-1, vmax=1)


def _number_grid(sheet: Sheet, tiles: Sequence[Tile], columns: int) -> None:
    """The number of each column above it, of each row on its left."""
    for i, tile in enumerate(tiles):
        row, column = divmod(i, columns)
        if row == 0:
            sheet.write(tile.left + tile.width / 2, tile.top - 0.05, str(i), 9)
        if column == 0:
            fontsize = min(9.0, 40 * tile.width)
            sheet.write(tile.left - 0.06, tile.top + tile.height / 2, str(row), fontsize, ha="right", va="center")


def filter_frames(weights: Sequence[Any], titles: Sequence[str] | None = None, columns: int | None = None) -> Iterator[Figure]:
    """`filters` at several moments of training, all on one scale: frames for `save_animation`.

        frames = filter_frames(kept, titles=[f"epoch {i}" for i in range(len(kept))])
        save_animation(frames, "filters.gif")

    Args:
        weights: (K, C, h, w) each, copied during training: `kept.append(layer.weight.detach().clone())`.
        titles: one for each; default: "0", "1", ….
        columns: as in `filters`.

    Raises:
        TypeError, ValueError: as `filters`; or there are no weights, or their number and that of the titles differ.
    """
    if not isinstance(weights, (list, tuple)) or not weights:
        raise TypeError(f"filter_frames: weights must be a list of weights (K, C, h, w), got {weights!r:.80}")
    names = [str(i) for i in range(len(weights))] if titles is None else list(titles)
    if len(names) != len(weights):
        raise ValueError(f"filter_frames: {len(weights)} weights need as many titles, got {len(names)}")
    arrays = [finite_array("filter_frames", f"weight {i}", getattr(w, "weight", w)) for i, w in enumerate(weights)]
    limit = max(float(np.abs(array).max()) for array in arrays) or 1.0
    return (filters(array, columns, limit=limit, title=name) for array, name in zip(arrays, names))


def feature_maps(maps: Any, image: Any = None, columns: int | None = None, scale: str = "joint", first: int = 0) -> Figure:
    """The feature maps of a layer for one image: a tile for each channel, with its number.

    A channel that is 0 everywhere is hatched, with a ✗ beside its number: it is dead for this image.

    Args:
        maps: (C, H, W), or (1, C, H, W), as `nn.activations` returns them.
        image: (1, H, W) or (3, H, W), or with a batch axis of length 1: drawn first, from its minimum to its maximum.
        columns: tiles per row; None: enough to make the figure a little wider than high.
        scale: "joint": all maps share one range; "each": every map has its own. The range is 0 to the maximum, or, if any value
            is negative, ± the largest magnitude, with 0 in white.
        first: the number of the first channel, if `maps` is a part of a layer.

    Raises:
        TypeError: maps or image do not hold numbers, `columns` or `first` is not an integer.
        ValueError: a shape is wrong, a value is infinite or nan, there are more than 400 maps; `columns` is below 1, `first`
            below 0; the scale is unknown.
    """
    planes = _single("maps", maps)
    columns, first = _checked("feature_maps", columns, scale), as_integer("feature_maps", "first", first, least=0)
    picture = None if image is None else _single("image", image)
    if picture is not None and len(picture) not in (1, 3):
        raise ValueError(f"feature_maps: image must be (1, H, W) or (3, H, W), got shape {on_host(image).shape}")
    if len(planes) > 400:
        raise ValueError(f"feature_maps: {len(planes)} maps are too many to be seen; draw a part: maps[:400], first=0")
    height, width = planes.shape[1:]
    signed, largest = bool((planes < 0).any()), np.abs(planes).max((1, 2), keepdims=True)
    end = float(largest.max())
    scaled = planes / np.where(largest > 0, largest if scale == "each" else end, 1)
    colors: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -1} if signed else {"cmap": "inferno", "vmin": 0}

    count = len(planes) + (picture is not None)
    columns, step = columns_for(count, width / height, columns, narrowest=0.3)
    tiles = _tiles(count, columns, step, height / width, MARGIN, ABOVE)
    row_height = tiles[0].height + ABOVE + 0.08 * step
    sheet = Sheet(MARGIN + -(-count // columns) * row_height + FOOT)
    if picture is not None:
        _draw_image(sheet, picture, tiles.pop(0))
    shown: Any = None
    for i, (plane, tile) in enumerate(zip(scaled, tiles), first):
        shown = sheet.show(plane, tile, vmax=1, **colors)
        dead = not plane.any()
        if dead:
            shown.set_visible(False)
        sheet.frame(tile, hatch="////" if dead else None)
        sheet.write(tile.left + tile.width / 2, tile.top - 0.05, f"{i} ✗" if dead else str(i), 9)
    dead_count = int((largest == 0).sum())
    text = "activation" if scale == "joint" else "activation, each map on its own scale"
    if dead_count:
        text += f"; hatched, ✗: 0 everywhere ({dead_count} of {len(planes)})"
    high = f"{end:.3g}" if scale == "joint" else "largest"
    sheet.bar(shown, text, (f"−{high}", "0", high) if signed else ("0", high))
    return sheet.figure


def _draw_image(sheet: Sheet, image: np.ndarray[Any, Any], tile: Tile) -> None:
    """The image (C, H, W) in the middle of a tile, with its own aspect ratio."""
    scale = min(tile.width / image.shape[2], tile.height / image.shape[1])
    width, height = scale * image.shape[2], scale * image.shape[1]
    place = Tile(tile.left + (tile.width - width) / 2, tile.top + (tile.height - height) / 2, width, height)
    sheet.show(to_rgb(image, image.min(), image.max()), place)
    sheet.write(place.left + width / 2, place.top - 0.05, "image", 9)


def _single(what: str, value: Any) -> np.ndarray[Any, Any]:
    """One image or its maps, (C, H, W), from (C, H, W) or (1, C, H, W)."""
    array = finite_array("feature_maps", what, value)
    given = array.shape
    array = array[0] if array.ndim == 4 and len(array) == 1 else array
    if array.ndim != 3:
        raise ValueError(f"feature_maps: {what} must be of one image, (C, H, W) or (1, C, H, W), got shape {given}")
    return array


def _checked(who: str, columns: Any, scale: Any) -> int | None:
    """The number of columns, after checking it and the scale."""
    if scale not in ("joint", "each"):
        raise ValueError(f'{who}: scale must be "joint" or "each", got {scale!r}')
    return None if columns is None else as_integer(who, "columns", columns, least=1)
