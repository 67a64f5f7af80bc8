"""The sanity check of saliency methods: does a map depend on what the model has learned?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from .. import random
from ..runtime.arrays import to_device, to_numpy
from ..tensor import Tensor
from .explainer import Explainer, Target, check_map
from .gradient import gradient


class Stage(NamedTuple):
    """One stage of the sanity check."""

    layer: str
    """The dotted name of the layer whose weights were randomised in this stage, after all layers above it."""
    correlation: np.ndarray[Any, Any]
    """Spearman's rank correlation of each image's map with the original map: (N,), for a single image ()."""


def sanity_check(
    model: Any,
    x: Any,
    target: Target = None,
    method: Callable[..., Tensor] = gradient,
    generator: random.Generator | None = None,
) -> list[Stage]:
    """How similar a map stays while the weights are randomised layer by layer from the top: an explanation should change.

    Adebayo et al. 2018, "Sanity checks for saliency maps", section 3.1, arxiv.org/abs/1810.03292: cascading randomisation. A
    map that hardly changes shows the image, not what the model has learned. The elements of each weight tensor are shuffled,
    which keeps their scale; running statistics stay. The explained class is always that of the original model.

    Args:
        model: a Module, as in `gradient`. Its weights are restored afterwards, bit for bit, also after an error.
        x, target: as in `gradient`.
        method: model, images, classes → maps (N, H, W). With settings: `functools.partial(occlusion, window=4)`.
        generator: source of the random order; None: the default generator.

    Returns:
        A stage for each layer with weights, in the order in which the model calls them, the last first.

    Raises:
        TypeError: the model is not a Module; else as `gradient`.
        ValueError: it has no weights; a map has another shape or holds nan; else as `gradient`.

    >>> from microtensor import nn
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    >>> [stage.layer for stage in sanity_check(net, Tensor([[[1.0] * 4] * 4]), 0)]
    ['3', '0']
    """
    explainer = Explainer("sanity_check", model, x, target, warns=False)
    if not hasattr(model, "named_modules"):
        raise TypeError(f"saliency.sanity_check: the model must be a Module, got {type(model).__name__}")
    if not callable(method):
        raise TypeError(f"saliency.sanity_check: method must be a function such as saliency.gradient, got {method!r}")
    generator = random.default if generator is None else generator
    layers = _layers_as_called(explainer)
    if not layers:
        raise ValueError(f"saliency.sanity_check: {type(model).__name__} has no weights to randomise")
    images = explainer.images[0] if explainer.single else explainer.images
    classes = target if explainer.classes is None else explainer.classes

    def ranks() -> np.ndarray[Any, Any]:
        maps = to_numpy(check_map("sanity_check", explainer, method(model, images, classes)).array)
        return np.stack([_ranks(one) for one in maps.reshape(len(maps), int(np.prod(maps.shape[1:])))])

    original, stages = ranks(), []
    shuffled: set[int] = set()  # a weight that two layers share is shuffled once
    with _weights_restored(layers):
        for name, weights in reversed(layers):
            for weight in weights:
                if id(weight) not in shuffled:
                    shuffled.add(id(weight))
                    weight._data = _shuffled(weight, generator)
            correlation = _correlation(original, ranks())
            stages.append(Stage(name, correlation[0] if explainer.single else correlation))
    return stages


@contextmanager
def _weights_restored(layers: list[tuple[str, list[Any]]]) -> Iterator[None]:
    """At the end of the block, weights have their arrays back. Arrays are replaced inside, not overwritten: a graph or a
    state_dict that holds the old ones is not affected."""
    arrays = {id(weight): (weight, weight._data) for _, weights in layers for weight in weights}
    try:
        yield
    finally:
        for weight, array in arrays.values():
            weight._data = array


def _layers_as_called(explainer: Explainer) -> list[tuple[str, list[Any]]]:
    """Name and weights of each module that has weights, in the order of its first call. Also prepares the explainer."""
    names = {id(module): name for name, module in explainer.model.named_modules()}
    order: dict[int, tuple[str, list[Any]]] = {}

    def note(module: Any, args: Any) -> None:
        weights = list(module.parameters(recurse=False))
        if weights:
            order.setdefault(id(module), (names[id(module)], weights))

    handles = [module.register_forward_pre_hook(note) for module in list(explainer.model.modules())]
    try:
        with explainer:
            explainer.prepare()
    finally:
        for handle in handles:
            handle.remove()
    return list(order.values())


def _shuffled(weight: Any, generator: random.Generator) -> Any:
    """The elements of a weight in random order."""
    order = to_device(generator.permutation(weight.array.size), weight.device)
    return weight.array.reshape(-1)[order].reshape(weight.shape)


def _ranks(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The rank of each value; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def _correlation(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Pearson's correlation of each row of a with the same row of b: (N,). For a constant row, which has no order, it is 0."""
    a, b = (m - m.mean(axis=1, keepdims=True) for m in (a, b))
    both = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return (a * b).sum(axis=1) / np.where(both > 0, both, 1)
