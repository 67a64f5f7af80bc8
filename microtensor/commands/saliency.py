"""`microtensor saliency`: what in a photograph the score of a network depends on, by one method or several."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import models
from ..autograd.grad_mode import no_grad
from ..models.imagenet import classes, preprocessing
from ..nn import Module, init
from ..nn.inspect.layer_outputs import layer_of
from ..random import Generator
from ..runtime.text import kind_of, shape_text
from ..saliency.methods import METHODS
from ..tensor import Tensor
from .options import at_least

QUICK = 2
"""Images that pass through the network for one map by a quick method, at most."""


def add_command(commands: Any) -> None:
    """Add the command to argparse."""
    quick = ", ".join(name for name, method in METHODS.items() if method.cost <= QUICK)
    slow = ", ".join(f"{name} ({method.cost:,})" for name, method in METHODS.items() if method.cost > QUICK)
    saliency = commands.add_parser(
        "saliency",
        help="what in a photograph a network's answer depends on",
        description="Draw a photograph beside saliency maps: what in it the score of a class depends on. Quick, one or two "
        f"passes of the network for each photograph: {quick}. Slow, many passes: {slow}.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    saliency.add_argument("image", type=Path, nargs="+", metavar="IMAGE", help="an image file that Pillow can read")
    saliency.add_argument(
        "--model", default="efficientnet_lite0", metavar="NAME", help="a network listed by `microtensor models`"
    )
    saliency.add_argument(
        "--weights", type=Path, required=True, default=argparse.SUPPRESS, metavar="FILE", help=".pth, .safetensors or .npz"
    )
    saliency.add_argument(
        "--method",
        nargs="+",
        choices=(*METHODS, "all"),
        default=["gradient", "guided_backprop", "grad_cam"],
        metavar="METHOD",
        help="one or several, or all",
    )
    target_help = "the class to explain, a number or ImageNet's name; default: the most probable"
    saliency.add_argument("--target", metavar="CLASS", default=argparse.SUPPRESS, help=target_help)
    layer_help = "the layer of Grad-CAM, a dotted name; default: the last with feature maps"
    saliency.add_argument("--layer", metavar="LAYER", default=argparse.SUPPRESS, help=layer_help)
    saliency.add_argument("--seed", type=at_least(0), default=0, help="of random noise and masks")
    saliency.add_argument("--out", type=Path, default=Path("saliency.png"), metavar="FILE", help=".png, .svg or .pdf")
    saliency.set_defaults(run=_saliency)


def _saliency(options: argparse.Namespace) -> int:
    from .. import plot
    from ..plot.style import check_path

    plot.require()
    check_path(options.out)  # before the computation, not after it
    given = vars(options)
    methods = tuple(dict.fromkeys(METHODS if "all" in options.method else options.method))
    model = _network(options, methods)
    images = preprocessing(options.model)(*options.image)
    probabilities = _probabilities(options.model, model, images)
    count = probabilities.shape[1]
    chosen = np.full(len(images), _class(given["target"], count)) if "target" in given else probabilities.argmax(1)
    titles = [f"{_name(label, count)} {row[label]:.0%}" for label, row in zip(chosen.tolist(), probabilities)]
    for path, title in zip(options.image, titles):
        print(f"{path}: {title}")
    maps: dict[str, Any] = {}
    for name in methods:
        start = time.perf_counter()
        generator = Generator(options.seed)
        maps[METHODS[name].title] = METHODS[name].maps(model, images, chosen, given.get("layer"), generator)
        print(f"  {name}: {time.perf_counter() - start:.1f} s")
    plot.save(plot.saliency_methods(images, maps, titles), options.out)
    print(f"wrote {options.out}")
    return 0


def _network(options: argparse.Namespace, methods: Sequence[str]) -> Module:
    """The network with its weights; `--layer` is checked before the weights are read."""
    with init.skipped():
        model = models.build(options.model)
    if "layer" in options:
        layered = [name for name, method in METHODS.items() if method.needs_layer]
        if not any(name in layered for name in methods):
            raise ValueError(f"saliency: --layer is for {' and '.join(layered)}; choose one of them: --method {layered[0]}")
        layer_of("saliency", model, options.layer)
    return models.load_weights(model, options.weights)


def _probabilities(name: str, model: Module, images: Tensor) -> np.ndarray[Any, Any]:
    """The probability of each class for each image, (N, classes); a network without class scores is refused."""
    with model.evaluating(), no_grad():
        scores = model(images)
    if not isinstance(scores, Tensor) or scores.ndim != 2:
        what = f"a Tensor {shape_text(scores.shape)}" if isinstance(scores, Tensor) else kind_of(scores)
        raise ValueError(f"saliency: {name} returns {what} for images, not a score for each class")
    return scores.softmax(dim=1).numpy()


def _name(label: int, count: int) -> str:
    """The name of a class in ImageNet, or its index."""
    return classes()[label] if count == len(classes()) else f"class {label}"


def _class(text: str, count: int) -> int:
    """The index of a class that was given as an index or by its name in ImageNet."""
    if text.isdecimal() and int(text) < count:
        return int(text)
    if count == len(classes()) and text in classes():
        return classes().index(text)
    names = " or one of ImageNet's names" if count == len(classes()) else ""
    raise ValueError(f"saliency: --target must be a number from 0 to {count - 1}{names}, got {text!r}")
