"""A training run that may be killed at any moment: run as a script, `python killed.py FOLDER`, it writes FOLDER/final.npz.

Everything that a checkpoint must carry is in it: dropout, batch normalisation, Adam, a schedule, averaged weights, accumulated
batches, a shuffled loader with workers, a generator of a module's own, early stopping.
"""

import sys
from pathlib import Path

import numpy as np

import microtensor as mt
from microtensor import nn
from microtensor.data import DataLoader, TensorDataset


def train(folder, epochs=6, crash_at=None, workers=0):
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((150, 1, 6, 6)).astype(np.float32)
    labels = (inputs.sum((1, 2, 3)) > 0).astype(np.int64)
    mt.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2, generator=mt.Generator(7)),
        nn.Flatten(), nn.Dropout(0.1), nn.Linear(64, 2),
    )  # fmt: skip
    data = DataLoader(TensorDataset(inputs, labels), 8, shuffle=True, num_workers=workers)  # from the default generator
    validation = DataLoader(TensorDataset(inputs[:50], labels[:50]), 50)
    optimizer = nn.Adam(model.parameters(), lr=0.01)
    fit_settings = {
        "schedule": nn.CosineAnnealingLR(optimizer, T_max=100),
        "schedule_per": "step",
        "average": nn.ExponentialMovingAverage(model, decay=0.9),
        "callbacks": [nn.EarlyStopping(patience=50), Crash(crash_at)],
        "checkpoint": nn.Checkpoint(folder, every=3, keep=2, monitor="val_loss"),
    }
    history = nn.fit(
        model,
        data,
        nn.cross_entropy,
        optimizer,
        epochs=epochs,
        accumulate=2,
        validation=validation,
        progress=False,
        **fit_settings,
    )
    return model, optimizer, history


class Crash(nn.Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, run):
        if run.step == self.step:
            raise RuntimeError("crash")

    on_epoch = on_step


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    model, optimizer, history = train(folder, epochs=int(sys.argv[2]))
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in history]
    mt.save(folder / "final.npz", {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "history": rows})
