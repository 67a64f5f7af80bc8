"""Modules in eval mode for a while: whatever interrupts it, each is in its own mode again afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from microtensor.runtime.scoped import Block


class Modes(Block):
    """A block in which modules are in eval mode. It asks which when it is entered.

    >>> from microtensor.nn import Dropout
    >>> drop = Dropout(0.5)
    >>> with Modes(lambda: [drop]):
    ...     drop.training
    False
    >>> drop.training
    True
    """

    def __init__(self, modules: Callable[[], Iterable[Any]]) -> None:
        self._modules = modules

    def now(self) -> list[tuple[Any, bool]]:
        """Each module with its mode."""
        return [(module, module.training) for module in self._modules()]

    def set(self, value: list[tuple[Any, bool]]) -> None:
        """Bring each into its mode."""
        for module, training in value:
            module.training = training

    def wanted(self, before: list[tuple[Any, bool]]) -> list[tuple[Any, bool]]:
        """All in eval mode."""
        return [(module, False) for module, _ in before]
