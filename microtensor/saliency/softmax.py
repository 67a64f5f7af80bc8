"""Models that end in softmax: how they are recognised, and how their logits are had all the same.

The probability of a class also rises where the logits of the others fall, and hardly changes at all where it is near 1: its
gradient shows both, and fades (Simonyan et al. 2013, section 2). Maps of what speaks for a class are asked of its logit.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from ..autograd.backward import same
from ..autograd.graph import Node, mode
from ..ops.elementwise import cast, clone, move
from ..ops.shape import permute, reshape
from ..ops.smooth_activations import sigmoid
from ..ops.softmax import log_softmax, softmax
from ..tensor import Tensor

HERE = os.path.join(os.path.dirname(__file__), "")

MOVING = frozenset((same, clone, cast, move, reshape, permute))
"""Operations after which probabilities are still probabilities."""


def ends_in_softmax(scores: Tensor) -> bool:
    """Whether scores (N, classes) come from a softmax: their graph's last operation is one, or the numbers say so."""
    origin = scores.origin
    while origin is not None and origin.op is not None and origin.op in MOVING and origin.sources:
        origin = origin.sources[0][0]
    if origin is not None and (origin.op is softmax or origin.op is log_softmax):
        return True
    return are_probabilities(scores)


def are_probabilities(scores: Tensor) -> bool:
    """Whether scores (N, classes) are positive and sum to 1 in each row, as far as their dtype can tell.

    >>> are_probabilities(Tensor([[0.5, 0.5]])), are_probabilities(Tensor([[0.5, 0.6]]))
    (True, False)
    """
    if scores.ndim != 2 or scores.shape[1] < 2 or not len(scores):
        return False
    numbers = scores.detach()
    near = 1e-2 if numbers.dtype.itemsize == 2 else 1e-5
    return bool((numbers >= 0).all()) and bool(((numbers.sum(dim=1) - 1).abs() < near).all())


def before_softmax(model: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The logits of a model that ends in softmax, or in log_softmax: a function images → what went into it.

    >>> from microtensor import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.Softmax(1))
    >>> before_softmax(model)(Tensor([[[[1.0, 3.0]]]]))
    Tensor([[1., 3.]])

    Raises (when it is called):
        ValueError: the model's result is not that of a softmax.
    """
    return Logits(model)


class Logits:
    """What `before_softmax` gives: to be called as the model is. Its `modules` are the model's."""

    def __init__(self, model: Any) -> None:
        if not callable(model):
            raise TypeError(f"saliency.before_softmax: the model must be callable, images → scores, got {type(model).__name__}")
        self.model = model
        for name in ("modules", "named_modules", "get_submodule"):
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))

    def __call__(self, images: Tensor) -> Tensor:
        """The model's logits for images (N, C, H, W)."""
        logits = _before_last(self.model, images, (softmax, log_softmax))
        if logits is None:
            raise ValueError("saliency.before_softmax: the model does not end in softmax; take it as it is")
        return logits


def ends_in_sigmoid(model: Callable[[Tensor], Tensor], images: Tensor) -> bool:
    """Whether what the model returns for these images comes from a sigmoid.

    >>> from microtensor import nn
    >>> ends_in_sigmoid(nn.Sequential(nn.Flatten(), nn.Sigmoid()), Tensor([[[[0.5]]]]))
    True
    """
    return _before_last(model, images, (sigmoid,)) is not None


def _before_last(model: Callable[[Tensor], Tensor], images: Tensor, operations: Sequence[Any]) -> Tensor | None:
    """What went into the last operation of model(images), if that is one of these; else None."""
    last: list[Any] = []

    def observe(operation: Any, inputs: Sequence[Any], settings: dict[str, Any], result: Node) -> None:
        if operation in operations:
            last[:] = [inputs[0], result]
        elif last and operation in MOVING and inputs[0] is last[1]:
            last[1] = result

    before = mode.observers
    mode.observers = (*before, observe)
    try:
        scores = model(images)
    finally:
        mode.observers = before
    return last[0] if last and scores is last[1] else None


def warn(message: str) -> None:
    """A warning at the line that called the package."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(HERE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
