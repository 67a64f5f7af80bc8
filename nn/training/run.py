"""What a training run consists of: all that changes while it goes on, for callbacks to see and checkpoints to save."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from microtensor import random
from microtensor.autograd.autocast import autocast
from microtensor.runtime.console import fitting
from microtensor.tensor import Tensor

from ..module import Module
from ..optim.average import ExponentialMovingAverage
from ..optim.lr_scheduler import LRScheduler
from ..optim.optimizer import Optimizer
from ..optim.scaler import GradScaler
from .history import EpochRow, History
from .metrics import Means, Metrics, mode_of_metric
from .resume import Undo, go_on
from .settings import length_of

if TYPE_CHECKING:
    from .callbacks import Callback

Batches: TypeAlias = Iterable[Sequence[Any]]
"""Pairs (inputs, labels), in any number of passes: a `microtensor.data.DataLoader`."""
Loss: TypeAlias = Callable[[Tensor, Any], Tensor]

PARTS = ("model", "loss", "optimizer", "schedule", "average", "data", "validation", "means", "scaler")
"""Of a run: what a checkpoint has the state of, if there is one. The loss may be a layer that learns."""


class Run:
    """A training run as it stands: what callbacks see, and what a checkpoint consists of.

    Attributes:
        model, data, loss, optimizer, validation, schedule, average, callbacks, epochs, schedule_per, accumulate, clip_norm: as
            given to `fit`.
        epoch: complete passes over the data.
        batch: batches of the present pass that are done.
        step: steps of the optimizer, in all.
        history: a row for each complete epoch.
        means: what was measured in the present pass.
        scaler: of the gradients; enabled in mixed precision alone.
        last_loss: the loss of the last step, a Tensor where the model is; None before the first.
        seconds: how long the present pass has taken.
        stopping: whether training ends after this epoch; `stop` says so.
        given: the settings with which it was begun, see settings.py; None where there is no checkpoint to compare them with.
    """

    def __init__(
        self,
        model: Module,
        data: Batches,
        loss: Loss,
        optimizer: Optimizer,
        validation: Batches | None,
        schedule: LRScheduler | None,
        average: ExponentialMovingAverage | None,
        callbacks: Sequence[Callback],
        progress: bool,
        scaler: GradScaler,
        metrics: Metrics | None = None,
        epochs: int = 1,
        schedule_per: str | None = None,
        accumulate: int = 1,
        clip_norm: float | None = None,
    ) -> None:
        self.model, self.data, self.loss, self.optimizer = model, data, loss, optimizer
        self.validation, self.schedule = validation, schedule
        self.average, self.callbacks, self.progress, self.scaler = average, callbacks, progress, scaler
        self.epoch = self.batch = self.step = 0
        self.history, self.means, self.seconds = History(), Means(), 0.0
        self.metrics = metrics
        self.epochs, self.schedule_per, self.accumulate, self.clip_norm = epochs, schedule_per, accumulate, clip_norm
        self.given: dict[str, Any] | None = None
        self.had_ended = False  # whether the run of the checkpoint had done all its epochs
        self.undo: Undo | None = None
        self.last_loss: Tensor | None = None
        self.device = device_of(model)
        self.stopping = False

    def remaining(self) -> Iterator[Sequence[Any]]:
        """What is left of the present pass: all of it, but after resuming."""
        data: Any = self.data
        if hasattr(data, "batches_on") and self.device != "cpu":
            return iter(data.batches_on(self.device))  # they set out for the GPU ahead of their use
        if hasattr(data, "load_state_dict"):
            return iter(data)  # it knows where it stands
        return islice(iter(self.data), self.batch, None)

    def pass_is_over(self) -> bool:
        """Whether the present pass has no batch left, as far as the data says how many it has."""
        count = length_of(self.data)
        return count is not None and self.batch >= count

    def ended(self, row: EpochRow) -> None:
        """The present pass is over."""
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
        """Inside, the model has its averaged weights, if they are averaged."""
        return nullcontext() if self.average is None else self.average.applied()

    def autocast(self) -> AbstractContextManager[Any]:
        """Inside, model and loss compute in mixed precision, if the run does."""
        return autocast() if self.scaler.is_enabled() else nullcontext()

    def overflowing(self) -> AbstractContextManager[Any]:
        """Inside, NumPy says nothing of an overflow if there is a scaler to see to it."""
        return np.errstate(over="ignore", invalid="ignore") if self.scaler.is_enabled() else nullcontext()

    def watched(self, name: str | None, who: str) -> float:
        """What the last epoch's row has under `name`; under None the loss, of the validation if there is one.

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
        """Raise FloatingPointError if a loss in this pass was nan or infinite: on a device, `fit` looks at few of them."""
        mean = self.means.values()["loss"]
        if not math.isfinite(mean):
            raise diverged(self, f"a loss was {mean} in epoch {self.epoch + 1}, by step {self.step}")

    def generators(self) -> dict[str, random.Generator]:
        """Every source of random numbers that the run draws from, by name: the default one, and those that modules hold."""
        held = (
            (f"{place}.{name}", value)
            for part, prefix in ((self.model, ""), (self.loss, "loss"))
            for place, module in (part.named_modules(prefix) if isinstance(part, Module) else ())
            for name, value in vars(module).items()
            if isinstance(value, random.Generator)
        )
        return {"default": random.default, **dict(held)}

    def states(self) -> dict[str, Any]:
        """The states of the parts that have one."""
        states = {}
        for name in PARTS:
            part = getattr(self, name)
            if state := part.state_dict() if hasattr(part, "state_dict") else None:
                states[name] = state
        return states

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes while a run goes on, as a tree of tensors, numbers and text."""
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
        """Go on from where `state_dict` was taken, by a run with the same settings. If that cannot be, the run is as it was.

        Raises:
            KeyError, TypeError, ValueError …: it is the state of another run: of another model, other callbacks …
        """
        go_on(self, state)
        self.undo = None

    def take_back(self) -> None:
        """Be as before a checkpoint was read, if one was."""
        if self.undo is not None:
            undo, self.undo = self.undo, None
            undo.restore()
            self.undo = None


def diverged(run: Run, what: str) -> FloatingPointError:
    """The error of a run whose loss is nan or infinite, with what to try."""
    rates = ", ".join(f"{group['lr']:g}" for group in run.optimizer.param_groups)
    return FloatingPointError(
        f"fit: {what}. The learning rate is {rates}: try a tenth of it, or clip_norm=1.0; look for nan and very large numbers "
        "in the inputs; microtensor.detect_anomaly() around fit names the operation that makes the first nan"
    )


def device_of(model: Module) -> str:
    """Where a model is: on the device of its first tensor."""
    return next((x.device for x in (*model.parameters(), *model.buffers())), "cpu")
