"""The state of a training run: what callbacks see, and what a checkpoint saves and restores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from microtensor import random
from microtensor.autograd.autocast import autocast
from microtensor.runtime.console import fitting
from microtensor.tensor import Tensor

from ..module import Module
from ..optim.grad_scaler import GradScaler
from ..optim.lr_scheduler import LRScheduler
from ..optim.moving_average import ExponentialMovingAverage
from ..optim.optimizer import Optimizer
from .checkpoint_callback import Checkpoint
from .fit_checks import check_batches, check_parts, check_settings, scaler_of
from .history import EpochRow, History
from .metrics import Means, Metrics, mode_of_metric
from .resume import Rollback, resume_run
from .run_settings import length_of

if TYPE_CHECKING:
    from .callbacks import Callback

Batches: TypeAlias = Iterable[Sequence[Any]]
"""Pairs (inputs, labels), in any number of passes: a `microtensor.data.DataLoader`."""
Loss: TypeAlias = Callable[[Tensor, Any], Tensor]

PARTS = ("model", "loss", "optimizer", "schedule", "average", "data", "validation", "means", "scaler")
"""The attributes of a run whose `state_dict()` goes into a checkpoint, where they have one. The loss may have parameters."""


class Run:
    """A training run: what `fit` was given, and how far it is. The arguments are those of `fit`, which says what they mean.

    Attributes:
        model, data, loss, optimizer, validation, schedule, average, callbacks, epochs, schedule_per, accumulate, clip_norm: as
            given to `fit`; the checkpoint is the last of the callbacks, so that it saves what the others have just changed.
        epoch: completed passes over the data.
        batch: completed batches of this pass.
        step: steps of the optimizer, in all.
        history: a row for each completed epoch.
        means: the means of the loss and the metrics in this pass.
        scaler: the GradScaler; enabled in mixed precision only.
        last_loss: the loss of the last step, a Tensor on the device of the model; None before the first.
        seconds: how long this pass has taken.
        stopping: whether training ends after this epoch; `stop` sets it.
        given: the settings that the run was started with, see run_settings.py; None if there is no checkpoint.

    Raises:
        TypeError, ValueError: an argument is not what `fit` takes.
    """

    def __init__(
        self, model: Module, data: Batches, loss: Loss, optimizer: Optimizer, epochs: int, validation: Batches | None,
        metrics: Metrics | None, schedule: LRScheduler | None, schedule_per: str | None, accumulate: int,
        clip_norm: float | None, average: ExponentialMovingAverage | None, precision: str | GradScaler | None,
        callbacks: Sequence[Callback], checkpoint: Checkpoint | None, progress: bool,
    ) -> None:  # fmt: skip
        check_settings(epochs, accumulate, schedule, schedule_per, clip_norm)
        self.scaler = scaler_of(precision)
        check_parts(model, loss, optimizer, schedule, average, callbacks, checkpoint, metrics)
        for batches in (data, validation):
            check_batches("fit", batches, epochs)
        self.model, self.data, self.loss, self.optimizer = model, data, loss, optimizer
        self.validation, self.schedule, self.average = validation, schedule, average
        self.callbacks: Sequence[Callback] = (*callbacks, *([checkpoint] if checkpoint is not None else []))
        self.epochs, self.accumulate = int(epochs), int(accumulate)  # a checkpoint is to hold no NumPy integers
        self.schedule_per, self.clip_norm, self.progress = schedule_per, clip_norm, progress
        self.given_metrics = self.metrics = metrics
        self.device = device_of(model)
        self.epoch = self.batch = self.step = 0
        self.history, self.means = History(), Means()
        self.seconds = self.epoch_began = 0.0
        self.last_loss: Tensor | None = None
        self.stopping = False
        self.given: dict[str, Any] | None = None
        self.was_complete = False  # whether the resumed checkpoint is of a run that had done all its epochs
        self.rollback: Rollback | None = None

    def locked(self) -> ExitStack:
        """Inside, no other run writes to the folder of a checkpoint of this one.

        Raises:
            BlockingIOError: another run does.
        """
        with ExitStack() as locks:
            for callback in self.callbacks:
                if isinstance(callback, Checkpoint):
                    locks.enter_context(callback.locked())
            return locks.pop_all()

    def remaining(self) -> Iterator[Sequence[Any]]:
        """The batches of this pass that are left: all of them, unless the run was resumed within an epoch."""
        data: Any = self.data
        if hasattr(data, "batches_on") and self.device != "cpu":
            return iter(data.batches_on(self.device))  # uploaded to the GPU ahead of their use
        if hasattr(data, "load_state_dict"):
            return iter(data)  # a DataLoader continues after the batch that it was at
        return islice(iter(self.data), self.batch, None)

    def pass_is_over(self) -> bool:
        """Whether no batch of this pass is left; False if the data does not say how many it has."""
        count = length_of(self.data)
        return count is not None and self.batch >= count

    def end_epoch(self, row: EpochRow) -> None:
        """Add the row of this epoch to the history, and begin the next."""
        self.history.append(row)
        self.history.modes = {name: mode for name in self.history.names() if (mode := mode_of_metric(name, self.metrics))}
        self.epoch, self.batch, self.means, self.seconds = self.epoch + 1, 0, Means(), 0.0

    def stop(self, why: str = "") -> None:
        """End training after this epoch."""
        self.stopping = True
        self.say(f"stopped after epoch {self.epoch}" + (f": {why}" if why else ""))

    def say(self, line: str) -> None:
        """Print a line, unless `progress` is off."""
        if self.progress:
            print(fitting(line), flush=True)

    def averaged(self) -> AbstractContextManager[Any]:
        """Inside, the model has its averaged weights, if `fit` was given an average."""
        return nullcontext() if self.average is None else self.average.applied()

    def autocast(self) -> AbstractContextManager[Any]:
        """Inside, model and loss compute in mixed precision, if `fit` was asked for it."""
        return autocast() if self.scaler.is_enabled() else nullcontext()

    def overflow_ignored(self) -> AbstractContextManager[Any]:
        """Inside, NumPy does not warn of overflows if the GradScaler is enabled, which handles them."""
        return np.errstate(over="ignore", invalid="ignore") if self.scaler.is_enabled() else nullcontext()

    def watched(self, name: str | None, who: str) -> float:
        """The value in the last row of the history under `name`; None: "val_loss" if there is validation, else "loss".

        Raises:
            ValueError: nothing of this name was measured.
        """
        row = self.history[-1]
        name = name or ("val_loss" if "val_loss" in row else "loss")
        if name not in row:
            hint = "; give fit a validation" if name.startswith("val_") and "val_loss" not in row else ""
            raise ValueError(f"{who}: {name!r} is not measured; there are {', '.join(row)}{hint}")
        return row[name]

    def check_loss(self) -> None:
        """Check that all losses of this pass were finite: on a GPU `fit` looks at some of them only.

        Raises:
            FloatingPointError: one was nan or infinite.
        """
        mean = self.means.values()["loss"]
        if not math.isfinite(mean):
            raise diverged(self, f"a loss was {mean} in epoch {self.epoch + 1}, by step {self.step}")

    def generators(self) -> dict[str, random.Generator]:
        """Every random number generator of the run, by name: the default one, and those that modules hold."""
        held = (
            (f"{path}.{name}", value)
            for part, prefix in ((self.model, ""), (self.loss, "loss"))
            for path, module in (part.named_modules(prefix) if isinstance(part, Module) else ())
            for name, value in vars(module).items()
            if isinstance(value, random.Generator)
        )
        return {"default": random.default, **dict(held)}

    def states(self) -> dict[str, Any]:
        """The `state_dict()` of each of the `PARTS` that has one."""
        states = {}
        for name in PARTS:
            part = getattr(self, name)
            if state := part.state_dict() if hasattr(part, "state_dict") else None:
                states[name] = state
        return states

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes during a run, as nested dicts and lists of tensors, numbers and text."""
        return {
            "parts": self.states(),
            "callbacks": [[type(callback).__name__, callback.state_dict()] for callback in self.callbacks],
            "generators": {name: generator.get_state() for name, generator in self.generators().items()},
            "place": {"epoch": self.epoch, "batch": self.batch, "step": self.step, "seconds": self.seconds},
            "stopping": self.stopping,
            "history": [dict(row) for row in self.history],
            "given": self.given,
        }

    def load_state_dict(self, state: Any) -> None:
        """Resume from the `state_dict` of a run with the same settings. On an error the run is as it was before.

        Raises:
            KeyError, TypeError, ValueError …: it is the state of another run: of another model, other callbacks …
        """
        resume_run(self, state)
        self.rollback = None

    def roll_back(self) -> None:
        """Undo the loading of a checkpoint, if one was loaded."""
        if self.rollback is not None:
            rollback, self.rollback = self.rollback, None
            rollback.restore()
            self.rollback = None  # restore() puts every attribute back, this one too


def diverged(run: Run, what: str) -> FloatingPointError:
    """The error for a loss that is nan or infinite, with what to try."""
    rates = ", ".join(f"{group['lr']:g}" for group in run.optimizer.param_groups)
    return FloatingPointError(
        f"fit: {what}. The learning rate is {rates}: try a tenth of it, or clip_norm=1.0; look for nan and very large numbers "
        "in the inputs; microtensor.detect_anomaly() around fit names the operation that makes the first nan"
    )


def device_of(model: Module) -> str:
    """The device of a model: that of its first parameter or buffer."""
    return next((x.device for x in (*model.parameters(), *model.buffers())), "cpu")
