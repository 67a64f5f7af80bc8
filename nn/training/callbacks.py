"""What happens at the side of a training run: `Callback`, and stopping early."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from microtensor.arguments import is_number
from microtensor.nn.training.history import higher_is_better, is_better

if TYPE_CHECKING:
    from microtensor.nn.training.run import Run


class Callback:
    """Called by `fit` at four moments, with the run: its model, optimizer, history, step … Override what is needed.

    What a callback remembers goes into checkpoints if `state_dict` gives it, a tree of tensors, numbers and text.

    >>> class Announce(Callback):
    ...     def on_epoch(self, run):
    ...         print("after epoch", run.epoch)
    """

    def on_start(self, run: Run) -> None:
        """Before the first step, or the first after resuming.

        What is in no checkpoint is to be done here again: a callback that unfreezes a part after some epochs looks at
        `run.epoch`.
        """

    def on_step(self, run: Run) -> None:
        """After each step of the optimizer; `run.last_loss` is its loss. After the last of an epoch, `on_epoch` follows."""

    def on_epoch(self, run: Run) -> None:
        """After each epoch, with its row in `run.history`. `run.stop()` ends training."""

    def on_end(self, run: Run) -> None:
        """After the last epoch."""

    def state_dict(self) -> dict[str, Any]:
        """What to remember."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember what `state_dict` gave."""


class EarlyStopping(Callback):
    """Stop when `monitor` has not become better for `patience` epochs, and go back to the weights of the best epoch.

    The best weights are put back at the end in any case, also where all epochs were run. They are kept as a copy of the
    model's state, on its device, until the next run begins. (Prechelt 1998, "Early stopping – but when?", section 2: the third
    class of criteria.)

    Args:
        patience: epochs without a better value before it stops.
        monitor: a name of the history; None: "val_loss" if there is validation, else "loss".
        min_delta: by how much a value must be better to count as better.
        mode: "min" or "max"; None: "max" for accuracies and their like (`higher_is_better`), else "min".
        restore_best_weights: whether to go back to the best epoch's weights.

    Attributes:
        best: the best value so far; None before the first epoch.
        best_epoch: the epoch that it is from.

    Raises:
        TypeError, ValueError: a setting means nothing.

    >>> EarlyStopping(patience=3, monitor="val_accuracy").mode
    'max'
    """

    def __init__(
        self,
        patience: int = 5,
        monitor: str | None = None,
        min_delta: float = 0.0,
        mode: str | None = None,
        restore_best_weights: bool = True,
    ) -> None:
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise ValueError(f"EarlyStopping: patience must be a whole number of epochs, 1 or more, got {patience!r}")
        if not is_number(min_delta) or not min_delta >= 0:
            raise ValueError(f"EarlyStopping: min_delta must be a number of 0 or more, got {min_delta!r}")
        if mode not in (None, "min", "max"):
            raise ValueError(f'EarlyStopping: mode must be "min", "max" or None, got {mode!r}')
        self.patience, self.monitor, self.min_delta = patience, monitor, min_delta
        self.mode = mode or ("max" if higher_is_better(monitor or "loss") else "min")
        self.restore_best_weights = restore_best_weights
        self.best: float | None = None
        self.best_epoch = 0
        self._weights: dict[str, Any] = {}

    def on_start(self, run: Run) -> None:
        """Forget the run before, unless this one goes on from a checkpoint."""
        if run.step == 0:
            self.best, self.best_epoch, self._weights = None, 0, {}

    def on_epoch(self, run: Run) -> None:
        """Compare this epoch with the best; stop if that is too long ago."""
        name = self.monitor or ("val_loss" if "val_loss" in run.history[-1] else "loss")
        value = run.watched(name, "EarlyStopping")
        if is_better(value, self.best, self.mode == "max", self.min_delta):
            self.best, self.best_epoch = value, run.epoch
            if self.restore_best_weights:
                with run.averaged():
                    self._weights = copy.deepcopy(run.model.state_dict())  # extra state is no tensor
        elif run.epoch - self.best_epoch >= self.patience:
            run.stop(f"{name} has not become better than {self.best:.4g} since epoch {self.best_epoch}")

    def on_end(self, run: Run) -> None:
        """Back to the best weights."""
        if self._weights:
            run.model.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """The best value, its epoch, and its weights."""
        return {"best": self.best, "best_epoch": self.best_epoch, "weights": self._weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.best, self.best_epoch, self._weights = state["best"], state["best_epoch"], dict(state["weights"])
