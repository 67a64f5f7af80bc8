"""Types of command line options: a value within its bounds, or an error that names the option."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

MAX_ELEMENTS = 2**40
"""Of an input shape: 4 TiB in float32. NumPy's own error for larger arrays does not name the option."""


def at_least(least: int) -> Callable[[str], int]:
    """A type for argparse: an integer of at least `least`.

    >>> at_least(1)("12")
    12
    """

    def integer(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected an integer, got {text!r}") from None
        if number < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {text}")
        return number

    return integer


def positive(text: str) -> float:
    """A finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text}")
    return number


def shape(text: str) -> tuple[int, ...]:
    """A shape such as 3x224x224."""
    try:
        lengths = tuple(int(length) for length in text.replace("×", "x").split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected lengths with an x between them, such as 3x224x224, got {text!r}") from None
    if min(lengths) < 1 or math.prod(lengths) > MAX_ELEMENTS:
        raise argparse.ArgumentTypeError(f"expected lengths of 1 or more, and at most {MAX_ELEMENTS:,} elements, got {text!r}")
    return lengths


def matrix(text: str) -> list[list[float]]:
    """Rows of numbers such as 1 2; 3 4."""
    try:
        return [[float(number) for number in row.replace(",", " ").split()] for row in text.split(";")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected rows of numbers with ; between them, such as '1 2; 3 4', got {text!r}"
        ) from None
