"""What stands behind an option of a command: a number within its bounds, or argparse says which option is wrong, and why."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

MOST_NUMBERS = 2**40
"""In an input's shape: four terabytes in float32. NumPy's own words beyond its largest array name no option."""


def at_least(least: int) -> Callable[[str], int]:
    """Reads an integer that is no less.

    >>> at_least(1)("12")
    12
    """

    def whole(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected an integer, got {text!r}") from None
        if number < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {text}")
        return number

    return whole


def positive(text: str) -> float:
    """A number above 0, and finite."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text}")
    return number


def shape(text: str) -> tuple[int, ...]:
    """A shape as people write it: 3x224x224."""
    try:
        lengths = tuple(int(length) for length in text.replace("×", "x").split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected lengths with an x between them, such as 3x224x224, got {text!r}") from None
    if min(lengths) < 1 or math.prod(lengths) > MOST_NUMBERS:
        raise argparse.ArgumentTypeError(f"expected lengths of 1 or more, and {MOST_NUMBERS:,} numbers at most, got {text!r}")
    return lengths


def numbers(text: str) -> list[list[float]]:
    """Rows of numbers as people write them: 1 2; 3 4."""
    try:
        return [[float(number) for number in row.replace(",", " ").split()] for row in text.split(";")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected rows of numbers with ; between them, such as '1 2; 3 4', got {text!r}"
        ) from None
