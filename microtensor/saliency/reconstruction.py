"""Deconvolution: which pattern in the image activated a unit, reconstructed by passing its activation back to the pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from ..autograd.backward import grad
from ..autograd.grad_mode import enable_grad
from ..autograd.graph import Node
from ..nn.inspect.layer_outputs import check_model, layer_of, output_of
from ..nn.inspect.top_patches import check_maps, check_units
from ..nn.layers.response_norm import LocalResponseNorm
from ..ops.join import stack
from ..runtime.arrays import is_array, to_numpy
from ..runtime.integers import as_integers
from ..runtime.text import kind_of
from ..tensor import Tensor
from .explainer import Explainer
from .rectifiers import relu_rule


def reconstruct(model: Any, x: Any, layer: str, unit: int | Sequence[int], place: Any = None) -> Tensor:
    """The pattern in each image that activated a unit: its strongest activation, projected back to the pixels by a deconvnet.

    Zeiler and Fergus 2013, "Visualizing and understanding convolutional networks", section 2.1, arxiv.org/abs/1311.2901: all
    other activations of the layer are set to 0, and the rest passes backward through the layers. Max pooling puts values back
    where its maxima were (switches), a ReLU passes positive values, a convolution is transposed, without its bias. Max pooling
    and convolution do what their gradients do; the ReLU follows the rule "deconvnet" of `relu_rule`. The paper's network has no
    layer that inverts response normalisation: values pass a `LocalResponseNorm` unchanged.

    For a linear network with one unit, the result is the unit's filter, in pixels, times its activation.

    Args:
        model: a Module. It runs in eval mode, up to the layer; its modes are restored afterwards.
        x: floating-point images (N, C, H, W) or a single image (C, H, W), a Tensor or an array.
        layer: its dotted name. It returns feature maps (N, units, H', W') or values (N, units); if it is called several times,
            its first call is used. Choose the ReLU after a convolution: only positive activations count.
        unit: the channel, one for all images or one for each.
        place: (row, column) in the unit's feature map, one for all images or one for each; None: its maximum.

    Returns:
        A Tensor without a graph, of the shape, dtype and device of x, signed, in units of activation times the weights on the
        way back.

    Raises:
        TypeError: model, x, layer, unit or place has the wrong type.
        ValueError: there is no such layer, unit or place; the layer is not called, returns no feature maps, or does not depend
            on x.

    >>> from microtensor.nn import Conv2d, Sequential
    >>> net = Sequential(Conv2d(1, 1, (1, 2), bias=False))
    >>> net[0].weight.array[...] = [[3.0, -1.0]]
    >>> reconstruct(net, Tensor([[[0.0, 2.0, 0.0]]]), "0", 0)  # the activation 6, times the kernel, at its window
    Tensor([[[ 0., 18., -6.]]])
    """
    check_model("saliency.reconstruct", model)
    module = layer_of("saliency.reconstruct", model, layer)
    explainer = Explainer("reconstruct", model, x)
    with explainer, enable_grad(), ExitStack() as hooks:
        for normalisation in model.modules():
            if isinstance(normalisation, LocalResponseNorm):
                hooks.enter_context(normalisation.register_full_backward_hook(_pass_unchanged))
        leaf = explainer.images.requires_grad_()
        maps = output_of(model, module, leaf)
        if maps is None:
            raise ValueError(f"saliency.reconstruct: the model does not call its layer {layer!r}")
        maps = check_maps("saliency.reconstruct", layer, maps, leaf)
        if not maps.requires_grad:
            raise ValueError(f"saliency.reconstruct: the output of the layer {layer!r} does not depend on x")
        seed = _seed(maps.detach(), layer, unit, place)
        with relu_rule("deconvnet"):
            (pixels,) = grad(maps, leaf, seed, allow_unused=True)
    if pixels is None:
        raise ValueError(f"saliency.reconstruct: the output of the layer {layer!r} does not depend on x")
    return explainer.like_x(pixels.clone())


def reconstruct_patches(
    model: Any, images: Any, layer: str, patches: Mapping[int, Sequence[Any]]
) -> dict[int, list[np.ndarray[Any, Any]]]:
    """`reconstruct` for the patches that activate units most, each cropped as its patch is: figure 2 of Zeiler and Fergus.

    Args:
        model, layer: as passed to `nn.top_patches`.
        images: the images passed to `nn.top_patches`, in the same order: a Tensor or an array (N, C, H, W), or a data set whose
            samples are images or begin with one.
        patches: the result of `nn.top_patches`.

    Returns:
        For each unit, for each of its patches, an array (C, h, w) on the host, for `plot.patches`.

    Raises:
        TypeError, ValueError: as `reconstruct`; or `patches` is empty, or `images` are not those that the patches come from.

    >>> from microtensor.nn import Conv2d, Sequential, top_patches
    >>> net, images = Sequential(Conv2d(1, 2, 3)), Tensor(np.zeros((4, 1, 5, 5), np.float32))
    >>> found = reconstruct_patches(net, images, "0", top_patches(net, images, "0", k=3))
    >>> [(unit, len(row), row[0].shape) for unit, row in found.items()]
    [(0, 3, (1, 3, 3)), (1, 3, (1, 3, 3))]
    """
    if not isinstance(patches, Mapping):
        raise TypeError(
            f"saliency.reconstruct_patches: patches must be the result of nn.top_patches, a dict, got {kind_of(patches)}"
        )
    found: dict[int, list[np.ndarray[Any, Any]]] = {}
    for unit, row in patches.items():
        if not row or not all(hasattr(patch, "inside") for patch in row):
            raise TypeError(f"saliency.reconstruct_patches: unit {unit} must have a list of patches, got {row!r:.80}")
        batch = stack([_image(images, patch) for patch in row])
        places = [patch.place for patch in row]
        pixels = to_numpy(reconstruct(model, batch, layer, unit, places if places[0] else None).array)
        found[unit] = [
            one[:, top:bottom, left:right] for one, ((top, bottom), (left, right)) in zip(pixels, (p.inside for p in row))
        ]
    return found


def _image(images: Any, patch: Any) -> Tensor:
    """The image (C, H, W) that a patch was cropped from."""
    try:
        sample = images[patch.image]
    except (IndexError, TypeError, KeyError):
        raise ValueError(
            f"saliency.reconstruct_patches: images must be those that the patches come from; there is no image "
            f"{patch.image} in {kind_of(images)}"
        ) from None
    image = sample[0] if isinstance(sample, (tuple, list)) else sample
    if not isinstance(image, Node) and not is_array(image):
        raise TypeError(f"saliency.reconstruct_patches: image {patch.image} must be a Tensor or an array, got {kind_of(image)}")
    image = Tensor(image)
    (top, bottom), (left, right) = patch.inside
    if image.ndim != 3 or not np.array_equal(to_numpy(image.array[:, top:bottom, left:right]), patch.pixels):
        raise ValueError(
            f"saliency.reconstruct_patches: image {patch.image} is not the one that the patch comes from; pass the images in "
            "the order in which nn.top_patches had them"
        )
    return image


def _pass_unchanged(module: Any, grad_input: Any, grad_output: Any) -> Any:
    """A backward hook: the gradient passes the module unchanged."""
    return grad_output


def _seed(maps: Tensor, layer: str, unit: Any, place: Any) -> Tensor:
    """The layer's output with all activations set to 0 except one per image."""
    xp, count = maps.xp, maps.shape[0]
    units = as_integers("saliency.reconstruct", "unit", unit, least=0)
    check_units("saliency.reconstruct", layer, units, maps.shape[1])
    if len(units) not in (1, count):
        raise ValueError(f"saliency.reconstruct: unit must be one, or one for each of {count} images, got {len(units)}")
    rows, chosen = xp.arange(count), xp.asarray(np.resize(np.array(units), count))
    flat = maps.array.reshape(count, maps.shape[1], -1)
    planes = flat[rows, chosen]  # (N, places)
    at = planes.argmax(1) if place is None else xp.asarray(_places(place, count, maps.shape[2:]))
    seed = xp.zeros(flat.shape, flat.dtype)
    seed[rows, chosen, at] = planes[rows, at]
    return Tensor(seed.reshape(maps.shape))


def _places(place: Any, count: int, size: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """(row, column) of each image, or one for all → row · W' + column (N,)."""
    single = isinstance(place, (tuple, list)) and not any(isinstance(part, (tuple, list)) for part in place)
    listed = [place] * count if single else place
    if not isinstance(listed, (tuple, list)) or not all(isinstance(one, (tuple, list)) for one in listed):
        raise TypeError(f"saliency.reconstruct: place must be (row, column), or one for each image, got {place!r}")
    found = [as_integers("saliency.reconstruct", "place", one, least=0) for one in listed]
    if len(found) != count or any(len(one) != len(size) or any(i >= n for i, n in zip(one, size)) for one in found):
        raise ValueError(f"saliency.reconstruct: for {count} images and maps {size}, a place does not fit: {place!r}")
    return np.array([np.ravel_multi_index(one, size) if size else 0 for one in found])
