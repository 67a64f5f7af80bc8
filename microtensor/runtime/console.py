"""Text for a terminal or a file of any encoding: characters that the encoding lacks become ASCII, × x, − -, ─ -.

`print` raises UnicodeEncodeError for a character that the stream's encoding lacks: on Windows where output goes to a file or a
pipe (the code page), and under the locale C. What the library itself prints goes through `any_encoding`. An object that a user
prints, such as a summary, does not know the stream: it uses the encoding of `sys.stdout`, as rich and tqdm do.
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
    **{"²": "^2", "⁶": "^6", "μ": "mu", "σ": "sigma", "λ": "lambda", "’": "'", "–": "-", "ß": "ss"},
    **{"─": "-", "│": "|", "├": "|", "└": "`"},
}
"""ASCII for some characters. Those of tables and trees have one character each, so that columns stay aligned."""

HANDLER = "microtensor.ascii"
"""The name under which `codecs` knows the error handler."""


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_equivalent(character) for character in error.object[error.start : error.end]), error.end


def _equivalent(character: str) -> str:
    """A character in ASCII: é as e; one without an equivalent as an escape, \\u732b."""
    base = "".join(c for c in unicodedata.normalize("NFKD", character) if c.isascii())
    return EQUIVALENTS.get(character) or base or character.encode("ascii", "backslashreplace").decode()


codecs.register_error(HANDLER, _in_ascii)


def fitting(text: str, encoding: str | None = None) -> str:
    """The text with only characters of this encoding; None: of the encoding of `sys.stdout`.

    >>> fitting("3×3 → µs, Dollár, 猫", "ascii"), fitting("3×3 → µs, Dollár", "latin-1")
    ('3x3 -> us, Dollar, \\\\u732b', '3×3 -> µs, Dollár')
    """
    encoding = encoding or getattr(sys.stdout, "encoding", None)
    if text.isascii() or not isinstance(encoding, str):  # a StringIO has no encoding, and takes every character
        return text
    try:
        return text.encode(encoding, HANDLER).decode(encoding)
    except (LookupError, UnicodeError):  # an encoding that Python does not know
        return text


def legible(cls: type[C]) -> type[C]:
    """A class decorator: `str` and `repr` give only characters of the encoding of `sys.stdout`."""
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
    """Let `print` replace characters that the encoding lacks, from now on. Returns stdout and stderr, with their error handlers
    before."""
    changed: list[tuple[Any, str]] = []
    streams: tuple[Any, ...] = (sys.stdout, sys.stderr)
    for stream in streams:
        if hasattr(stream, "reconfigure") and isinstance(getattr(stream, "errors", None), str):
            changed.append((stream, stream.errors))
            stream.reconfigure(errors=HANDLER)
    return changed


@contextmanager
def any_encoding() -> Iterator[None]:
    """Inside, `print` replaces characters that the stream's encoding lacks."""
    changed = use_any_encoding()
    try:
        yield
    finally:
        for stream, errors in changed:
            stream.reconfigure(errors=errors)
