"""Published weights into a network: whatever file they are in, whatever is around them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from microtensor.nn.module import Module
from microtensor.state import load
from microtensor.tensor import Tensor

M = TypeVar("M", bound=Module)

WRAPPINGS = ("state_dict", "model_state_dict", "model", "net", "weights")
"""Under which of these keys training programs put the weights, when they save more than these."""

PREFIXES = ("module.", "_orig_mod.", "model.")
"""What wrappers of PyTorch's put before every name."""

OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.")
"""torchvision's published DenseNets have their names from before dots in names were forbidden: norm.1 for norm1."""


def load_weights(model: M, path: str | os.PathLike[str], strict: bool = True) -> M:
    """Load a file of weights into `model`, in place, and return the model.

    Takes torchvision's and others' `.pth`, `.safetensors` as timm and Hugging Face publish them, and our own `.npz`; also where
    the weights lie inside a checkpoint, or every name begins with `module.`. Names that a network had elsewhere are understood
    if its class says so in a method `renamed(state_dict)`, as EfficientNetLite does.

    Args:
        strict: refuse names that only one side has. The counters of batch normalisation, which old files lack, may be missing.

    Raises:
        ValueError: the file is damaged, holds no weights, or those of another network: one message lists every name and shape
            that does not fit, and nothing is loaded.
        OSError: there is no such file.
        ImportError: a `.safetensors` file, and the extra of that name is missing.

    >>> import os, tempfile
    >>> import microtensor as mt
    >>> from microtensor import models
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "lenet5.npz")
    ...     mt.save(path, {"state_dict": models.lenet5().state_dict(), "epoch": 20})
    ...     model = load_weights(models.lenet5(), path)
    """
    if not isinstance(model, Module):
        raise TypeError(f"load_weights: the model comes first, got {type(model).__name__}: load_weights(model, path)")
    state = _named_tensors(load(path), path)
    if hasattr(model, "renamed"):
        state = model.renamed(state)
    own = model.state_dict()
    counters = {name: own[name] for name in own if name.endswith("num_batches_tracked") and name not in state}
    try:
        model.load_state_dict({**state, **counters}, strict=strict)
    except ValueError as error:
        raise ValueError(f"load_weights: {path} holds the weights of another network: {error}") from error
    return model


def _named_tensors(tree: Any, path: object) -> dict[str, Tensor]:
    """The weights in what a file holds, under their plain names."""
    wrapped = next((tree[key] for key in WRAPPINGS if isinstance(tree, Mapping) and isinstance(tree.get(key), Mapping)), tree)
    state = {name: x for name, x in wrapped.items() if isinstance(x, Tensor)} if isinstance(wrapped, Mapping) else {}
    if not state or not all(isinstance(name, str) for name in state):
        keys = ", ".join(map(str, [*wrapped][:5])) if isinstance(wrapped, Mapping) else type(wrapped).__name__
        raise ValueError(f"load_weights: {path} holds no weights by name; it has {keys or 'nothing'}")
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): x for name, x in state.items()}
    return {OLD_DENSENET.sub(r"\1\2.", name): x for name, x in state.items()}
