"""The training loop: forward, loss, backward, step; what to measure on the way; and what a run consists of."""

from __future__ import annotations

import importlib.util
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from typing import Any, TypeAlias

from microtensor import random
from microtensor.gradient import no_grad
from microtensor.nn.losses.classification import cross_entropy
from microtensor.nn.module import Module
from microtensor.nn.optim.average import ExponentialMovingAverage
from microtensor.nn.optim.clip import clip_grad_norm_
from microtensor.nn.optim.optimizer import Optimizer
from microtensor.nn.optim.plateau import ReduceLROnPlateau
from microtensor.nn.optim.scheduler import LRScheduler
from microtensor.nn.training.callbacks import Callback
from microtensor.nn.training.checkpoint import Checkpoint
from microtensor.nn.training.history import History, Row
from microtensor.nn.training.metrics import Means, Metrics, usual_metrics
from microtensor.tensor import Tensor

Batches: TypeAlias = Iterable[Sequence[Any]]
"""Pairs (inputs, labels), in any number of passes: a `microtensor.data.DataLoader`."""
Loss: TypeAlias = Callable[[Tensor, Any], Tensor]

SHOW_EVERY = 20
"""Steps between two looks at the loss, on a device: each look waits for it. On the CPU every step is looked at."""


def fit(
    model: Module,
    data: Batches,
    loss: Loss,
    optimizer: Optimizer,
    *,
    epochs: int = 1,
    validation: Batches | None = None,
    metrics: Metrics | None = None,
    schedule: LRScheduler | ReduceLROnPlateau | None = None,
    schedule_per: str = "step",
    accumulate: int = 1,
    clip_norm: float | None = None,
    average: ExponentialMovingAverage | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoint: Checkpoint | None = None,
    progress: bool = True,
) -> History:
    """Train `model` to make the `loss` of its scores small: so many passes over `data`, a step of the optimizer per batch.

    Batches go to the device on which the model is.

    Args:
        loss: scores and labels → the mean loss over the batch, one number. Any function of the two: `cross_entropy`, a loss
            layer, one of your own.
        epochs: passes over the data; one that is resumed counts from its beginning.
        validation: batches to measure loss and metrics on after each epoch, in eval mode.
        metrics: name → function of scores and labels; None: of a classifier "accuracy", and with more than ten classes
            "top5"; else nothing.
        schedule: learning rates that change. ReduceLROnPlateau sees the validation's loss, or else the training's.
        schedule_per: "step" or "epoch": when the schedule takes its steps.
        accumulate: batches per step: their gradients add up to that of one large batch, in the memory of a small one. (Batch
            normalisation still sees the small ones.)
        clip_norm: the longest gradient, all parameters together; longer ones are scaled down to it.
        average: follows the weights after each step; validation and the best weights are the averaged ones.
        callbacks: called after each step and each epoch, in this order: see `Callback`, `EarlyStopping`.
        checkpoint: saves the run as it goes, and resumes it: see `Checkpoint`.
        progress: a bar while an epoch runs, if standard error is a terminal and tqdm is installed; a line after it in any case.

    Returns:
        A list with a dict for each epoch: "epoch" (from 1), "loss" and the metrics, measured while training ("accuracy" is a
        fraction), "lr" after it, "seconds", and, with `validation`, "val_loss", "val_accuracy" …

    Raises:
        TypeError, ValueError: an argument means nothing; a batch is no pair; `data` has no batch.
        FloatingPointError: the loss is nan or infinite. The message says at which step. On the CPU the weights are still those
            before it.

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
    _check_settings(model, optimizer, epochs, schedule_per, accumulate, clip_norm, callbacks, checkpoint)
    side = (*callbacks, *([checkpoint] if checkpoint is not None else []))  # last, to save what the others remember
    run = Run(model, data, optimizer, schedule, average, side, progress)
    for callback in reversed(side):  # the checkpoint first, so that the others start from what it restores
        callback.on_start(run)
    while run.epoch < epochs and not run.stopping:
        name = f"epoch {run.epoch + 1}/{epochs}"
        model.train()
        start = time.perf_counter() - run.seconds
        with _bar(run, name) as show:
            for batches in _groups(run.remaining(), accumulate):
                _step(run, batches, loss, metrics, clip_norm)
                if schedule is not None and schedule_per == "step" and not isinstance(schedule, ReduceLROnPlateau):
                    schedule.step()
                show(sum(len(inputs) for inputs, _ in batches))
                run.seconds = time.perf_counter() - start
                if not run.pass_is_over():  # then on_epoch follows
                    for callback in side:
                        callback.on_step(run)
        row: Row = {"epoch": run.epoch + 1, **run.means.values(), "lr": optimizer.param_groups[0]["lr"]}
        row["seconds"] = time.perf_counter() - start
        if validation is not None:
            with run.averaged():
                row |= {f"val_{key}": value for key, value in evaluate(model, validation, loss, metrics=metrics).items()}
        run.ended(row)
        if isinstance(schedule, ReduceLROnPlateau):
            schedule.step(row.get("val_loss", row["loss"]))
        elif schedule is not None and schedule_per == "epoch":
            schedule.step()
        run.say(_line(row, epochs))
        for callback in side:
            callback.on_epoch(run)
    for callback in side:
        callback.on_end(run)
    return run.history


def evaluate(model: Module, data: Batches, loss: Loss = cross_entropy, *, metrics: Metrics | None = None) -> dict[str, float]:
    """Mean "loss" and metrics over `data`, in eval mode: of a classifier "accuracy" (the fraction whose highest score is the
    label's) and, with more than ten classes, "top5", unless `metrics` names others.

    Raises:
        ValueError: `data` has no batch.

    >>> import numpy as np
    >>> from microtensor.data import DataLoader, TensorDataset
    >>> from microtensor.nn import Identity
    >>> points = TensorDataset(np.eye(2, dtype="float32"), np.array([0, 0]))
    >>> evaluate(Identity(), DataLoader(points, batch_size=2))["accuracy"]
    0.5
    """
    means, device = Means(), _device_of(model)
    with model.evaluating(), no_grad():
        for inputs, labels in map(_pair, data):
            inputs, labels = inputs.to(device), labels.to(device)
            scores = model(inputs)
            metrics = usual_metrics(scores, labels) if metrics is None else metrics
            means.add(len(inputs), loss=loss(scores, labels), **{name: of(scores, labels) for name, of in metrics.items()})
    return means.values()


class Run:
    """A training run as it stands: what callbacks see, and what a checkpoint consists of.

    Attributes:
        model, data, optimizer, schedule, average, callbacks: as given to `fit`.
        epoch: complete passes over the data.
        batch: batches of the present pass that are done.
        step: steps of the optimizer, in all.
        history: a row for each complete epoch.
        means: what was measured in the present pass.
        seconds: how long the present pass has taken.
        stopping: whether training ends after this epoch; `stop` says so.
    """

    def __init__(
        self,
        model: Module,
        data: Batches,
        optimizer: Optimizer,
        schedule: LRScheduler | ReduceLROnPlateau | None,
        average: ExponentialMovingAverage | None,
        callbacks: Sequence[Callback],
        progress: bool,
    ) -> None:
        self.model, self.data, self.optimizer, self.schedule = model, data, optimizer, schedule
        self.average, self.callbacks, self.progress = average, callbacks, progress
        self.epoch = self.batch = self.step = 0
        self.history, self.means, self.seconds = History(), Means(), 0.0
        self.metrics: Metrics | None = None
        self.device = _device_of(model)
        self.stopping = False

    def remaining(self) -> Iterator[Sequence[Any]]:
        """What is left of the present pass: all of it, but after resuming."""
        if hasattr(self.data, "load_state_dict"):
            return iter(self.data)  # it knows where it stands
        return islice(iter(self.data), self.batch, None)

    def pass_is_over(self) -> bool:
        """Whether the present pass has no batch left, as far as the data says how many it has."""
        return isinstance(self.data, Sized) and self.batch >= len(self.data)

    def ended(self, row: Row) -> None:
        """The present pass is over."""
        self.history.append(row)
        self.epoch, self.batch, self.means, self.seconds = self.epoch + 1, 0, Means(), 0.0

    def stop(self, why: str = "") -> None:
        """End training after this epoch."""
        self.stopping = True
        self.say(f"stopped after epoch {self.epoch}" + (f": {why}" if why else ""))

    def say(self, line: str) -> None:
        """Print a line, unless `progress` is off."""
        if self.progress:
            print(line, flush=True)

    def averaged(self) -> AbstractContextManager[Any]:
        """Inside, the model has its averaged weights, if they are averaged."""
        return nullcontext() if self.average is None else self.average.applied()

    def watched(self, name: str | None, who: str) -> float:
        """What the last epoch's row has under `name`; under None the loss, of the validation if there is one.

        Raises:
            ValueError: nothing of this name was measured.
        """
        row = self.history[-1]
        name = name or ("val_loss" if "val_loss" in row else "loss")
        if name not in row:
            hint = "; give fit a validation" if name.startswith("val_") else ""
            raise ValueError(f"{who}: {name!r} is not measured; there are {', '.join(row)}{hint}")
        return row[name]

    def generators(self) -> dict[str, random.Generator]:
        """Every source of random numbers that the run draws from, by name: the default one, and those that modules hold."""
        held = (
            (f"{place}.{name}", value)
            for place, module in self.model.named_modules()
            for name, value in vars(module).items()
            if isinstance(value, random.Generator)
        )
        return {"default": random.default, **dict(held)}

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes while a run goes on, as a tree of tensors, numbers and text."""
        parts = {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule, "average": self.average}
        parts |= {"data": self.data, "means": self.means}
        return {
            **{name: part.state_dict() if hasattr(part, "state_dict") else None for name, part in parts.items()},
            "callbacks": [[type(callback).__name__, callback.state_dict()] for callback in self.callbacks],
            "generators": {name: generator.get_state() for name, generator in self.generators().items()},
            "place": {"epoch": self.epoch, "batch": self.batch, "step": self.step, "seconds": self.seconds},
            "stopping": self.stopping,
            "history": [dict(row) for row in self.history],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken.

        Raises:
            KeyError, TypeError, ValueError: it is the state of another run: of another model, other callbacks …
        """
        generators = self.generators()
        for what, saved, own in (
            ("callbacks", [name for name, _ in state["callbacks"]], [type(callback).__name__ for callback in self.callbacks]),
            ("random generators", [*state["generators"]], [*generators]),
        ):
            if saved != own:
                raise ValueError(f"its {what} are {', '.join(saved) or 'none'}, this run's {', '.join(own) or 'none'}")
        parts: dict[str, Any] = {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule}
        parts |= {"average": self.average, "data": self.data, "means": self.means}
        for name, part in parts.items():
            if (state[name] is None) == hasattr(part, "state_dict"):
                raise ValueError(f"one of the two has a state of its {name}, the other none")
        for name, part in parts.items():
            if state[name] is not None:
                part.load_state_dict(state[name])
        for callback, (_, remembered) in zip(self.callbacks, state["callbacks"]):
            callback.load_state_dict(remembered)
        for name, generator in generators.items():  # after the data, which may share one
            generator.set_state(state["generators"][name])
        place = state["place"]
        self.epoch, self.batch, self.step, self.seconds = place["epoch"], place["batch"], place["step"], place["seconds"]
        self.stopping, self.history = state["stopping"], History(state["history"])


def _step(run: Run, batches: Sequence[Sequence[Any]], loss: Loss, metrics: Metrics | None, clip_norm: float | None) -> None:
    """One step of the optimizer on these batches, as if they were one."""
    run.optimizer.zero_grad()
    total = sum(len(inputs) for inputs, _ in batches)
    for inputs, labels in batches:
        inputs, labels = inputs.to(run.device), labels.to(run.device)
        scores = run.model(inputs)
        value = loss(scores, labels)
        _check_loss(run, value)
        with no_grad():
            outside = scores.detach() if isinstance(scores, Tensor) else scores
            if run.metrics is None:
                run.metrics = usual_metrics(outside, labels) if metrics is None else metrics
            run.means.add(len(inputs), loss=value.detach(), **{name: of(outside, labels) for name, of in run.metrics.items()})
        (value if len(batches) == 1 else value * (len(inputs) / total)).backward()
    if clip_norm is not None:
        clip_grad_norm_([p for group in run.optimizer.param_groups for p in group["params"]], clip_norm)
    run.optimizer.step()
    if run.average is not None:
        run.average.update()
    run.batch += len(batches)
    run.step += 1


def _check_loss(run: Run, value: Any) -> None:
    """Refuse what is no loss, and stop where it is nan or infinite: on a device now and then, for a look waits for it."""
    if not isinstance(value, Tensor) or value.ndim and value.data.size != 1:
        given = f"shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f'fit: the loss must be one number, as a Tensor, got {given}; use reduction="mean" or .mean()')
    if value.device != "cpu" and run.step % SHOW_EVERY:
        return
    number = value.item()
    if math.isfinite(number):
        return
    before = run.means.values().get("loss") if run.means.count else None
    rates = ", ".join(f"{group['lr']:g}" for group in run.optimizer.param_groups)
    raise FloatingPointError(
        f"fit: the loss is {number} in epoch {run.epoch + 1}, at step {run.step + 1}"
        + (f"; its mean in this epoch was {before:.4g}" if before is not None else "")
        + f". The learning rate is {rates}: try a tenth of it, or clip_norm=1.0; look for nan and very large numbers in the "
        "inputs; microtensor.detect_anomaly() around fit names the operation that makes the first nan"
    )


def _groups(batches: Iterator[Sequence[Any]], size: int) -> Iterator[list[Sequence[Any]]]:
    while group := [_pair(batch) for batch in islice(batches, size)]:
        yield group


def _pair(batch: Any) -> Sequence[Any]:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2 or not all(isinstance(x, Tensor) for x in batch):
        given = f"{len(batch)} things" if isinstance(batch, (tuple, list)) else type(batch).__name__
        raise TypeError(f"fit: a batch must be a pair of tensors (inputs, labels), got {given}; use a DataLoader")
    return batch


def _device_of(model: Module) -> str:
    return next((x.device for x in (*model.parameters(), *model.buffers())), "cpu")


def _check_settings(
    model: Any,
    optimizer: Any,
    epochs: Any,
    schedule_per: Any,
    accumulate: Any,
    clip_norm: Any,
    callbacks: Any,
    checkpoint: Any,
) -> None:
    for name, value, kind in (("model", model, Module), ("optimizer", optimizer, Optimizer)):
        if not isinstance(value, kind):
            given = type(value).__name__
            raise TypeError(f"fit: {name} must be of class {kind.__name__}, got {given}; fit(model, data, loss, optimizer)")
    for name, value, least in (("epochs", epochs, 0), ("accumulate", accumulate, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"fit: {name} must be a whole number of {least} or more, got {value!r}")
    if schedule_per not in ("step", "epoch"):
        raise ValueError(f'fit: schedule_per must be "step" or "epoch", got {schedule_per!r}')
    if clip_norm is not None and (not isinstance(clip_norm, (int, float)) or not clip_norm > 0):
        raise ValueError(f"fit: clip_norm must be a number above 0, got {clip_norm!r}")
    if not isinstance(callbacks, (list, tuple)) or not all(isinstance(c, Callback) for c in callbacks):
        raise TypeError(f"fit: callbacks must be a list of Callback objects, got {callbacks!r}")
    if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
        raise TypeError(f'fit: checkpoint must be a Checkpoint, got {type(checkpoint).__name__}; write Checkpoint("folder")')


@contextmanager
def _bar(run: Run, name: str) -> Iterator[Callable[[int], None]]:
    """A progress bar where one can be seen. Yields what to call after each step, with the number of its samples."""
    if not (run.progress and sys.stderr.isatty() and importlib.util.find_spec("tqdm")):
        yield lambda samples: None
        return
    from tqdm import tqdm

    dataset = getattr(run.data, "dataset", None)
    total = len(dataset) if dataset is not None else None
    with tqdm(total=total, initial=run.means.count, desc=name, unit=" images", leave=False) as bar:

        def show(samples: int) -> None:
            bar.update(samples)
            if run.step % SHOW_EVERY == 0:
                bar.set_postfix_str(_measured(run.means.values()))

        yield show


def _measured(row: Mapping[str, float], prefix: str = "") -> str:
    """The loss and the metrics of a row in words: loss 0.1234, accuracy 97.12%."""
    shown = []
    for name, value in row.items():
        if name.startswith(prefix) and (prefix or not name.startswith("val_")):
            name = name.removeprefix(prefix)
            if name not in ("epoch", "seconds", "lr"):
                shown.append(f"{name} {value:.2%}" if name in ("accuracy", "top5") else f"{name} {value:.4f}")
    return ", ".join(shown)


def _line(row: Row, epochs: int) -> str:
    line = f"epoch {row['epoch']:.0f}/{epochs}: {_measured(row)}"
    if "val_loss" in row:
        line += f"; validation {_measured(row, 'val_')}"
    return f"{line}; {row['seconds']:.1f} s"
