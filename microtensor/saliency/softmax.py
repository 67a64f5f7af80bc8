"""Models that end in softmax: detecting them, and finding their logits.

The probability of a class also rises when the logits of other classes fall, and hardly changes where it is near 1: its gradient
mixes the classes, and vanishes (Simonyan et al. 2013, section 2). So a class is explained by its logit.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from ..autograd.backward import same
from ..autograd.graph import Node
from ..autograd.observers import Observer, observing
from ..ops.elementwise import cast, clone, move
from ..ops.shape import permute, reshape
from ..ops.smooth_activations import sigmoid
from ..ops.softmax import log_softmax, softmax
from ..tensor import Tensor

HERE = os.path.join(os.path.dirname(__file__), "")

MOVING = frozenset((same, clone, cast, move, reshape, permute))
"""Operations that only copy, convert or rearrange: their result still holds probabilities."""


def ends_in_softmax(scores: Tensor) -> bool:
    """Whether scores (N, classes) come from a softmax: by the last operation of their graph, or by their values."""
    origin = scores.origin
    while origin is not None and origin.op is not None and origin.op in MOVING and origin.sources:
        origin = origin.sources[0][0]
    if origin is not None and (origin.op is softmax or origin.op is log_softmax):
        return True
    return are_probabilities(scores)


def are_probabilities(scores: Tensor) -> bool:
    """Whether scores (N, classes) are positive and sum to 1 in each row, within the precision of their dtype.

    >>> are_probabilities(Tensor([[0.5, 0.5]])), are_probabilities(Tensor([[0.5, 0.6]]))
    (True, False)
    """
    if scores.ndim != 2 or scores.shape[1] < 2 or not len(scores):
        return False
    values = scores.detach()
    tolerance = 1e-2 if values.dtype.itemsize == 2 else 1e-5
    return bool((values >= 0).all()) and bool(((values.sum(dim=1) - 1).abs() < tolerance).all())


def before_softmax(model: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A function images → logits, for a model that ends in softmax or log_softmax: the input of its last operation.

    >>> from microtensor import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.Softmax(1))
    >>> before_softmax(model)(Tensor([[[[1.0, 3.0]]]]))
    Tensor([[1., 3.]])

    Raises (when it is called):
        ValueError: the model's result does not come from a softmax.
    """
    return Logits(model)


class Logits:
    """The result of `before_softmax`: called as the model is. Its `modules` are the model's."""

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
            raise ValueError("saliency.before_softmax: the model does not end in softmax; use the model itself")
        return logits


def ends_in_sigmoid(model: Callable[[Tensor], Tensor], images: Tensor) -> bool:
    """Whether the model's result for these images comes from a sigmoid.

    >>> from microtensor import nn
    >>> ends_in_sigmoid(nn.Sequential(nn.Flatten(), nn.Sigmoid()), Tensor([[[[0.5]]]]))
    True
    """
    return _before_last(model, images, (sigmoid,)) is not None


def _before_last(model: Callable[[Tensor], Tensor], images: Tensor, operations: Sequence[Any]) -> Tensor | None:
    """What went into the last operation of model(images), if that is one of these; else None."""
    last = _Last(operations)
    with observing(last):
        scores = model(images)
    return last.input if last.result is not None and scores is last.result else None


class _Last(Observer):
    """Notes the last call of one of these operations: what went in, and what came out, also in another shape."""

    def __init__(self, operations: Sequence[Any]) -> None:
        self.operations = operations
        self.input: Any = None
        self.result: Any = None

    def operation(self, operation: Any, inputs: Sequence[Any], settings: dict[str, Any], result: Node) -> None:
        """An operation has run."""
        if operation in self.operations:
            self.input, self.result = inputs[0], result
        elif self.result is not None and operation in MOVING and inputs[0] is self.result:
            self.result = result


def warn(message: str) -> None:
    """Warn, with the line outside this package that called it as the location."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(HERE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
