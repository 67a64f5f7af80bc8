"""Networks asked for as one asks torchvision for them, with weights that it would download: what to write instead."""

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

ASKING = ("weights", "pretrained", "weights_backbone", "pretrained_backbone")
"""torchvision's and timm's arguments that ask for weights. `weights=None` and `pretrained=False` ask for none, which is what is
made here anyway; so they are taken, and code that has them runs as it is."""

TORCHVISIONS = re.compile(
    r"alexnet|vgg\d+(_bn)?|resnet\d+|resnext\d+_32x\dd|wide_resnet\d+_2|densenet\d+|googlenet|inception_v3|mobilenet_v2"
    r"|shufflenet_v2_x\d_\d|squeezenet1_\d"
)
"""The networks that torchvision has under the same names."""

SETTINGS = {"googlenet": "aux_logits=False, transform_input=True", "inception_v3": "transform_input=True"}
"""What torchvision's weights need, and its factories set by themselves."""


def answers(factory: Callable[P, M]) -> Callable[P, M]:
    """The same factory, which also takes `weights=None` and `pretrained=False`, and says what to write in place of others.

    Raises:
        TypeError: weights are asked for, by name or in place of the number of classes.
    """

    of_classes = next(iter(inspect.signature(factory).parameters), "") == "num_classes"  # where torchvision has weights

    @functools.wraps(factory)
    def make(*args: P.args, **options: P.kwargs) -> M:
        asked = {name: options.pop(name) for name in ASKING if name in options}
        for name, value in asked.items():
            if value is not None and value is not False:
                raise TypeError(instead(factory.__name__, f"{name}={_brief(value)}", value))
        if args and of_classes and (isinstance(args[0], (bool, str, os.PathLike)) or hasattr(args[0], "get_state_dict")):
            raise TypeError(instead(factory.__name__, _brief(args[0]), args[0]))
        if asked:
            options.pop("progress", None)  # of a download
        return factory(*args, **options)

    return make


def instead(name: str, asked: str, value: Any = None) -> str:
    """What to write instead of `name(asked)`."""
    path = str(value) if isinstance(value, (str, os.PathLike)) else ""
    if os.path.splitext(path)[1] and not path.startswith("http"):
        return _said(name, asked, path)
    segmentation = ".segmentation" if name.startswith("fcn_resnet") else ""
    if not segmentation and not TORCHVISIONS.fullmatch(name):
        return _said(name, asked, f"{name}.pth")
    write = f"torch.save(torchvision.models{segmentation}.{name}(weights='DEFAULT').state_dict(), '{name}.pth')"
    return f"{_said(name, asked, f'{name}.pth')}. Where torchvision is installed, this writes one: {write}"


def _said(name: str, asked: str, file: str) -> str:
    load = f"models.load_weights(models.{name}({SETTINGS.get(name, '')}), {file!r})"
    return f"{name}: {asked} asks for weights, which are not downloaded here; load them from a file: {load}"


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
