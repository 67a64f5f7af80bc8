"""The training loop: for each epoch, for each batch: forward, loss, backward, step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from microtensor.autograd.grad_mode import no_grad
from microtensor.tensor import Tensor

from ..losses.classification import cross_entropy
from ..module import Module
from ..optim.clip_grad import clip_grad_norm_
from ..optim.grad_scaler import GradScaler
from ..optim.lr_scheduler import LRScheduler
from ..optim.moving_average import ExponentialMovingAverage
from ..optim.optimizer import Optimizer
from .callbacks import Callback, MonitorCallback
from .checkpoint_callback import Checkpoint
from .fit_checks import Batch, batch_of, check_batches, check_cycle
from .history import EpochRow, History
from .metrics import Means, Metrics, usual_metrics
from .progress import epoch_line, progress_bar
from .run import Batches, Loss, Run, device_of, diverged
from .run_settings import remember_settings_after, settings_of, warn

CHECK_EVERY_STEPS = 20
"""Steps between two checks that the loss is finite, on a GPU, where reading it waits for the device. On the CPU: every step."""


def fit(
    model: Module, data: Batches, loss: Loss, optimizer: Optimizer, *, epochs: int = 1, validation: Batches | None = None,
    metrics: Metrics | None = None, schedule: LRScheduler | None = None, schedule_per: str | None = None, accumulate: int = 1,
    clip_norm: float | None = None, average: ExponentialMovingAverage | None = None, precision: str | GradScaler | None = None,
    callbacks: Sequence[Callback] = (), checkpoint: Checkpoint | None = None, progress: bool = True,
) -> History:  # fmt: skip
    """Train `model` to minimise `loss`: `epochs` passes over `data`, one step of the optimizer per batch.

    A batch is (inputs, labels), or (input, …, labels) for a model with several inputs: tensors with the samples on axis 0. It
    is moved to the device of the model. The model is in training mode in each epoch, and in eval mode for the validation and
    afterwards, also after Ctrl-C or an error.

    Args:
        loss: scores and labels → their mean loss, one number: `cross_entropy`, a loss layer, or a function of your own.
        epochs: passes over the data; in a resumed run, those before it was interrupted count too.
        validation: batches to measure loss and metrics on after each epoch.
        metrics: name → function of scores and labels. None: "accuracy" of a classifier, with more than ten classes "top5" too.
        schedule: a learning rate schedule. ReduceLROnPlateau gets the loss of the validation, or else of the training.
        schedule_per: "step" or "epoch": when the schedule steps. Required, except for ReduceLROnPlateau: once per epoch.
        accumulate: batches per step, whose gradients are added up: a large batch in the memory of a small one.
        clip_norm: the largest norm of the gradient, all parameters together: see `clip_grad_norm_`.
        average: a moving average of the weights, for the validation and the best weights. `average.copy_to()` copies it.
        precision: "16-mixed": mixed precision, by `autocast` and a `GradScaler`; or your GradScaler. "32-true" or None: none.
        callbacks: called after each step and epoch, in this order: see `Callback`, `EarlyStopping`.
        checkpoint: saves the run, and resumes it when the program is started again: see `Checkpoint`.
        progress: whether to print a line per epoch, and on a terminal, with tqdm installed, a progress bar.

    Returns:
        A list with a dict per epoch: "epoch", "loss", "accuracy", "lr", "seconds", and with `validation` "val_loss" and so on.

    Raises:
        TypeError, ValueError: an argument, a batch, a score or a loss is invalid, or the checkpoint does not fit.
        BlockingIOError: another run is writing to the checkpoint's folder.
        FloatingPointError: the loss is nan or infinite. On the CPU the weights are those before that step.

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
    run = Run(
        model, data, loss, optimizer, epochs, validation, metrics, schedule, schedule_per, accumulate, clip_norm, average,
        precision, callbacks, checkpoint, progress,
    )  # fmt: skip
    train(run)
    return run.history


def train(run: Run) -> None:
    """A run from its start, which may be a checkpoint, to its end: what happens around the training loop."""
    with run.locked():
        start(run)
        try:
            warn_if_finished(run)
            training_loop(run)
        finally:
            run.model.eval()
            remember_settings_after(run)
        for callback in run.callbacks:
            callback.on_end(run)


def training_loop(run: Run) -> None:
    """For each epoch, for each batch: forward, loss, backward, step. (A step may take several batches.)"""
    while run.epoch < run.epochs and not run.stopping:
        run.model.train()
        run.epoch_began = time.perf_counter() - run.seconds
        with progress_bar(run) as show:
            for batches in batches_per_step(run):
                run.optimizer.zero_grad()
                run.last_loss = None
                for batch, share in batches:
                    loss = forward(run, batch)
                    backward(run, loss, share)
                step(run, len(batches))
                after_step(run, show, sum(batch.samples for batch, _ in batches))
        end_epoch(run)


def start(run: Run) -> None:
    """Let the callbacks begin, and the checkpoint resume the run. If one of them refuses, the run is rolled back."""
    for callback in run.callbacks:
        if isinstance(callback, MonitorCallback):
            callback.choose_mode(run.metrics)
    if any(isinstance(callback, Checkpoint) for callback in run.callbacks):
        run.given = settings_of(run)
    try:
        for callback in reversed(run.callbacks):  # the checkpoint first, so that the others start from what it restores
            callback.on_start(run)
        check_cycle(run)
    except BaseException:
        run.roll_back()
        raise
    run.rollback = None


def warn_if_finished(run: Run) -> None:
    """Warn if a resumed run has no epoch left to do."""
    if run.step and (run.stopping or run.epoch >= run.epochs):
        why = f"{run.epoch} of {run.epochs} epochs are done; ask for more, or start"
        if run.stopping:
            why = f"the run was stopped after epoch {run.epoch}; start"
        warn(f"fit: nothing to do: {why} again in another folder")


def batches_per_step(run: Run) -> Iterator[list[tuple[Batch, float]]]:
    """What is left of this epoch, `accumulate` batches at a time, each with its share of the samples of that step."""
    batches = run.remaining()
    while group := [batch_of("fit", batch) for batch in islice(batches, run.accumulate)]:
        if len(group) == 1:
            yield [(group[0], 1.0)]
        else:
            total = sum(batch.samples for batch in group)
            yield [(batch, batch.samples / total) for batch in group]


def forward(run: Run, batch: Batch) -> Tensor:
    """The loss of a batch. It and the metrics are added to the means of this epoch."""
    inputs, labels = batch.to(run.device)
    with run.autocast():
        scores = scores_of("fit", run.model, inputs)
        loss = run.loss(scores, labels)
    check_loss(run, loss)
    with no_grad(), run.autocast():
        detached = scores.detach() if isinstance(scores, Tensor) else scores
        if run.metrics is None:
            run.metrics = usual_metrics(detached, labels)
        measured = {name: metric(detached, labels) for name, metric in run.metrics.items()}
        run.means.add(batch.samples, loss=loss.detach(), **measured)
    return loss


def backward(run: Run, loss: Tensor, share: float) -> None:
    """Add the gradients of a batch to those of this step, weighted by its share of the samples."""
    weighted = loss if share == 1 else loss * share
    with run.overflow_ignored():
        run.scaler.scale(weighted).backward()
    part = weighted.detach()
    run.last_loss = part if run.last_loss is None else run.last_loss + part


def step(run: Run, batches: int) -> None:
    """One step of the optimizer, on the gradients of this many batches; then of the averaged weights."""
    if run.clip_norm is not None:
        run.scaler.unscale_(run.optimizer)
        with run.overflow_ignored():
            clip_grad_norm_([p for group in run.optimizer.param_groups for p in group["params"]], run.clip_norm)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    if run.average is not None:
        run.average.update()
    run.batch += batches
    run.step += 1


def after_step(run: Run, show: Callable[[int], None], samples: int) -> None:
    """The schedule, if it counts steps; the progress bar; the callbacks."""
    if run.schedule is not None and run.schedule_per == "step" and not run.schedule.needs_metric:
        run.schedule.step()
    show(samples)
    run.seconds = time.perf_counter() - run.epoch_began
    for callback in run.callbacks:
        callback.on_step(run)


def end_epoch(run: Run) -> None:
    """Validation, a row of the history, the schedule if it counts epochs, the callbacks."""
    schedule = run.schedule
    run.check_loss()
    row: EpochRow = {"epoch": run.epoch + 1, **run.means.values(), "lr": run.optimizer.param_groups[0]["lr"]}
    row["seconds"] = time.perf_counter() - run.epoch_began
    if run.validation is not None:
        with run.averaged(), run.autocast():
            measured = evaluate(run.model, run.validation, run.loss, metrics=run.given_metrics)
        row |= {f"val_{key}": value for key, value in measured.items()}
    run.end_epoch(row)
    if schedule is not None and schedule.needs_metric:
        schedule.step(row.get("val_loss", row["loss"]))  # type: ignore[call-arg]  # ReduceLROnPlateau.step takes the metric
    elif schedule is not None and run.schedule_per == "epoch":
        schedule.step()
    run.say(epoch_line(row, run.epochs, with_rate=schedule is not None))
    for callback in run.callbacks:
        callback.on_epoch(run)


def evaluate(model: Module, data: Batches, loss: Loss = cross_entropy, *, metrics: Metrics | None = None) -> dict[str, float]:
    """Mean "loss" and metrics over `data`, in eval mode and without gradients.

    Args:
        metrics: name → function of scores and labels. None: "accuracy" of a classifier (the fraction of samples whose highest
            score is that of their label) and, with more than ten classes, "top5".

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
            scores = scores_of("evaluate", model, inputs)
            metrics = usual_metrics(scores, labels) if metrics is None else metrics
            measured = {name: metric(scores, labels) for name, metric in metrics.items()}
            means.add(len(labels), loss=loss(scores, labels), **measured)
    return means.values()


def scores_of(who: str, model: Module, inputs: Sequence[Tensor]) -> Any:
    """The output of the model for a batch.

    Raises:
        TypeError: it is None.
    """
    scores = model(*inputs)
    if scores is None:
        raise TypeError(f"{who}: forward of {type(model).__name__} gave None, and scores are needed; is its `return` missing?")
    return scores


def check_loss(run: Run, loss: Any) -> None:
    """Check that a loss is one number with a graph, and finite: the latter on a GPU every `CHECK_EVERY_STEPS` steps only.

    Raises:
        TypeError: it is not one number.
        ValueError: it has no graph.
        FloatingPointError: it is nan or infinite.
    """
    if not isinstance(loss, Tensor) or loss.ndim and loss.array.size != 1:
        given = f"shape {loss.shape}" if isinstance(loss, Tensor) else type(loss).__name__
        hint = "is the function's `return` missing?" if loss is None else 'use reduction="mean" or .mean()'
        raise TypeError(f"fit: the loss must be one number, as a Tensor, got {given}; {hint}")
    if not loss.requires_grad:
        raise ValueError(
            "fit: the loss has no graph, and nothing can be learned from it: fit was called in no_grad(), or the model or the "
            "loss left the graph, by .detach(), .data, .numpy() or Tensor(...)"
        )
    if loss.device != "cpu" and run.step % CHECK_EVERY_STEPS:
        return
    value = loss.item()
    if math.isfinite(value):
        return
    before = run.means.values()["loss"] if run.means.count else math.nan
    mean = f"; its mean in this epoch was {before:.4g}" if math.isfinite(before) else ""
    raise diverged(run, f"the loss is {value} in epoch {run.epoch + 1}, at step {run.step + 1}{mean}")
