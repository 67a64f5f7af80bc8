"""The catalogue of networks: find and build them by name, and list their size and cost."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, NamedTuple

from microtensor import models
from microtensor.nn import init
from microtensor.nn.inspect.summary import summary
from microtensor.nn.module import Module
from microtensor.runtime.console import legible
from microtensor.runtime.text import shape_text
from microtensor.runtime.text import table as in_columns

from .card import Card
from .pretrained_arguments import explain_pretrained

_cards: dict[str, Card] = {}


def cards() -> dict[str, Card]:
    """The cards of all networks by name, oldest paper first, collected from `CARDS` in the files of this folder."""
    if not _cards:
        found = []
        for file in pkgutil.iter_modules(models.__path__):
            module = importlib.import_module(f"{models.__name__}.{file.name}")
            for card in getattr(module, "CARDS", ()):
                factory, name = explain_pretrained(card.factory), card.factory.__name__
                if vars(module).get(name) is card.factory:
                    setattr(module, name, factory)  # the same function, wherever it is imported from
                found.append(card._replace(factory=factory))
        _cards.update((card.name, card) for card in sorted(found, key=lambda card: card.year))
    return _cards


def card(name: str) -> Card:
    """The card of one network.

    Raises:
        ValueError: the name is unknown; the message suggests similar names.
    """
    known = cards()
    if name not in known:
        import difflib

        near = difflib.get_close_matches(str(name).lower().replace("-", "_"), known, n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        every = "`microtensor models` and list_models() name all"
        raise ValueError(f"models: there is no {name!r}; {hint}{every} {len(known)}")
    return known[name]


def list_models() -> list[str]:
    """The names of all networks, oldest paper first.

    >>> "lenet5" in list_models()
    True
    """
    return list(cards())


def build(name: str, **options: Any) -> Module:
    """Build the network with this name and random weights. `options` go to its factory, such as `num_classes`.

    Raises:
        ValueError: the name is unknown.
        TypeError: its factory has no such option.

    >>> sum(p.numel() for p in build("lenet5", num_classes=26).parameters())
    63066
    """
    return card(name).factory(**options)


@legible
class Entry(NamedTuple):
    """A row of the table."""

    name: str
    year: int
    paper: str
    parameters: int
    multiply_adds: int
    """For one input of `input_shape`."""
    weight_bytes: int
    """Bytes of all parameters and buffers, in float32."""
    input_shape: tuple[int, ...]
    idea: str


@legible
class Table(tuple[Entry, ...]):
    """Rows of the catalogue. `print` shows them in columns."""

    def __str__(self) -> str:
        head = ["model", "year", "input", "parameters", "multiply-adds", "weights", "what is new"]
        lines = [
            [
                entry.name,
                str(entry.year),
                shape_text(entry.input_shape),
                f"{entry.parameters:,}",
                f"{entry.multiply_adds:,}",
                f"{entry.weight_bytes / 1e6:,.1f} MB",
                entry.idea,
            ]
            for entry in self
        ]
        return in_columns(head, lines, left=(0, 6))


def table(*names: str) -> Table:
    """Name, year, paper, parameters, multiply-adds, memory and main idea of these networks, or of all if none is given.

    The numbers are counted on the networks themselves, which are built without initialising their weights.

    >>> entry = table("lenet5")[0]
    >>> entry.parameters, entry.multiply_adds
    (61706, 416520)
    """
    return Table(_entry(card(name)) for name in names or list_models())


def _entry(card: Card) -> Entry:
    with init.skipped():
        model = card.factory()
    counted = summary(model, card.input_shape)
    parameters = sum(p.array.size for p in model.parameters())
    weight_bytes = sum(x.array.nbytes for x in (*model.parameters(), *model.buffers()))
    return Entry(card.name, card.year, card.paper, parameters, counted.multiply_adds, weight_bytes, card.input_shape, card.idea)
