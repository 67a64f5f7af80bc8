"""Callbacks of `fit`: the base class, and early stopping."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from microtensor.autograd.arguments import is_number
from microtensor.runtime.integers import is_integer
from microtensor.runtime.text import kind_of
from microtensor.tensor import Tensor

from .history import check_mode, is_better, mode_of, unclear
from .metrics import Metrics, mode_of_metric

if TYPE_CHECKING:
    from .run import Run


class Callback:
    """Called by `fit` at four points, with the run: its model, optimizer, history, step … Override the methods you need.

    State that a checkpoint is to save is returned by `state_dict`, as nested dicts and lists of tensors, numbers and text.

    >>> class Announce(Callback):
    ...     def on_epoch(self, run):
    ...         print("after epoch", run.epoch)
    """

    settings: ClassVar[tuple[str, ...]] = ()
    """The names of the attributes, numbers and text, that a checkpoint saves, and `fit` compares when a run is resumed."""

    def on_start(self, run: Run) -> None:
        """Before the first step, or the first after resuming.

        Restore here what is in no checkpoint: a callback that unfreezes layers after some epochs looks at `run.epoch`.
        """

    def on_step(self, run: Run) -> None:
        """After each step of the optimizer; `run.last_loss` is its loss. After the last of an epoch, `on_epoch` follows."""

    def on_epoch(self, run: Run) -> None:
        """After each epoch, with its row in `run.history`. `run.stop()` ends training."""

    def on_end(self, run: Run) -> None:
        """After the last epoch."""

    def state_dict(self) -> dict[str, Any]:
        """The state to save in checkpoints."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            TypeError, ValueError: this is no such state. Then the checkpoint is refused, and the run is as it was.
        """

    def check_resumed(self, run: Run) -> None:
        """After all of a checkpoint was loaded: check that the state of this callback fits the run.

        Raises:
            ValueError: it does not. Then the checkpoint is refused, and the run is as it was.
        """


class MonitorCallback(Callback):
    """A callback that looks for the best epoch: the one in which the column `monitor` of the history is highest or lowest.

    Attributes:
        mode: "max" or "min"; None if the name does not say which, until `fit` has asked the metric.
    """

    def __init__(self, monitor: str | None, mode: str | None) -> None:
        name = type(self).__name__
        if monitor is not None and not isinstance(monitor, str):
            raise TypeError(f'{name}: monitor must be a name of the history, such as "val_loss", got {kind_of(monitor)}')
        check_mode(name, mode)
        self.monitor, self._given_mode = monitor, mode
        self.mode = mode or mode_of(monitor or "loss")
        self.best: float | None = None

    def choose_mode(self, metrics: Metrics | None) -> None:
        """Before a run: whether higher or lower is better, as given, or as the metric or its name says.

        Raises:
            ValueError: nothing says which.
        """
        name, own = self.monitor or "loss", type(self).__name__
        self.mode = self._given_mode or mode_of_metric(name, metrics)
        if self.mode is None:
            raise ValueError(
                f'{own}: {unclear(name)}; say {own}(…, monitor={name!r}, mode="max") if higher is better, or mode="min"; or '
                f"let the metric say it: a function with an attribute higher_is_better"
            )

    def _best_of(self, state: Mapping[str, Any]) -> float | None:
        best = state["best"]
        if best is not None and not is_number(best):
            raise ValueError(f"{type(self).__name__}: best must be a number or None, got {best!r}")
        return best


class EarlyStopping(MonitorCallback):
    """Stop when `monitor` has not improved for `patience` epochs, and restore the weights of the best epoch.

    The best weights are restored at the end in any case, also if all epochs were run. A copy of the model's state is kept for
    this, on its device, until the next run starts. (Prechelt 1998, "Early stopping – but when?", section 2, the third class of
    criteria.)

    Args:
        patience: epochs without a better value before it stops.
        monitor: a column of the history; None: "val_loss" if there is validation, else "loss".
        min_delta: by how much a value must improve to count as better.
        mode: "min" if lower is better, "max" if higher. None: as the metric says (its attribute `higher_is_better`), or its
            name: loss and error are better lower, accuracy and top5 higher, also after "val_".
        restore_best_weights: whether to restore the weights of the best epoch at the end.

    Attributes:
        best: the best value so far; None before the first epoch.
        best_epoch: the epoch that it is from.

    Raises:
        TypeError, ValueError: a setting is invalid; or, when a run starts, nothing says whether higher or lower is better.

    >>> EarlyStopping(patience=3, monitor="val_accuracy").mode
    'max'
    """

    settings = ("patience", "monitor", "min_delta", "mode", "restore_best_weights")

    def __init__(
        self,
        patience: int = 5,
        monitor: str | None = None,
        min_delta: float = 0.0,
        mode: str | None = None,
        restore_best_weights: bool = True,
    ) -> None:
        if not is_integer(patience) or patience < 1:
            raise ValueError(f"EarlyStopping: patience must be an integer of epochs, 1 or more, got {patience!r}")
        if not is_number(min_delta) or not min_delta >= 0:
            raise ValueError(f"EarlyStopping: min_delta must be a number of 0 or more, got {min_delta!r}")
        super().__init__(monitor, mode)
        self.patience, self.min_delta = int(patience), min_delta
        self.restore_best_weights = restore_best_weights
        self.best_epoch = 0
        self._weights: dict[str, Any] = {}
        self._resumed = False

    def on_start(self, run: Run) -> None:
        """Forget an earlier run, unless this one was resumed from a checkpoint."""
        if not self._resumed:
            self.best, self.best_epoch, self._weights = None, 0, {}
        self._resumed = False

    def on_epoch(self, run: Run) -> None:
        """Compare this epoch with the best one; stop if that is `patience` epochs ago."""
        name = self.monitor or ("val_loss" if "val_loss" in run.history[-1] else "loss")
        value = run.watched(name, "EarlyStopping")
        if is_better(value, self.best, self.mode == "max", self.min_delta):
            self.best, self.best_epoch = value, run.epoch
            if self.restore_best_weights:
                with run.averaged():
                    self._weights = copy.deepcopy(run.model.state_dict())  # deep: extra state may be any object
        elif run.epoch - self.best_epoch >= self.patience:
            run.stop(f"{name} has not become better than {self.best:.4g} since epoch {self.best_epoch}")

    def on_end(self, run: Run) -> None:
        """Restore the best weights."""
        if self._weights:
            run.model.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """The best value, its epoch, and its weights."""
        return {"best": self.best, "best_epoch": self.best_epoch, "weights": self._weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`."""
        best, epoch, weights = self._best_of(state), state["best_epoch"], dict(state["weights"])
        if type(epoch) is not int or epoch < 0 or not all(isinstance(x, Tensor) for x in weights.values()):
            raise ValueError(f"EarlyStopping: expected an epoch and weights, got {epoch!r} and {len(weights)} of them")
        self.best, self.best_epoch, self._weights, self._resumed = best, epoch, weights, True

    def check_resumed(self, run: Run) -> None:
        """Check that the best weights fit the model, which gets them at the end."""
        shapes = {name: x.shape for name, x in run.model.state_dict().items()}
        if self._weights and {name: x.shape for name, x in self._weights.items()} != shapes:
            raise ValueError("EarlyStopping: the weights of the best epoch do not fit the model")
        if self.best_epoch > run.epoch:
            raise ValueError(f"EarlyStopping: the best epoch is {self.best_epoch}, and {run.epoch} are done")
