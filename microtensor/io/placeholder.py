"""`Placeholder`: what `load` returns in place of an object that it does not create."""

from __future__ import annotations

from typing import Any


class Placeholder:
    """Stands for an object of an unknown class, or for a tensor of an unsupported dtype.

    Training programs save their settings beside the weights, as an `argparse.Namespace`, say. Creating such an object would run
    the code of its class, so it is not created, and its contents are dropped.

    >>> Placeholder("argparse.Namespace")
    <argparse.Namespace, not read>
    """

    __slots__ = ("name", "reason")

    def __init__(self, name: str, reason: str = "") -> None:
        self.name = name
        """Module and name of its class."""
        self.reason = reason or f"it refers to {name}"
        """Why it was not read and what to do, for the error message of a file that holds nothing else."""

    def __repr__(self) -> str:
        return f"<{self.name}, not read>"

    def set_state(self, state: Any) -> None:
        """The opcode BUILD of a pickle sets an object's state: ignored."""
