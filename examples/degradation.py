"""Degradation: more layers make a plain network worse, even on its training data; shortcuts prevent it.

Figures 1 and 6 of He et al. 2015, "Deep residual learning for image recognition", arxiv.org/abs/1512.03385, with networks of
the same size, on data that comes with this package: digits in colour, 32×32 pixels. The paper's networks with 20 and 56 layers
are trained with and without shortcuts, and their error is drawn epoch by epoch.

    pip install ".[plot]"
    python examples/degradation.py --out runs/degradation

The program can be stopped at any time; started again, it continues from the last checkpoint in the folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import microtensor as mt
from microtensor import nn, plot
from microtensor.data import DataLoader, TensorDataset, mnist_sample
from microtensor.data.transforms import Compose, RandomCrop, RandomRotation, Transform
from microtensor.models.cifar_resnet import CifarResNet
from microtensor.models.resnet import BasicBlock, PlainBlock
from microtensor.plot.style import BLUE, VERMILION, WIDTH

KINDS = {"plain": PlainBlock, "residual": BasicBlock}


class Coloured(Transform):
    """Grey digits, uint8 (N, 1, H, W) → coloured digits, float32 (N, 3, H, W) from −2 to 2.

    The background colour of each digit is random, from the darker half; the digit is brighter by half the range.
    """

    def apply(self, images, generator):
        background = generator.uniform(0, 0.5, (len(images), 3, 1, 1), np.float32)
        return (background + images * np.float32(0.5 / 255) - 0.5) * 4


def loaders(batch_size: int, images: int, test_images: int, seed: int) -> tuple[DataLoader, DataLoader]:
    """Training digits, with random rotation, shift and colour; and test digits, always the same."""
    train, test = mnist_sample().raw(), mnist_sample(train=False).raw()
    training = TensorDataset(*(part[:images] for part in train.tensors))
    augment = Compose([RandomRotation(15), RandomCrop(32, padding=4), Coloured()])
    fixed = Compose([RandomCrop(32, padding=2), Coloured()])  # 28 + 2 + 2 = 32: only one crop is possible
    pictures, labels = (part[:test_images] for part in test.tensors)
    tested = TensorDataset(fixed(pictures.numpy(), generator=mt.Generator(0)), labels)
    generator = mt.Generator(seed)  # its own: all networks get the same batches
    data = DataLoader(training, batch_size, shuffle=True, generator=generator, drop_last=True, transform=augment)
    return data, DataLoader(tested, 100)


def learn(kind: str, depth: int, options: argparse.Namespace) -> nn.History:
    """Train one network, on the same batches as the others."""
    mt.manual_seed(options.seed)
    model = CifarResNet((depth - 2) // 6, block=KINDS[kind])
    data, test = loaders(options.batch_size, options.images, options.test_images, options.seed)
    optimizer = nn.SGD(model.parameters(), lr=options.lr, momentum=0.9, weight_decay=1e-4)
    schedule = nn.MultiStepLR(optimizer, [options.epochs // 2, 3 * options.epochs // 4])  # a tenth each time
    print(f"{kind}-{depth}: {sum(p.numel() for p in model.parameters()):,} parameters, {len(data)} steps per epoch", flush=True)
    return nn.fit(
        model, data, nn.cross_entropy, optimizer,
        epochs=options.epochs, schedule=schedule, schedule_per="epoch", validation=test,
        checkpoint=nn.Checkpoint(options.out / f"{kind}-{depth}", every=100, keep=1),
    )  # fmt: skip


def picture(histories: dict[tuple[str, int], nn.History]) -> Figure:
    """A panel for plain networks and one for residual ones: test and training error against the epoch."""
    figure = Figure(figsize=(WIDTH, 4.4), dpi=200, layout="constrained")
    panels = figure.subplots(1, len(KINDS), sharey=True)
    depths = sorted({depth for _, depth in histories})
    for axes, kind in zip(panels, KINDS):
        for depth, color, marker in zip(depths, (BLUE, VERMILION), "os"):
            rows = histories[kind, depth]
            epochs = [row["epoch"] for row in rows]
            for key, what, style in (("val_accuracy", "test", "-"), ("accuracy", "training", "--")):
                errors = [100 * (1 - row[key]) for row in rows]
                label = f"{depth} layers, {what}"
                filled = color if style == "-" else "white"
                axes.plot(epochs, errors, style + marker, color=color, markerfacecolor=filled, markersize=5, label=label)
        axes.set_title(f"{kind} networks", fontsize=12)
        axes.set_xlabel("epoch", fontsize=12)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.tick_params(labelsize=11)
        axes.grid(color="#dddddd")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("error (%)", fontsize=12)
    panels[0].set_ylim(0, None)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=11, handlelength=3.5)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs=2, default=[20, 56], help="6n + 2 layers each")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--images", type=int, default=6000, help="training digits, at most 6,000")
    parser.add_argument("--test-images", type=int, default=1000, help="test digits, at most 1,000")
    parser.add_argument("--out", type=Path, default=Path("runs/degradation"), help="folder for checkpoints and the figure")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)

    histories = {(kind, depth): learn(kind, depth, options) for kind in KINDS for depth in options.depths}
    for (kind, depth), history in histories.items():
        history.to_csv(options.out / f"{kind}-{depth}.csv")
        last = history[-1]
        print(f"{kind}-{depth}: training error {1 - last['accuracy']:.2%}, test error {1 - last['val_accuracy']:.2%}")
    plot.save(picture(histories), options.out / "degradation.png")


if __name__ == "__main__":
    main()
