"""`microtensor demo`: train LeNet-5 on handwritten digits, and draw saliency maps of test digits."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from .. import saliency
from ..autograd.grad_mode import no_grad
from ..data import MNIST, DataLoader, LabelledImages, mnist_sample
from ..io.files import check_place
from ..io.state import save
from ..models import lenet5
from ..nn import Adam, Callback, CosineAnnealingLR, Module, Run, cross_entropy, fit
from ..random import Generator, manual_seed
from ..runtime import arrays
from ..tensor import Tensor
from .options import at_least, positive

INTERRUPTED = 130
"""Exit status after Ctrl-C by convention: 128 + SIGINT."""


def add_command(commands: Any) -> None:
    """Add the command to argparse."""
    demo = commands.add_parser(
        "demo",
        help="train LeNet-5 on handwritten digits and draw saliency maps",
        description="Train LeNet-5 on handwritten digits (7,000 of MNIST come with the package), then draw the training curve, "
        "test digits beside their saliency maps, and the confusion matrix, and save the weights.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    demo.add_argument("--epochs", type=at_least(1), default=10, help="passes over the training digits")
    demo.add_argument("--batch-size", type=at_least(1), default=64, help="digits per step")
    demo.add_argument(
        "--lr", type=positive, default=3e-3, help="learning rate of Adam at the start; it falls to 0 along half a cosine"
    )
    demo.add_argument("--seed", type=at_least(0), default=0, help="the same seed gives the same weights, bit for bit")
    demo.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if CuPy finds one")
    data_help = "a folder with the full MNIST as IDX files; default: the sample in the package"
    demo.add_argument("--data", type=Path, metavar="DIR", default=argparse.SUPPRESS, help=data_help)
    demo.add_argument("--out", type=Path, metavar="DIR", default=Path("demo"), help="folder for figures and weights")
    demo.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    from .. import plot

    plot.require()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    check_place(out / "lenet5.npz")  # before training, not after it
    device = ("cuda" if arrays.is_available() else "cpu") if options.device == "auto" else options.device
    digits, test_digits = _digits(vars(options).get("data"))
    manual_seed(options.seed)
    model = lenet5().to(device)
    data = DataLoader(digits, options.batch_size, shuffle=True, generator=Generator(options.seed))
    test_data = DataLoader(test_digits, batch_size=256)
    parameters = sum(p.array.size for p in model.parameters())
    print(f"LeNet-5, {parameters:,} parameters, on {device}: {len(digits):,} training digits, {len(test_digits):,} test digits")

    weights = out / "lenet5.npz"
    keep = _KeepWeights(weights)
    start = time.perf_counter()
    try:
        optimizer = Adam(model.parameters(), lr=options.lr)
        history = fit(
            model,
            data,
            cross_entropy,
            optimizer,
            epochs=options.epochs,
            schedule=CosineAnnealingLR(optimizer, T_max=options.epochs * len(data)),
            schedule_per="step",
            validation=test_data,
            callbacks=[keep],
        )
    except KeyboardInterrupt:
        done = (
            f"the weights of epoch {keep.epoch} are in {weights}"
            if keep.epoch
            else "before the end of the first epoch: nothing was saved"
        )
        print(f"\nstopped; {done}", file=sys.stderr)
        return INTERRUPTED
    print(f"test accuracy {history[-1]['val_accuracy']:.2%} after {time.perf_counter() - start:.1f} s of training")

    labels, predictions = test_digits.labels, _predict(model, test_data, device)
    plot.save(plot.training_curve(history), out / "training.png")
    plot.save(plot.confusion_matrix(labels, predictions, test_digits.classes), out / "confusion.png")
    chosen = _shown(labels, predictions)
    images, _ = test_digits[chosen]
    maps = saliency.gradient(model, Tensor(images, device=device))
    picture = plot.saliency_grid(test_digits.images[chosen], maps, labels[chosen], predictions[chosen])
    plot.save(picture, out / "saliency.png")
    print(f"wrote {', '.join(name for name in ('training.png', 'saliency.png', 'confusion.png', weights.name))} to {out}")
    return 0


def _digits(folder: Path | None) -> tuple[LabelledImages, LabelledImages]:
    """Training digits and test digits."""
    if folder is None:
        return mnist_sample(train=True), mnist_sample(train=False)
    return MNIST(folder, train=True), MNIST(folder, train=False)


def _predict(model: Module, data: DataLoader, device: str) -> np.ndarray[Any, Any]:
    """The predicted class of each sample, in order."""
    with model.evaluating(), no_grad():
        return np.concatenate([model(inputs.to(device)).argmax(dim=1).numpy() for inputs, _ in data])


def _shown(labels: np.ndarray[Any, Any], predictions: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Indices of sixteen digits: the first correct one of each class, then wrong ones, then any."""
    right = [np.flatnonzero((labels == digit) & (predictions == digit))[:1] for digit in range(10)]
    order = [*np.concatenate(right), *np.flatnonzero(labels != predictions), *range(len(labels))]
    return np.array([*dict.fromkeys(int(i) for i in order)][:16])


class _KeepWeights(Callback):
    """Saves the weights after every epoch."""

    def __init__(self, path: Path) -> None:
        self.path, self.epoch = path, 0

    def on_epoch(self, run: Run) -> None:
        save(self.path, run.model.state_dict())
        self.epoch = run.epoch
