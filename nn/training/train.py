"""The training loop: forward, loss, backward, step; and what to measure on the way."""

from __future__ import annotations

import importlib.util
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any

from microtensor.autograd.backward import no_grad
from microtensor.tensor import Tensor

from ..losses.classification import cross_entropy
from ..module import Module
from ..optim.average import ExponentialMovingAverage
from ..optim.clip import clip_grad_norm_
from ..optim.lr_scheduler import LRScheduler
from ..optim.optimizer import Optimizer
from ..optim.scaler import GradScaler
from .callbacks import Callback, Watching
from .checkpoint import Checkpoint
from .checks import Batch, batch_of, check_batches, check_cycle, check_run, check_settings, scaler_of
from .history import EpochRow, History
from .metrics import Means, Metrics, usual_metrics
from .run import Batches, Loss, Run, device_of, diverged
from .settings import leave, length_of, settings_of, warn

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
    schedule: LRScheduler | None = None,
    schedule_per: str | None = None,
    accumulate: int = 1,
    clip_norm: float | None = None,
    average: ExponentialMovingAverage | None = None,
    precision: str | GradScaler | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoint: Checkpoint | None = None,
    progress: bool = True,
) -> History:
    """Train `model` to make the `loss` of its scores small: so many passes over `data`, a step of the optimizer per batch.

    A batch is (inputs, labels), tensors with the samples on axis 0; of a model with several inputs (first, second, …, labels).
    Batches go to the device on which the model is. Afterwards the model is in eval mode, in which the validation measured it,
    and ready to predict: also where training was stopped, by Ctrl-C or an error too, or nothing was left to do. Each epoch puts
    it into training mode.

    Args:
        loss: scores and labels → the mean loss over the batch, one number. Any function of the two: `cross_entropy`, a loss
            layer, one of your own.
        epochs: passes over the data; one that is resumed counts from its beginning.
        validation: batches to measure loss and metrics on after each epoch, in eval mode.
        metrics: name → function of scores and labels; None: of a classifier "accuracy", and with more than ten classes
            "top5"; else nothing.
        schedule: learning rates that change. ReduceLROnPlateau sees the validation's loss, or else the training's.
        schedule_per: "step" or "epoch": what the schedule counts. Its settings depend on it, so there is no default, but for
            ReduceLROnPlateau, which looks at epochs.
        accumulate: batches per step: their gradients add up to that of one large batch, in the memory of a small one. (Batch
            normalisation still sees the small ones.)
        clip_norm: the longest gradient, all parameters together; longer ones are scaled down to it.
        average: follows the weights after each step; validation and the best weights are the averaged ones. The model keeps its
            own: `average.copy_to()` afterwards gives it the averaged ones.
        precision: "16-mixed": model and loss compute under `autocast`, partly in float16, and a `GradScaler` keeps gradients
            from vanishing; or a GradScaler of one's own. "32-true" or None: everything in the dtype that it has. (The names are
            PyTorch Lightning's.)
        callbacks: called after each step and each epoch, in this order: see `Callback`, `EarlyStopping`.
        checkpoint: saves the run as it goes, and resumes it, if its settings are those given here: see `Checkpoint`. A
            UserWarning says if nothing was left to do.
        progress: a bar while an epoch runs, if standard error is a terminal and tqdm is installed; a line after it in any case.

    Returns:
        A list with a dict for each epoch: "epoch" (from 1), "loss" and the metrics, measured while training ("accuracy" is a
        fraction), "lr" at its end, "seconds", and, with `validation`, "val_loss", "val_accuracy" …

    Raises:
        TypeError, ValueError: an argument means nothing, or was made for another model; the checkpoint is of a run with other
            settings; a batch is no tuple of tensors; `data` has no batch; the model or the loss gives nothing, or the loss has
            no graph.
        BlockingIOError: another run is under way in the checkpoint's folder.
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
    check_settings(epochs, accumulate, schedule, schedule_per, clip_norm)
    epochs, accumulate = int(epochs), int(accumulate)  # NumPy's too, which no checkpoint is to hold
    scaler = scaler_of(precision)
    check_run(model, loss, optimizer, schedule, average, callbacks, checkpoint, metrics)
    for batches in (data, validation):
        check_batches("fit", batches, epochs)
    side = (*callbacks, *([checkpoint] if checkpoint is not None else []))  # last, to save what the others remember
    run = Run(
        model, data, loss, optimizer, validation, schedule, average, side, progress, scaler, metrics, epochs, schedule_per,
        accumulate, clip_norm,
    )  # fmt: skip
    with ExitStack() as held:
        for callback in side:
            if isinstance(callback, Checkpoint):
                held.enter_context(callback.locked())
        _start(run)
        try:
            if run.step and (run.stopping or run.epoch >= epochs):
                over = f"{run.epoch} of {epochs} epochs are done; ask for more, or begin"
                if run.stopping:
                    over = f"the run was stopped after epoch {run.epoch}; begin"
                warn(f"fit: nothing to do: {over} anew in another folder")
            while run.epoch < epochs and not run.stopping:
                _epoch(run, metrics)
        finally:
            model.eval()
            leave(run)
        for callback in side:
            callback.on_end(run)
    return run.history


def _start(run: Run) -> None:
    """Let the callbacks begin, and the checkpoint go on from where the run stood. If one refuses, all is as it was."""
    for callback in run.callbacks:
        if isinstance(callback, Watching):
            callback.choose_mode(run.metrics)
    if any(isinstance(callback, Checkpoint) for callback in run.callbacks):
        run.given = settings_of(run)
    try:
        for callback in reversed(run.callbacks):  # the checkpoint first, so that the others start from what it restores
            callback.on_start(run)
        check_cycle(run)
    except BaseException:
        run.take_back()
        raise
    run.undo = None


def _epoch(run: Run, metrics: Metrics | None) -> None:
    """One pass over the data, or what is left of it, and what comes after."""
    name, schedule = f"epoch {run.epoch + 1}/{run.epochs}", run.schedule
    run.model.train()
    start = time.perf_counter() - run.seconds
    with _bar(run, name) as show:
        for batches in _groups(run.remaining(), run.accumulate):
            _step(run, batches)
            if schedule is not None and run.schedule_per == "step" and not schedule.needs_metric:
                schedule.step()
            show(sum(batch.samples for batch in batches))
            run.seconds = time.perf_counter() - start
            for callback in run.callbacks:
                callback.on_step(run)
    run.check_loss()
    row: EpochRow = {"epoch": run.epoch + 1, **run.means.values(), "lr": run.optimizer.param_groups[0]["lr"]}
    row["seconds"] = time.perf_counter() - start
    if run.validation is not None:
        with run.averaged(), run.autocast():
            measured = evaluate(run.model, run.validation, run.loss, metrics=metrics)
        row |= {f"val_{key}": value for key, value in measured.items()}
    run.ended(row)
    if schedule is not None and schedule.needs_metric:
        schedule.step(row.get("val_loss", row["loss"]))  # type: ignore[call-arg]  # the class with a metric
    elif schedule is not None and run.schedule_per == "epoch":
        schedule.step()
    run.say(_line(row, run.epochs, with_rate=schedule is not None))
    for callback in run.callbacks:
        callback.on_epoch(run)


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
    check_batches("evaluate", data, 1)
    means, device = Means(), device_of(model)
    with model.evaluating(), no_grad():
        for batch in data:
            inputs, labels = batch_of("evaluate", batch).to(device)
            scores = _scores("evaluate", model, inputs)
            metrics = usual_metrics(scores, labels) if metrics is None else metrics
            means.add(len(labels), loss=loss(scores, labels), **{name: of(scores, labels) for name, of in metrics.items()})
    return means.values()


def _scores(who: str, model: Module, inputs: Sequence[Tensor]) -> Any:
    """What the model makes of a batch."""
    scores = model(*inputs)
    if scores is None:
        raise TypeError(f"{who}: forward of {type(model).__name__} gave None, and scores are needed; is its `return` missing?")
    return scores


def _step(run: Run, batches: Sequence[Batch]) -> None:
    """One step of the optimizer on these batches, as if they were one."""
    run.optimizer.zero_grad()
    total = sum(batch.samples for batch in batches)
    run.last_loss = None
    for batch in batches:
        inputs, labels = batch.to(run.device)
        with run.autocast():
            scores = _scores("fit", run.model, inputs)
            value = run.loss(scores, labels)
        _check_loss(run, value)
        with no_grad(), run.autocast():
            outside = scores.detach() if isinstance(scores, Tensor) else scores
            if run.metrics is None:
                run.metrics = usual_metrics(outside, labels)
            run.means.add(batch.samples, loss=value.detach(), **{name: of(outside, labels) for name, of in run.metrics.items()})
        value = value if len(batches) == 1 else value * (batch.samples / total)
        with run.overflowing():
            run.scaler.scale(value).backward()
        part = value.detach()
        run.last_loss = part if run.last_loss is None else run.last_loss + part
    if run.clip_norm is not None:
        run.scaler.unscale_(run.optimizer)
        with run.overflowing():
            clip_grad_norm_([p for group in run.optimizer.param_groups for p in group["params"]], run.clip_norm)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    if run.average is not None:
        run.average.update()
    run.batch += len(batches)
    run.step += 1


def _check_loss(run: Run, value: Any) -> None:
    """Refuse what is no loss, and stop where it is nan or infinite: on a device now and then, for a look waits for it."""
    if not isinstance(value, Tensor) or value.ndim and value.array.size != 1:
        given = f"shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
        hint = "is the function's `return` missing?" if value is None else 'use reduction="mean" or .mean()'
        raise TypeError(f"fit: the loss must be one number, as a Tensor, got {given}; {hint}")
    if not value.requires_grad:
        raise ValueError(
            "fit: the loss has no graph, and nothing can be learned from it: fit was called in no_grad(), or the model or the "
            "loss left the graph, by .detach(), .data, .numpy() or Tensor(...)"
        )
    if value.device != "cpu" and run.step % SHOW_EVERY:
        return
    number = value.item()
    if math.isfinite(number):
        return
    before = run.means.values()["loss"] if run.means.count else math.nan
    mean = f"; its mean in this epoch was {before:.4g}" if math.isfinite(before) else ""
    raise diverged(run, f"the loss is {number} in epoch {run.epoch + 1}, at step {run.step + 1}{mean}")


def _groups(batches: Iterator[Sequence[Any]], size: int) -> Iterator[list[Batch]]:
    while group := [batch_of("fit", batch) for batch in islice(batches, size)]:
        yield group


@contextmanager
def _bar(run: Run, name: str) -> Iterator[Callable[[int], None]]:
    """A progress bar where one can be seen. Yields what to call after each step, with the number of its samples."""
    if not (run.progress and sys.stderr.isatty() and importlib.util.find_spec("tqdm")):
        yield lambda samples: None
        return
    from tqdm import tqdm

    dataset = getattr(run.data, "dataset", None)
    total = length_of(dataset)
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
                shown.append(f"{name} {value:.2%}" if name in ("accuracy", "top5") else f"{name} {_number(value)}")
    return ", ".join(shown)


def _number(value: float) -> str:
    """Four places where they tell something; 8.26e-05 where they would be zeros, 2.47e+12 where they would be lost."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:.2e}"


def _line(row: EpochRow, epochs: int, with_rate: bool) -> str:
    line = f"epoch {row['epoch']:.0f}/{epochs}: {_measured(row)}"
    if "val_loss" in row:
        line += f"; validation {_measured(row, 'val_')}"
    if with_rate:
        line += f"; lr {row['lr']:.3g}"
    return f"{line}; {row['seconds']:.1f} s"
