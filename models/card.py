"""`Card`: name, year, paper and main idea of a network, as the catalogue lists it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from microtensor.nn.module import Module
from microtensor.runtime.console import legible


@legible
class Card(NamedTuple):
    """A published network: its name, factory, year, paper, and the one idea that was new."""

    name: str
    factory: Callable[..., Module]
    year: int
    paper: str
    """Authors, title, where it appeared."""
    idea: str
    """The one new idea, in one line."""
    input_shape: tuple[int, ...] = (3, 224, 224)
    """Shape of one input in the paper, without the batch axis: channels, height and width in pixels."""
