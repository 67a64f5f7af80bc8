"""Fashion-MNIST: a network with two convolutions classifies clothes, to more than 90 % on the test set.

    pip install ".[data,plot]"
    python examples/fashion_mnist.py --epochs 8 --out runs/fashion

The program can be stopped at any time; started again, it continues from the last checkpoint in the folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import microtensor as mt
from microtensor import nn
from microtensor.data import DataLoader, FashionMNIST


def two_convolutions() -> nn.Sequential:
    """(N, 1, 28, 28) → (N, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(32 * 7 * 7, 10),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--data", type=Path, default=None, help="folder of the data files; default: download them")
    parser.add_argument("--out", type=Path, default=Path("runs/fashion"), help="folder for checkpoints and the figure")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    mt.manual_seed(options.seed)
    train, test = (FashionMNIST(options.data, train=part, download=options.data is None) for part in (True, False))
    data, test_data = DataLoader(train, options.batch_size, shuffle=True), DataLoader(test, 500)

    model = two_convolutions()
    print(nn.summary(model, (1, 28, 28)))
    optimizer = nn.AdamW(model.parameters(), lr=3e-3)
    schedule = nn.OneCycleLR(optimizer, max_lr=3e-3, total_steps=options.epochs * len(data))
    history = nn.fit(
        model, data, nn.cross_entropy, optimizer,
        epochs=options.epochs, schedule=schedule, schedule_per="step", validation=test_data,
        checkpoint=nn.Checkpoint(options.out, every=100),
    )  # fmt: skip
    print(f"test accuracy {history[-1]['val_accuracy']:.2%} after {sum(row['seconds'] for row in history):.0f} s of training")
    history.to_csv(options.out / "history.csv")
    history.plot().savefig(options.out / "training.png")


if __name__ == "__main__":
    main()
