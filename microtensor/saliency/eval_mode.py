"""Eval mode for whatever an explanation calls: without dropout, with stored statistics, and each layer as it was afterwards."""

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
    """Inside, the layers of `model` are in eval mode, and those of each module that is called in this thread.

    A model may be a function: each module is put in eval mode when it is called, before it computes; and those that the
    function holds before that, for it may call their methods. Afterwards each layer is in the mode that it was found in, also
    after an error, and also if the function changes modes by itself.

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

    def into_eval(module: Any) -> None:
        if not getattr(module, "training", False) and id(module) in before:
            return
        for layer in module.modules() if hasattr(module, "modules") else [module]:
            if hasattr(layer, "training"):
                before.setdefault(id(layer), (layer, layer.training))
                layer.training = False

    with _PutBack(before):
        for module in _held(model):
            into_eval(module)
        with watch_calls(before=into_eval):
            yield


class _PutBack(Block):
    """A block at whose end each layer of a dict, which grows meanwhile, is in its mode again, whatever interrupts it."""

    def __init__(self, before: dict[int, tuple[Any, bool]]) -> None:
        self._before = before

    def now(self) -> dict[int, tuple[Any, bool]]:
        """The layers with their modes; none yet."""
        return self._before

    def wanted(self, before: dict[int, tuple[Any, bool]]) -> dict[int, tuple[Any, bool]]:
        """The same: nothing changes at first."""
        return before

    def set(self, value: dict[int, tuple[Any, bool]]) -> None:
        """Bring each into its mode."""
        for layer, training in value.values():
            layer.training = training


DEEPEST = 3
"""How far modules are looked for in what a function holds: in a function that it calls, in a dict there."""


def _held(value: Any, depth: int = 0) -> Iterator[Any]:
    """The modules that a callable is, or holds: as a method's object, an argument, a variable, also in lists and dicts."""
    if isinstance(value, Module) or (depth == 0 and (hasattr(value, "modules") or hasattr(value, "training"))):
        yield value
        return
    if depth == DEEPEST:
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
            yield from _held(part, depth + 1)
