"""What the pages share: the options, saving figures, checking numbers, a figure of a network's costs, a trained LeNet.

This file is not a page. Each page is a program that writes its figures to the folder of `--out`:

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
    """A running page: its options, its figures, and the numbers that it checks."""

    def __init__(self, text: str) -> None:
        plot.require()
        use_any_encoding()
        parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--out", type=Path, default=Path("lecture"), help="folder for the figures")
        parser.add_argument("--quick", action="store_true", help="train briefly, as the tests do")
        options = parser.parse_args()
        self.out, self.quick = options.out, options.quick
        self.out.mkdir(parents=True, exist_ok=True)
        mt.manual_seed(0)
        print(text.strip().partition("\n")[0], end="\n\n")

    def check(self, what: str, found: Any, expected: Any) -> None:
        """Print a value, and fail if it is not the expected one."""
        text = "yes" if found is True else f"{found:,}" if isinstance(found, int) else str(found)
        if found != expected:
            raise AssertionError(f"{what}: found {text}, expected {expected}")
        print(f"{what}: {text}")

    def check_least(self, what: str, found: float, least: float) -> None:
        """Print a measured value, and fail if it is below `least`."""
        if not found >= least:
            raise AssertionError(f"{what}: found {found:.4g}, expected at least {least}")
        print(f"{what}: {found:.4g}")

    def save(self, figure: Figure, name: str) -> None:
        """Save a figure in the output folder, and print its path."""
        plot.save(figure, self.out / name)
        print(f"→ {self.out / name}")


def built(name: str, **options: Any) -> nn.Module:
    """A network of the catalogue with uninitialised weights on the CPU: for counting, not for computing."""
    with nn.init.skipped(), mt.default_device("cpu"):
        return models.build(name, **options)


def parameters(module: nn.Module) -> int:
    """The number of parameters of a module."""
    return sum(p.numel() for p in module.parameters())


def percent(found: Summary, kind: str, field: str) -> int:
    """The percentage of a summary's "parameters" or "multiply_adds" in layers of this class."""
    numbers = [(row.type, getattr(row, field)) for row in found.rows]
    return round(100 * sum(n for name, n in numbers if name == kind) / sum(n for _, n in numbers))


def costs(found: Summary, title: str) -> Figure:
    """A figure of a summary: the parameters and the multiply-adds of each layer with weights."""
    rows = [row for row in found.rows if row.parameters]
    figure = new_figure(height=1.5 + 0.27 * len(rows))
    panels = figure.subplots(1, 2, sharey=True)
    labels = [f"{row.name} {row.type}  {shape_text(row.output_shape)}" for row in rows]
    for axes, field, color in zip(panels, ("parameters", "multiply_adds"), (BLUE, VERMILION)):
        values = np.array([getattr(row, field) for row in rows])
        unit, unit_name = (1e6, "millions") if values.max() >= 1e6 else (1e3, "thousands")
        axes.barh(labels, values / unit, color=color, height=0.7)
        for i, share in enumerate(values / values.sum()):
            text = f"{share:.0%}" if share >= 0.01 else "<1%" if share else "0"
            axes.annotate(f" {text}", (values[i] / unit, i), va="center", fontsize=10)
        axes.set_xlabel(f"{field.replace('_', '-')} ({unit_name})", fontsize=11)
        axes.set_xlim(0, 1.2 * values.max() / unit)
        axes.tick_params(labelsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("layer and output", fontsize=11)
    panels[0].invert_yaxis()
    total = f"{found.total_parameters:,} parameters, {found.multiply_adds:,} multiply-adds for one image"
    figure.suptitle(f"{title}: {total}", fontsize=12)
    return figure


def trained_lenet(page: Page) -> models.lenet.LeNet5:
    """LeNet-5 with the weights that page 02 saved in the same folder; trained now if there are none."""
    training = importlib.import_module("02_training")  # an import statement cannot name a module that begins with a digit
    path: Path = page.out / training.weights(page.quick)
    if not path.exists():
        training.train(path, page.quick)
    model = models.lenet5()
    model.load_state_dict(mt.load(path))
    return model.eval()
