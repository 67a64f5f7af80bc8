"""Eval mode for all modules that a saliency method runs; afterwards each layer has its own mode again."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType, MethodType
from typing import Any

from ..autograd.versions import inside
from ..nn.hooks import watch_calls
from ..nn.module import Module
from ..runtime.scoped import Block


@contextmanager
def eval_mode(model: Any = None) -> Iterator[None]:
    """Inside, the layers of `model`, and those of each module that is called in this thread, are in eval mode.

    A model may be a function: each module is put in eval mode when it is called, before it computes. Modules that the function
    refers to are put in eval mode at once, since it may call their methods. Afterwards the mode of each layer is restored, also
    after an error, and also if the function itself changes modes.

    >>> import microtensor as mt
    >>> from microtensor.nn import Dropout
    >>> drop = Dropout(0.5)
    >>> with eval_mode():
    ...     (lambda x: drop(x))(mt.ones(2)), drop.training
    (Tensor([1., 1.]), False)
    >>> drop.training
    True
    """
    before: dict[int, tuple[Any, bool]] = {}

    def set_eval(module: Any) -> None:
        if not getattr(module, "training", False) and id(module) in before:
            return
        for layer in module.modules() if hasattr(module, "modules") else [module]:
            if hasattr(layer, "training"):
                before.setdefault(id(layer), (layer, layer.training))
                layer.training = False

    with _RestoreModes(before):
        for module in _modules_in(model):
            set_eval(module)
        with watch_calls(before=set_eval):
            yield


class _RestoreModes(Block):
    """At the end of the block, also after an interrupt, restores the mode of each layer in a dict that fills up inside."""

    def __init__(self, before: dict[int, tuple[Any, bool]]) -> None:
        self._before = before

    def now(self) -> dict[int, tuple[Any, bool]]:
        """The layers with their modes; empty at first."""
        return self._before

    def wanted(self, before: dict[int, tuple[Any, bool]]) -> dict[int, tuple[Any, bool]]:
        """The same dict: entering the block changes nothing."""
        return before

    def set(self, value: dict[int, tuple[Any, bool]]) -> None:
        """Restore the mode of each layer."""
        for layer, training in value.values():
            layer.training = training


MAX_DEPTH = 3
"""Levels searched for modules: the function's own variables, those of a function that it calls, a list or dict there."""


def _modules_in(value: Any, depth: int = 0) -> Iterator[Any]:
    """The modules that a callable is or refers to: its object, arguments, closure and globals, also in lists and dicts."""
    if isinstance(value, Module) or (depth == 0 and (hasattr(value, "modules") or hasattr(value, "training"))):
        yield value
        return
    if depth == MAX_DEPTH:
        return
    parts = list(inside(value))
    if isinstance(value, FunctionType):
        known = value.__globals__
        parts = [part for cell in parts for part in inside(cell)] + [*(value.__defaults__ or ())]
        parts += [known[name] for name in value.__code__.co_names if name in known]
    elif isinstance(value, (MethodType, functools.partial, list, tuple, dict)):
        pass
    elif not isinstance(value, type) and hasattr(value, "__dict__") and callable(value):
        parts = list(vars(value).values())
    for part in parts:
        if isinstance(part, (Module, FunctionType, MethodType, functools.partial, list, tuple, dict)):
            yield from _modules_in(part, depth + 1)
