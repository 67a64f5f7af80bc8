"""What happened in each epoch of a training run: a list that prints as a table, draws itself and writes CSV."""

from __future__ import annotations

import csv
import io
import math
import os
from typing import TYPE_CHECKING, Any, TypeAlias

from microtensor.console import legible
from microtensor.files import whole_file
from microtensor.table import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row: TypeAlias = dict[str, float]

HIGHER = ("acc", "top", "iou", "f1", "score", "precision", "recall", "auc", "psnr", "ssim", "r2")
"""Parts of the names of metrics that are better when they are higher."""


@legible
class History(list[Row]):
    """A dict for each epoch, in order: "epoch" (from 1), "loss", and whatever else was measured.

    >>> history = History([{"epoch": 1, "loss": 0.5, "accuracy": 0.8}, {"epoch": 2, "loss": 0.6, "accuracy": 0.9}])
    >>> history.best("accuracy")["epoch"], history.best("loss")["epoch"]
    (2, 1)
    >>> print(history)
    epoch  loss  accuracy
    ─────────────────────
        1   0.5       0.8
        2   0.6       0.9
    """

    def best(self, name: str) -> Row:
        """The row in which `name` is best: the highest for an accuracy or a top-k, else the lowest. The first of equals.

        Raises:
            ValueError: no row has a number of this name.
        """
        rows = [row for row in self if row.get(name) == row.get(name, 0.0) and name in row]
        if not rows:
            raise ValueError(f"History: no epoch has a number {name!r}; measured: {', '.join(self.names()) or 'nothing'}")
        return (max if higher_is_better(name) else min)(rows, key=lambda row: row[name])

    def names(self) -> list[str]:
        """What was measured in any epoch, in the order of its first appearance."""
        return list(dict.fromkeys(name for row in self for name in row))

    def plot(self) -> Figure:
        """Loss and accuracy over the epochs, as a matplotlib figure. See `microtensor.plot.training_curve`."""
        from microtensor.plot import training_curve

        return training_curve(self)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one line per epoch under a line of names, whole or not at all. What an epoch did not measure is left empty.

        Raises:
            OSError: the folder does not exist, or the file cannot be written.
        """
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.names(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self)
        with whole_file(path) as file:
            file.write(text.getvalue().encode())

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str]) -> History:
        """The history that `to_csv` wrote, number for number.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is no table of numbers.
        """
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        try:
            return cls({name: _number(text) for name, text in row.items() if text} for row in rows)
        except (TypeError, ValueError) as error:
            raise ValueError(f"History: {path} is no table of numbers, one line per epoch: {error}") from error

    def __str__(self) -> str:
        """A table: a line for each epoch."""
        names = self.names()
        return table(names, [[f"{row[name]:.4g}" if name in row else "" for name in names] for row in self], left=())

    def __repr__(self) -> str:
        return f"History({super().__repr__()})"


def higher_is_better(name: str) -> bool:
    """Whether a metric of this name is better when it is higher: accuracies, precisions, scores are, losses and errors not."""
    return any(part in name for part in HIGHER) and "loss" not in name and "error" not in name


def is_better(value: float, best: float | None, higher: bool, by: float = 0.0) -> bool:
    """Whether a value is better, by more than so much, than the best so far. Any is better than None, any number than nan.

    >>> is_better(0.5, None, higher=True), is_better(0.5, math.nan, higher=True), is_better(0.5, 0.4, higher=False)
    (True, True, False)
    """
    if best is None or math.isnan(best):
        return best is None or not math.isnan(value)
    return value > best + by if higher else value < best - by


def _number(text: Any) -> float:
    try:
        return int(text)
    except ValueError:
        return float(text)
