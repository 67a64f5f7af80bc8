"""Checkpoints: everything that a training run needs to go on as if nothing had happened, in one file, the last few kept."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microtensor.io import safetensors
from microtensor.io.state import load, save
from microtensor.runtime.integers import is_integer

from .callbacks import Watching
from .history import is_better
from .lock import locked
from .resume import OtherSettings, go_on
from .settings import told, warn

if TYPE_CHECKING:
    from .run import Run


RESUME = (True, False, "saved", "given", "restart")
SUFFIXES = (".npz", ".safetensors")


class Checkpoint(Watching):
    """Save a run to a folder as it goes, and go on from the newest file there when the program is started again.

    A file has the weights and buffers, the optimizer, the schedule, the averaged weights, the random generators, the place in
    the data, the history and what callbacks remember: a run that is killed at any moment and started again ends with the same
    weights, bit for bit. What was done since the newest file is done again. (On the CPU. Numbers that the program draws from
    elsewhere, such as `random.random()`, are its own affair.) Each file is written under another name, down to the disk, and
    then renamed: there is never half of one.

    A file also notes the settings that the run was begun with: of optimizer, schedule, loss, model, data, and what else `fit`
    was given. A program with others is refused, and told which, unless `resume` says what to do; a refused checkpoint leaves
    model, optimizer and all else as they were. More epochs are no other setting. For a run that has ended, neither is a longer
    schedule together with more epochs: it goes on with that, and a warning says so. Devices, readings of the clock, and what
    losses and transforms count as they are called, are no settings. What cannot be seen is the inside of a data
    set on disk, of which the number of samples is compared, and of functions more than their name and the numbers in them.

    While a run lasts no other begins in the same folder: a lock says so, and ends with the process, however that ends.

    Args:
        folder: where `step-00000120.npz` and the others go; made if it is not there. One run, one folder.
        every: save after so many steps of the optimizer too; None: after each epoch alone.
        keep: how many of the newest files stay.
        monitor: a name of the history, such as "val_accuracy"; when it is better than ever, the weights alone are also written
            to `best.npz`, for `model.load_state_dict(microtensor.load(...))`.
        resume: what to do if the folder has a checkpoint.
            True: go on from the newest; refuse if it is of a run with other settings.
            "given": go on from the newest with the settings given now: what differs is taken from the program (a smaller
            learning rate from here on, other data), and all else goes on. A schedule of the same kind goes on at its place,
            with the new settings; an optimizer or a schedule of another kind begins. An epoch that was under way begins again
            if its batches are others.
            "saved": go on from the newest with its own settings, whatever the program gives to optimizer, schedule, average,
            scaler, `clip_norm`, `accumulate`, seeds and callbacks; refuse if others differ, which it cannot put back.
            "restart": begin anew, each time that the program is started; the folder's checkpoints are deleted when the first
            new one is written.
            False: refuse.
        mode: "max" if `monitor` is better when it is higher, "min" if when it is lower. None: as the metric says (its attribute
            `higher_is_better`), or its name: loss and error are better lower, accuracy and top5 higher, also behind "val_".
        weights: the file of the best weights, `best.npz` or another name; `.safetensors` needs the extra of that name.

    Raises:
        TypeError, ValueError: a setting means nothing; the folder is named like a file. When a run begins: the checkpoint is of
            a run with other settings, or no checkpoint at all; nothing says which way `monitor` is better.
        BlockingIOError: (when a run begins) another one is under way in the folder.
        FileExistsError: (when a run begins) `resume` is False, and there are checkpoints; the folder is a file.
        ImportError: `weights` needs a library that is missing.

    >>> Checkpoint("runs/lenet", every=100).keep
    3
    """

    settings = ("monitor", "mode")

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every: int | None = None,
        keep: int = 3,
        monitor: str | None = None,
        resume: bool | str = True,
        mode: str | None = None,
        weights: str = "best.npz",
    ) -> None:
        for name, value in (("every", every), ("keep", keep)):
            if value is None and name == "every":
                continue
            if not is_integer(value) or value < 1:
                raise ValueError(f"Checkpoint: {name} must be an integer of 1 or more, got {value!r}")
        if not any(resume is choice or isinstance(choice, str) and resume == choice for choice in RESUME):
            raise ValueError(f'Checkpoint: resume must be True, False, "saved", "given" or "restart", got {resume!r}')
        super().__init__(monitor, mode)
        self.folder = Path(folder)
        if self.folder.suffix.lower() in (*SUFFIXES, ".pth", ".pt", ".ckpt") and not self.folder.is_dir():
            better = str(self.folder.with_suffix(""))
            raise ValueError(
                f"Checkpoint: {folder} is named like a file, and a folder is needed, of one run: Checkpoint({better!r})"
            )
        self.every, self.keep, self.resume, self.weights = every, keep, resume, _weights(weights)
        self._old: list[Path] = []

    def files(self) -> list[Path]:
        """The checkpoints in the folder, oldest first."""
        found = [path for path in self.folder.glob("step-*.npz") if re.fullmatch(r"step-\d+\.npz", path.name)]
        return sorted(found, key=lambda path: int(path.stem.removeprefix("step-")))

    def locked(self) -> AbstractContextManager[None]:
        """The folder, made if it is not there; inside, no other run begins in it.

        Raises:
            BlockingIOError: one is under way.
            FileExistsError: it is a file.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise FileExistsError(f"Checkpoint: {self.folder} or a folder above it is a file; give another folder") from error
        return locked(self.folder)

    def on_start(self, run: Run) -> None:
        """Go on from the newest checkpoint that can be read."""
        self.best, self._old = None, []  # that of another run
        self.folder.mkdir(parents=True, exist_ok=True)
        files = self.files()
        if files and self.resume is False:
            raise FileExistsError(
                f"Checkpoint: {self.folder} has checkpoints of another run, such as {files[-1].name}; give another folder, "
                'delete them, or say resume=True to go on with that run, resume="restart" to begin anew'
            )
        if self.resume == "restart":
            self._old = files
            return
        for path in reversed(files):
            try:
                state = load(path)
            except ValueError as error:
                warn(f"{error}; trying the checkpoint before it")
                continue
            notes = self._go_on(run, path, state)
            place = f"in epoch {run.epoch + 1}" if run.batch else f"after epoch {run.epoch}"
            run.say("\n".join([f"going on from {path}: {place}, {run.step:,} steps done", *notes]))
            return

    def _go_on(self, run: Run, path: Path, state: Any) -> list[str]:
        """Read a checkpoint into the run; what cannot be done is said in words, and the run is as it was."""
        try:
            return go_on(run, state, self.resume if isinstance(self.resume, str) else "same")
        except OtherSettings as error:
            raise ValueError(_of_other_settings(path, self.folder, error, saved=self.resume == "saved")) from None
        except MemoryError:
            raise
        except Exception as error:  # whatever an edited file leads to
            words = str(error) if isinstance(error, (TypeError, ValueError)) else f"{type(error).__name__}: {error}"
            raise ValueError(
                f"Checkpoint: {path} is of another run, and does not fit this one: {words}\n"
                "give another folder, or make model, optimizer, schedule and callbacks as they were; "
                'resume="restart" begins anew'
            ) from error

    def on_step(self, run: Run) -> None:
        """Save if it is time."""
        if self.every is not None and run.step % self.every == 0 and not run.pass_is_over():  # on_epoch saves then
            run.check_loss()  # no good file is to make room for one of nan
            self.save(run)

    def on_epoch(self, run: Run) -> None:
        """Save, and keep the best weights."""
        if self.monitor is not None:
            value = run.watched(self.monitor, "Checkpoint")
            if is_better(value, self.best, self.mode == "max"):
                self.best = value
                with run.averaged():
                    save(self.folder / self.weights, run.model.state_dict())
        self.save(run)

    def save(self, run: Run) -> Path:
        """Write a checkpoint now, delete those that are one too many, and return its path."""
        path = self.folder / f"step-{run.step:08d}.npz"
        save(path, run.state_dict())
        for file in self._old:
            if file != path:
                file.unlink(missing_ok=True)
        if self._old and self.best is None:
            (self.folder / self.weights).unlink(missing_ok=True)
        self._old = []
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
        self.best = self._best_of(state)


def _weights(name: Any) -> str:
    """The name of the file of the best weights, if it can be written: better now than after the first epoch."""
    if not isinstance(name, str) or Path(name).name != name or Path(name).suffix.lower() not in SUFFIXES:
        raise ValueError(f'Checkpoint: weights must be the name of a file, "best.npz" or "best.safetensors", got {name!r}')
    if re.fullmatch(r"step-\d+\.npz", name):
        raise ValueError(f"Checkpoint: {name} is the name of a checkpoint; give weights another")
    if Path(name).suffix.lower() == ".safetensors":
        with io.BytesIO() as nothing:
            safetensors.write(nothing, {})
    return name


def _of_other_settings(path: Path, folder: Path, error: OtherSettings, saved: bool) -> str:
    """What to say of a checkpoint with other settings: which, and what can be done."""
    lines = "".join(f"\n  {line}" for line in told(error.found))
    name = f"Checkpoint({str(folder)!r}, resume="
    choices = {
        "given": "goes on with the settings given here",
        "saved": "goes on with those of the checkpoint",
        "restart": "begins anew, and deletes the checkpoints in the folder; another folder keeps both runs",
    }
    if saved or not error.can_be_put_back():
        del choices["saved"]
    hints = "".join(f'\n  {name}"{choice}") {effect}' for choice, effect in choices.items())
    what = 'has settings that resume="saved" cannot put back' if saved else "is of a run with other settings"
    return f"Checkpoint: {path} {what}:{lines}\nmake them as they were, or say what to do:{hints}"
