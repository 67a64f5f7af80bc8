"""Reverse-mode differentiation: the graph, the form of an operation, the backward pass, and what can be added to them."""

from typing import TYPE_CHECKING, Any

from ..runtime.names import missing

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing(__name__, name, globals())
