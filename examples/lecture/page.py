"""What the pages share: where figures go, how a number is checked, one picture of a network's costs, one trained LeNet.

This file is no page. Each page is run by itself, and writes its figures to the folder of `--out`:

    python examples/lecture/01_parameters.py --out lecture
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import microtensor as mt
from microtensor import models, nn, plot
from microtensor.nn.inspect.summary import Summary
from microtensor.plot.style import BLUE, VERMILION, new_figure
from microtensor.runtime.console import use_any_encoding
from microtensor.runtime.text import shape_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Page:
    """A page that runs: its options, its figures, and the numbers that it stands for."""

    def __init__(self, text: str) -> None:
        plot.require()
        use_any_encoding()
        parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--out", type=Path, default=Path("lecture"), help="where the figures go")
        parser.add_argument("--quick", action="store_true", help="train for a moment only, as the tests do")
        options = parser.parse_args()
        self.out, self.quick = options.out, options.quick
        self.out.mkdir(parents=True, exist_ok=True)
        mt.manual_seed(0)
        print(text.strip().partition("\n")[0], end="\n\n")

    def check(self, what: str, found: Any, expected: Any) -> None:
        """Say what the library found. If it is not what was to be shown, the page fails."""
        text = "yes" if found is True else f"{found:,}" if isinstance(found, int) else str(found)
        if found != expected:
            raise AssertionError(f"{what}: found {text}, expected {expected}")
        print(f"{what}: {text}")

    def check_least(self, what: str, found: float, least: float) -> None:
        """Say what was measured. If it is less than was to be shown, the page fails."""
        if not found >= least:
            raise AssertionError(f"{what}: found {found:.4g}, expected at least {least}")
        print(f"{what}: {found:.4g}")

    def save(self, figure: Figure, name: str) -> None:
        plot.save(figure, self.out / name)
        print(f"→ {self.out / name}")


def built(name: str, **options: Any) -> nn.Module:
    """A network of the catalogue whose weights are not drawn: for counting, not for computing, so no GPU need hold it."""
    with nn.init.skipped(), mt.default_device("cpu"):
        return models.build(name, **options)


def parameters(module: nn.Module) -> int:
    """How many numbers a module learns."""
    return sum(p.numel() for p in module.parameters())


def percent(found: Summary, kind: str, field: str) -> int:
    """How much of a summary's "parameters" or "multiply_adds" is in layers of this class."""
    numbers = [(row.type, getattr(row, field)) for row in found.rows]
    return round(100 * sum(n for name, n in numbers if name == kind) / sum(n for _, n in numbers))


def costs(found: Summary, title: str) -> Figure:
    """For each row of a summary that has weights: how many it learns, and how many multiply-adds they are used for."""
    rows = [row for row in found.rows if row.parameters]
    figure = new_figure(height=1.5 + 0.27 * len(rows))
    panels = figure.subplots(1, 2, sharey=True)
    labels = [f"{row.name} {row.type}  {shape_text(row.output_shape)}" for row in rows]
    for axes, field, color in zip(panels, ("parameters", "multiply_adds"), (BLUE, VERMILION)):
        values = np.array([getattr(row, field) for row in rows])
        unit, word = (1e6, "millions") if values.max() >= 1e6 else (1e3, "thousands")
        axes.barh(labels, values / unit, color=color, height=0.7)
        for i, share in enumerate(values / values.sum()):
            words = f"{share:.0%}" if share >= 0.01 else "<1%" if share else "0"
            axes.annotate(f" {words}", (values[i] / unit, i), va="center", fontsize=10)
        axes.set_xlabel(f"{field.replace('_', '-')} ({word})", fontsize=11)
        axes.set_xlim(0, 1.2 * values.max() / unit)
        axes.tick_params(labelsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("layer and output", fontsize=11)
    panels[0].invert_yaxis()
    total = f"{found.total_parameters:,} parameters, {found.multiply_adds:,} multiply-adds for one image"
    figure.suptitle(f"{title}: {total}", fontsize=12)
    return figure


def trained_lenet(page: Page) -> models.lenet.LeNet5:
    """LeNet-5 that reads digits: as page 02 trained it into the same folder; trained now if it did not."""
    training = importlib.import_module("02_training")  # no `import` statement takes a name that begins with a digit
    path: Path = page.out / training.weights(page.quick)
    if not path.exists():
        training.train(path, page.quick)
    model = models.lenet5()
    model.load_state_dict(mt.load(path))
    return model.eval()
