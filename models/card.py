"""What is known of a network beside its code: a card in the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from microtensor.nn.module import Module
from microtensor.runtime.console import legible


@legible
class Card(NamedTuple):
    """A published network: under what name, by whom, and the one thing that was new in it."""

    name: str
    factory: Callable[..., Module]
    year: int
    paper: str
    """Authors, title, where it appeared."""
    idea: str
    """The one new idea, in one line."""
    input_shape: tuple[int, ...] = (3, 224, 224)
    """Of one input, without the batch: channels, height, width, in pixels; as the paper has it."""
