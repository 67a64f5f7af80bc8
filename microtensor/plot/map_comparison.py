"""Saliency maps of the same images by several methods, side by side."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..autograd.arguments import is_number
from ..runtime.integers import as_integer
from ..runtime.text import kind_of, number_text
from .style import INK, VERMILION, WIDTH, escaped, new_figure, on_host, require, text_width_inches
from .tiles import finite_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNSIGNED, SIGNED = "inferno", "RdBu_r"


def saliency_methods(
    images: Any,
    maps: Mapping[str, Any],
    titles: Sequence[str] | None = None,
    boxes: Mapping[str, Any] | None = None,
    columns: int = 4,
    quantile: float = 0.995,
) -> Figure:
    """Images, each followed by its saliency maps by several methods.

    Args:
        images: (N, 1, H, W) or RGB (N, 3, H, W); a single image without N. Each is drawn from its own minimum to its maximum.
        maps: {name written above: maps (N, H, W), for a single image (H, W)}. A map without negative values is drawn from its
            minimum to its maximum; one with negative values from minus to plus its largest magnitude, with 0 in white. A
            constant map is drawn in one colour, with its value.
        titles: written above each image; for a single image a str will do.
        boxes: {name: a box for each image, (N, 4): x0, y0, x1, y1}, as `saliency.object_box` returns them, drawn on the maps of
            this name.
        columns: panels per row.
        quantile: values above this quantile of a map's magnitudes get the last colour, since a few pixels are often far above
            all others. 1: no value is clipped.

    Raises:
        TypeError: images or maps do not hold numbers, or `maps` is not a mapping.
        ValueError: shapes do not match, a value is infinite or nan, a box has no map, or there is nothing to draw.
    """
    if not isinstance(maps, Mapping):
        raise TypeError(f"saliency_methods: maps must be a mapping from names to maps, got {kind_of(maps)}")
    pictures = _images(images)
    count, height, width = pictures.shape[:3]
    heat = {name: _maps(name, map, (count, height, width)) for name, map in maps.items()}
    frames = _boxes(boxes, heat, count)
    if not heat:
        raise ValueError("saliency_methods: there are no maps to draw")
    if isinstance(titles, str) and count == 1:
        titles = [titles]
    if titles is not None and len(titles) != count:
        raise ValueError(f"saliency_methods: {len(titles)} titles for {count} images")
    if not is_number(quantile) or not 0 < quantile <= 1:
        raise ValueError(f"saliency_methods: quantile must be a number above 0 and at most 1, got {quantile!r}")
    columns = min(as_integer("saliency_methods", "columns", columns, least=1), len(heat) + 1)
    above_images = [escaped(title) for title in titles] if titles is not None else ["image"] * count
    layout = _layout((count, height, width), columns, above_images, [escaped(name) for name in heat])

    figure = new_figure(layout.height, arranged=False)
    for i, picture in enumerate(pictures):
        low, high = picture.min(), picture.max()
        rgb = np.broadcast_to((picture - low) / (high - low or 1), (height, width, 3))
        layout.panel(figure, i, 0, above_images[i]).imshow(rgb, interpolation="nearest")
        for place, (name, map) in enumerate(heat.items(), 1):
            axes = layout.panel(figure, i, place, escaped(name))
            _draw_map(axes, map[i], quantile, layout.fontsize)
            if name in frames:
                _draw_box(axes, frames[name][i])
    signed = [bool((map < 0).any()) for map in heat.values()]
    end = "maximum" if quantile == 1 else f"{100 * quantile:.3g} % quantile"
    _bars(figure, [kind for kind in (False, True) if kind in signed], layout.height, end)
    return figure


class _Layout(NamedTuple):
    """Where the panels of `saliency_methods` are: some rows for each image, lengths in inches."""

    columns: int
    rows: int
    """Rows of panels for each image."""
    left: float
    side: float
    tall: float
    above: float
    """Room for the title above a panel."""
    fontsize: float
    height: float
    """Of the figure."""

    def panel(self, figure: Figure, image: int, place: int, title: str) -> Axes:
        """Axes for a panel of an image: place 0 is the image, 1 its first map."""
        row, column = divmod(place, self.columns)
        x = self.left + column * (self.side + BETWEEN)
        y = self.height - (image * self.rows + row + 1) * (self.above + self.tall)
        where = (x / WIDTH, y / self.height, self.side / WIDTH, self.tall / self.height)
        axes = figure.add_axes(where, xticks=(), yticks=())
        axes.set_title(title, fontsize=self.fontsize, color=INK, pad=4)
        axes.spines[:].set_visible(False)
        return axes


BETWEEN = 0.1
"""Between two panels, in inches."""


def _layout(shape: tuple[int, int, int], columns: int, titles: Sequence[str], names: Sequence[str]) -> _Layout:
    """Panels as wide as the figure allows; the font shrinks until all titles fit."""
    require()
    count, height, width = shape
    margin, foot = 0.12, 0.85
    side = min((WIDTH - 2 * margin - (columns - 1) * BETWEEN) / columns, 3.7)
    tall = side * height / width
    texts = [*titles, *names]
    fontsize = max(7.0, min(11.0, 11.0 * side / (text_width_inches(texts, fontsize=11) or side)))
    above = 0.3 + 0.19 * max(text.count("\n") for text in texts)
    left = (WIDTH - columns * side - (columns - 1) * BETWEEN) / 2
    rows = -(-(len(names) + 1) // columns)
    return _Layout(columns, rows, left, side, tall, above, fontsize, count * rows * (above + tall) + foot)


def _draw_map(axes: Axes, map: np.ndarray[Any, Any], quantile: float, fontsize: float) -> None:
    """A map (H, W); a constant one is labelled, as it would look like an error."""
    values, colormap = _colors(map, quantile)
    axes.imshow(values, colormap, interpolation="nearest", vmin=0, vmax=1)
    if (map == map[0, 0]).all():
        text = f"{number_text(map[0, 0])} everywhere"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=fontsize, color="white")


def _draw_box(axes: Axes, box: np.ndarray[Any, Any]) -> None:
    """A box x0, y0, x1, y1, with a white line below the coloured one: visible on dark and on bright maps."""
    from matplotlib.patches import Rectangle

    x0, y0, x1, y1 = box
    for color, line in (("white", 4.0), (VERMILION, 1.8)):
        axes.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=line))


def softmax_comparison(model: Any, x: Any, target: Any = None) -> Figure:
    """The effect of a softmax at the end of a model: the gradient of the probability beside that of the logit.

    Where the probability is near 1, its gradient vanishes and only rounding errors are left; it also contains the gradients of
    the other classes. For a single image, the maximum of each map is written above it.

    Args:
        model: a model that ends in softmax, or in log_softmax.
        x, target: as in `saliency.gradient`.

    Raises:
        TypeError, ValueError: as `saliency.gradient`; also if the model does not end in softmax.
    """
    from ..saliency import before_softmax, gradient  # matplotlib alone draws the rest

    logits = before_softmax(model)
    of_logit = gradient(logits, x, target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the softmax, whose effect is shown
        of_probability = gradient(model, x, target)
    images = on_host(x)
    count = 1 if images.ndim == 3 else len(images)
    parts = {"probability": of_probability, "logit": of_logit}
    largest = {name: f"\nup to {map.max().item():.2g}" if count == 1 else "" for name, map in parts.items()}
    maps = {f"gradient of the {name}{largest[name]}": map for name, map in parts.items()}
    return saliency_methods(images, maps, columns=3)


def _boxes(boxes: Any, maps: Mapping[str, Any], count: int) -> dict[str, np.ndarray[Any, Any]]:
    """The boxes of each map that has boxes: (N, 4)."""
    if boxes is not None and not isinstance(boxes, Mapping):
        raise TypeError(f"saliency_methods: boxes must be a mapping from the names of maps to boxes, got {kind_of(boxes)}")
    found = {}
    for name, box in (boxes or {}).items():
        frame = finite_array("saliency_methods", f"boxes[{name!r}]", box)
        if name not in maps or frame.shape != (count, 4) and (count != 1 or frame.shape != (4,)):
            raise ValueError(
                f"saliency_methods: boxes of {name!r} {frame.shape} fit no map: {', '.join(maps)}, of {count} images"
            )
        found[name] = frame.reshape(count, 4)
    return found


def _colors(map: np.ndarray[Any, Any], quantile: float) -> tuple[np.ndarray[Any, Any], Any]:
    """The values of a map (H, W) scaled from 0 to 1, and its colormap."""
    if (map < 0).any():
        largest = float(np.quantile(np.abs(map), quantile)) or float(np.abs(map).max())
        return (map / largest).clip(-1, 1) / 2 + 0.5, SIGNED
    low, high = float(map.min()), float(np.quantile(map, quantile))
    if high == low:
        high = float(map.max())
    return ((map - low) / (high - low or 1)).clip(0, 1), UNSIGNED


def _bars(figure: Any, kinds: Sequence[bool], height: float, end: str) -> None:
    """At the bottom, a colour bar for unsigned maps (False in `kinds`) and one for signed maps (True)."""
    from matplotlib.cm import ScalarMappable

    for i, signed in enumerate(kinds):
        width = 0.32
        left = (1 - width * len(kinds) - 0.12 * (len(kinds) - 1)) / 2 + i * (width + 0.12)
        bar = figure.add_axes((left, 0.32 / height, width, 0.13 / height))
        scale = figure.colorbar(ScalarMappable(cmap=SIGNED if signed else UNSIGNED), cax=bar, orientation="horizontal")
        scale.set_ticks((0, 0.5, 1) if signed else (0, 1), labels=("−", "0", f"+ {end}") if signed else ("minimum", end))
        bar.tick_params(labelsize=11, labelcolor=INK)
        bar.set_title(
            "signed maps, each on its own scale" if signed else "maps, each on its own scale", fontsize=11, color=INK, pad=5
        )


def _images(images: Any) -> np.ndarray[Any, Any]:
    """Images as float64 (N, H, W, C)."""
    array = finite_array("saliency_methods", "images", images)
    given = array.shape
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[1] not in (1, 3):
        raise ValueError(f"saliency_methods: images must be (N, C, H, W) or (C, H, W) with C 1 or 3, got {given}")
    return array.transpose(0, 2, 3, 1)


def _maps(name: str, map: Any, shape: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    """Maps as float64 (N, H, W)."""
    array = finite_array("saliency_methods", f"maps[{name!r}]", map)
    if array.shape != shape and (shape[0] != 1 or array.shape != shape[1:]):
        raise ValueError(f"saliency_methods: for these images maps[{name!r}] must be {shape}, got {array.shape}")
    return array.reshape(shape)
