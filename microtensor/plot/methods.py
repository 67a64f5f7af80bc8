"""Several saliency maps of the same images, side by side."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd.arguments import is_number
from ..runtime.integers import as_integer
from ..runtime.text import kind_of, number_text
from .style import INK, VERMILION, WIDTH, host, inches, new_figure, plain
from .tiles import numbers

if TYPE_CHECKING:
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
    """Images, each followed by its maps by several methods.

    Args:
        images: (N, 1, H, W) or, red, green and blue, (N, 3, H, W); one image without N. Each is drawn from its own least number
            to its largest.
        maps: by the name that is to stand above them: maps (N, H, W), of one image (H, W). One without negative numbers is
            drawn from its least number to its largest; one with, from minus to plus its largest magnitude, 0 in white. A
            constant map is all in the shade of the least number, and says so.
        titles: what stands above each image; of one image a text alone will do.
        boxes: for some of the names a box for each image, (N, 4): x0, y0, x1, y1, as `saliency.object_box` gives them. It is
            drawn on the map.
        columns: so many pictures stand beside each other.
        quantile: numbers beyond this quantile of a map's magnitudes get the outermost shade, for a few pixels are often far
            above all others. 1: none are.

    Raises:
        TypeError: images or maps are not of numbers, or `maps` is no mapping.
        ValueError: shapes do not fit each other, a number is not finite, a box is of no map, or there is nothing to draw.
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
    figure = new_figure(height=1, arranged=False)
    from matplotlib.patches import Rectangle

    # All lengths in inches.
    margin, between, foot = 0.12, 0.1, 0.85
    side = min((WIDTH - 2 * margin - (columns - 1) * between) / columns, 3.7)
    tall = side * height / width
    above_images = [plain(title) for title in titles] if titles is not None else ["image"] * count
    texts = [*above_images, *(plain(name) for name in heat)]
    fontsize = max(7.0, min(11.0, 11.0 * side / (inches(texts, fontsize=11) or side)))
    above = 0.3 + 0.19 * max(text.count("\n") for text in texts)
    left = (WIDTH - columns * side - (columns - 1) * between) / 2
    rows = -(-(len(heat) + 1) // columns)
    figure_height = count * rows * (above + tall) + foot
    figure.set_figheight(figure_height)

    def panel(image: int, place: int, title: str) -> Any:
        row, column = divmod(place, columns)
        bottom = figure_height - (image * rows + row + 1) * (above + tall)
        x = left + column * (side + between)
        axes = figure.add_axes((x / WIDTH, bottom / figure_height, side / WIDTH, tall / figure_height), xticks=(), yticks=())
        axes.set_title(title, fontsize=fontsize, color=INK, pad=4)
        axes.spines[:].set_visible(False)
        return axes

    for i, picture in enumerate(pictures):
        low, high = picture.min(), picture.max()
        axes = panel(i, 0, above_images[i])
        axes.imshow(np.broadcast_to((picture - low) / (high - low or 1), (height, width, 3)), interpolation="nearest")
        for place, (name, map) in enumerate(heat.items(), 1):
            axes = panel(i, place, plain(name))
            shades, colors = _shades(map[i], quantile)
            axes.imshow(shades, colors, interpolation="nearest", vmin=0, vmax=1)
            if (map[i] == map[i, 0, 0]).all():  # or it would look as if something had gone wrong
                text = f"{number_text(map[i, 0, 0])} everywhere"
                axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=fontsize, color="white")
            if name in frames:
                x0, y0, x1, y1 = frames[name][i]
                # White below the colour: it is seen on dark shades and on bright ones.
                for color, line in (("white", 4.0), (VERMILION, 1.8)):
                    axes.add_patch(
                        Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=line)
                    )
    signed = [bool((map < 0).any()) for map in heat.values()]
    most = "largest" if quantile == 1 else f"{100 * quantile:.3g} % quantile"
    _bars(figure, [kind for kind in (False, True) if kind in signed], figure_height, most)
    return figure


def softmax_comparison(model: Any, x: Any, target: Any = None) -> Figure:
    """What a softmax at a model's end does to its gradient: of the probability, as the model gives it, and of the logit.

    Where the probability is near 1, its gradient fades, and rounding is what is left; and it shows what speaks for other
    classes too. Of one image, the largest number of each map stands above it.

    Args:
        model: a model that ends in softmax, or in log_softmax.
        x, target: as in `saliency.gradient`.

    Raises:
        TypeError, ValueError: as `saliency.gradient`; also where the model does not end in softmax.
    """
    from ..saliency import before_softmax, gradient  # a method is asked, here alone

    logits = before_softmax(model)
    of_logit = gradient(logits, x, target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the softmax: it is what is to be seen
        of_probability = gradient(model, x, target)
    images = host(x)
    count = 1 if images.ndim == 3 else len(images)
    parts = {"probability": of_probability, "logit": of_logit}
    largest = {name: f"\nup to {map.max().item():.2g}" if count == 1 else "" for name, map in parts.items()}
    maps = {f"gradient of the {name}{largest[name]}": map for name, map in parts.items()}
    return saliency_methods(images, maps, columns=3)


def _boxes(boxes: Any, maps: Mapping[str, Any], count: int) -> dict[str, np.ndarray[Any, Any]]:
    """The boxes of each map that has some: (N, 4)."""
    if boxes is not None and not isinstance(boxes, Mapping):
        raise TypeError(f"saliency_methods: boxes must be a mapping from the names of maps to boxes, got {kind_of(boxes)}")
    found = {}
    for name, box in (boxes or {}).items():
        frame = numbers("saliency_methods", f"boxes[{name!r}]", box)
        if name not in maps or frame.shape != (count, 4) and (count != 1 or frame.shape != (4,)):
            raise ValueError(
                f"saliency_methods: boxes of {name!r} {frame.shape} fit no map: {', '.join(maps)}, of {count} images"
            )
        found[name] = frame.reshape(count, 4)
    return found


def _shades(map: np.ndarray[Any, Any], quantile: float) -> tuple[np.ndarray[Any, Any], Any]:
    """Numbers from 0 to 1 for one map (H, W), and the colour map that they are for."""
    if (map < 0).any():
        largest = float(np.quantile(np.abs(map), quantile)) or float(np.abs(map).max())
        return (map / largest).clip(-1, 1) / 2 + 0.5, SIGNED
    low, high = float(map.min()), float(np.quantile(map, quantile))
    if high == low:
        high = float(map.max())
    return ((map - low) / (high - low or 1)).clip(0, 1), UNSIGNED


def _bars(figure: Any, kinds: Sequence[bool], height: float, most: str) -> None:
    """A colour bar for maps without negative numbers, one for those with, at the foot of the figure."""
    from matplotlib.cm import ScalarMappable

    for i, signed in enumerate(kinds):
        width = 0.32
        left = (1 - width * len(kinds) - 0.12 * (len(kinds) - 1)) / 2 + i * (width + 0.12)
        bar = figure.add_axes((left, 0.32 / height, width, 0.13 / height))
        scale = figure.colorbar(ScalarMappable(cmap=SIGNED if signed else UNSIGNED), cax=bar, orientation="horizontal")
        scale.set_ticks((0, 0.5, 1) if signed else (0, 1), labels=("−", "0", f"+ {most}") if signed else ("least", most))
        bar.tick_params(labelsize=11, labelcolor=INK)
        bar.set_title(
            "signed maps, each on its own scale" if signed else "maps, each on its own scale", fontsize=11, color=INK, pad=5
        )


def _images(images: Any) -> np.ndarray[Any, Any]:
    """Images as float64 (N, H, W, C)."""
    array = numbers("saliency_methods", "images", images)
    given = array.shape
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[1] not in (1, 3):
        raise ValueError(f"saliency_methods: images must be (N, C, H, W) or (C, H, W) with C 1 or 3, got {given}")
    return array.transpose(0, 2, 3, 1)


def _maps(name: str, map: Any, shape: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    """Maps as float64 (N, H, W)."""
    array = numbers("saliency_methods", f"maps[{name!r}]", map)
    if array.shape != shape and (shape[0] != 1 or array.shape != shape[1:]):
        raise ValueError(f"saliency_methods: for these images maps[{name!r}] must be {shape}, got {array.shape}")
    return array.reshape(shape)
