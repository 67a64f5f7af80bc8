"""Which names and arguments CuPy has, as written down in cupy_names.json from a real one, and the check that a call keeps to them."""

import json
from pathlib import Path
from typing import NamedTuple

FACTS = json.loads((Path(__file__).parent / "cupy_names.json").read_text(encoding="utf-8"))
VERSION = FACTS["version"]
SPACES, CLASSES, UFUNCS = FACTS["spaces"], FACTS["classes"], FACTS["ufuncs"]


class Parameters(NamedTuple):
    """What a function may be called with."""

    most: float
    """So many arguments by position."""

    names: frozenset[str] | None
    """These by name. None: any."""

    @classmethod
    def of(cls, text):
        """From the text in the file: "a, axis=, *, out="."""
        positional, names, by_name, anything, most = 0, set(), False, False, None
        for part in filter(None, text.split(", ")):
            name = part.rstrip("=")
            if part == "*":
                by_name = True
            elif name.startswith("**"):
                anything = True
            elif name.startswith("*"):
                most, by_name = float("inf"), True
            elif name != "/":
                names.add(name)
                positional += not by_name
        return cls(positional if most is None else most, None if anything else frozenset(names))

    def check(self, name, args, settings):
        """Raise TypeError if CuPy's function `name` does not take these arguments."""
        if len(args) > self.most:
            raise TypeError(f"cupy.{name}: CuPy {VERSION} takes {self.most} arguments by position, got {len(args)}")
        if self.names is not None and not self.names.issuperset(settings):
            unknown = ", ".join(f"{key}=" for key in settings if key not in self.names)
            raise TypeError(f"cupy.{name}: CuPy {VERSION} takes no {unknown}")


def missing(name):
    """The error for a name that CuPy does not have."""
    return AttributeError(f"cupy.{name}: CuPy {VERSION} has no such name")
