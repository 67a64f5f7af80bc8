"""Text for a terminal or a file of any encoding: what it cannot hold is written in ASCII, × as x, − as -, ─ as -.

Python ends a `print` with UnicodeEncodeError where the stream's encoding has no such character: on Windows wherever output goes
to a file or a pipe (its code page), and under the locale C. What the library prints itself goes through `any_encoding`. What a
user prints, a summary for instance, cannot know the stream: it asks `sys.stdout` for its encoding, as rich and tqdm do.
"""

from __future__ import annotations

import codecs
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

C = TypeVar("C")

EQUIVALENTS = {
    **{"×": "x", "·": "*", "−": "-", "±": "+-", "→": "->", "≤": "<=", "≥": ">=", "…": "...", "•": "*", "✗": "x", "µ": "u"},
    **{"²": "^2", "⁶": "^6", "σ": "sigma", "λ": "lambda", "’": "'", "–": "-", "ß": "ss"},
    **{"─": "-", "│": "|", "├": "|", "└": "`"},
}
"""Those of a table or a tree are one character, as what they stand for: columns stay."""

HANDLER = "microtensor.ascii"
"""The name of the error handler, for `str.encode` and for streams."""


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_equivalent(character) for character in error.object[error.start : error.end]), error.end


def _equivalent(character: str) -> str:
    """A character in ASCII: é as e; what has no equivalent as Python's escape."""
    base = "".join(c for c in unicodedata.normalize("NFKD", character) if c.isascii())
    return EQUIVALENTS.get(character) or base or character.encode("ascii", "backslashreplace").decode()


codecs.register_error(HANDLER, _in_ascii)


def fitting(text: str, encoding: str | None = None) -> str:
    """The text as a stream of this encoding can hold it; None: as `sys.stdout` can.

    >>> fitting("3×3 → µs, Dollár, 猫", "ascii"), fitting("3×3 → µs, Dollár", "latin-1")
    ('3x3 -> us, Dollar, \\\\u732b', '3×3 -> µs, Dollár')
    """
    encoding = encoding or getattr(sys.stdout, "encoding", None)
    if text.isascii() or not isinstance(encoding, str):  # a StringIO has none, and takes all
        return text
    try:
        return text.encode(encoding, HANDLER).decode(encoding)
    except (LookupError, UnicodeError):  # a stream of somebody's own
        return text


def legible(cls: type[C]) -> type[C]:
    """A class whose `str` and `repr` can be printed to `sys.stdout`, whatever its encoding is."""
    for name in ("__str__", "__repr__"):
        if name in vars(cls):
            setattr(cls, name, _fitted(vars(cls)[name]))
    return cls


def _fitted(method: Any) -> Any:
    def shown(self: Any) -> str:
        return fitting(method(self))

    shown.__name__, shown.__qualname__, shown.__doc__ = method.__name__, method.__qualname__, method.__doc__
    return shown


def use_any_encoding() -> list[tuple[Any, str]]:
    """From now on, what this program prints is never refused. Returns the streams with what they did before."""
    changed: list[tuple[Any, str]] = []
    streams: tuple[Any, ...] = (sys.stdout, sys.stderr)
    for stream in streams:
        if hasattr(stream, "reconfigure") and isinstance(getattr(stream, "errors", None), str):
            changed.append((stream, stream.errors))
            stream.reconfigure(errors=HANDLER)
    return changed


@contextmanager
def any_encoding() -> Iterator[None]:
    """What is printed inside is never refused by its stream's encoding."""
    changed = use_any_encoding()
    try:
        yield
    finally:
        for stream, errors in changed:
            stream.reconfigure(errors=errors)
