"""The patches of images that excite a unit most."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from microtensor.autograd.graph import Node, is_floating
from microtensor.runtime.arrays import is_array, to_numpy
from microtensor.runtime.integers import as_integer, as_integers
from microtensor.runtime.text import kind_of
from microtensor.tensor import Tensor

from ..module import Module
from .activations import check_model, device_of, layer_of, looking, output_of
from .receptive_field import Field, receptive_field

Box: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
"""(top, bottom), (left, right), in pixels from the upper left corner of the image; the lower and right borders are outside."""


class Patch(NamedTuple):
    """What one unit sees of one image, and how much it excites it."""

    value: float
    """The activation."""
    image: int
    """The number of the image in the data, from 0."""
    place: tuple[int, ...]
    """Where in the layer's map: (row, column); () for a layer without maps."""
    box: Box
    """The unit's receptive field, padding included: it may reach beyond the image."""
    pixels: NDArray[Any]
    """(C, h, w): what of the box lies in the image, on the host."""

    @property
    def inside(self) -> Box:
        """Which part of the image `pixels` is: the box without the padding."""
        (top, _), (left, _) = self.box
        (top, left), (height, width) = (max(0, top), max(0, left)), self.pixels.shape[1:]
        return (top, top + height), (left, left + width)


def top_patches(
    model: Any, data: Any, layer: str, units: int | Sequence[int] | None = None, k: int = 9, batch_size: int = 64
) -> dict[int, list[Patch]]:
    """For each unit of a layer, the k image patches that excite it most: its receptive field, where its map is largest.

    Zeiler and Fergus 2013, section 4, arxiv.org/abs/1311.2901. An image counts once for each unit, with the largest number of
    its map, the first of equals: so k patches come from k images. The data is gone through once, and all that is kept is the
    patches: units · k · pixels of the field. What comes after the layer is not computed.

    Args:
        model: a Module, images (N, C, H, W) → anything. It computes in eval mode; afterwards it is as before.
        data: images (N, C, H, W), a tensor or an array; or batches of them, with or without labels behind, all of one size: a
            `DataLoader`, which had better not shuffle, for images are numbered as they come.
        layer: its dotted name. It gives maps (N, units, H', W') or, as a linear layer, numbers (N, units).
        units: which of them, one or several; all if None.
        k: how many patches of each; fewer if there are fewer images.
        batch_size: images computed at once, where `data` is no batches.

    Returns:
        The patches by unit, the strongest first; of equally strong ones, that of the earlier image.

    Raises:
        TypeError: `model` is no Module, `data` holds something else than floating-point images, a number is no integer.
        ValueError: there is no such layer or unit, or no image; the layer is called several times, so that its units have
            several fields; it gives no maps; an activation is nan; images are not of one size; k or batch_size is below 1.

    >>> from microtensor.nn import Conv2d, Sequential
    >>> net = Sequential(Conv2d(1, 1, 2, bias=False))
    >>> net[0].weight.array[...] = 1
    >>> image = Tensor(np.arange(9.0, dtype=np.float32).reshape(1, 1, 3, 3))
    >>> (patch,) = top_patches(net, image, "0")[0]
    >>> patch.value, patch.place, patch.box, patch.pixels[0].tolist()
    (24.0, (1, 1), ((1, 3), (1, 3)), [[4.0, 5.0], [7.0, 8.0]])
    """
    check_model("top_patches", model)
    k, batch_size = as_integer("top_patches", "k", k, least=1), as_integer("top_patches", "batch_size", batch_size, least=1)
    module = layer_of("top_patches", model, layer)
    chosen = None if units is None else as_integers("top_patches", "units", units, least=0)
    best: dict[int, list[Patch]] = {}
    field: Field | None = None
    shape: tuple[int, ...] = ()
    count = 0
    with looking(model):
        for images in _batches(data, batch_size):
            if field is None:
                shape = images.shape[1:]
                field = field_of("top_patches", model, layer, shape, images.dtype)
            if images.shape[1:] != shape:
                raise ValueError(
                    f"top_patches: images must be of one size: the first are {shape}, then came {images.shape[1:]}"
                )
            device = device_of(model)
            maps = check_maps(
                "top_patches", layer, output_of(model, module, images if device is None else images.to(device)), images
            )
            if not best:
                best = {unit: [] for unit in check_units("top_patches", layer, chosen, maps.shape[1])}
            _merge(best, maps, images, field, count, k)
            count += images.shape[0]
    if not count:
        raise ValueError("top_patches: there are no images in the data")
    return best


def field_of(who: str, model: Module, layer: str, shape: tuple[int, ...], dtype: Any = None) -> Field:
    """What the units of a layer see of images of this shape (C, H, W).

    Raises:
        ValueError: the layer is not called, or several times.
    """
    rows = [row for row in receptive_field(model, shape, dtype) if row.name == layer]
    if len(rows) != 1:
        calls = f"calls its layer {layer!r} {len(rows)} times" if rows else f"does not call its layer {layer!r}"
        raise ValueError(
            f"{who}: {type(model).__name__} {calls}; ask for a layer that is called once, such as the one before it"
        )
    return rows[0]


def box_of(field: Field, place: tuple[int, ...], size: tuple[int, ...]) -> Box:
    """The pixels that the unit at a place sees, of an image of this size; the whole image if the unit has no place."""
    if not place:
        return (0, size[0]), (0, size[1])
    (top, bottom), (left, right) = ((math.floor(low), math.ceil(high)) for low, high in field.of(*place))
    return (top, bottom), (left, right)


def check_maps(who: str, layer: str, maps: Any, images: Tensor) -> Tensor:
    """What a layer gave, if it is maps (N, units, H', W') or numbers (N, units).

    Raises:
        ValueError: it is not.
    """
    if not isinstance(maps, Tensor) or maps.ndim not in (2, 4) or maps.shape[0] != images.shape[0] or 0 in maps.shape:
        given = maps.shape if isinstance(maps, Node) else kind_of(maps)
        raise ValueError(f"{who}: layer {layer!r} must give maps (N, units, H, W) or numbers (N, units), it gave {given}")
    return maps


def check_units(who: str, layer: str, units: Sequence[int] | None, count: int) -> list[int]:
    """Units that a layer has, each once; all if None.

    Raises:
        ValueError: it has no such unit.
    """
    for unit in units or ():
        if unit >= count:
            raise ValueError(f"{who}: layer {layer!r} has the units 0 to {count - 1}, got {unit}")
    return list(range(count)) if units is None else list(dict.fromkeys(units))


def _batches(data: Any, batch_size: int) -> Iterator[Tensor]:
    """Images (n, C, H, W), floating point."""
    if isinstance(data, Tensor) or is_array(data):
        whole = data if isinstance(data, Tensor) else Tensor(data)
        parts: Iterable[Any] = (whole[i : i + batch_size] for i in range(0, len(whole) if whole.ndim else 1, batch_size))
    elif isinstance(data, Iterable) and not isinstance(data, (str, bytes, dict)):
        parts = data
    else:
        raise TypeError(f"top_patches: data must be images (N, C, H, W) or batches of them, got {kind_of(data)}")
    for part in parts:
        first = part[0] if isinstance(part, (tuple, list)) and part else part
        images = first if isinstance(first, Tensor) else Tensor(first) if is_array(first) else None
        if images is None or not is_floating(images.dtype):
            given = kind_of(first) if images is None else images.dtype
            raise TypeError(
                f"top_patches: data must give batches of floating-point images (n, C, H, W), it gave {given}; a data set of "
                "single samples becomes batches in a DataLoader"
            )
        if images.ndim != 4:
            raise ValueError(
                f"top_patches: a batch must be images (n, C, H, W), got shape {images.shape}; a data set of single samples "
                "becomes batches in a DataLoader"
            )
        yield images


def _merge(best: dict[int, list[Patch]], maps: Tensor, images: Tensor, field: Field, first: int, k: int) -> None:
    """Let a batch, whose first image has the number `first`, compete with the best so far."""
    flat = maps.array.reshape(*maps.shape[:2], -1)
    values, places = to_numpy(flat.max(2)), to_numpy(flat.argmax(2))  # (n, units)
    for unit, patches in best.items():
        column = values[:, unit]
        if np.isnan(column).any():
            image = first + int(np.flatnonzero(np.isnan(column))[0])
            raise ValueError(f"top_patches: unit {unit} is nan for image {image}; did the training diverge?")
        for i in np.argsort(-column, kind="stable")[:k].tolist():
            value = float(column[i])
            if len(patches) == k and value <= patches[-1].value:
                break
            place = tuple(map(int, np.unravel_index(places[i, unit], maps.shape[2:]))) if maps.ndim == 4 else ()
            box = box_of(field, place, images.shape[2:])
            (top, bottom), (left, right) = box
            pixels = to_numpy(images.array[i, :, max(0, top) : max(0, bottom), max(0, left) : max(0, right)]).copy()
            at = next((j for j, other in enumerate(patches) if other.value < value), len(patches))
            patches.insert(at, Patch(value, first + i, place, box, pixels))
            del patches[k:]
