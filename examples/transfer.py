"""Transfer learning with few labels: a network trained on another task helps if the two tasks are similar.

LeNet's two convolutions learn one task, with thousands of labels. Then a second task has 30, 100 or 1,000. Four methods:

    from scratch            random weights, all layers are trained
    frozen                  the convolutions are kept and run once per image; a new linear layer is trained on their features
    fine-tuned              then all layers are trained, with smaller learning rates for earlier layers
    frozen, never trained   the control: frozen convolutions with random weights

The first task (`--base`):

    digits      the digits 0 to 4; the second task is 5 to 9. All data comes with this package
    fashion     clothes, 10,000 images of Fashion-MNIST; the second task is all ten digits
    noise       the digits 0 to 4 with random labels, which can only be memorised

Results with 100 labels, in percentage points of accuracy above from scratch (mean ± standard deviation over ten seeds; in each
all methods get the same digits):

    base                       frozen        fine-tuned     never trained
    digits                     +2.4 ± 1.2    +2.3 ± 1.1     −2.2 ± 1.6
    fashion, three epochs      −2.1 ± 1.7    −1.5 ± 1.7     −4.2 ± 1.3
    noise                      −7.0 ± 2.2    −0.7 ± 1.4     −2.2 ± 1.6

Frozen took 0.1 s of CPU time, from scratch 0.8. With 1,000 labels no base has an advantage. Clothes differ from digits: their
features are better than random ones, but worse than training on the hundred digits. Features learned from random labels are
worse than random features: the convolutions memorised 28 % of the labels by the end, and lost what would have generalised.
(There is one base each, so its own randomness is in all ten seeds.)

    pip install ".[plot]"
    python examples/transfer.py --base digits --out runs/transfer
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

import microtensor as mt
from microtensor import models, nn, plot
from microtensor.data import DataLoader, Dataset, FashionMNIST, LabelledImages, Subset, mnist_sample
from microtensor.nn import transfer

METHODS = ("from scratch", "frozen", "fine-tuned", "frozen, never trained")


def network(classes: int) -> nn.Sequential:
    """LeNet-5's convolutions and one linear layer: (N, 1, 28, 28) → (N, classes)."""
    return nn.Sequential(*models.lenet5().features, nn.Flatten(), nn.Linear(16 * 5 * 5, classes))


def only(digits: LabelledImages, classes: range) -> LabelledImages:
    """The digits of these classes, relabelled from 0."""
    chosen = np.isin(digits.labels, classes)
    names = [digits.classes[c] for c in classes]
    return LabelledImages(digits.images[chosen], digits.labels[chosen] - classes.start, names)


def tasks(base: str, folder: Path | None) -> tuple[LabelledImages, LabelledImages, LabelledImages]:
    """The data of the first task; the training and the test data of the second."""
    train, test = mnist_sample(), mnist_sample(train=False)
    if base == "fashion":
        return FashionMNIST(folder, download=folder is None), train, test
    before = only(train, range(5))
    if base == "noise":
        before.labels = mt.Generator(0).permutation(before.labels)
    return before, only(train, range(5, 10)), only(test, range(5, 10))


def few(digits: LabelledImages, count: int, generator: mt.Generator) -> Subset:
    """`count` digits, equally many of each class."""
    classes = len(digits.classes)
    order = generator.permutation(len(digits))
    return Subset(digits, np.concatenate([order[digits.labels[order] == c][: count // classes] for c in range(classes)]))


def learn(model: nn.Module, data: Dataset, groups: Iterable[object], lr: float, epochs: int, batch: int = 16) -> nn.History:
    """Train with AdamW and a learning rate that falls to 0."""
    loader = DataLoader(data, batch, shuffle=True)
    optimizer = nn.AdamW(groups, lr=lr)
    schedule = nn.CosineAnnealingLR(optimizer, T_max=epochs * len(loader))
    settings = {"epochs": epochs, "schedule": schedule, "schedule_per": "step", "progress": False}
    return nn.fit(model, loader, nn.cross_entropy, optimizer, **settings)


def learned(method: str, base: nn.Sequential, data: Subset, classes: int, epochs: int) -> nn.Sequential:
    """A network trained on the second task by one of the methods."""
    model = network(classes)
    if method == "from scratch":
        learn(model, data, model.parameters(), lr=3e-3, epochs=epochs)
        return model
    if method != "frozen, never trained":
        model[:-1].load_state_dict(base[:-1].state_dict())
    transfer.freeze_base(model)
    head = transfer.head_of(model)
    learn(head, transfer.cache_features(model, data), head.parameters(), lr=3e-3, epochs=epochs)
    if method == "fine-tuned":
        model.unfreeze()
        learn(model, data, transfer.layer_groups(model, lr=1e-3, factor=3), lr=1e-3, epochs=epochs)
    return model


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", choices=("digits", "fashion", "noise"), default="digits")
    parser.add_argument("--base-epochs", type=int, default=8)
    parser.add_argument(
        "--base-images",
        type=int,
        default=10_000,
        help="at most; the digits 0 to 4 have 3,000",
    )
    parser.add_argument("--labels", type=int, nargs="+", default=[30, 100, 1000])
    parser.add_argument("--passes", type=float, default=1.0, help="length of training: 1 is 43 epochs of 100 digits")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--data", type=Path, default=None, help="folder of Fashion-MNIST; default: download it")
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"), help="folder for the figure")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)

    mt.manual_seed(0)
    before, train, test = tasks(options.base, options.data)
    start, base, classes = time.process_time(), network(len(before.classes)), len(test.classes)
    images = Subset(before, range(min(options.base_images, len(before))))
    history = learn(base, images, base.parameters(), lr=3e-3, epochs=options.base_epochs, batch=64)
    took = time.process_time() - start
    print(f"before: {len(images):,} images, {history[-1]['accuracy']:.1%} training accuracy, {took:.1f} s of CPU time")

    accuracies: dict[str, dict[int, list[float]]] = {method: {n: [] for n in options.labels} for method in METHODS}
    seconds: dict[str, dict[int, list[float]]] = {method: {n: [] for n in options.labels} for method in METHODS}
    for count in options.labels:
        epochs = max(1, round(options.passes * 430 / count**0.5))  # more digits: fewer epochs, but more steps
        for method in METHODS:
            for seed in range(options.seeds):
                data = few(train, count, mt.Generator(seed))  # the same digits for all methods
                mt.manual_seed(seed)
                start = time.process_time()
                model = learned(method, base, data, classes, epochs)
                seconds[method][count].append(time.process_time() - start)
                accuracies[method][count].append(nn.evaluate(model, DataLoader(test, 500))["accuracy"])
            measured, took = np.array(accuracies[method][count]), np.mean(seconds[method][count])
            ahead = measured - accuracies["from scratch"][count]  # paired by seed: both trained on the same digits
            spread = [x.std(ddof=min(1, len(x) - 1)) for x in (measured, ahead)]
            print(
                f"{count:5,} labels, {method}: {measured.mean():.1%} ± {spread[0]:.1%}, {took:.2f} s; "
                f"{100 * ahead.mean():+.1f} ± {100 * spread[1]:.1f} points", flush=True,
            )  # fmt: skip
    plot.save(plot.few_shot_curve(accuracies, seconds), options.out / f"{options.base}.png")


if __name__ == "__main__":
    main()
