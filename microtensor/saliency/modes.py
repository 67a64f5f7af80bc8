"""Eval mode for whatever an explanation calls: without dropout, with stored statistics, and each layer as it was afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..nn.hooks import watch_calls


@contextmanager
def eval_mode(model: Any = None) -> Iterator[None]:
    """Inside, the layers of `model` are in eval mode, and those of each module that is called in this thread.

    A model may be a function, which calls modules that nothing else tells of: each is put in eval mode when it is called,
    before it computes. Afterwards each layer is in the mode that it was found in, also after an error.

    >>> import microtensor as mt
    >>> from microtensor.nn import Dropout
    >>> drop = Dropout(0.5)
    >>> with eval_mode():
    ...     (lambda x: drop(x))(mt.ones(2)), drop.training
    (Tensor([1., 1.]), False)
    >>> drop.training
    True
    """
    changed: list[Any] = []
    seen: dict[int, Any] = {}

    def into_eval(module: Any) -> None:
        training = getattr(module, "training", None)
        if training is None or (not training and id(module) in seen):
            return
        seen[id(module)] = module
        for layer in module.modules() if hasattr(module, "modules") else [module]:
            if layer.training:
                changed.append(layer)
                layer.training = False

    try:
        into_eval(model)
        with watch_calls(before=into_eval):
            yield
    finally:
        for layer in changed:
            layer.training = True
