"""How a training run shows its progress: a bar while an epoch runs, a line after it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .history import EpochRow
from .run_settings import length_of

if TYPE_CHECKING:
    from .run import Run

SHOW_EVERY_STEPS = 20
"""Steps between two updates of the numbers beside the bar: on a GPU, reading them waits for the device."""


@contextmanager
def progress_bar(run: Run) -> Iterator[Callable[[int], None]]:
    """A tqdm bar, if progress is on, standard error is a terminal and tqdm is installed.

    Yields a function to call after each step, with the number of its samples.
    """
    if not (run.progress and sys.stderr.isatty() and importlib.util.find_spec("tqdm")):
        yield lambda samples: None
        return
    from tqdm import tqdm

    name, total = f"epoch {run.epoch + 1}/{run.epochs}", length_of(getattr(run.data, "dataset", None))
    with tqdm(total=total, initial=run.means.count, desc=name, unit=" images", leave=False) as bar:

        def show(samples: int) -> None:
            bar.update(samples)
            if run.step % SHOW_EVERY_STEPS == 0:
                bar.set_postfix_str(_measured_text(run.means.values()))

        yield show


def epoch_line(row: EpochRow, epochs: int, with_rate: bool) -> str:
    """The line for an epoch: epoch 1/3: loss 0.1234, accuracy 97.12%; validation loss 0.2345; lr 0.1; 2.3 s."""
    line = f"epoch {row['epoch']:.0f}/{epochs}: {_measured_text(row)}"
    if "val_loss" in row:
        line += f"; validation {_measured_text(row, 'val_')}"
    if with_rate:
        line += f"; lr {row['lr']:.3g}"
    return f"{line}; {row['seconds']:.1f} s"


def _measured_text(row: Mapping[str, float], prefix: str = "") -> str:
    """The loss and the metrics of a row whose names begin with the prefix: loss 0.1234, accuracy 97.12%."""
    shown = []
    for name, value in row.items():
        if name.startswith(prefix) and (prefix or not name.startswith("val_")):
            name = name.removeprefix(prefix)
            if name not in ("epoch", "seconds", "lr"):
                shown.append(f"{name} {value:.2%}" if name in ("accuracy", "top5") else f"{name} {_number_text(value)}")
    return ", ".join(shown)


def _number_text(value: float) -> str:
    """Four decimal places, or scientific notation for very small and very large values: 8.26e-05, 2.47e+12."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:.2e}"
