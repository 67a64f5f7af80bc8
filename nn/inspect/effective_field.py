"""The effective receptive field: how strongly a unit depends on each pixel of its receptive field.

It is the magnitude of the gradient of the unit at each pixel. Many paths lead from the centre of the field to the unit and few
from its border, so that it is nearly a Gaussian, which covers a smaller fraction of the field the more layers there are: Luo,
Li, Urtasun & Zemel 2016, "Understanding the effective receptive field in deep convolutional neural networks",
arxiv.org/abs/1701.04128.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from microtensor.autograd.arguments import BYTES, is_number
from microtensor.autograd.backward import grad
from microtensor.autograd.grad_mode import enable_grad
from microtensor.autograd.graph import is_floating
from microtensor.random import Generator, randn
from microtensor.runtime.arrays import is_array, to_numpy
from microtensor.runtime.integers import as_integer, as_integers
from microtensor.runtime.text import kind_of
from microtensor.tensor import Tensor

from ..module import Module
from .layer_outputs import check_model, device_of, layer_of, output_of
from .receptive_field import Field, Fields, receptive_field, unknown_text

BATCH_ELEMENTS = 1 << 18
"""Elements of the images that `seen_pixels` computes at a time: 1 MiB in float32."""


class EffectiveField(NamedTuple):
    """The effective receptive field of one unit of a layer."""

    map: Tensor
    """(H, W): the magnitude of the gradient of the unit at each pixel, summed over channels, the mean over images."""
    field: Field
    """The (theoretical) receptive fields of the layer."""
    unit: tuple[int, ...]
    """Its position in the layer's feature map: (row, column)."""
    samples: int
    """The number of images."""

    @property
    def box(self) -> list[tuple[float, float]]:
        """The theoretical receptive field of the unit, as (from, to) along each axis, padding included."""
        return self.field.of(*self.unit)

    @property
    def center(self) -> tuple[float, ...]:
        """The centre of mass of the map, in pixels; pixel i lies between i and i + 1."""
        return tuple(float((p * (np.arange(p.size) + 0.5)).sum()) for p in self._profiles())

    @property
    def sigma(self) -> tuple[float, ...]:
        """The standard deviation of the mass of the map along each axis, in pixels. 0 for a single pixel."""
        profiles, middles = self._profiles(), self.center
        return tuple(math.sqrt(float((p * (np.arange(p.size) + 0.5 - c) ** 2).sum())) for p, c in zip(profiles, middles))

    def share(self, k: float = 2.0) -> float:
        """The fraction of the mass within k standard deviations: of the pixels whose middles lie in the ellipse around the
        centre with half-axes k · sigma. Of a Gaussian in two dimensions it is 1 − exp(−k² / 2): 39 %, 86 %, 99 % for 1, 2, 3.

        Raises:
            TypeError: k is no number.
            ValueError: it is negative, or nan.
        """
        if not is_number(k):
            raise TypeError(f"share: k must be a number of standard deviations, got {k!r}")
        if not k >= 0:
            raise ValueError(f"share: k must be 0 or more, got {k}")
        mass = self._mass()
        distance = np.zeros(mass.shape)
        for axis, (c, s) in enumerate(zip(self.center, self.sigma)):
            steps = (np.arange(mass.shape[axis]) + 0.5 - c) / max(s, 1e-6)  # s is 0 if all mass is in one row
            distance = distance + (steps**2).reshape([-1 if i == axis else 1 for i in range(mass.ndim)])
        within = distance <= (float(k) + 1e-6) ** 2  # 1e-6: rounding must not exclude the middle pixel
        return min(1.0, float(mass[within].sum()))

    def _mass(self) -> np.ndarray[Any, Any]:
        """The map on the host, divided by its sum."""
        magnitude = to_numpy(self.map.array).astype(np.float64)
        return magnitude / magnitude.sum()

    def _profiles(self) -> Iterator[np.ndarray[Any, Any]]:
        """The mass along each axis, summed over the others."""
        mass = self._mass()
        return (mass.sum(tuple(i for i in range(mass.ndim) if i != axis)) for axis in range(mass.ndim))


def effective_receptive_field(
    model: Any,
    input_shape: Any,
    layer: str | None = None,
    unit: Sequence[int] | None = None,
    channel: int | None = None,
    images: Any = None,
    samples: int = 20,
    generator: Generator | None = None,
) -> EffectiveField:
    """How strongly a unit depends on each pixel of the image: the mean of |d unit / d pixel| over images.

    Luo et al. 2016, section 3, arxiv.org/abs/1701.04128. With the present weights of the model, in eval mode; its modes are
    restored. Gradients of weights, and layers after this one, are not computed.

    Args:
        model: a Module.
        input_shape: of one image, without the batch axis: (3, 224, 224).
        layer: its dotted name; None: the last of the outermost modules whose output is a feature map of the image.
        unit: its position in the layer's feature map: (row, column); None: the one in the middle.
        channel: of the layer; None: the sum of all.
        images: (N, C, H, W), a Tensor or an array; None: random ones, normally distributed.
        samples: the number of random images.
        generator: for the random images; None: the default generator.

    Returns:
        An `EffectiveField`: `map`, the theoretical `box`, `sigma`, `share(k)`. `plot.effective_field` draws it.

    Raises:
        TypeError: `model` is no Module, `images` no floating-point Tensor or array, a number is no integer.
        ValueError: there is no such layer, unit or channel; the layer is called several times, or has no feature map; the
            images have another shape; no gradient reaches any image, or it is not finite.

    >>> from microtensor.nn import Conv2d, Sequential
    >>> net = Sequential(*[Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(4)])
    >>> for conv in net:
    ...     conv.weight.array[...] = 1
    >>> found = effective_receptive_field(net, (1, 15, 15), samples=1)
    >>> found.box, round(found.sigma[0] ** 2, 4)  # 4 layers, of variance (3² − 1) / 12 each: Luo et al., section 2.2
    ([(3.0, 12.0), (3.0, 12.0)], 2.6667)
    """
    who = "effective_receptive_field"
    field, place, shape = asked(who, model, input_shape, layer, unit)
    if channel is not None and as_integer(who, "channel", channel, least=0) >= (count := field.output_shape[0]):
        raise ValueError(f"{who}: layer {field.name!r} has the channels 0 to {count - 1}, got {channel}")
    module = layer_of(who, model, field.name)
    total: Any = None
    number = 0
    with model.evaluating():
        for x in _images(who, model, shape, images, samples, generator):
            (g,) = _gradient(who, model, module, field, x, (slice(None) if channel is None else channel, *place))
            magnitude = g.abs().sum(dim=(0, 1))
            total = magnitude if total is None else total + magnitude
            number += 1
    mean = total / number
    if not bool((mean.array < math.inf).all()):  # nan < inf is False
        raise ValueError(f"{who}: the gradient of layer {field.name!r} is not finite; did the training diverge?")
    if not bool((mean.array > 0).any()):
        raise ValueError(f"{who}: no gradient of unit {place} of layer {field.name!r} reaches any of the images: it is dead")
    return EffectiveField(mean, field, place, number)


def seen_pixels(model: Any, input_shape: Any, layer: str | None = None, unit: Sequence[int] | None = None) -> Tensor:
    """Which pixels a unit depends on, whatever the weights are, and by how many paths: 0 for pixels without any.

    With dilated kernels, or strides longer than kernels, receptive fields have holes ("gridding": Yu, Koltun & Funkhouser 2017,
    section 4, arxiv.org/abs/1705.09914; Wang et al. 2017, section 3.2, arxiv.org/abs/1702.08502).

    Computed with a copy of the model in which all weights are equal and positive, and one image per pixel of the field, which
    is 1 there and 0 elsewhere: so nothing cancels, each ReLU on a path is active, and each maximum depends on the pixel. As
    this is a forward and a backward pass per pixel, it is for small networks, of convolutions, linear layers, pooling,
    increasing activations such as ReLU, and normalisation in eval mode.

    Args:
        model, input_shape, layer, unit: as in `effective_receptive_field`.

    Returns:
        (H, W): the gradient of the unit at each pixel. Each weight is one over the number of a kernel's inputs, so that without
        padding the gradients of a purely convolutional unit add up to 1.

    Raises:
        TypeError, ValueError: as `effective_receptive_field`.

    >>> from microtensor.nn import Conv1d, Sequential
    >>> net = Sequential(Conv1d(1, 1, 2, dilation=2), Conv1d(1, 1, 2, dilation=2))
    >>> seen_pixels(net, (1, 5))
    Tensor([0.25, 0.  , 0.5 , 0.  , 0.25])
    """
    who = "seen_pixels"
    field, place, shape = asked(who, model, input_shape, layer, unit)
    uniform = _with_uniform_weights(model)
    module, sides = layer_of(who, uniform, field.name), shape[1:]
    corners = [(max(0, math.floor(low)), min(n, math.ceil(high))) for (low, high), n in zip(field.of(*place), sides)]
    pixels = np.stack(np.meshgrid(*(np.arange(*corner) for corner in corners), indexing="ij"), -1).reshape(-1, len(sides))
    batch = max(1, BATCH_ELEMENTS // math.prod(shape))
    dtype = next((p.dtype for p in uniform.parameters()), np.dtype(np.float32))
    result = np.zeros(sides, dtype)
    with uniform.evaluating():
        for start in range(0, len(pixels), batch):
            some = pixels[start : start + batch]
            images = np.zeros((len(some), *shape), dtype)
            here = (np.arange(len(some)), slice(None), *some.T)
            images[here] = 1
            x = Tensor(images, device=device_of(uniform))
            (g,) = _gradient(who, uniform, module, field, x, (slice(None), *place))
            result[tuple(some.T)] = to_numpy(g.array)[here].sum(1)
    return Tensor(result, device=device_of(uniform))


def asked(
    who: str, model: Any, input_shape: Any, layer: str | None, unit: Sequence[int] | None
) -> tuple[Field, tuple[int, ...], tuple[int, ...]]:
    """The fields of the layer, the position of the unit, and the shape of an image, for these arguments."""
    check_model(who, model)
    if layer is not None:
        layer_of(who, model, layer)
    if isinstance(input_shape, list) and any(isinstance(part, (tuple, list)) for part in input_shape):
        raise ValueError(f"{who}: expected the shape of one image, such as (3, 224, 224), got several: {input_shape}")
    fields = receptive_field(model, input_shape)
    shape = as_integers(who, "input_shape", input_shape, least=1)
    rows = [row for row in fields if row.name == layer] if layer is not None else _outermost(fields)
    if len(rows) != 1:
        what = f"layer {layer!r}" if layer is not None else "layer whose units have places in the image"
        how = f"calls its {what} {len(rows)} times: ask for one that is called once" if rows else f"calls no {what}"
        raise ValueError(f"{who}: {type(model).__name__} {how}")
    (field,) = rows
    if field.unknown:
        raise ValueError(f"{who}: what the units of layer {field.name!r} see is {unknown_text(field.unknown)}")
    if not _has_places(field):
        raise ValueError(
            f"{who}: the units of layer {field.name!r}, of output {field.output_shape}, have no places in the image"
        )
    places = field.output_shape[1:]
    if unit is None:
        return field, tuple(n // 2 for n in places), shape
    place = as_integers(who, "unit", unit, least=0)
    if len(place) != len(places) or any(i >= n for i, n in zip(place, places)):
        raise ValueError(f"{who}: layer {field.name!r} has units up to {tuple(n - 1 for n in places)}, got {tuple(place)}")
    return field, place, shape


def _has_places(row: Field) -> bool:
    """Whether the output of a layer is a feature map (C, H', W') along the axes of the image."""
    shape = row.output_shape
    one_tensor = isinstance(shape, tuple) and all(isinstance(n, int) for n in shape)
    jump = row.jump or ()
    along = {*row.axes} == {*range(2, 2 + len(jump))}  # channels come first
    return one_tensor and len(jump) > 0 and None not in jump and len(shape) == 1 + len(jump) and along


def _outermost(fields: Fields) -> list[Field]:
    """The last of the outermost modules whose output is a feature map."""
    rows = [row for row in fields if _has_places(row)]
    top = min((row.depth for row in rows), default=0)
    return [row for row in rows if row.depth == top][-1:]


def _images(
    who: str, model: Module, shape: tuple[int, ...], images: Any, samples: int, generator: Generator | None
) -> Iterator[Tensor]:
    """The images one by one, (1, C, H, W), in the dtype and on the device of the model."""
    usual = next((p.dtype for p in model.parameters() if is_floating(p.dtype)), np.dtype(np.float32))
    device = device_of(model)
    if images is None:
        count = as_integer(who, "samples", samples, least=1)
        return (randn(1, *shape, generator=generator, dtype=usual, device=device) for _ in range(count))
    if not isinstance(images, Tensor) and not is_array(images):
        raise TypeError(f"{who}: images must be a Tensor or an array, got {kind_of(images)}; wrap it: Tensor(...)")
    if not is_floating(images.dtype):
        hint = BYTES if images.dtype == np.uint8 else "use .to('float32')"
        raise TypeError(f"{who}: images must be floating point, got {images.dtype}; {hint}")
    if images.shape[1:] != shape or not images.shape[0]:
        raise ValueError(f"{who}: images must be (N, {', '.join(map(str, shape))}) as input_shape has it, got {images.shape}")
    batch = (images.detach() if isinstance(images, Tensor) else Tensor(images)).to(usual)
    batch = batch if device is None else batch.to(device)
    return (batch[i : i + 1] for i in range(batch.shape[0]))


def _gradient(who: str, model: Module, module: Module, field: Field, x: Tensor, where: Any) -> tuple[Any, ...]:
    """The gradient at the image of the sum of the units at the index `where` of the layer's output."""
    leaf = x.detach().requires_grad_()
    with enable_grad():
        y = output_of(model, module, leaf)
        score = y[(slice(None), *where)].sum()
    if not score.requires_grad:
        raise ValueError(f"{who}: layer {field.name!r} does not depend on the image in a way that has a gradient")
    return grad(score, leaf)


def _with_uniform_weights(model: Module) -> Module:
    """A copy in which each weight is one over the number of the kernel's inputs, and normalisation is the identity."""
    uniform = copy.deepcopy(model)
    for name, p in uniform.named_parameters():
        bias = name.rpartition(".")[2].startswith("bias")
        p.array[...] = 1 / math.prod(p.shape[1:]) if p.ndim > 1 else 0 if bias else 1
    for name, x in uniform.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            x.array[...] = 1 if name.endswith("var") else 0
    return uniform
