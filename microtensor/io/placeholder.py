"""What stands in a tree for an object that a file describes and that is not made: it has a name, and does nothing."""

from __future__ import annotations

from typing import Any


class Placeholder:
    """In place of an object of a class that is not known here, or of a tensor of a kind that is not read.

    Training programs put their settings beside the weights, as an `argparse.Namespace`, say. Such an object is not made, for
    that would run the code of its class; and neither what it was made from nor what it held is kept.

    >>> Placeholder("argparse.Namespace")
    <argparse.Namespace, not read>
    """

    __slots__ = ("name", "reason")

    def __init__(self, name: str, reason: str = "") -> None:
        self.name = name
        """What it was: a class's module and name."""
        self.reason = reason or f"it refers to {name}"
        """Why it is not here, and what to do, as the message says it where a file holds nothing else."""

    def __repr__(self) -> str:
        return f"<{self.name}, not read>"

    def set_state(self, state: Any) -> None:
        """What an instruction BUILD of a pickle asks for. Nothing is done."""
