"""The training loop: forward, loss, backward, step; and what to measure on the way."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from microtensor.gradient import no_grad
from microtensor.nn.loss import cross_entropy
from microtensor.nn.module import Module
from microtensor.nn.optim import Optimizer
from microtensor.nn.schedule import CosineAnnealingLR
from microtensor.tensor import Tensor

Batches: TypeAlias = Iterable[Sequence[Any]]
"""Pairs (inputs, labels), in any number of passes: a `microtensor.data.DataLoader`."""
Loss: TypeAlias = Callable[[Tensor, Any], Tensor]

SHOW_EVERY = 20
"""Steps between two looks at the loss: each look waits for the device."""


def fit(
    model: Module,
    data: Batches,
    loss: Loss,
    optimizer: Optimizer,
    *,
    epochs: int = 1,
    schedule: CosineAnnealingLR | None = None,
    validation: Batches | None = None,
    device: str = "cpu",
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    progress: bool = True,
) -> list[dict[str, float]]:
    """Train `model` to make the `loss` of its scores small: so many passes over `data`, a step of the optimizer per batch.

    Args:
        loss: scores (N, C) and labels (N,) → the mean loss over the batch, one number.
        schedule: takes a step after each step of the optimizer.
        validation: batches to measure loss and accuracy on after each epoch.
        device: where the batches go; the model must be there.
        on_epoch: called after each epoch with its row of the history: to save weights, for instance.
        progress: a bar while an epoch runs, if standard error is a terminal and tqdm is installed; a line after it in any case.

    Returns:
        The history: a dict for each epoch, with "epoch" (from 1), "loss", "accuracy" (a fraction, measured while training),
        "seconds" and, with `validation`, "val_loss" and "val_accuracy".

    Raises:
        ValueError: `data` has no batch.

    >>> import numpy as np
    >>> from microtensor.data import DataLoader, TensorDataset
    >>> from microtensor.nn import Linear, SGD, cross_entropy
    >>> points = TensorDataset(np.eye(2, dtype="float32"), np.array([0, 1]))
    >>> model = Linear(2, 2)
    >>> data, optimizer = DataLoader(points, batch_size=2), SGD(model.parameters(), lr=1.0)
    >>> history = fit(model, data, cross_entropy, optimizer, epochs=20, progress=False)
    >>> history[-1]["accuracy"]
    1.0
    """
    history = []
    for epoch in range(1, epochs + 1):
        start = time.perf_counter()
        measured = _train_epoch(model, data, loss, optimizer, schedule, device, f"epoch {epoch}/{epochs}", progress)
        row = {"epoch": epoch, **measured, "seconds": time.perf_counter() - start}
        if validation is not None:
            row |= {f"val_{name}": value for name, value in evaluate(model, validation, loss, device=device).items()}
        history.append(row)
        if progress:
            print(_line(row, epochs), flush=True)
        if on_epoch is not None:
            on_epoch(row)
    return history


def evaluate(model: Module, data: Batches, loss: Loss = cross_entropy, *, device: str = "cpu") -> dict[str, float]:
    """Mean "loss" and "accuracy" (the fraction whose highest score is the label's) over `data`, in eval mode.

    Raises:
        ValueError: `data` has no batch.

    >>> import numpy as np
    >>> from microtensor.data import DataLoader, TensorDataset
    >>> from microtensor.nn import Identity
    >>> points = TensorDataset(np.eye(2, dtype="float32"), np.array([0, 0]))
    >>> evaluate(Identity(), DataLoader(points, batch_size=2))["accuracy"]
    0.5
    """
    totals = _Totals()
    with model.evaluating(), no_grad():
        for inputs, labels in _on_device(data, device):
            scores = model(inputs)
            totals.add(scores, labels, loss(scores, labels))
    return totals.means()


def _train_epoch(
    model: Module,
    data: Batches,
    loss: Loss,
    optimizer: Optimizer,
    schedule: CosineAnnealingLR | None,
    device: str,
    name: str,
    progress: bool,
) -> dict[str, float]:
    model.train()
    totals = _Totals()
    with _bar(data, name, progress) as (batches, show):
        for step, (inputs, labels) in enumerate(_on_device(batches, device), start=1):
            optimizer.zero_grad()
            scores = model(inputs)
            value = loss(scores, labels)
            value.backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
            totals.add(scores.detach(), labels, value.detach())
            if step % SHOW_EVERY == 0:
                show(totals.means())
    return totals.means()


class _Totals:
    """Sums over batches, kept on the device: nothing waits for it before `means`."""

    def __init__(self) -> None:
        self.count = 0
        self.loss: Any = 0.0
        self.correct: Any = 0

    def add(self, scores: Tensor, labels: Tensor, loss: Tensor) -> None:
        self.count += len(labels)
        self.loss = self.loss + loss * len(labels)
        self.correct = self.correct + (scores.argmax(dim=1) == labels).sum()

    def means(self) -> dict[str, float]:
        if not self.count:
            raise ValueError("the data has no batch: a data set that is empty, or smaller than a batch with drop_last")
        return {"loss": float(self.loss) / self.count, "accuracy": float(self.correct) / self.count}


def _on_device(batches: Batches, device: str) -> Iterator[tuple[Tensor, Tensor]]:
    for inputs, labels in batches:
        yield inputs.to(device), labels.to(device)


@contextmanager
def _bar(batches: Batches, name: str, progress: bool) -> Iterator[tuple[Batches, Callable[[dict[str, float]], None]]]:
    """The batches, with a progress bar around them where one can be seen."""
    if not (progress and sys.stderr.isatty() and importlib.util.find_spec("tqdm")):
        yield batches, lambda means: None
        return
    from tqdm import tqdm

    with tqdm(batches, desc=name, unit="batch", leave=False) as bar:
        yield bar, lambda means: bar.set_postfix_str(f"loss {means['loss']:.4f}, accuracy {means['accuracy']:.2%}")


def _line(row: dict[str, float], epochs: int) -> str:
    line = f"epoch {row['epoch']:.0f}/{epochs}: loss {row['loss']:.4f}, accuracy {row['accuracy']:.2%}"
    if "val_loss" in row:
        line += f"; validation loss {row['val_loss']:.4f}, accuracy {row['val_accuracy']:.2%}"
    return f"{line}; {row['seconds']:.1f} s"
