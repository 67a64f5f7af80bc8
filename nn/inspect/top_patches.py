"""The image patches with the highest activations of a unit."""

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
from .layer_outputs import check_model, device_of, inference, layer_of, output_of
from .receptive_field import Field, receptive_field

Box: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
"""(top, bottom), (left, right), in pixels from the upper left corner of the image; the lower and right borders are outside."""


class Patch(NamedTuple):
    """The receptive field of a unit in an image, and the activation of the unit."""

    value: float
    """The activation."""
    image: int
    """The index of the image in the data."""
    place: tuple[int, ...]
    """The position in the layer's feature map: (row, column); () for a layer without feature maps."""
    box: Box
    """The unit's receptive field, padding included: it may extend beyond the image."""
    pixels: NDArray[Any]
    """(C, h, w): the part of the box inside the image, on the host."""

    @property
    def inside(self) -> Box:
        """The part of the box inside the image: where `pixels` are."""
        (top, _), (left, _) = self.box
        (top, left), (height, width) = (max(0, top), max(0, left)), self.pixels.shape[1:]
        return (top, top + height), (left, left + width)


def top_patches(
    model: Any, data: Any, layer: str, units: int | Sequence[int] | None = None, k: int = 9, batch_size: int = 64
) -> dict[int, list[Patch]]:
    """For each unit of a layer, the k image patches with its highest activations: its receptive field at that position.

    Zeiler and Fergus 2013, section 4, arxiv.org/abs/1311.2901. An image counts once per unit, with the first maximum of its
    feature map: so the k patches are from k images. The data is iterated over once, and only the patches are kept:
    units · k · pixels of the field. Layers after this one are not computed.

    Args:
        model: a Module that takes images (N, C, H, W). It is called in eval mode, and its modes are restored.
        data: images (N, C, H, W), a tensor or an array; or batches of them, with or without labels, all of one size, such as a
            `DataLoader` without shuffling: images are numbered in the order in which they come.
        layer: its dotted name. Its output is feature maps (N, units, H', W'), or (N, units) of a linear layer.
        units: one or several; None: all.
        k: patches per unit; fewer if there are fewer images.
        batch_size: images per call of the model, if `data` is not batches.

    Returns:
        Unit → its patches, the highest activation first; of equal ones, that of the earlier image.

    Raises:
        TypeError: `model` is no Module, `data` has something else than floating-point images, a number is no integer.
        ValueError: there is no such layer or unit, or no image; the layer is called several times, so that its units have
            several fields; its output is another; an activation is nan; images have several sizes; k or batch_size is below 1.

    >>> from microtensor.nn import Conv2d, Sequential
    >>> net = Sequential(Conv2d(1, 1, 2, bias=False))
    >>> net[0].weight.array[...] = 1
    >>> image = Tensor(np.arange(9.0, dtype=np.float32).reshape(1, 1, 3, 3))
    >>> (patch,) = top_patches(net, image, "0")[0]
    >>> patch.value, patch.place, patch.box, patch.pixels[0].tolist()
    (24.0, (1, 1), ((1, 3), (1, 3)), [[4.0, 5.0], [7.0, 8.0]])
    """
    who = "top_patches"
    check_model(who, model)
    k, batch_size = as_integer(who, "k", k, least=1), as_integer(who, "batch_size", batch_size, least=1)
    module = layer_of(who, model, layer)
    chosen = None if units is None else as_integers(who, "units", units, least=0)
    best: dict[int, list[Patch]] = {}
    field: Field | None = None
    shape: tuple[int, ...] = ()
    count = 0
    with inference(model):
        for images in _batches(data, batch_size):
            if field is None:
                shape = images.shape[1:]
                field = field_of(who, model, layer, shape, images.dtype)
            if images.shape[1:] != shape:
                raise ValueError(f"{who}: images must be of one size: the first are {shape}, then came {images.shape[1:]}")
            device = device_of(model)
            output = output_of(model, module, images if device is None else images.to(device))
            maps = check_maps(who, layer, output, images)
            if not best:
                best = {unit: [] for unit in check_units(who, layer, chosen, maps.shape[1])}
            _merge(best, maps, images, field, count, k)
            count += images.shape[0]
    if not count:
        raise ValueError("top_patches: there are no images in the data")
    return best


def field_of(who: str, model: Module, layer: str, shape: tuple[int, ...], dtype: Any = None) -> Field:
    """The receptive fields of a layer for images of this shape (C, H, W).

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
    """The receptive field of the unit at a position, in an image of this size; the whole image if it has no position."""
    if not place:
        return (0, size[0]), (0, size[1])
    (top, bottom), (left, right) = ((math.floor(low), math.ceil(high)) for low, high in field.of(*place))
    return (top, bottom), (left, right)


def check_maps(who: str, layer: str, maps: Any, images: Tensor) -> Tensor:
    """The output of a layer, if it is (N, units, H', W') or (N, units).

    Raises:
        ValueError: it is not.
    """
    if not isinstance(maps, Tensor) or maps.ndim not in (2, 4) or maps.shape[0] != images.shape[0] or 0 in maps.shape:
        given = maps.shape if isinstance(maps, Node) else kind_of(maps)
        raise ValueError(f"{who}: layer {layer!r} must give maps (N, units, H, W) or numbers (N, units), it gave {given}")
    return maps


def check_units(who: str, layer: str, units: Sequence[int] | None, count: int) -> list[int]:
    """The units, without duplicates; all `count` of the layer if None.

    Raises:
        ValueError: the layer has no such unit.
    """
    for unit in units or ():
        if unit >= count:
            raise ValueError(f"{who}: layer {layer!r} has the units 0 to {count - 1}, got {unit}")
    return list(range(count)) if units is None else list(dict.fromkeys(units))


def _batches(data: Any, batch_size: int) -> Iterator[Tensor]:
    """The data as batches of floating-point images (n, C, H, W)."""
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
    """Add the patches of a batch, whose first image has the index `first`, to the best so far."""
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
