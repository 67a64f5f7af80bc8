"""Values as text: tables for the terminal, shapes, numbers, bytes, and the class of a value for an error message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .console import fitting


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0,), totals: int = 0) -> str:
    """Rows of cells under a header, each column as wide as its widest cell.

    Args:
        left: the columns that are left-aligned; the others, of numbers, are right-aligned.
        totals: how many rows at the end are totals, below a second line.

    Characters that the encoding of `sys.stdout` lacks are replaced by ASCII.

    >>> print(table(["fruit", "count"], [["apple", "12"], ["fig", "1,000"], ["", "1,012"]], totals=1))
    fruit  count
    ────────────
    apple     12
    fig    1,000
    ────────────
           1,012
    """
    header, rows = [fitting(cell) for cell in header], [[fitting(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *rows)]

    def line(cells: Sequence[str]) -> str:
        padded = [cell.ljust(n) if i in left else cell.rjust(n) for i, (cell, n) in enumerate(zip(cells, widths))]
        return "  ".join(padded).rstrip()

    rule = fitting("─") * (sum(widths) + 2 * (len(widths) - 1))
    body = [line(row) for row in rows]
    end = len(body) - totals
    return "\n".join([line(header), rule, *body[:end], *([rule, *body[end:]] if totals else [])])


def branches(depths: Sequence[int]) -> list[str]:
    """The lines of a tree, as box-drawing characters, to put before the rows of an outline with these depths.

    >>> for depth, branch in zip([0, 1, 2, 1], branches([0, 1, 2, 1])):
    ...     print(branch + f"level {depth}")
    level 0
    ├ level 1
    │ └ level 2
    └ level 1
    """
    lines: list[str] = []
    going_on: set[int] = set()  # the depths at which another row follows below
    for depth in reversed(depths):
        going_on = {d for d in going_on if d <= depth}
        stem = "".join("│ " if d in going_on else "  " for d in range(1, depth))
        lines.append(stem + ("" if depth == 0 else "├ " if depth in going_on else "└ "))
        going_on.add(depth)
    return lines[::-1]


def shape_text(shape: Any) -> str:
    """A shape with ×, or several shapes with commas between them.

    >>> shape_text((6, 28, 28)), shape_text([(3,), (4, 4)])
    ('6×28×28', '3, 4×4')
    """
    if isinstance(shape, (tuple, list)) and any(isinstance(part, (tuple, list)) for part in shape):
        return ", ".join(shape_text(part) for part in shape)
    return "×".join(map(str, shape)) if isinstance(shape, (tuple, list)) else str(shape)


def number_text(value: float, digits: int = 3) -> str:
    """A number with this many significant digits, and a minus sign (−) where Python writes a hyphen.

    >>> number_text(8.0), number_text(-0.12345), number_text(-0.12345, digits=2)
    ('8', '−0.123', '−0.12')
    """
    return f"{value:.{digits}g}".replace("-", "−")


def sides_text(numbers: Sequence[float | None] | None) -> str:
    """The numbers for height and width, or one if they are equal; an empty text for None.

    >>> sides_text((5, 5)), sides_text((1, 0.5)), sides_text((None, None))
    ('5', '1×0.5', '')
    """
    cells = ["" if number is None else f"{number:g}" for number in numbers or ()]
    return cells[0] if len(set(cells)) == 1 else "×".join(cell or "-" for cell in cells)


def bytes_text(count: int) -> str:
    """A number of bytes with a decimal unit: 1 MB is 10⁶ bytes.

    >>> bytes_text(96), bytes_text(1_234_567)
    ('96 B', '1.2 MB')
    """
    if count < 1000:
        return f"{count} B"
    amount, unit = count / 1000, "kB"
    for larger in ("MB", "GB", "TB"):
        if round(amount, 1) >= 1000:
            amount, unit = amount / 1000, larger
    return f"{amount:.1f} {unit}"


def kind_of(value: Any) -> str:
    """The class of a value, for error messages, with the name of its library if that is another: "torch.Tensor".

    >>> kind_of(3), kind_of(int)
    ('int', 'the class int')
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    kind = type(value)
    library = kind.__module__.partition(".")[0]
    return kind.__name__ if library in ("microtensor", "builtins", "numpy", "__main__") else f"{library}.{kind.__name__}"
