"""`microtensor saliency`: what in a photograph a network's answer depends on, by one method or several."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from .. import models
from ..autograd.backward import no_grad
from ..models.imagenet import classes, preprocessing
from ..nn import Module, init
from ..nn.inspect.activations import layer_of
from ..random import Generator
from ..runtime.text import kind_of, shape_text
from ..saliency.attribution import input_x_gradient, integrated_gradients, smooth_grad
from ..saliency.cam import grad_cam, guided_grad_cam
from ..saliency.gradient import gradient
from ..saliency.perturbation import occlusion, rise
from ..saliency.rectifiers import deconvnet, guided_backprop
from ..tensor import Tensor
from .options import at_least

METHODS = (
    "gradient",
    "input_x_gradient",
    "smooth_grad",
    "integrated_gradients",
    "guided_backprop",
    "deconvnet",
    "grad_cam",
    "guided_grad_cam",
    "occlusion",
    "rise",
)

SLOW = ("smooth_grad", "integrated_gradients", "occlusion", "rise")
"""Methods that ask the network dozens or hundreds of times."""

CAMS = ("grad_cam", "guided_grad_cam")
"""Methods that look at a layer."""


def add_command(commands: Any) -> None:
    """Describe the command to argparse."""
    saliency = commands.add_parser(
        "saliency",
        help="what in a photograph a network's answer depends on",
        description="Draw a photograph beside maps of what in it a network's answer depends on. Quick, one or two passes of "
        f"the network: {', '.join(name for name in METHODS if name not in SLOW)}. Slow, dozens or hundreds: {', '.join(SLOW)}.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    saliency.add_argument("image", type=Path, nargs="+", metavar="IMAGE", help="a picture that Pillow can read")
    saliency.add_argument("--model", default="efficientnet_lite0", metavar="NAME", help="one of those that `models` lists")
    saliency.add_argument("--weights", type=Path, required=True, metavar="FILE", help=".pth, .safetensors or .npz")
    saliency.add_argument(
        "--method",
        nargs="+",
        choices=(*METHODS, "all"),
        default=["gradient", "guided_backprop", "grad_cam"],
        metavar="METHOD",
        help="one or several, or all",
    )
    target_help = "the class to explain, a number or ImageNet's name; the likeliest if left out"
    saliency.add_argument("--target", metavar="CLASS", default=argparse.SUPPRESS, help=target_help)
    layer_help = "of Grad-CAM: a dotted name; the last one with maps if left out"
    saliency.add_argument("--layer", metavar="LAYER", default=argparse.SUPPRESS, help=layer_help)
    saliency.add_argument("--seed", type=at_least(0), default=0, help="of what is drawn: noise, masks")
    saliency.add_argument("--out", type=Path, default=Path("saliency.png"), metavar="FILE", help=".png, .svg or .pdf")
    saliency.set_defaults(run=_saliency)


def _saliency(options: argparse.Namespace) -> int:
    from .. import plot
    from ..plot.style import check_path

    plot.require()
    check_path(options.out)  # before the work rather than after it
    given = vars(options)
    methods = tuple(dict.fromkeys(METHODS if "all" in options.method else options.method))
    with init.skipped():
        model = models.build(options.model)
    if "layer" in given:
        if not any(name in CAMS for name in methods):
            raise ValueError(f"saliency: --layer is of {' and '.join(CAMS)}, and neither is asked for: --method grad_cam")
        layer_of("saliency", model, given["layer"])
    models.load_weights(model, options.weights)
    images = preprocessing(options.model)(*options.image)
    with model.evaluating(), no_grad():
        scores = model(images)
    if not isinstance(scores, Tensor) or scores.ndim != 2:
        what = f"numbers {shape_text(scores.shape)}" if isinstance(scores, Tensor) else kind_of(scores)
        raise ValueError(f"saliency: {options.model} gives {what} for pictures, not a score for each class")
    probabilities = scores.softmax(dim=1).numpy()
    count = probabilities.shape[1]
    chosen = np.full(len(images), _class(given["target"], count)) if "target" in given else probabilities.argmax(1)
    titles = [f"{_name(label, count)} {row[label]:.0%}" for label, row in zip(chosen.tolist(), probabilities)]
    for path, title in zip(options.image, titles):
        print(f"{path}: {title}")
    maps: dict[str, Any] = {}
    for name in methods:
        start = time.perf_counter()
        maps[name] = _map(name, model, images, chosen, given.get("layer"), options.seed)
        print(f"  {name}: {time.perf_counter() - start:.1f} s")
    plot.save(plot.saliency_methods(images, {_spoken(name): map for name, map in maps.items()}, titles), options.out)
    print(f"wrote {options.out}")
    return 0


def _map(name: str, model: Module, images: Tensor, target: Any, layer: str | None, seed: int) -> Tensor:
    """The maps of all images by one method, with settings for photographs."""
    generator, window = Generator(seed), max(1, images.shape[-1] * 3 // 14)  # 48 of 224 pixels
    if name == "smooth_grad":
        return smooth_grad(model, images, target, samples=25, generator=generator)
    if name == "integrated_gradients":
        return integrated_gradients(model, images, target, n_steps=25)
    if name == "grad_cam":
        return grad_cam(model, images, target, layer)
    if name == "guided_grad_cam":
        return guided_grad_cam(model, images, target, layer=layer)
    if name == "occlusion":
        return occlusion(model, images, target, window, max(1, window // 3))
    if name == "rise":
        return rise(model, images, target, samples=1000, generator=generator)
    quick = {
        "gradient": gradient,
        "input_x_gradient": input_x_gradient,
        "guided_backprop": guided_backprop,
        "deconvnet": deconvnet,
    }
    return quick[name](model, images, target)


def _spoken(name: str) -> str:
    """How a method is called above its picture."""
    special = {
        "input_x_gradient": "input × gradient",
        "smooth_grad": "SmoothGrad",
        "grad_cam": "Grad-CAM",
        "guided_grad_cam": "guided Grad-CAM",
        "rise": "RISE",
    }
    return special.get(name, name.replace("_", " "))


def _name(label: int, count: int) -> str:
    return classes()[label] if count == len(classes()) else f"class {label}"


def _class(text: str, count: int) -> int:
    """The number of a class that was given as a number or by its name in ImageNet."""
    if text.isdecimal() and int(text) < count:
        return int(text)
    if count == len(classes()) and text in classes():
        return classes().index(text)
    names = " or one of ImageNet's names" if count == len(classes()) else ""
    raise ValueError(f"saliency: --target must be a number from 0 to {count - 1}{names}, got {text!r}")
