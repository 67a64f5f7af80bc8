"""Checkpoints: everything that a training run needs to go on as if nothing had happened, in one file, the last few kept."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microtensor.nn.training.callbacks import Callback
from microtensor.nn.training.history import higher_is_better, is_better
from microtensor.state import load, save

if TYPE_CHECKING:
    from microtensor.nn.training.run import Run


class Checkpoint(Callback):
    """Save a run to a folder as it goes, and go on from the newest file there when the program is started again.

    A file has the weights and buffers, the optimizer, the schedule, the averaged weights, the random generators, the place in
    the data, the history and what callbacks remember: a run that is killed at any moment and started again ends with the same
    weights, bit for bit. What was done since the newest file is done again. (On the CPU. Numbers that the program draws from
    elsewhere, such as `random.random()`, are its own affair.) Each file is written under another name, down to the disk, and
    then renamed: there is never half of one.

    Args:
        folder: where `step-00000120.npz` and the others go; made if it is not there. One run, one folder.
        every: save after so many steps of the optimizer too; None: after each epoch alone.
        keep: how many of the newest files stay.
        monitor: a name of the history, such as "val_accuracy"; when it is better than ever, the weights alone are also written
            to `best.npz`, for `model.load_state_dict(microtensor.load(...))`.
        resume: go on from the newest checkpoint in the folder, if there is one. False refuses a folder that has one.

    Raises:
        ValueError: `every` or `keep` is below 1.

    >>> Checkpoint("runs/lenet", every=100).keep
    3
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every: int | None = None,
        keep: int = 3,
        monitor: str | None = None,
        resume: bool = True,
    ) -> None:
        for name, value in (("every", every), ("keep", keep)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"Checkpoint: {name} must be a whole number of 1 or more, got {value!r}")
        self.folder = Path(folder)
        self.every, self.keep, self.monitor, self.resume = every, keep, monitor, resume
        self.best: float | None = None

    def files(self) -> list[Path]:
        """The checkpoints in the folder, oldest first."""
        found = [path for path in self.folder.glob("step-*.npz") if re.fullmatch(r"step-\d+\.npz", path.name)]
        return sorted(found, key=lambda path: int(path.stem.removeprefix("step-")))

    def on_start(self, run: Run) -> None:
        """Go on from the newest checkpoint that can be read."""
        self.folder.mkdir(parents=True, exist_ok=True)
        files = self.files()
        if files and not self.resume:
            raise FileExistsError(
                f"Checkpoint: {self.folder} has checkpoints of another run, such as {files[-1].name}; "
                "give another folder, delete them, or say resume=True to go on with that run"
            )
        for path in reversed(files):
            try:
                state = load(path)
            except ValueError as error:
                warnings.warn(f"{error}; trying the checkpoint before it", stacklevel=2)
                continue
            try:
                run.load_state_dict(state)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"Checkpoint: {path} is of another run, and does not fit this one: {error}\n"
                    "give another folder, or make model, optimizer, schedule and callbacks as they were"
                ) from error
            place = f"in epoch {run.epoch + 1}" if run.batch else f"after epoch {run.epoch}"
            run.say(f"going on from {path}: {place}, {run.step:,} steps done")
            return
        self.best = None  # that of another run

    def on_step(self, run: Run) -> None:
        """Save if it is time."""
        if self.every is not None and run.step % self.every == 0 and not run.pass_is_over():  # on_epoch saves then
            run.check_loss()  # no good file is to make room for one of nan
            self.save(run)

    def on_epoch(self, run: Run) -> None:
        """Save, and keep the best weights."""
        if self.monitor is not None:
            value = run.watched(self.monitor, "Checkpoint")
            if is_better(value, self.best, higher_is_better(self.monitor)):
                self.best = value
                with run.averaged():
                    save(self.folder / "best.npz", run.model.state_dict())
        self.save(run)

    def save(self, run: Run) -> Path:
        """Write a checkpoint now, delete those that are one too many, and return its path."""
        path = self.folder / f"step-{run.step:08d}.npz"
        save(path, run.state_dict())
        files = self.files()
        newest = files[: files.index(path) + 1][-self.keep :]  # a file of a later step is one that could not be read
        for file in files:
            if file not in newest:
                file.unlink(missing_ok=True)
        return path

    def state_dict(self) -> dict[str, Any]:
        """The best value of `monitor` so far."""
        return {"best": self.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.best = state["best"]
