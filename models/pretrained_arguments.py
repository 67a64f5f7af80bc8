"""torchvision's arguments for pretrained weights, such as `weights=`: an error explains how to load weights here."""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from microtensor.nn.module import Module

P = ParamSpec("P")
M = TypeVar("M", bound=Module)

PRETRAINED_ARGUMENTS = ("weights", "pretrained", "weights_backbone", "pretrained_backbone")
"""Arguments of torchvision and timm that request weights. With None or False they request none, and are accepted, so that
such code runs unchanged."""

IN_TORCHVISION = re.compile(
    r"alexnet|vgg\d+(_bn)?|resnet\d+|resnext\d+_32x\dd|wide_resnet\d+_2|densenet\d+|googlenet|inception_v3|mobilenet_v2"
    r"|shufflenet_v2_x\d_\d|squeezenet1_\d"
)
"""Networks that torchvision has under the same names."""

SETTINGS = {"googlenet": "aux_logits=False, transform_input=True", "inception_v3": "transform_input=True"}
"""Options that torchvision's weights need; its factories set them when they load weights."""


def explain_pretrained(factory: Callable[P, M]) -> Callable[P, M]:
    """Wrap a factory so that it accepts `weights=None` and `pretrained=False`, and explains what to write for other values.

    Raises:
        TypeError: (when called) weights are requested, by keyword or in place of the number of classes.
    """

    of_classes = next(iter(inspect.signature(factory).parameters), "") == "num_classes"  # torchvision's 1st is `weights`

    @functools.wraps(factory)
    def make(*args: P.args, **options: P.kwargs) -> M:
        asked = {name: options.pop(name) for name in PRETRAINED_ARGUMENTS if name in options}
        for name, value in asked.items():
            if value is not None and value is not False:
                raise TypeError(how_to_load(factory.__name__, f"{name}={_brief(value)}", value))
        if args and of_classes and (isinstance(args[0], (bool, str, os.PathLike)) or hasattr(args[0], "get_state_dict")):
            raise TypeError(how_to_load(factory.__name__, _brief(args[0]), args[0]))
        if asked:
            options.pop("progress", None)  # torchvision's progress bar of the download
        return factory(*args, **options)

    return make


def how_to_load(name: str, asked: str, value: Any = None) -> str:
    """An error message with what to write instead of `name(asked)`."""
    path = str(value) if isinstance(value, (str, os.PathLike)) else ""
    if os.path.splitext(path)[1] and not path.startswith("http"):
        return _message(name, asked, path)
    segmentation = ".segmentation" if name.startswith("fcn_resnet") else ""
    if not segmentation and not IN_TORCHVISION.fullmatch(name):
        return _message(name, asked, f"{name}.pth")
    write = f"torch.save(torchvision.models{segmentation}.{name}(weights='DEFAULT').state_dict(), '{name}.pth')"
    return f"{_message(name, asked, f'{name}.pth')}. To create it, where torchvision is installed: {write}"


def _message(name: str, asked: str, file: str) -> str:
    load = f"models.load_weights(models.{name}({SETTINGS.get(name, '')}), {file!r})"
    return f"{name}: {asked} asks for weights, which are not downloaded here; load them from a file: {load}"


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
