"""Whether a method looks at what was learned at all: the sanity check by randomised weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import random
from ..runtime.arrays import to_device, to_numpy
from ..tensor import Tensor
from .explainer import Explainer, Target, check_map
from .gradient import gradient


class Stage(NamedTuple):
    """A stage of the sanity check."""

    layer: str
    """The dotted name of the layer whose weights were randomised last, after all those above it."""
    correlation: np.ndarray[Any, Any]
    """Spearman's rank correlation of each image's map with the original one: (N,), for one image ()."""


def sanity_check(
    model: Any,
    x: Any,
    target: Target = None,
    method: Callable[..., Tensor] = gradient,
    generator: random.Generator | None = None,
) -> list[Stage]:
    """How much of a map stays when the weights are randomised, layer by layer from the top: of an explanation, nothing should.

    Adebayo et al. 2018, "Sanity checks for saliency maps", section 3.1, arxiv.org/abs/1810.03292: cascading randomisation. A
    map that hardly changes shows the image, not what the model knows. The weights of a layer are put into random order, each
    tensor's among themselves, so that they keep their scale; running statistics stay. The class that is explained stays that of
    the model as it is.

    Args:
        model: a Module, as in `gradient`. Afterwards its weights are as before, bit for bit, also after an error.
        x, target: as in `gradient`.
        method: model, images, classes → maps (N, H, W). One with settings: `functools.partial(occlusion, window=4)`.
        generator: where the orders come from; None: the default generator.

    Returns:
        A stage for each layer with weights, as the model calls them, the last first.

    Raises:
        TypeError: the model has no modules; else as `gradient`.
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
    asked = explainer.images[0] if explainer.single else explainer.images
    chosen = target if explainer.classes is None else explainer.classes

    def ranks() -> np.ndarray[Any, Any]:
        map = check_map("sanity_check", explainer, method(model, asked, chosen))
        return np.stack(
            [
                _ranks(one)
                for one in to_numpy(map.array).reshape(len(explainer.images), int(np.prod(explainer.images.shape[2:])))
            ]
        )

    original, stages = ranks(), []
    # The arrays themselves are exchanged: nobody else who holds the old ones, a graph or a state_dict, notices.
    kept = {id(weight): (weight, weight._data) for _, weights in layers for weight in weights}
    done: set[int] = set()
    try:
        for name, weights in reversed(layers):
            for weight in weights:
                if id(weight) not in done:
                    done.add(id(weight))
                    weight._data = _shuffled(weight, generator)
            correlation = _correlation(original, ranks())
            stages.append(Stage(name, correlation[0] if explainer.single else correlation))
    finally:
        for weight, data in kept.values():
            weight._data = data
    return stages


def _layers_as_called(explainer: Explainer) -> list[tuple[str, list[Any]]]:
    """Name and weights of each module that has its own, in the order of its first call. Settles the explainer."""
    names = {id(module): name for name, module in explainer.model.named_modules()}
    order: dict[int, tuple[str, list[Any]]] = {}

    def note(module: Any, args: Any) -> None:
        weights = list(module.parameters(recurse=False))
        if weights:
            order.setdefault(id(module), (names[id(module)], weights))

    handles = [module.register_forward_pre_hook(note) for module in list(explainer.model.modules())]
    try:
        with explainer:
            explainer.settle()
    finally:
        for handle in handles:
            handle.remove()
    return list(order.values())


def _shuffled(weight: Any, generator: random.Generator) -> Any:
    """The same numbers in random order."""
    order = to_device(generator.permutation(weight.array.size), weight.device)
    return weight.array.reshape(-1)[order].reshape(weight.shape)


def _ranks(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The rank of each number; equal ones share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def _correlation(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Of each row of a with the same one of b: (N,). Of a constant map, which has no order, it is 0."""
    a, b = (m - m.mean(axis=1, keepdims=True) for m in (a, b))
    both = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return (a * b).sum(axis=1) / np.where(both > 0, both, 1)
