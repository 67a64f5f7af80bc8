"""The history of a training run, a row per epoch: it prints as a table, plots itself, and reads and writes CSV."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import microtensor
from microtensor.autograd.arguments import is_number
from microtensor.io.files import whole_file
from microtensor.runtime.console import legible
from microtensor.runtime.text import kind_of, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EpochRow: TypeAlias = dict[str, float]
"""The measurements of one epoch by name."""

HIGHER, LOWER = ("accuracy", "top5"), ("loss", "error")
"""Names of columns that are better when they are higher, or lower. They must match completely: a Dice score and a Dice loss
may both be called "dice"."""


@legible
class History(list[EpochRow]):
    """A dict for each epoch, in order: "epoch" (from 1), "loss", and whatever else was measured.

    Attributes:
        modes: "max" or "min" by column, where the metrics given to `fit` say which is better.

    >>> history = History([{"epoch": 1, "loss": 0.5, "accuracy": 0.8}, {"epoch": 2, "loss": 0.6, "accuracy": 0.9}])
    >>> history.best("accuracy")["epoch"], history.best("loss")["epoch"]
    (2, 1)
    >>> print(history)
    epoch  loss  accuracy
    ─────────────────────
        1   0.5       0.8
        2   0.6       0.9
    """

    modes: Mapping[str, str] = {}

    def best(self, name: str, mode: str | None = None) -> EpochRow:
        """The row in which the column `name` is best; the first of equals.

        Args:
            mode: "max" if higher is better, "min" if lower is. None: as the metric says (see `modes`), or the name: loss and
                error are better lower, accuracy and top5 higher, also after "val_".

        Raises:
            ValueError: no row has a number of this name; or nothing says whether higher or lower is better.
        """
        rows = [row for row in self if row.get(name) == row.get(name, 0.0) and name in row]
        if not rows:
            raise ValueError(f"History: no epoch has a number {name!r}; measured: {', '.join(self.names()) or 'nothing'}")
        check_mode("History.best", mode)
        mode = mode or self.modes.get(name) or mode_of(name)
        if mode is None:
            raise ValueError(f'History.best: {unclear(name)}; say best({name!r}, mode="max"), or "min"')
        return (max if mode == "max" else min)(rows, key=lambda row: row[name])

    def names(self) -> list[str]:
        """The names of all columns, in the order of their first appearance."""
        return list(dict.fromkeys(name for row in self for name in row))

    def plot(self) -> Figure:
        """Loss and accuracy over the epochs, as a matplotlib figure. See `microtensor.plot.training_curve`."""
        return microtensor.plot.training_curve(self)  # a lazy attribute: nothing of nn imports the figures

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a CSV file atomically: a line of names, then a line per epoch, with an empty cell for what it did not measure.

        Raises:
            TypeError: a value is no number, or a name no text.
            ValueError: a name cannot be written in UTF-8.
            OSError: the folder does not exist, or the file cannot be written.
        """
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.names(), lineterminator="\n")
        writer.writeheader()
        writer.writerows({_written_name(name): _written(name, value) for name, value in row.items()} for row in self)
        try:
            content = text.getvalue().encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"History: a name cannot be written in UTF-8: {error.object[error.start :][:20]!r}") from error
        with whole_file(path) as file:
            file.write(content)

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str]) -> History:
        """The history that `to_csv` wrote, with the same numbers. Windows' line ends and a byte order mark are accepted.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is no table of numbers; the message names the file, the line and its content.
        """
        with open(path, "rb") as file:
            content = file.read()
        wanted = f"History: {path} is no table of numbers, one line per epoch"
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise ValueError(f"{wanted}: line {line} is not UTF-8: the byte 0x{content[error.start]:02x}") from error
        reader = csv.reader(io.StringIO(text, newline=""))
        try:
            return cls(_rows(reader))
        except (csv.Error, ValueError) as error:
            raise ValueError(f"{wanted}: line {reader.line_num}: {error}") from error

    def __str__(self) -> str:
        """A table: a line for each epoch."""
        names = self.names()
        return table(names, [[f"{row[name]:.4g}" if name in row else "" for name in names] for row in self], left=())

    def __repr__(self) -> str:
        return f"History({super().__repr__()})"


def mode_of(name: str) -> str | None:
    """Whether higher ("max") or lower ("min") is better for a column of this name; None if its name does not say.

    >>> mode_of("val_accuracy"), mode_of("val_loss"), mode_of("val_dice")
    ('max', 'min', None)
    """
    name = name.removeprefix("val_")
    return "max" if name in HIGHER else "min" if name in LOWER else None


def higher_is_better(name: str) -> bool:
    """Whether higher is better for a column of this name.

    Raises:
        ValueError: its name does not say.
    """
    if (mode := mode_of(name)) is None:
        raise ValueError(f'{unclear(name)}; say mode="max" or mode="min"')
    return mode == "max"


def unclear(name: str) -> str:
    """The message about a name that does not say whether higher or lower is better."""
    return f"{name!r} does not say whether higher or lower is better"


def check_mode(who: str, mode: Any) -> None:
    """Check that a mode is "min", "max" or None.

    Raises:
        ValueError: it is something else.
    """
    if mode not in (None, "min", "max"):
        raise ValueError(f'{who}: mode must be "min", "max" or None, got {mode!r}')


def is_better(value: float, best: float | None, higher: bool, by: float = 0.0) -> bool:
    """Whether a value is better than the best so far, by more than `by`. Any value is better than None, any number than nan.

    >>> is_better(0.5, None, higher=True), is_better(0.5, math.nan, higher=True), is_better(0.5, 0.4, higher=False)
    (True, True, False)
    """
    if best is None or math.isnan(best):
        return best is None or not math.isnan(value)
    return value > best + by if higher else value < best - by


def _written_name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"History: a name must be a text, got {name!r}")
    return name


def _written(name: str, value: Any) -> float:
    """The number as a Python float or integer: a NumPy float32 would be written with fewer digits, another number."""
    if not is_number(value):
        raise TypeError(f"History: {name!r} must be a number to be written, got {kind_of(value)}")
    return value if type(value) in (int, float) else value.item() if hasattr(value, "item") else float(value)


def _rows(reader: Any) -> Iterator[EpochRow]:
    names: list[str] | None = None
    for cells in reader:
        if not cells:
            continue
        if names is None:
            names = cells
            if twice := [name for i, name in enumerate(names) if name in names[:i]]:
                raise ValueError(f"two columns have the name {twice[0]!r}")
        elif len(cells) != len(names):
            raise ValueError(f"expected {len(names)} cells, one for each name, got {len(cells)}")
        else:
            yield {name: _number(name, text) for name, text in zip(names, cells) if text}


def _number(name: str, text: str) -> float:
    shown = text if len(text) <= 40 else f"{text[:40]}… ({len(text):,} characters)"
    wrong = ValueError(f"{name!r}: expected a number, got {shown!r}")
    if "_" in text:  # float("1_000") is 1000.0
        raise wrong
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        raise wrong from None
    if math.isinf(number) and "inf" not in text.lower():
        raise ValueError(f"{name!r}: expected a number that a float holds, got {shown!r}")
    return number
