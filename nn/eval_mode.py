"""Eval mode inside a `with` block; afterwards each module has its former mode again, also after an error or Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from microtensor.runtime.scoped import Block


class EvalMode(Block):
    """A block in which modules are in eval mode. The function that lists them is called when the block is entered.

    >>> from microtensor.nn import Dropout
    >>> drop = Dropout(0.5)
    >>> with EvalMode(lambda: [drop]):
    ...     drop.training
    False
    >>> drop.training
    True
    """

    def __init__(self, modules: Callable[[], Iterable[Any]]) -> None:
        self._modules = modules

    def now(self) -> list[tuple[Any, bool]]:
        """Each module with its current mode."""
        return [(module, module.training) for module in self._modules()]

    def set(self, value: list[tuple[Any, bool]]) -> None:
        """Set the mode of each module."""
        for module, training in value:
            module.training = training

    def wanted(self, before: list[tuple[Any, bool]]) -> list[tuple[Any, bool]]:
        """The mode inside: eval mode for all."""
        return [(module, False) for module, _ in before]
